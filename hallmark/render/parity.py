"""How often a domain's features are compared with the offline store on a cluster: its CronJob, and the alert on it."""

from __future__ import annotations

from datetime import timedelta

from hallmark.declaration.domain import Domain
from hallmark.feature_store.parity_report import SHORT

_MINUTES = (60, 30, 20, 15, 12, 10, 6, 5, 4, 3, 2, 1)
"""Of which an hour has a whole number."""


def every(domain: Domain) -> timedelta:
    """Twice at least before a report says nothing any more, and each hour at least."""
    assert domain.features is not None  # noqa: S101  who declares none has no CronJob
    most = domain.features.parity.window / SHORT / 2
    return next(timedelta(minutes=each) for each in _MINUTES if timedelta(minutes=each) <= most)


def schedule(domain: Domain) -> str:
    """The same as cron has it, at a minute of the domain's own, so that not all begin at once."""
    minutes = int(every(domain).total_seconds()) // 60
    if minutes == 1:
        return "* * * * *"
    first = sum(domain.name.encode()) % minutes
    return f"{first} * * * *" if minutes == 60 else f"{first}-59/{minutes} * * * *"
