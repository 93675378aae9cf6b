"""Assumptions that no price list has: node utilisation, training time, the cost of a person's hour. Each can be set."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from pydantic import Field

from hallmark import key_value
from hallmark.errors import DeclarationError
from hallmark.section import Section, Share, validated


class Assumptions(Section):
    """Change one with --set KEY=VALUE; the description says where the default comes from."""

    target: Share = Field(
        default=0.6, gt=0, description="Part of a replica's most that it is planned for, so that a burst finds room."
    )
    packing: Share = Field(
        default=0.85, gt=0, description="Part of a node that pods can use: the rest is kubelet, daemons and gaps."
    )
    spot: Share = Field(
        default=0.0,
        description="Part of the pods above a domain's minimum, without GPU, that run on spot: none in manifests/platform/nodes.",
    )
    spot_discount: Share = Field(
        default=0.6, description="By how much a spot node is cheaper: it varies by hour and zone."
    )
    gpu_hours: Share | None = Field(
        default=None,
        description="Measured share of a month in which a domain's GPU nodes run; none: from traffic.active and replicas.",
    )
    gpu_photos: float = Field(
        default=150, gt=0, description="Photos a second on one A10G: assumed, no GPU was measured here."
    )
    training_hours: float = Field(
        default=0.25, gt=0, description="Part of training.timeout that a training takes: assumed; runs are planned so."
    )
    sidecar_cpu: float = Field(default=0.2, ge=0, description="Cores of drift monitor and proxy beside a model.")
    sidecar_memory: float = Field(default=0.5, ge=0, description="GiB of them.")
    stored: Share = Field(default=0.5, description="Part of quota.storage that is in use.")
    outbound: Share = Field(
        default=0.02, description="Part of the traffic's bytes that leaves by NAT; the rest goes by VPC endpoints."
    )
    serverless_overhead: float = Field(
        default=0.02,
        ge=0,
        description="Seconds that a serverless request is billed beside the model: handler, decoding.",
    )
    serverless_latency: float = Field(
        default=0.15,
        ge=0,
        description="Seconds within which 99 of 100 warm serverless answers come; a cold one takes seconds.",
    )
    wage: float = Field(default=95.0, ge=0, description="USD an hour of an engineer, with all that comes on top.")
    platform_hours: float = Field(
        default=120.0,
        ge=0,
        description="Hours a month that people run the platform in house, on-call included; all domains.",
    )
    house_hours: float = Field(default=4.0, ge=0, description="Hours a month for one domain's serving in house.")
    managed_hours: float = Field(
        default=7.0,
        ge=0,
        description="The same on managed endpoints: their own rollouts, alarms, drift and cost reviews.",
    )
    managed_platform_hours: float = Field(
        default=30.0,
        ge=0,
        description="Hours a month for accounts, roles, networks and pipelines of managed endpoints; all domains.",
    )

    def with_changes(self, changes: Sequence[str]) -> Assumptions:
        """These with KEY=VALUE set; `DeclarationError` names a key that is none."""
        raw = self.model_dump()
        for change in changes:
            key, equals, value = change.partition("=")
            if not equals or key not in raw:
                near = get_close_matches(key, raw, 1)
                raise DeclarationError(
                    "--set is not KEY=VALUE of an assumption",
                    expected=f"KEY as one of {', '.join(raw)}",
                    got=repr(change),
                    fix=f"write it as in --set {near[0] if near else 'gpu_hours'}=0.5; `hallmark tco --assumptions` explains each",
                )
            raw[key] = key_value.read("--set", key, value)
        return validated(Assumptions, raw, "--set")
