"""Liveness and metrics of a watch, for Prometheus: the holder of its lease, its last check, and the state of each rollout."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from pydantic import Field

from hallmark.metrics import WATCH, exposed
from hallmark.rollout.evidence import RolloutProgress
from hallmark.rollout.timeline import TimelineEntry
from hallmark.section import Frozen

SILENT = 900.0
"""Seconds without a sign of a domain's loop after which the watch is not alive: an operation may wait for a model to load."""
_Samples = Iterable[tuple[Mapping[str, object], float]]


class DomainCheck(Frozen):
    """State of a domain at its last check; `canary` is there only while a rollout is under way."""

    failed: bool = False
    progress: RolloutProgress | None = None
    deadline: datetime | None = None
    revisions: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, int] = Field(default_factory=dict)


class Liveness:
    """Numbers of one watch, by domain. What belongs to a lease goes with it: its new holder tells it."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, bool] = {}
        self._since: dict[str, float] = {}
        self._checks: dict[str, DomainCheck] = {}
        self._well: dict[str, float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._entries: Counter[tuple[str, str]] = Counter()
        self._told: dict[tuple[str, str], float] = {}
        self._newest: dict[str, float] = {}

    def held(self, domain: str, is_held: bool) -> None:
        """This watch has, or no longer has, the domain's lease."""
        with self._lock:
            self._held[domain] = is_held
            self._since[domain] = self._clock()
            if not is_held:
                self._checks.pop(domain, None)
                self._well.pop(domain, None)

    def waiting(self, domain: str) -> None:
        """The domain's loop goes on, without the lease."""
        with self._lock:
            self._since[domain] = self._clock()

    def checked(self, domain: str, check: DomainCheck) -> None:
        """The domain was checked."""
        with self._lock:
            self._checks[domain] = check
            self._since[domain] = self._clock()
            self._counts[domain, "failed" if check.failed else "done"] += 1
            if not check.failed:
                self._well[domain] = self._since[domain]

    def told(self, domain: str, entry: TimelineEntry) -> None:
        """The timeline has a new entry."""
        with self._lock:
            self._entries[domain, entry.kind] += 1
            self._told[domain, entry.kind] = entry.at.timestamp()

    def registered(self, domain: str, newest: datetime) -> None:
        """The registry's newest version of the domain is from then."""
        with self._lock:
            self._newest[domain] = newest.timestamp()

    @property
    def alive(self) -> bool:
        """Does the loop of each domain go on: with a check where its lease is held, else waiting for it?"""
        with self._lock:
            late = self._clock() - SILENT
            return all(since >= late for since in self._since.values())

    def text(self) -> str:
        """All of it in Prometheus's text format."""
        with self._lock:
            samples = {**self._of_watch(), **self._of_rollouts()}
        return "".join(exposed(family, samples[short]) for short, family in WATCH.items())

    def _of_watch(self) -> dict[str, _Samples]:
        return {
            "watch_lease_held": [({"domain": name}, int(is_held)) for name, is_held in self._held.items()],
            "watch_looks_total": [
                ({"domain": name, "result": result}, count) for (name, result), count in self._counts.items()
            ],
            "watch_last_look_timestamp_seconds": [({"domain": name}, at) for name, at in self._well.items()],
            "rollout_entries_total": [
                ({"domain": name, "kind": kind}, count) for (name, kind), count in self._entries.items()
            ],
            "rollout_last_entry_timestamp_seconds": [
                ({"domain": name, "kind": kind}, at) for (name, kind), at in self._told.items()
            ],
            "registry_newest_timestamp_seconds": [({"domain": name}, at) for name, at in self._newest.items()],
        }

    def _of_rollouts(self) -> dict[str, _Samples]:
        under_way = [(name, check.progress) for name, check in self._checks.items() if check.progress]
        deadlines = [
            (name, check.deadline) for name, check in self._checks.items() if check.progress and check.deadline
        ]
        return {
            "rollout_running": [
                ({"domain": name}, int(check.progress is not None)) for name, check in self._checks.items()
            ],
            "rollout_percent": [({"domain": name}, each.percent) for name, each in under_way],
            "rollout_started_timestamp_seconds": [({"domain": n}, each.started.timestamp()) for n, each in under_way],
            "rollout_step_timestamp_seconds": [({"domain": n}, each.since.timestamp()) for n, each in under_way],
            "rollout_deadline_timestamp_seconds": [({"domain": name}, at.timestamp()) for name, at in deadlines],
            "rollout_version": [
                ({"domain": name, "variant": variant}, version)
                for name, check in self._checks.items()
                for variant, version in check.versions.items()
            ],
            "rollout_revision": [
                ({"domain": name, "variant": variant, "revision": revision}, 1)
                for name, check in self._checks.items()
                for variant, revision in check.revisions.items()
            ],
        }
