"""Child processes: started in a group of their own, on the leash, with one bounded log file each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from hallmark import leash
from hallmark.files import replace

LOG_BYTES = 8 << 20
_TAIL_BYTES = 16 << 10


class Leash:
    """The cluster's children, written to the leash process and to a file, so that none outlives the cluster."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._children: dict[int, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def open(self) -> int:
        """Stop what an earlier cluster left behind, start the leash process; gives how many leftovers there were."""
        count = leash.end(recorded(self._ledger))
        self._save()
        script = str(Path(leash.__file__))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        return count

    def add(self, pid: int) -> None:
        """Put a child on the leash."""
        known = leash.identity(pid)
        if known is None:
            return
        self._children[pid] = known
        self._tell(f"+{pid} {known}\n")
        self._save()

    def remove(self, pid: int) -> None:
        """Take a child that has ended off the leash."""
        if self._children.pop(pid, None) is not None:
            self._tell(f"-{pid}\n")
            self._save()

    def close(self) -> None:
        """Let the leash process end, which stops any child that is still on it."""
        if self._process is None:
            return
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=leash.GRACE_SECONDS + 3)
        self._process = None
        self._children.clear()
        self._save()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # The ledger still has the child when the leash itself was killed.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def _save(self) -> None:
        replace(self._ledger, json.dumps([[pid, known] for pid, known in self._children.items()]))


def recorded(ledger: Path) -> list[tuple[int, str]]:
    """The children that a cluster wrote down and has not seen end; none where the file is absent or torn."""
    try:
        return [(int(pid), str(known)) for pid, known in json.loads(ledger.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


class ChildProcess:
    """One running process, and the log that it writes to."""

    def __init__(self, popen: subprocess.Popen[bytes], *, log: Path, offset: int, on: Leash) -> None:
        self._popen = popen
        self._leash = on
        self._offset = offset
        self._exited = asyncio.Event()
        self.log = log
        self.pid = popen.pid
        self._watch()

    @classmethod
    def start(
        cls, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, on: Leash
    ) -> ChildProcess:
        """Start `command` in `folder`; OSError when it cannot be started."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            offset = stream.tell()
            popen = _spawn(command, environment, folder, stream)
        on.add(popen.pid)
        return cls(popen, log=log, offset=offset, on=on)

    @property
    def code(self) -> int | None:
        """Its exit code, as a shell counts it (128 + signal); none while it runs."""
        code = self._popen.returncode
        return code if code is None or code >= 0 else 128 - code

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        await self._exited.wait()
        return self.code or 0

    async def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL to its whole group after `grace` seconds."""
        if not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), grace)
        self.kill()
        await self._exited.wait()

    def kill(self) -> None:
        """SIGKILL to its group; what it started itself goes too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_line(self) -> str:
        """The last line that it wrote, usually the reason for its end."""
        lines = tail(self.log, _TAIL_BYTES, since=self._offset).decode("utf-8", "replace").split("\n")
        return next((line.strip()[:1000] for line in reversed(lines) if line.strip()), "")

    def trim(self) -> None:
        """Keep the log within its bound: the newest half of a full one goes to `.1`, and the log starts again."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                self.log.with_name(self.log.name + ".1").write_bytes(tail(self.log, LOG_BYTES // 2))
                os.truncate(self.log, 0)
                self._offset = 0

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.pid)
            loop.add_reader(descriptor, self._reap, descriptor)
            return

        def wait() -> None:
            self._popen.wait()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._done)

        threading.Thread(target=wait, daemon=True).start()

    def _reap(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._popen.wait()
        self._done()

    def _done(self) -> None:
        # The group may hold workers of the process that has just ended; its number is free again only when they are gone.
        self.kill()
        self._leash.remove(self.pid)
        self._exited.set()


def tail(path: Path, size: int, *, since: int = 0) -> bytes:
    """The last `size` bytes of a file, none of those before `since`; empty where there is no file."""
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - size, since if since <= end else 0))
            return stream.read()
    except OSError:
        return b""


def _spawn(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, stream: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
