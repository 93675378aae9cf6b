"""A contender as a process group: started until it answers, frozen while others are measured, counted, always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.bodies import Body
from benchmarks.serving.contenders import ROUTE
from hallmark.declaration.serving_config import ServingConfig

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_STARTED = 19
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PATIENCE = 60.0
_SETTLED, _IDLE = 10.0, 0.03
"""Seconds to wait at most; CPU seconds in a tenth of one that are taken for idle."""


@dataclass(frozen=True)
class Contender:
    """A server to start: `kind` is hallmark, or a name in contenders.py; `python` its environment's interpreter."""

    name: str
    kind: str
    workers: int = 1
    python: str = sys.executable
    config: ServingConfig | None = None
    home: Path = ROOT
    """The checkout whose code it runs."""

    def command(self, folder: Path, http: int, grpc: int) -> list[str]:
        """Its command line; `grpc` is a port for those that open one whether or not it is asked for."""
        if self.kind != "hallmark":
            numbers = [str(http), str(grpc), str(self.workers)]
            return [self.python, "-m", "benchmarks.serving.contenders", self.kind, str(folder), *numbers]
        command = [self.python, "-m", "inference_services.runtime", "--model-name=bench", f"--model-dir={folder}"]
        command += ["--host=127.0.0.1", f"--http-port={http}", f"--workers={self.workers}"]
        return command if self.config is None else [*command, f"--config={_written(self.config, folder.parent)}"]


def _written(config: ServingConfig, to: Path) -> Path:
    path = to / f"{config.reference.name}.json"
    path.write_text(config.text, encoding="utf-8")
    return path


class Served:
    """A running contender, ready: it has answered one request."""

    def __init__(self, contender: Contender, folder: Path, body: Body, *, log: Path) -> None:
        self.contender = contender
        self.http, self.grpc = free_port(), free_port()
        self._log = log
        begun = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                contender.command(folder, self.http, self.grpc),
                cwd=contender.home,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            while not answered(self.http, body):
                if self.process.poll() is not None or time.monotonic() - begun > _PATIENCE:
                    raise SystemExit(f"{contender.name} did not start; the end of its log:\n{self.tail()}")
                time.sleep(0.005)
        except BaseException:
            self.end()
            raise
        self.ready = time.monotonic() - begun

    def family(self) -> list[Path]:
        """The /proc folders of its processes: all that it started, whatever group or session they made their own."""
        parents, ours = {}, {self.process.pid} if self.process.poll() is None else set[int]()
        for folder in Path("/proc").glob("[0-9]*"):
            state, parent, group, *_ = _stat(folder)
            parents[int(folder.name)] = int(parent)
            if int(group) == self.process.pid and state != "Z":
                ours.add(int(folder.name))
        while found := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= found
        return [Path("/proc") / str(pid) for pid in sorted(ours)]

    def cpu(self) -> float:
        """Seconds of CPU that its processes have used."""
        return sum(int(fields[11]) + int(fields[12]) for fields in map(_stat, self.family())) / _TICKS

    def memory(self) -> float:
        """Resident MiB of all its processes; pages that they share count in each."""
        return sum(int(_stat(folder)[21]) for folder in self.family()) * _PAGE / 2**20

    def freeze(self) -> None:
        """Let it use no CPU while another is measured."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for folder in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(folder.name), number)

    def settle(self) -> None:
        """Wait until it has done what clients that have left had asked for, a few seconds at most."""
        end, last = time.monotonic() + _SETTLED, self.cpu()
        while time.monotonic() < end:
            time.sleep(0.1)
            now = self.cpu()
            if now - last < _IDLE:
                return
            last = now

    def terminate(self) -> None:
        """Ask it to stop, as Kubernetes does: the first process only."""
        self.process.terminate()

    def end(self) -> int:
        """End it and all that it started; gives the exit code of its first process."""
        self.thaw()
        family = {folder: _stat(folder)[_STARTED] for folder in self.family()}
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        for folder, started in family.items():
            if _stat(folder)[_STARTED] == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(folder.name), signal.SIGKILL)
        self.process.wait()
        return code

    def tail(self) -> str:
        """The end of what it wrote."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line[:300] for line in lines[-15:])


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answered(port: int, body: Body) -> bool:
    """True once a request is answered with 200."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{ROUTE}", body.data, body.headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200 and answer.read())
    except (urllib.error.URLError, OSError):
        return False


def _stat(folder: Path) -> list[str]:
    """/proc/N/stat from the state on: [1] is the parent, [2] the group, [11] and [12] ticks of CPU, [21] pages."""
    try:
        return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ["X", *["0"] * 22]
