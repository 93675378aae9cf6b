"""State folders of demos and drills: emptied at their start, one run at a time in each, and nothing left running after it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from hallmark.errors import Conflict
from hallmark.files import locked
from hallmark.leash import Leash
from hallmark.settings import Settings
from local_cluster import cluster


@contextlib.contextmanager
def scratch(state: Path, *, base: Settings, keep: bool) -> Iterator[Leash]:
    """The leash of a run in `state`; `Conflict` where another runs there. `keep`: what it started stays, once all went well."""
    lock = state.with_name(f"{state.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, patience=0.2))
        except TimeoutError as error:
            raise Conflict(
                f"another run is at work in {base.shown(state)}",
                expected="one at a time",
                got=f"{base.shown(lock)} is held",
                fix="wait for it, or end it with ctrl-c where it runs",
            ) from error
        leash, whole = Leash(state), False
        try:
            emptied(state, base=base)
            yield leash
            whole = True
        except KeyboardInterrupt as stopped:
            stopped.add_note("nothing of it is left running")
            raise
        finally:
            if not (keep and whole):
                leash.end(grace=10)


def emptied(state: Path, *, base: Settings) -> None:
    """End what an earlier run has left on `state`, kept or killed, and empty it."""
    if state.is_dir():
        cluster.down(Settings.load({"HALLMARK_ROOT": str(base.root), "HALLMARK_STATE": str(state)}))
    shutil.rmtree(state, ignore_errors=True)
