"""Trainings handed in on this machine: each a process of its own that outlives whoever asked and ends by itself.

<state>/runs/submitted/<key>/
  request.json    what was asked
  process.json    who runs it: written once, by the process itself
  running         held by that process while it lives, whatever ends it: one training for a key, and a lost one is seen
  lock            held by whoever starts it, so that a crowd starts one process and not a hundred that find they are not wanted
  log             what it said, the end of it at most
  result.json     how it ended, by rename; a process that is gone without one has failed
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hallmark.errors import Conflict, DeclarationError, HallmarkError, Refused, Unavailable
from hallmark.files import held, last_lines, locked, replace
from hallmark.leash import Leash
from hallmark.settings import Settings
from hallmark.training.submit import Key, Run, RunRequest

LOG_BYTES = 256 * 1024
_PATIENCE = 60.0
_PAUSE = 0.02
_KEY: TypeAdapter[str] = TypeAdapter(Key)


class TrainingProcess(BaseModel):
    """Process that runs the training, with its start time."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: datetime


class RunsHere:
    """The trainings of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def submit(self, request: RunRequest) -> Run:
        """Start it, or give the run of its key; a run that failed stays failed, so that trying again takes another key."""
        folder = self._folder(request.key)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / "lock", request.key):
            if not (folder / "process.json").is_file():
                if not (folder / "request.json").is_file():
                    replace(folder / "request.json", request.model_dump_json(indent=2))
                self._start(folder)
        found = self.find(request.key, request.domain)
        if found is None:
            raise Conflict(
                f"{request.key} is a run of another domain",
                expected=f"a key that only {request.domain} uses",
                got=_request(folder).domain,
                fix="put the domain's name into the key",
            )
        return found

    def find(self, key: str, domain: str) -> Run | None:
        """The run of this key, as it stands; none where no process was ever started for it."""
        folder = self._folder(key)
        if not (folder / "process.json").is_file():
            return None
        request = _request(folder)
        if request.domain != domain:
            return None
        process = TrainingProcess.model_validate_json((folder / "process.json").read_bytes())
        alive = held(folder / "running")
        with contextlib.suppress(FileNotFoundError):  # asked for after the process, which leaves it behind as it ends
            return Run.model_validate_json((folder / "result.json").read_bytes())
        if alive:
            return _run(request, process, state="running", message=f"log: {folder / 'log'}")
        last = "".join(last_lines(folder / "log", 1))[-500:]
        return _run(request, process, state="failed", message=f"its process is gone without a result; last: {last}")

    def _folder(self, key: str) -> Path:
        try:
            return self.settings.runs / "submitted" / _KEY.validate_python(key)
        except ValidationError as error:
            raise DeclarationError(
                "this cannot be the key of a run",
                expected="up to 100 letters, digits, dots, dashes and underscores",
                got=repr(key),
            ) from error

    def _start(self, folder: Path) -> None:
        """Start the process and wait until it has signed for the run."""
        with (folder / "log").open("ab") as log:
            child = Leash(self.settings.state).start(
                [sys.executable, "-m", "hallmark.training.runs_here", str(folder)],
                environment=self.settings.child_environment(),
                folder=self.settings.root,
                output=log,
                stays=True,
            )
        threading.Thread(target=child.wait, name="reaper", daemon=True).start()
        until = time.monotonic() + _PATIENCE
        while not (folder / "process.json").is_file():
            if child.poll() is not None or time.monotonic() > until:
                raise HallmarkError(
                    f"the training {folder.name} did not start",
                    expected="a process that signs for it",
                    got="".join(last_lines(folder / "log", 1)) or "no word from it",
                    fix=f"the whole log is {folder / 'log'}",
                )
            time.sleep(_PAUSE)


def _run(request: RunRequest, process: TrainingProcess, **how: object) -> Run:
    told = {"key": request.key, "id": f"pid {process.pid}", "domain": request.domain, "started": process.started}
    return Run.model_validate(told | how)


def _request(folder: Path) -> RunRequest:
    return RunRequest.model_validate_json((folder / "request.json").read_bytes())


@contextlib.contextmanager
def _alone(path: Path, key: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, patience=_PATIENCE))
        except TimeoutError as error:
            raise Unavailable(
                f"another process has been starting {key} for {_PATIENCE:g} s", fix="look at what hangs there"
            ) from error
        yield


def _bound(log: Path) -> None:
    """Keep the log small while this process lives: its second half stays. Whoever writes appends, so nothing has to be told."""
    while True:
        time.sleep(1)
        if log.stat().st_size > LOG_BYTES:
            kept = log.read_bytes()[-LOG_BYTES // 2 :]
            os.truncate(log, 0)
            with log.open("ab") as stream:
                stream.write(kept)


def _trained(request: RunRequest, settings: Settings) -> dict[str, object]:
    """Outcome of the training, as fields of `Run`."""
    from hallmark.training import run
    from hallmark.training.journal import JournalEvent

    def tell(event: JournalEvent) -> None:
        if event.state != "progress":
            sys.stdout.write(json.dumps(event.model_dump(mode="json", exclude_defaults=True)) + "\n")

    try:
        outcome = run.train(
            request.domain,
            settings=settings,
            source=request.source,
            as_of=request.as_of,
            window=request.window,
            shift=request.shift or None,
            options=request.options,
            correlation=request.correlation,
            report=tell,
        )
    except Refused as error:
        return {"state": "refused", "message": str(error)}
    except HallmarkError as error:
        return {"state": "failed", "message": str(error)}
    if outcome.refusal is not None:
        return {"state": "refused", "message": outcome.refusal.got}
    value = outcome.evaluation.metrics[outcome.evaluation.metric]
    message = f"version {outcome.version}, {outcome.evaluation.metric} {value:.3f}, {outcome.seconds:.0f} s"
    return {"state": "succeeded", "version": outcome.version, "message": message}


def main() -> None:
    """Run the training that the folder named on the command line asks for, unless another process does."""
    folder = Path(sys.argv[1])
    with contextlib.ExitStack() as life:
        try:
            life.enter_context(locked(folder / "running", patience=_PAUSE))
        except TimeoutError:
            return
        if (folder / "process.json").is_file():
            return
        request, process = _request(folder), TrainingProcess(pid=os.getpid(), started=datetime.now(UTC))
        replace(folder / "process.json", process.model_dump_json())
        threading.Thread(target=_bound, args=(folder / "log",), name="log", daemon=True).start()
        got = _trained(request, Settings.load())
        sys.stdout.write(f"{got['state']}: {got['message']}\n")
        ended = _run(request, process, ended=datetime.now(UTC), **got)
        replace(folder / "result.json", ended.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
