"""Model server of a domain and its service level: `serving:` and `reviewer:`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hallmark.section import Duration, Name, Quantity, Section, Share, amount, spelled


class Replicas(Section):
    """Number of serving pods, lowest and highest."""

    minimum: int = Field(default=1, ge=0)
    maximum: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.minimum > self.maximum:
            raise ValueError(f"expected minimum <= maximum, got {self.minimum} > {self.maximum}")
        return self


class Traffic(Section):
    """Expected traffic, from which cost and pods are computed; the measured traffic is in the metrics."""

    mean: float = Field(gt=0, description="Requests a second, averaged over a month.")
    peak: float = Field(gt=0, description="Requests a second in the busiest minute.")
    payload: Quantity = Field(default="2Ki", description="Bytes of a request and its answer together.")
    work: Literal["rows", "photos"] = "rows"
    active: float = Field(default=1.0, gt=0, le=1, description="Share of a month's hours in which any come.")

    @model_validator(mode="after")
    def _ordered(self) -> Traffic:
        if self.mean > self.peak:
            raise ValueError(f"expected mean <= peak, got {self.mean:g} > {self.peak:g}")
        return self


class Serving(Section):
    """Resources of one serving pod, and its service level."""

    replicas: Replicas = Replicas()
    cpu: Quantity = "1"
    memory: Quantity = "2Gi"
    gpu: int = Field(default=0, ge=0)
    timeout: Duration = Field(
        default=timedelta(seconds=5),
        description="An answer is of use within this; every other timeout follows from it.",
    )
    latency_objective: Duration = Field(description="99 of 100 answers come within this.")
    availability: float = Field(
        default=0.995, gt=0.5, lt=1, description="Share of requests that are answered well, over 30 days."
    )
    callers: tuple[Name, ...] = Field(
        default=(),
        description="Domains whose pods may call this model inside the cluster; from outside, a token of this domain does.",
    )
    precision: Literal["fp32", "int8"] = Field(
        default="fp32",
        description="int8: tried at each training, and served only where the gate allows it and it is faster.",
    )
    traffic: Traffic = Field(default=Traffic(mean=1, peak=5), description="What is expected; `hallmark tco` reads it.")
    captured: Share = Field(
        default=1.0, description="Share of answered requests that go to the drift monitor with their answers."
    )
    cache: Quantity | None = Field(
        default=None, description="Memory for answers to records that come again, such as 64Mi; none without it."
    )

    @field_validator("timeout")
    @classmethod
    def _some(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError(f"expected more than 0s; got {spelled(value)}")
        return value

    @model_validator(mode="after")
    def _where_int8_runs(self) -> Serving:
        if self.precision == "int8" and self.gpu:
            raise ValueError(
                f"expected precision: fp32 or gpu: 0 (int8 is made for processors); got int8 and gpu: {self.gpu}"
            )
        return self

    @model_validator(mode="after")
    def _cached_beside_the_model(self) -> Serving:
        if self.cache is not None and amount(self.cache) >= amount(self.memory):
            raise ValueError(
                f"expected a cache below the pod's memory, {self.memory}, which holds the model too; got {self.cache}"
            )
        return self


class Reviewer(Section):
    """A vision-language model for the cases that the domain's own model leaves open; served as an LLMInferenceService."""

    model: str = Field(
        pattern=r"^(hf|s3|pvc|oci)://[^\s@]+$", description="Where its weights are: hf://owner/name, s3://bucket/path."
    )
    served_name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="The name that requests call it by.")
    prefix_caching: Literal["off", "salted", "shared"] = Field(
        default="off",
        description="vLLM's reuse of what prompts begin with. shared mixes up pictures of prompts that have several; salted: within one request alone.",
    )
    replicas: Replicas = Replicas(minimum=0, maximum=1)
    cpu: Quantity = "6"
    memory: Quantity = "24Gi"
    gpu: int = Field(default=1, ge=1, le=8)
