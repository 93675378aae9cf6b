"""The drift verdict of each variant of a domain, over the monitors of all its pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from hallmark.errors import NotFound

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter


class VariantVerdict(BaseModel):
    """One variant's verdict, and the pods that serve it."""

    model_config = ConfigDict(frozen=True)

    variant: str
    version: str
    revision: str
    state: str
    verdict: dict[str, Any]
    pods: list[dict[str, Any]]


def collect(writer: InferenceServiceWriter, name: str) -> list[VariantVerdict]:
    """The verdict on each variant of domain `name` over all its pods, stable first."""
    from hallmark.render.inferenceservice import VERSION_LABEL
    from hallmark.rollout.monitors import FleetVerdicts, Monitors
    from hallmark.rollout.writer import variants

    found = []
    live = writer.live(name)
    meaning = variants(live) if live else {}
    verdicts = FleetVerdicts(writer, name)
    for revision, pods in Monitors(writer, name).pods().items():
        verdict = verdicts.of(revision, pods)
        found.append(
            VariantVerdict(
                variant=meaning.get(revision) or revision,
                version=(pods[0]["metadata"].get("labels") or {}).get(VERSION_LABEL, ""),
                revision=revision,
                state=str(verdict["state"]),
                verdict=verdict,
                pods=pods,
            )
        )
    if not found:
        raise NotFound(
            f"no pod serves {name} on {writer.host}",
            fix=f"`hallmark apply {name}`, or `hallmark release {name} --candidate 1`",
        )
    return sorted(found, key=lambda each: (each.variant != "stable", each.revision))
