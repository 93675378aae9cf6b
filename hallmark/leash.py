"""The leash: what a process starts is ended with it, however it ends.

Every child carries in its environment who its owners are, each by process number and start time, and the folder that it works in;
what it starts itself inherits that. Beside each owner runs a keeper, this file as a script: when the owner is gone, it ends all
that carries the owner's name, with SIGTERM and two seconds later SIGKILL. Where owner and keeper were both killed, `left` finds what
is left. Nothing is found by a program's name, and no number is signalled that belongs to a later process.

    HALLMARK_LEASH=4711:<start>:1 ~4712:<start>:1|/path/to/folder     "~": outlives that owner, and is left over after it
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote, unquote

MARK = "HALLMARK_LEASH"
GRACE_SECONDS = 2.0
_HOPELESS = 10.0
"""Seconds after SIGKILL when nobody waits any longer: a process that hangs in the kernel."""
_PAUSE = 0.05
_SHOWN = 80

_numbers = itertools.count(1)
_starting = threading.Lock()
_keeper: tuple[int, int, str] | None = None
"""Owner, keeper and the keeper's identity; a forked process has none of its own yet."""


class Marked(NamedTuple):
    """A running process that carries the mark."""

    pid: int
    identity: str
    owners: tuple[str, ...]
    place: Path

    def __str__(self) -> str:
        return f"process {self.pid} ({command(self.pid)})"

    def belongs_to(self, owner: str, *, loosely: bool = False) -> bool:
        """Is it to end with the owners of this beginning of a name; `loosely`: or was it started by one?"""
        return any(each.startswith(owner) or (loosely and each.startswith(f"~{owner}")) for each in self.owners)

    @property
    def left_over(self) -> bool:
        """True where one of its owners has ended."""
        return not all(_runs(owner) for owner in self.owners)


class Leash:
    """Processes started by this one that work in the folder `place`; several leashes of one process are told apart."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._name = f"{_name(os.getpid())}:{next(_numbers)}"

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: IO[bytes],
        stays: bool = False,
        place: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command` in `folder` and in a session of its own, what it says to `output`.

        stays: it may outlive this process; `end` ends it all the same.  place: it works there.
        """
        return subprocess.Popen(
            list(command),
            env=self.environment(environment, stays=stays, place=place),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def environment(
        self, given: Mapping[str, str], *, stays: bool = False, place: Path | None = None
    ) -> dict[str, str]:
        """`given` with the mark of this leash, and of those that this process is on itself."""
        if not stays:
            _keep()
        above = os.environ.get(MARK, "").partition("|")[0]
        return {**given, MARK: f"{above} {'~' * stays}{self._name}|{quote(str(place or self._place))}".strip()}

    def running(self) -> list[Marked]:
        """What it holds, and what that has started."""
        return [each for each in marked() if each.belongs_to(self._name, loosely=True)]

    def end(self, *, grace: float = GRACE_SECONDS) -> list[Marked]:
        """End all that it holds, what stays as well, and wait; gives what there was."""
        return end(self.running, grace=grace)


def end(found: Callable[[], Iterable[Marked]], *, grace: float = GRACE_SECONDS) -> list[Marked]:
    """End what `found` gives until it gives nothing: SIGTERM, and SIGKILL after `grace` seconds. Gives what there was."""
    ended: dict[tuple[int, str], Marked] = {}
    until = time.monotonic() + grace
    while (left := list(found())) and time.monotonic() < until + _HOPELESS:
        for each in left:
            key = each.pid, each.identity
            if time.monotonic() >= until:
                _send(key, signal.SIGKILL)
            elif key not in ended:
                _send(key, signal.SIGTERM, signal.SIGCONT)
            ended[key] = each
        time.sleep(_PAUSE)
    return list(ended.values())


def left(folder: Path, *, everywhere: bool = False) -> list[Marked]:
    """What works in this folder, and one of its owners has ended; never this process.

    everywhere: what works inside it too, whether or not the folder is still there. One that was moved under another name is not meant.
    """

    def is_meant(place: Path) -> bool:
        return place == folder or (everywhere and place.is_relative_to(folder))

    return [each for each in marked() if each.pid != os.getpid() and is_meant(each.place) and each.left_over]


def let_go() -> list[Marked]:
    """What this process has started and does not end: it stays."""
    return [each for each in marked() if each.belongs_to(f"~{_name(os.getpid())}:")]


def identity(pid: int) -> str | None:
    """Start time of process `pid`, which differs for a later one of the same number; none when there is no such process."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        state, *rest = stat.rpartition(")")[2].split()
        return None if state == "Z" else f"{boot}-{rest[18]}"
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip().replace(" ", "_").replace(":", ".") or None


def command(pid: int) -> str:
    """The command line of a process, its interpreter left out; for people to read."""
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    text = " ".join(shown.stdout.split())
    text = text.rpartition(" -m ")[2] or "ended"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def marked() -> list[Marked]:
    """All processes of this user that carry the mark."""
    found = []
    for pid, value in _of_proc() if sys.platform == "linux" else _of_ps():
        owners, _, place = value.partition("|")
        known = identity(pid)
        if known is not None and owners:
            found.append(Marked(pid, known, tuple(owners.split()), Path(unquote(place))))
    return found


def _of_proc() -> Iterator[tuple[int, str]]:
    word = f"{MARK}=".encode()
    for name in os.listdir("/proc"):  # noqa: PTH208  fifty times a second, of hundreds of processes
        if not name.isdigit():
            continue
        # One that ends meanwhile, or is another user's.
        with contextlib.suppress(OSError):
            content = Path(f"/proc/{name}/environ").read_bytes()
            if word in content:
                for each in content.split(b"\0"):
                    if each.startswith(word):
                        yield int(name), os.fsdecode(each[len(word) :])


def _of_ps() -> Iterator[tuple[int, str]]:
    shown = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, text=True, check=False)
    for line in shown.stdout.splitlines():
        pid, _, words = line.strip().partition(" ")
        _, mark, rest = words.partition(f" {MARK}=")
        if mark:
            owners, _, place = rest.partition("|")
            yield int(pid), f"{owners}|{place.split(' ')[0]}"


def _name(pid: int) -> str:
    return f"{pid}:{identity(pid)}"


def _runs(owner: str) -> bool:
    pid, known, _ = owner.removeprefix("~").split(":")
    return identity(int(pid)) == known


def _send(key: tuple[int, str], *numbers: signal.Signals) -> None:
    pid, known = key
    # A descriptor of the process that is there now: if that is still the one that was found, no later one can be hit.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        try:
            for number in numbers if identity(pid) == known else ():
                if descriptor is None:
                    os.kill(pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _keep() -> None:
    """Start the keeper of this process, unless it runs."""
    global _keeper
    with _starting:
        own = os.getpid()
        if _keeper is not None and _keeper[0] == own and identity(_keeper[1]) == _keeper[2]:
            return
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__)), str(own), str(identity(own))],
            env={name: value for name, value in os.environ.items() if name != MARK},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _keeper = own, keeper.pid, identity(keeper.pid) or ""
        keeper.returncode = 0  # it outlives this process, which therefore does not wait for it


def _wait_for_end(pid: int, known: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        while identity(pid) == known:
            if descriptor is None:
                time.sleep(0.3)
            else:
                select.select([descriptor], [], [])


def main() -> None:
    """Wait for the end of the process with the number and the start time given; then end what it has started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pid, known = int(sys.argv[1]), sys.argv[2]
    _wait_for_end(pid, known)
    for _ in range(2):  # the second for a child that was just being started
        end(lambda: [each for each in marked() if each.belongs_to(f"{pid}:{known}:")])
        time.sleep(0.2)


if __name__ == "__main__":
    main()
