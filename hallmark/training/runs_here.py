"""Trainings handed in on this machine: each a process of its own that outlives whoever asked and ends by itself.

<state>/runs/submitted/<key>/
  request.json    what was asked
  process.json    who runs it: written once, by the process itself, by an exclusive link. That makes it one training for a key
  lock            held by whoever starts it, so that a crowd starts one process and not a hundred that find they are not wanted
  log             what it said, the end of it at most
  result.json     how it ended, by rename; a process that is gone without one has failed
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hallmark.errors import Conflict, DeclarationError, HallmarkError, Refused, Unavailable
from hallmark.files import locked, replace
from hallmark.leash import identity
from hallmark.settings import Settings
from hallmark.training.submit import Key, Request, Run

LOG_BYTES = 256 * 1024
_PATIENCE = 60.0
_PAUSE = 0.02
_KEY: TypeAdapter[str] = TypeAdapter(Key)


class Process(BaseModel):
    """Who runs it; `identity` tells it from a later process with the same number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    identity: str
    started: datetime


class RunsHere:
    """The trainings of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def submit(self, request: Request) -> Run:
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
        process = Process.model_validate_json((folder / "process.json").read_bytes())
        alive = identity(process.pid) == process.identity
        with contextlib.suppress(FileNotFoundError):  # asked for after the process, which leaves it behind as it ends
            return Run.model_validate_json((folder / "result.json").read_bytes())
        if alive:
            return _run(request, process, state="running", message=f"log: {folder / 'log'}")
        last = _last_line(folder / "log")
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
            child = subprocess.Popen(
                [sys.executable, "-m", "hallmark.training.runs_here", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.settings.child_environment(),
                cwd=self.settings.root,
                start_new_session=True,
            )
        threading.Thread(target=child.wait, name="reaper", daemon=True).start()
        until = time.monotonic() + _PATIENCE
        while not (folder / "process.json").is_file():
            if child.poll() is not None or time.monotonic() > until:
                raise HallmarkError(
                    f"the training {folder.name} did not start",
                    expected="a process that signs for it",
                    got=_last_line(folder / "log") or "no word from it",
                    fix=f"the whole log is {folder / 'log'}",
                )
            time.sleep(_PAUSE)


def _run(request: Request, process: Process, **how: object) -> Run:
    told = {"key": request.key, "id": f"pid {process.pid}", "domain": request.domain, "started": process.started}
    return Run.model_validate(told | how)


def _request(folder: Path) -> Request:
    return Request.model_validate_json((folder / "request.json").read_bytes())


def _last_line(log: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][-500:] if lines else ""
    return ""


@contextlib.contextmanager
def _alone(path: Path, key: str) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(path, patience=_PATIENCE))
        except TimeoutError as error:
            raise Unavailable(
                f"another process has been starting {key} for {_PATIENCE:g} s", fix="look at what hangs there"
            ) from error
        yield


def _sign(folder: Path) -> Process | None:
    """Make this process the one that runs it; none where another is."""
    mine = Process(pid=os.getpid(), identity=str(identity(os.getpid())), started=datetime.now(UTC))
    draft = folder / f".process.{uuid.uuid4().hex}"
    draft.write_text(mine.model_dump_json(), encoding="utf-8")
    try:
        os.link(draft, folder / "process.json")
    except FileExistsError:
        return None
    finally:
        draft.unlink()
    return mine


def _bound(log: Path) -> None:
    """Keep the log small while this process lives: its second half stays. Whoever writes appends, so nothing has to be told."""
    while True:
        time.sleep(1)
        if log.stat().st_size > LOG_BYTES:
            kept = log.read_bytes()[-LOG_BYTES // 2 :]
            os.truncate(log, 0)
            with log.open("ab") as stream:
                stream.write(kept)


def _trained(request: Request, settings: Settings) -> dict[str, object]:
    """What came of it, as fields of `Run`."""
    from hallmark.training import run
    from hallmark.training.journal import Event

    def tell(event: Event) -> None:
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
    request, process = _request(folder), _sign(folder)
    if process is None:
        return
    threading.Thread(target=_bound, args=(folder / "log",), name="log", daemon=True).start()
    got = _trained(request, Settings.load())
    sys.stdout.write(f"{got['state']}: {got['message']}\n")
    replace(folder / "result.json", _run(request, process, ended=datetime.now(UTC), **got).model_dump_json(indent=2))


if __name__ == "__main__":
    main()
