"""Memory of a watch about one domain, in a ConfigMap of its namespace: a restart, or another machine, continues from it."""

from __future__ import annotations

import json
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from hallmark.errors import Conflict
from hallmark.rollout.config_map import ConfigMapText
from hallmark.rollout.evidence import Exposure
from hallmark.rollout.record import RolloutRecord
from hallmark.rollout.timeline import Timeline, TimelineEntry
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter

NAME = "hallmark-watch"
_KEY = "memory.json"
_RUNS = 50


class SubmittedTraining(Frozen):
    """A training run that drift or the clock started: its key says for what, so that the same reason starts no second one.

    due: when the schedule wanted it; none of what drift started.
    """

    key: str
    correlation: str
    at: datetime
    reason: str
    state: str = "running"
    version: int | None = None
    due: datetime | None = None


class WatchMemory(Frozen):
    """All of it.

    rollout:   the id of the rollout that `exposures` and `series` belong to.
    exposures: both variants' counts at each share so far.
    series:    the last value of each counter, for the next check of it.
    fence:     the highest fencing token that wrote this.
    stable:    the version that was stable at the last check; 0 before the first.
    followed:  by follower, the release that it has followed last.
    clock:     until when the domain's schedule has been served here; none before the first check of it.
    expired:   the decision's unit whose broken guarantee has started a training.
    heard:     times of the record's changes by hand that are in the timeline, or were.
    """

    fence: int = 0
    stable: int = 0
    rollout: str = ""
    exposures: tuple[Exposure, ...] = ()
    series: dict[str, float] | None = None
    runs: tuple[SubmittedTraining, ...] = ()
    timeline: Timeline = Timeline()
    followed: dict[str, str] = Field(default_factory=dict)
    clock: datetime | None = None
    heard: tuple[datetime, ...] = ()
    expired: str = ""

    def news(self, record: RolloutRecord) -> tuple[TimelineEntry, ...]:
        """Changes by hand that the record tells and this has not heard of."""
        return tuple(each for each in record.changes if each.at not in self.heard)

    def with_changes(self, record: RolloutRecord) -> WatchMemory:
        """The memory with all changes by hand of the record in its timeline, each in its time."""
        timeline = reduce(Timeline.with_entry, self.news(record), self.timeline)
        return self.model_copy(update={"timeline": timeline, "heard": tuple(each.at for each in record.changes)})

    def with_run(self, run: SubmittedTraining) -> WatchMemory:
        """The memory with a run, in the place of the one with its key."""
        others = tuple(each for each in self.runs if each.key != run.key)
        return self.model_copy(update={"runs": (*others, run)[-_RUNS:]})


class MemoryStore:
    """The memory of one domain in its ConfigMap, written with its resourceVersion as compare-and-set."""

    def __init__(self, writer: InferenceServiceWriter, namespace: str) -> None:
        self._namespace = namespace
        self._text = ConfigMapText(writer, namespace, name=NAME, key=_KEY)

    def read(self) -> WatchMemory:
        """Stored memory; empty where there is none yet, or one of another format."""
        try:
            return WatchMemory.model_validate_json(self._text.read() or "{}")
        except ValidationError:
            return WatchMemory()

    def write(self, memory: WatchMemory) -> None:
        """Remember this; `Conflict` where somebody else wrote since it was read, who then is the one that watches."""
        try:
            self._text.write(json.dumps(memory.model_dump(mode="json"), separators=(",", ":")))
        except Conflict as error:
            raise Conflict(
                f"somebody else watches {self._namespace}",
                expected=f"to be the only one that writes ConfigMap {NAME}",
                got=error.message,
                fix="see who holds the lease: `kubectl get lease -n " + self._namespace + "`",
            ) from error
