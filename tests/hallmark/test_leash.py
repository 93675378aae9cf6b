"""The leash: what a process starts ends with it, whatever ends it; and what nobody could end is found again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark import leash
from hallmark.leash import Leash, Marked

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(99)"]
DEAF = [sys.executable, "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"]
OWNER = """
import os, subprocess, sys, time
from pathlib import Path
from hallmark import leash
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(99)"]
family = [sys.executable, "-S", "-c", f"import subprocess, time; subprocess.Popen({sleep}, start_new_session=True); time.sleep(99)"]
folder = Path(sys.argv[1])
with open(os.devnull, "wb") as nothing:
    for command, stays in ((family, False), (sleep, True)):
        leash.Leash(folder).start(command, environment=os.environ, folder=folder, output=nothing, stays=stays)
if len(sys.argv) > 2:
    if not os.fork():  # one that holds all that its parent has open
        time.sleep(10)
        os._exit(0)
print(leash._keeper[1], flush=True)
time.sleep(99)
"""


def start(on: Leash, command: list[str], folder: Path, *, stays: bool = False) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return on.start(command, environment=os.environ, folder=folder, output=log, stays=stays)


def working_in(folder: Path) -> list[Marked]:
    return [each for each in leash.marked() if each.place == folder]


def until(done: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def owner(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A process with a child, a grandchild that left its session, and a child that stays; and the number of its keeper."""
    running = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    keeper = int(running.stdout.readline())
    until(lambda: len(working_in(folder)) == 3)
    return running, keeper


def kill(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.wait()
    assert running.stdout is not None
    running.stdout.close()


def test_an_identity_is_one_processs_own() -> None:
    mine = leash.identity(os.getpid())
    assert mine and mine == leash.identity(os.getpid())
    assert leash.identity(2**22 + 1) is None


def test_a_process_is_asked_to_end_and_a_deaf_one_is_killed_and_a_stopped_one_too(tmp_path: Path) -> None:
    on = Leash(tmp_path)
    children = [start(on, command, tmp_path) for command in (SLEEP, DEAF, SLEEP)]
    until(lambda: {each.pid for each in on.running()} == {child.pid for child in children})
    children[2].send_signal(signal.SIGSTOP)
    time.sleep(0.2)  # the deaf one has to have said that it is
    assert {each.pid for each in on.end(grace=0.5)} == {child.pid for child in children}
    assert [child.wait(5) for child in children] == [-15, -9, -15]
    assert on.end() == [] and working_in(tmp_path) == []


def test_leashes_of_one_process_are_told_apart_and_one_inside_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, other = Leash(tmp_path), Leash(tmp_path)
    monkeypatch.setenv(leash.MARK, outer.environment({})[leash.MARK])
    inner = start(Leash(tmp_path / "inner"), SLEEP, tmp_path)
    monkeypatch.delenv(leash.MARK)
    beside = start(other, SLEEP, tmp_path)
    assert {each.pid for each in outer.end()} == {inner.pid}
    assert {each.pid for each in other.end()} == {beside.pid}
    assert (inner.wait(5), beside.wait(5)) == (-15, -15)


@pytest.mark.parametrize("forked", [(), ("forks",)])
def test_what_a_killed_process_started_ends_with_it_but_for_what_stays(tmp_path: Path, forked: tuple[str, ...]) -> None:
    running, keeper = owner(tmp_path, *forked)
    kill(running)
    until(lambda: leash.identity(keeper) is None)
    (left,) = leash.left(tmp_path)
    assert left.owners[0].startswith(f"~{running.pid}:")
    leash.end(lambda: leash.left(tmp_path))
    assert working_in(tmp_path) == []


def test_what_was_left_when_the_keeper_was_killed_too_is_found_again(tmp_path: Path) -> None:
    place = tmp_path / "the state & more"
    place.mkdir()
    running, keeper = owner(place)
    assert leash.left(place) == [], "its owner lives"
    os.kill(keeper, signal.SIGKILL)
    kill(running)
    found = leash.left(place)
    assert len(found) == 3 and "python -S -c import" in str(found[0])
    assert leash.left(tmp_path) == [] and leash.left(tmp_path, everywhere=True) == found
    shutil.rmtree(place)
    assert leash.left(tmp_path, everywhere=True) == found, "its folder is gone, and its name is known"
    elsewhere = tmp_path.parent / "another"
    assert leash.left(elsewhere, everywhere=True) == [], "somebody else's, whose folder was moved, goes on"
    leash.end(lambda: leash.left(place))
    assert working_in(place) == []


def test_a_number_that_another_process_has_by_now_is_not_signalled(tmp_path: Path) -> None:
    child = start(Leash(tmp_path), SLEEP, tmp_path)
    leash._send((child.pid, "of an earlier process with this number"), signal.SIGKILL)
    assert child.poll() is None
    child.kill()
    child.wait(5)


def test_the_listing_of_ps_says_the_same(tmp_path: Path) -> None:
    """What stands in for /proc where there is none."""
    place = tmp_path / "a folder"
    on = Leash(place)
    child = start(on, SLEEP, tmp_path)
    until(lambda: bool(on.running()))
    assert dict(leash._of_ps())[child.pid] == dict(leash._of_proc())[child.pid]
    on.end()
    child.wait(5)
