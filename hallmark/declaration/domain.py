"""A domain's declaration: one `domain.yaml`, read by the pipeline, the renderer, the drift monitor, the tenant and AWS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from hallmark.declaration.code import module as module
from hallmark.declaration.rollout import Retrain, Rollout
from hallmark.errors import DeclarationError
from hallmark.names import outside, taken
from hallmark.section import Cron, Duration, Name, Quantity, Section, validated
from hallmark.settings import Settings


class Owner(Section):
    """Who answers for the domain."""

    team: str
    contact: str = Field(description="An address that reaches the people on call.")
    members: tuple[str, ...] = Field(
        default=(),
        description="Addresses of people who use Kubeflow's pages; it asks for each by name, and knows no groups.",
    )


class Data(Section):
    """What one example is, and when its label is known."""

    entity: str = Field(
        description="Column that names whom or what an example is about; split: entity never parts it across train and test."
    )
    label: str = Field(description="Column that holds the answer to learn.")
    label_delay: Duration = Field(default=timedelta(0), description="After this long a label counts as final.")
    label_time: str | None = Field(
        default=None, description="Column with the time a label became known, UTC; empty where it never had to."
    )
    event_time: str | None = Field(
        default=None, description="Column with the time an example happened, UTC; none for undated data."
    )
    split: Literal["time", "entity"] = Field(
        description="time: test on the latest examples. entity: test on entities never trained on."
    )


class Training(Section):
    """When the domain retrains, on how much, on what."""

    schedule: Cron = Field(description="Cron of 6 fields, seconds first, UTC.")
    window: Duration = Field(description="Length of the data a model learns from.")
    accelerator: Literal["none", "gpu"] = "none"
    cpu: Quantity = Field(default="2", description="Cores of the step that trains, on each node.")
    memory: Quantity = Field(default="8Gi", description="Memory of the step that trains, on each node.")
    nodes: int = Field(
        default=1, ge=1, le=16, description="More than one trains distributed, a process a node (Kubeflow Trainer)."
    )
    seed: int = Field(default=7, ge=0)
    timeout: Duration = timedelta(hours=2)

    @property
    def gpu(self) -> int:
        """GPUs of one training on all its nodes together."""
        return self.nodes if self.accelerator == "gpu" else 0


class Slices(Section):
    """Groups of examples on which a candidate may not be worse than its champion."""

    columns: tuple[str, ...] = ()
    minimum_rows: int = Field(default=200, ge=1, description="Smaller groups are reported and not judged.")
    tolerance: float = Field(
        default=0.05, ge=0, description="How much worse a slice may be, in the metric's own units."
    )


class Gate(Section):
    """What a candidate has to reach before it is registered."""

    metric: str
    direction: Literal["higher", "lower"] = "higher"
    floor: float = Field(description="Worse than this is refused, with or without a champion.")
    minimum_gain: float = Field(
        default=0.0, description="How much better than the champion, on the same test examples; negative allows a loss."
    )
    slices: Slices = Slices()
    precision_loss: float = Field(
        default=0.01,
        ge=0,
        description="How much worse than its own fp32 form an int8 model may be, in the metric's own units.",
    )


class Replicas(Section):
    """How many pods serve."""

    minimum: int = Field(default=1, ge=0)
    maximum: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.minimum > self.maximum:
            raise ValueError(f"expected minimum <= maximum, got {self.minimum} > {self.maximum}")
        return self


class Traffic(Section):
    """How much is asked, for what it costs and how many pods that takes; what really comes is in the metrics."""

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
    """What one serving pod gets, and what it owes."""

    replicas: Replicas = Replicas()
    cpu: Quantity = "1"
    memory: Quantity = "2Gi"
    gpu: int = Field(default=0, ge=0)
    timeout: Duration = timedelta(seconds=5)
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
    cache: Quantity | None = Field(
        default=None, description="Memory for answers to records that come again, such as 64Mi; none without it."
    )

    @model_validator(mode="after")
    def _where_int8_runs(self) -> Serving:
        if self.precision == "int8" and self.gpu:
            raise ValueError(
                f"expected precision: fp32 or gpu: 0 (int8 is made for processors); got int8 and gpu: {self.gpu}"
            )
        return self


class Reviewer(Section):
    """A vision-language model for the cases that the domain's own model leaves open; served as an LLMInferenceService."""

    model: str = Field(
        pattern=r"^(hf|s3|pvc|oci)://[^\s@]+$", description="Where its weights are: hf://owner/name, s3://bucket/path."
    )
    served_name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="The name that requests call it by.")
    replicas: Replicas = Replicas(minimum=0, maximum=1)
    cpu: Quantity = "6"
    memory: Quantity = "24Gi"
    gpu: int = Field(default=1, ge=1, le=8)


class Freshness(Section):
    """How old an input may be when it is scored. Stale inputs are a reason of their own, and never OK."""

    column: str = Field(
        description="Field of the request with the input's event time: RFC 3339, or seconds since 1970 as a number."
    )
    limit: Duration = Field(description="Older than this at scoring is stale.")

    @model_validator(mode="after")
    def _some(self) -> Freshness:
        if not self.limit:
            raise ValueError("expected limit to be longer than nothing, such as 5m; got 0s")
        return self


class FinalLabels(Section):
    """When the model's error on final labels is judged, and how much worse than at release it may be."""

    minimum: int = Field(default=300, ge=50, description="With fewer the answer is NOT_ENOUGH_LABELS.")
    coverage: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of answers, up to some time, that need a label to judge any of them.",
    )
    margin: float = Field(default=0.25, gt=0, description="Part by which the error may grow.")


class Drift(Section):
    """What the drift monitor keeps, and when it speaks."""

    window: int = Field(default=2000, ge=50, description="Requests kept per variant, the newest.")
    minimum: int = Field(default=300, ge=20, description="With fewer the verdict is INSUFFICIENT.")
    threshold: float = Field(
        default=0.2, gt=0, description="Population stability index above which a column has drifted."
    )
    shift: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="Shift of a number's ranks (Cliff's delta) above which it has drifted; 0.15 is 0.27 deviations.",
    )
    separation: float = Field(
        default=0.75,
        gt=0.5,
        le=1,
        description="AUC of telling new embeddings from the reference's above which they have drifted.",
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Columns to watch; empty watches every one in the reference profile."
    )
    match: str | None = Field(
        default=None,
        description="Field of the request, such as its hour, by whose values the reference is weighted as the window is.",
    )
    history: Duration | None = Field(
        default=None,
        description="This much of last year, from the day of training on, becomes references by part of the year.",
    )
    freshness: Freshness | None = Field(default=None, description="How old an input may be; none: not asked.")
    labels: FinalLabels = FinalLabels()

    @model_validator(mode="after")
    def _reachable(self) -> Drift:
        if self.minimum > self.window:
            raise ValueError(f"expected minimum <= window, got {self.minimum} > {self.window}")
        if self.history is not None and not timedelta(days=1) <= self.history <= timedelta(days=335):
            raise ValueError("expected history from 1d to 335d: a part of last year")
        return self


class Drill(Section):
    """What `hallmark drill` injects, and how small the trainings are that it makes."""

    shift: str = Field(description="A named shift of synthetic data: see `hallmark data DOMAIN --shifts`.")
    window: Duration = timedelta(days=14)
    options: dict[str, bool | int | float | str] = Field(default={}, description="Keywords for the domain's `fit`.")
    rate: float = Field(default=150, gt=0, le=1000, description="Requests a second.")
    set: tuple[str, ...] = Field(default=(), description="Other keys for the drill, such as gate.floor=0.2.")


class Quota(Section):
    """What the domain's namespace may use."""

    cpu: Quantity = "8"
    memory: Quantity = "32Gi"
    gpu: int = Field(default=0, ge=0)
    pods: int = Field(default=40, ge=1)
    storage: Quantity = "100Gi"


class Domain(Section):
    """One domain: what it predicts from which data, and how it is trained, served, rolled out and watched."""

    name: Name
    owner: Owner
    description: str
    data: Data
    training: Training
    gate: Gate
    serving: Serving
    rollout: Rollout = Rollout()
    retrain: Retrain = Retrain()
    drift: Drift = Drift()
    reviewer: Reviewer | None = None
    quota: Quota = Quota()
    drill: Drill | None = None

    @model_validator(mode="after")
    def _whole(self) -> Domain:
        if taken(self.name):
            raise ValueError(
                f"{self.name} is, or looks like, a namespace of the platform, or a word of Python or YAML: choose another name"
            )
        if self.reviewer and (reason := outside(self.name, self.reviewer.model)):
            raise ValueError(f"reviewer.model: {reason}")
        if self.quota.gpu < self.gpus:
            raise ValueError(
                f"quota.gpu is {self.quota.gpu}, and training, serving and reviewer together take up to {self.gpus}:"
                f" raise it, or lower serving.replicas.maximum or training.nodes"
            )
        if self.name in self.serving.callers:
            raise ValueError(
                "serving.callers names the domain itself, which may always call its own model: leave it out"
            )
        if self.data.split == "time" and self.data.event_time is None:
            raise ValueError("data.split is time, so data.event_time is needed: the column with an example's time")
        if self.data.label_delay and self.data.event_time is None:
            raise ValueError("data.label_delay is set, so data.event_time is needed: the delay counts from it")
        if self.drift.history and self.data.event_time is None:
            raise ValueError("drift.history is set, so data.event_time is needed: it says which part of the year")
        return self

    @property
    def gpus(self) -> int:
        """GPUs that training, serving and reviewer take together, each at its largest."""
        reviewer = self.reviewer.gpu * self.reviewer.replicas.maximum if self.reviewer else 0
        return self.training.gpu + self.serving.gpu * self.serving.replicas.maximum + reviewer

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace: the domain's name."""
        return self.name


def names(settings: Settings) -> list[str]:
    """The declared domains, sorted."""
    return sorted(path.parent.name for path in settings.domains.glob("*/domain.yaml"))


def load(name: str, settings: Settings | None = None) -> Domain:
    """The declaration of one domain; `DeclarationError` names file, key, expected and got."""
    settings = settings or Settings.load()
    path = settings.domains / name / "domain.yaml"
    if not path.is_file():
        raise DeclarationError(
            f"there is no domain {name!r}",
            expected="one of " + (", ".join(names(settings)) or "none yet"),
            got=repr(name),
            fix=f"make {path.relative_to(settings.root)}, or check the spelling",
        )
    return parse(path, shown=str(path.relative_to(settings.root)))


def parse(path: Path, *, shown: str | None = None) -> Domain:
    """The declaration in the file at `path`, which errors call `shown`."""
    shown = shown or str(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{shown}:{mark.line + 1}:{mark.column + 1}" if mark else shown
        raise DeclarationError(
            f"{where} is not YAML", expected="a YAML mapping", got=str(error.problem), fix="mend that line"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{shown} is not YAML", expected="a YAML mapping in UTF-8", got=str(error), fix="mend the file"
        ) from error
    if not isinstance(raw, dict):
        raise DeclarationError(
            f"{shown} is not a mapping", expected="keys such as name, owner, data", got=type(raw).__name__
        )
    domain = validated(Domain, raw, shown)
    if domain.name != path.parent.name:
        raise DeclarationError(
            f"{shown}: name", expected=f"{path.parent.name!r}, the folder's name", got=repr(domain.name)
        )
    return domain


def overridden(domain: Domain, changes: Sequence[str]) -> Domain:
    """The declaration with keys set for this once: each of `changes` is KEY=VALUE, such as rollout.dwell=3s."""
    raw = domain.model_dump(mode="json")
    for change in changes:
        key, equals, value = change.partition("=")
        section, *path = key.split(".")
        if not equals or not path:
            raise DeclarationError("--set is not KEY=VALUE", expected="such as rollout.dwell=3s", got=repr(change))
        place = raw
        for part in (section, *path[:-1]):
            found = place.get(part)
            place[part] = place = dict(found) if isinstance(found, dict) else {}
        place[path[-1]] = yaml.safe_load(value)
    return validated(Domain, raw, f"{domain.name} with --set")


def json_schema() -> str:
    """The JSON Schema of `domain.yaml`, for editors."""
    schema = Domain.model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated from hallmark/declaration/domain.py by `hallmark domains --schema`.",
        **schema,
    }
    return json.dumps(schema, indent=2) + "\n"
