"""Stages of the loop, from a captured event to a decision, each verified by what it left behind under one correlation id."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from hallmark import object_labels
from hallmark.errors import HallmarkError
from hallmark.rollout.memory import MemoryStore
from hallmark.rollout.monitors import Monitors
from hallmark.rollout.timeline import Kind, TimelineEntry
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.registry.store import Registry
    from hallmark.rollout.writer import InferenceServiceWriter

LoopStage = Literal["captured", "verdict", "run", "version", "canary", "decision"]
Stage = LoopStage | Literal["items"]
STAGES: tuple[Stage, ...] = get_args(LoopStage)
"""Those of every domain. `items` comes beside them where a domain takes changes of its items."""
MEANING: dict[Stage, str] = {
    "captured": "an event with the id reached the drift monitor",
    "verdict": "the drift monitor reports DRIFT, with the id",
    "run": "one training run was submitted under the id",
    "version": "the version it registered carries the id",
    "canary": "that version takes real traffic in a rollout of the id",
    "decision": "the rollout was decided on evidence: promoted",
    "items": "what was put in all the while is found, and what was deleted is not, by both versions",
}
_POLL = 0.3


class StageOutcome(Frozen):
    """Outcome of one stage: verified, failed, or not reached because one before it failed; and after how many seconds."""

    stage: Stage
    state: Literal["verified", "failed", "not reached"]
    text: str
    seconds: float = 0.0


class LoopCheck:
    """Follows one correlation id through the loop of one domain.

    beside: proofs of more stages, which come last; each says what was verified, "" before, or raises `StageFailed`.
    """

    def __init__(
        self,
        name: str,
        *,
        correlation: str,
        writer: InferenceServiceWriter,
        registry: Registry,
        beside: Mapping[Stage, Callable[[], str]] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.correlation = correlation
        self._writer = writer
        self._registry = registry
        self._record = MemoryStore(writer, name)
        self._monitors = Monitors(writer, name)
        self._read: dict[str, int] = {}
        self._traced = 0
        self._proofs: dict[Stage, Callable[[], str]] = {
            "captured": self._captured,
            "verdict": self._verdict,
            "run": self._run,
            "version": self._version,
            "canary": self._canary,
            "decision": self._decision,
            **beside,
        }

    def follow(
        self, seconds: dict[Stage, float], *, ended: Callable[[StageOutcome], None], reached: Callable[[Stage], None]
    ) -> list[StageOutcome]:
        """Wait for each stage in order, at most its `seconds`; the first that fails ends it, the rest are not reached.

        ended: receives each stage's outcome.  reached: receives the stage that is waited for now.
        """
        found: list[StageOutcome] = []
        for stage in self._proofs:
            if found and found[-1].state != "verified":
                found.append(StageOutcome(stage=stage, state="not reached", text=MEANING[stage]))
            else:
                reached(stage)
                found.append(self._wait(stage, seconds[stage]))
            ended(found[-1])
        return found

    def _wait(self, stage: Stage, seconds: float) -> StageOutcome:
        began = time.monotonic()
        why = ""
        while True:
            took = time.monotonic() - began
            try:
                text = self._proofs[stage]()
                if text:
                    return StageOutcome(stage=stage, state="verified", text=text, seconds=took)
            except StageFailed as error:
                return StageOutcome(stage=stage, state="failed", text=str(error), seconds=took)
            except (HallmarkError, ValueError) as error:
                why = f"; {error.message if isinstance(error, HallmarkError) else error}"
            if took > seconds:
                text = f"expected within {seconds:g} s: {MEANING[stage]}{why}{self._watch_message()}"
                return StageOutcome(stage=stage, state="failed", text=text, seconds=took)
            time.sleep(_POLL)

    def _captured(self) -> str:
        for pod in self._writer.pods(self.name):
            name = pod["metadata"]["name"]
            found = json.loads(self._writer.sidecar(pod, f"answers?after={self._read.get(name, 0)}&limit=5000"))
            self._read[name] = int(found["cursor"])
            self._traced += sum(row["trace"] == self.correlation for row in found["rows"])
        return f"{self._traced} answers with the id" if self._traced else ""

    def _verdict(self) -> str:
        for pod in self._writer.pods(self.name):
            found = self._monitors.verdict(object_labels.revision_of(pod), [pod])
            if found and found.seen.state == "DRIFT" and found.trace == self.correlation:
                return "; ".join(found.seen.reasons[:2]) or "DRIFT"
        return ""

    def _run(self) -> str:
        runs = [run for run in self._record.read().runs if run.correlation == self.correlation]
        if len(runs) > 1:
            raise StageFailed(f"expected one training run, got {len(runs)}: {', '.join(run.key for run in runs)}")
        entry = self._entry("training")
        return f"{runs[0].key}: {entry.text}" if runs and entry else ""

    def _version(self) -> str:
        failed = [
            run
            for run in self._record.read().runs
            if run.correlation == self.correlation and run.state not in ("running", "succeeded")
        ]
        if failed:
            entries = self._entries("training")
            raise StageFailed(entries[-1].text if entries else failed[0].state)
        for version in self._registry.versions(self.name):
            if self.correlation in version.correlations:
                return f"version {version.version}, {version.metric} {version.value:.3f}"
        return ""

    def _canary(self) -> str:
        self._refuse_rollback()
        entry = self._entry("canary")
        return entry.text if entry else ""

    def _decision(self) -> str:
        self._refuse_rollback()
        entry = self._entry("promote")
        return f"{entry.text}, for {sum(reason.outcome == 'ok' for reason in entry.reasons)} reasons" if entry else ""

    def _refuse_rollback(self) -> None:
        if entry := self._entry("rollback"):
            raise StageFailed(f"rolled back: {entry.text}")

    def _entry(self, kind: Kind) -> TimelineEntry | None:
        return next(iter(self._entries(kind)), None)

    def _entries(self, *kinds: Kind) -> list[TimelineEntry]:
        return [
            entry
            for entry in self._record.read().timeline.entries
            if entry.kind in kinds and entry.correlation == self.correlation
        ]

    def _watch_message(self) -> str:
        """The last line of the watch about a failure or a wait."""
        entries = [e for e in self._record.read().timeline.entries if e.kind in ("trouble", "hold")]
        return f"; the watch: {entries[-1].text}" if entries else ""


class StageFailed(Exception):
    """A stage that waiting will not verify."""
