"""Trainings of a domain as entries of its timeline, read from the registry: those that made a version, trials, and refusals with their reasons."""

from __future__ import annotations

from collections.abc import Iterator

from hallmark.registry.store import Registry
from hallmark.rollout.timeline import ENTRIES, TimelineEntry

_DIGITS = 32
"""Hex digits of a correlation id."""


def entries(registry: Registry, domain: str) -> Iterator[TimelineEntry]:
    """An entry a training, the newest of each kind; errors as of the registry.

    correlation: of the event that it was begun for; of a training that a person began, what names its outcome: digest or run.
    """
    for each in registry.versions(domain)[:ENTRIES]:
        yield TimelineEntry(
            at=each.created,
            correlation=each.correlations[-1] if each.correlations else each.digest.rpartition(":")[2][:_DIGITS],
            kind="training",
            text=f"made version {each.version}: {each.metric} {each.value:.4g}",
            version=each.version,
        )
    for trial in registry.trials(domain)[:ENTRIES]:
        what = "refused" if trial.outcome == "refused" else "trial"
        of = f" of {trial.experiment}" if trial.experiment else ""
        told = trial.reason if what == "refused" else f"{trial.metric} {trial.value:.4g}"
        yield TimelineEntry(
            at=trial.created, correlation=trial.run[:_DIGITS], kind="training", text=f"{what}{of}: {told}"
        )
