"""Child processes that a loop awaits: started on a leash (hallmark/leash.py), with one bounded log file each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from hallmark.leash import Leash

LOG_BYTES = 8 << 20
_TAIL_BYTES = 16 << 10


class ChildProcess:
    """One running process, and the log that it writes to."""

    def __init__(self, popen: subprocess.Popen[bytes], *, log: Path, offset: int) -> None:
        self._popen = popen
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
            popen = on.start(command, environment=environment, folder=folder, output=stream)
        return cls(popen, log=log, offset=offset)

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
