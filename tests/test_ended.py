"""Commands that start processes, ended at moments drawn by a seed: nothing goes on that the command did not say, or `hallmark down` ends it.

Processes are found by a variable in their environment that is drawn for each run, whoever started them.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hallmark.rollout.watch import LEASE
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from local_cluster import cluster
from tests import shortened
from tests.seeds import seeds

if TYPE_CHECKING:
    from tests.hallmark.rollout.candidates import Trained

ROOT = Path(__file__).parents[1]
TOKEN = "HALLMARK_TEST_TOKEN"
CODES = {"INT": 130, "TERM": 143, "HUP": 129, "KILL": -9}
HOWS = ("TERM", "INT", "HUP", "KILL", "TERM twice", "INT twice", "INT later", "TERM group", "KILL group")
"""twice: one right after the other.  later: another after a second.  group: to all of the command's process group besides."""
HEARS = ("env", "--default-signal=HUP,INT")
"""What a shell has in the background, or under nohup, ignores one of them, and so does what is started by it."""
GONE_SECONDS = 30.0


@dataclass(frozen=True)
class Moment:
    """When a command is ended, and how: `delay` seconds after `seen` is the last of its `begins` that has come about."""

    command: str
    seen: int
    delay: float
    how: str

    @classmethod
    def drawn(cls, command: str, count: int, *, seed: int, longest: float) -> list[Moment]:
        """`count` of them: every stage and every way in turn, so that none is missed, the delay by lot."""
        lot = random.Random(f"{command}-{seed}")
        hows = list(HOWS)
        lot.shuffle(hows)
        stages = len(COMMANDS[command].begins) + 1
        return [cls(command, each % stages, lot.uniform(0, longest), hows[each % len(hows)]) for each in range(count)]


@dataclass(frozen=True)
class Command:
    """A command line, and what shows that its stages begin: text that it has written, or a file's end of name in its state."""

    arguments: tuple[str, ...]
    begins: tuple[str, ...]
    stays: bool = False


COMMANDS = {
    "up": Command(("up", "--port=0"), ("cluster/lock", "cluster/envoy", "cluster/state.json"), stays=True),
    "foreground": Command(("up", "--port=0", "--foreground"), ("cluster/envoy", "cluster/state.json")),
    "train": Command(("train", "toy", "--until=2026-10-01"), ("runs/workspaces", "load  ", "split  ")),
    "watch": Command(("watch", "toy", "--every=0.3"), ("watched from here",)),
    "demo": Command(("demo", "--requests=500"), ("draw", "train version 1", "start the local", "serve", "train on")),
    "demo --keep": Command(("demo", "--keep"), ("start the local", "serve"), stays=True),
    "drill": Command(("drill", "fraud"), ("draw", "start the local", "serve", "drift before", "injected")),
}


@dataclass
class Place:
    """A checkout with its state, in which commands are run."""

    settings: Settings
    more: dict[str, str]

    @classmethod
    def make(cls, folder: Path, domains: Path, **more: str) -> Place:
        """One in `folder`, with a copy of these domains."""
        root = folder / "root"
        shutil.copytree(domains, root / "domains", ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("hallmark", "features", "contracts", "inference_services", "components", "pipelines"):
            (root / part).symlink_to(ROOT / part)
        given = {"ROOT": root, "STATE": root / ".hallmark", "RELEASES": folder / "releases"}
        settings = Settings.load({f"HALLMARK_{name}": str(path) for name, path in given.items()})
        return cls(settings.prepared(), more)

    def state(self, command: str) -> Path:
        """The state folder of this command."""
        return (
            self.settings.state / command.split(maxsplit=1)[0] if command[:2] in ("de", "dr") else self.settings.state
        )

    def end(self, moment: Moment) -> str:
        """Run the command until the moment, end it then, and see that nothing is left; gives what it said."""
        command, token = COMMANDS[moment.command], secrets.token_hex(16)
        environment = {**os.environ, **self.settings.environment(), **self.more, TOKEN: token, "PYTHONPATH": str(ROOT)}
        log = self.settings.state / f"{token}.txt"
        module = "tests.shortened" if self.more else "hallmark.cli"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*HEARS, sys.executable, "-m", module, *command.arguments],
                env=environment,
                cwd=self.settings.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(process, moment, log)
            late = process.poll() is not None
            _send(process, moment.how)
            code = process.wait(GONE_SECONDS * 3)
            said = log.read_text(encoding="utf-8", errors="replace")
            if not late and code != 0:
                name = moment.how.split()[0]
                assert code == CODES[name], said
                assert name == "KILL" or said.strip().splitlines()[-1].startswith(("stopped by", "ctrl-c again")), said
            killed = moment.how.startswith("KILL") and not late
            if command.stays and (code == 0 or killed or "goes on" in said):
                self._down(token, must=not killed)
            until(lambda: not marked(token), what=lambda: f"{moment}: {marked(token)}\n{said}")
            if moment.command != "watch":  # whose cluster goes on
                self._ports_are_free()
            return said
        finally:
            for pid in marked(token):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes], moment: Moment, log: Path) -> None:
        begins = COMMANDS[moment.command].begins[: moment.seen]
        state = self.state(moment.command)
        deadline = time.monotonic() + 120
        while not _hears(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        while begins and process.poll() is None and time.monotonic() < deadline:
            if (state / begins[-1]).exists() or begins[-1] in log.read_text(encoding="utf-8", errors="replace"):
                break
            time.sleep(0.02)
        time.sleep(moment.delay)

    def _down(self, token: str, *, must: bool) -> None:
        """`hallmark down` ends what is there, and says so."""
        there = marked(token)
        done = subprocess.run(
            [sys.executable, "-m", "hallmark.cli", "down"],
            env={**os.environ, **self.settings.environment(), "PYTHONPATH": str(ROOT)},
            cwd=self.settings.root,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert not must or not there or "stopped" in done.stderr or "ended what was left over" in done.stderr, (
            done.stderr
        )

    def _ports_are_free(self) -> None:
        for path in self.settings.state.rglob("cluster/api_port"):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", int(path.read_text(encoding="ascii"))))


def _send(process: subprocess.Popen[bytes], how: str) -> None:
    name, _, more = how.partition(" ")
    number = signal.Signals[f"SIG{name}"]
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
        if more == "later":
            time.sleep(1.3)
        if more == "group":
            os.killpg(process.pid, number)
        elif more:
            process.send_signal(number)


def _hears(pid: int) -> bool:
    """Is a signal the command's to handle by now? Before, the interpreter has started nothing, and any signal ends it as it comes."""
    with contextlib.suppress(OSError):
        handled = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
        return handled is not None and bool(int(handled[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def marked(token: str) -> dict[str, str]:
    """Processes whose environment has this token, by number, with their command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if token.encode() in (folder / "environ").read_bytes():
                    found[folder.name] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:150]
    return found


def until(done: Callable[[], object], *, what: Callable[[], object], seconds: float = GONE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@pytest.fixture
def toys(tmp_path: Path) -> Place:
    return Place.make(tmp_path, ROOT / "tests/toy/domains")


@pytest.fixture
def watched(toys: Place) -> Iterator[InferenceServiceWriter]:
    """A cluster for watches."""
    cluster.up(toys.settings, port=0)
    try:
        writer = InferenceServiceWriter.connect(toys.settings, kubeconfig=toys.settings.kubeconfig)
        writer.call("POST", "/api/v1/namespaces", {"metadata": {"name": "toy"}})
        yield writer
    finally:
        cluster.down(toys.settings)


def end_watch(toys: Place, writer: InferenceServiceWriter, moment: Moment) -> None:
    """End a watch; it gives its lease back, or keeps it where it was killed, until this takes it away."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/toy/leases/{LEASE}"
    said = toys.end(moment)
    found = writer.call("GET", "/apis/coordination.k8s.io/v1/namespaces/toy/leases").get("items", [])
    holders = [each["spec"]["holderIdentity"] for each in found if "holderIdentity" in each["spec"]]
    if moment.how.startswith("KILL"):
        assert bool(holders) or "watched from here" not in said
        for _ in holders:
            writer.call("DELETE", path)
    else:
        assert holders == [], (moment, said)


def both(place: Place, moments: Sequence[Moment], folder: Path) -> None:
    """End these two at a time, each in a copy of the place."""

    def end(number: int, moment: Moment) -> None:
        Place.make(folder / str(number), place.settings.domains, **place.more).end(moment)

    with ThreadPoolExecutor(2) as pool:
        for ended in [pool.submit(end, *each) for each in enumerate(moments)]:
            ended.result()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        Moment("up", 2, 0.1, "TERM group"),
        Moment("up", 3, 0.1, "INT"),
        Moment("up", 1, 0.2, "KILL group"),
        Moment("train", 1, 0.3, "HUP"),
        Moment("train", 2, 0.1, "KILL"),
    ],
    ids=lambda moment: f"{moment.command}-{moment.how}",
)
def test_b30_what_a_command_started_is_ended_with_it(toys: Place, moment: Moment) -> None:
    toys.end(moment)


@pytest.mark.slow
def test_b02_a_watch_gives_its_lease_back_however_often_it_is_told(
    toys: Place, watched: InferenceServiceWriter
) -> None:
    for how in ("TERM twice", "INT group"):
        end_watch(toys, watched, Moment("watch", 1, 0.1, how))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("command", "count", "longest"),
    seeds(
        [
            ("up", 4, 0.6),
            ("foreground", 2, 0.6),
            ("train", 3, 1.5),
            ("up", 12, 0.6),
            ("foreground", 5, 0.6),
            ("train", 10, 1.5),
        ],
        slow=3,
    ),
)
def test_at_any_moment(toys: Place, tmp_path: Path, command: str, count: int, longest: float) -> None:
    both(toys, Moment.drawn(command, count, seed=13, longest=longest), tmp_path / "copies")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_watch_at_any_moment(toys: Place, watched: InferenceServiceWriter) -> None:
    for moment in Moment.drawn("watch", 11, seed=13, longest=1.0):
        end_watch(toys, watched, moment)
    toys.end(Moment("watch", 1, 0.1, "KILL"))
    said = toys.end(Moment("watch", 1, 0.1, "TERM"))
    assert "another watch holds the lease of toy" in said and "watched from here" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("command", "count"),
    seeds([("demo", 2), ("drill", 2), ("demo", 6), ("demo --keep", 2), ("drill", 6)], slow=2),
)
def test_b13_a_demo_and_a_drill_at_any_moment(tmp_path: Path, trained_fraud: Trained, command: str, count: int) -> None:
    more = {shortened.TRAINED: str(trained_fraud.folder), shortened.DATABASE: str(trained_fraud.database)}
    place = Place.make(tmp_path, ROOT / "domains", **more)
    both(place, Moment.drawn(command, count, seed=13, longest=3.0), tmp_path / "copies")
