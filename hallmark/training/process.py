"""The graph in a process of its own (kfp.local takes over logging and print), its steps in theirs, followed until it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hallmark.declaration.domain import Domain
from hallmark.errors import HallmarkError, TimedOut
from hallmark.files import last_lines
from hallmark.leash import Leash
from hallmark.settings import Settings
from hallmark.training.cached_run import LIBRARY, CachedRun, FinishedStep, Report
from hallmark.training.journal import ENVIRONMENT, Journal, JournalEvent
from hallmark.training.step import disk_full

KEPT_RUNS = 10
PAUSE = 0.02
"""Seconds between two looks at the journal."""

_TAIL = 15
_ENDS = ("finished", "reused", "failed")


def workspace(domain: str, settings: Settings) -> Path:
    """A fresh folder for one run; the oldest go."""
    root = settings.runs / "workspaces" / domain
    root.mkdir(parents=True, exist_ok=True)
    for old in sorted(root.iterdir())[: -(KEPT_RUNS - 1)]:
        shutil.rmtree(old, ignore_errors=True)
    made = root / f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    for part in ("logs", "artifacts", "tmp"):
        (made / part).mkdir(parents=True)
    return made


def run(declared: Domain, arguments: Mapping[str, Any], folder: Path, settings: Settings, report: Report) -> CachedRun:
    """Run the domain's graph in the workspace `folder`; raises what its steps raised."""
    request = folder / "request.json"
    asked = {"domain": declared.name, "arguments": dict(arguments), "workspace": str(folder)}
    request.write_text(json.dumps(asked), encoding="utf-8")
    own = (LIBRARY / "pipelines" / f"{declared.name}.py").is_file()
    command = [sys.executable, "-m", f"pipelines.{declared.name if own else 'training'}", str(request)]
    journal = Journal(folder)
    with journal.log("pipeline").open("wb") as log:
        environment = settings.child_environment(
            OMP_WAIT_POLICY=os.environ.get("OMP_WAIT_POLICY", "passive"),  # threads that spin starve each other
            TMPDIR=str(folder / "tmp"),
            **{ENVIRONMENT: str(folder)},
        )
        leash, child = Leash(settings.state), None
        try:
            child = leash.start(command, environment=environment, folder=folder, output=log)
            last = _follow(child, journal, report, declared)
        finally:
            leash.end()
            if child is not None:
                child.wait()
            shutil.rmtree(folder / "tmp", ignore_errors=True)
    if child.returncode != 0 or not last or any(event.state == "failed" for event in last.values()):
        raise _cause(journal, last)
    found = [FinishedStep(step=e.step, state=e.state, seconds=e.seconds, key=e.key) for e in last.values()]
    return CachedRun(
        steps=tuple(found),
        version=last["register"].value if "register" in last else None,
        run=str(last["log"].value) if "log" in last else "",
    )


def _follow(
    child: subprocess.Popen[bytes], journal: Journal, report: Report, declared: Domain
) -> dict[str, JournalEvent]:
    """Pass on events until the run ends; give the last event of each step, progress aside."""
    limit = declared.training.timeout.total_seconds()
    until = time.monotonic() + limit
    last: dict[str, JournalEvent] = {}
    over = False
    for event in journal.follow():
        if event is not None:
            if event.state != "progress":
                last[event.step] = event
            report(event)
            continue
        if over:
            break
        over = child.poll() is not None  # then read once more what it said last
        if time.monotonic() > until:
            raise TimedOut(
                f"training {declared.name} took too long",
                expected=f"an end within {limit:.0f} s (training.timeout in domain.yaml)",
                got=f"still in step {_under_way(last) or 'none'}",
                fix="raise the timeout, or train on less; finished steps are reused",
            )
        if not over:
            time.sleep(PAUSE)
    return last


def _under_way(last: Mapping[str, JournalEvent]) -> str:
    return ", ".join(name for name, event in last.items() if event.state not in _ENDS)


def _cause(journal: Journal, last: Mapping[str, JournalEvent]) -> HallmarkError:
    """Cause of the run's failure as the step reported it; without a report, what is known of the step's end."""
    for event in last.values():
        if event.state == "failed" and event.failure is not None:
            return event.failure.error() or _broken(journal, event.step, event.failure.message)
    step = _under_way(last)
    if shutil.disk_usage(journal.folder).free < 1 << 20:
        return disk_full(step or "of the run", str(journal.folder))
    return _broken(journal, step, "it was killed" if step else "no step was running")


def _broken(journal: Journal, step: str, got: str) -> HallmarkError:
    log = journal.log(step or "pipeline")
    return HallmarkError(
        f"step {step} broke" if step else "the run broke",
        expected="a result, or an error that says what is wrong",
        got="\n    ".join([got, *last_lines(log, _TAIL)]),
        fix=f"the whole log is {log}; run it again once it is mended, finished steps are reused",
    )
