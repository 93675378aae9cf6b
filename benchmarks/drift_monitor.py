"""Speed and memory of the drift monitor, and what its capture costs a server, against another commit's.

`python -m benchmarks.drift_monitor --against DIR`, where DIR is a git worktree of the commit to compare with, such as 6f787fc; about fifteen
minutes. Both commits get the same records, of 20 fields, in turn: what their own capture sends of them is recorded, and then posted to a
monitor process that runs beside. The capture's cost is that of a server with it over one without, in many short turns under the same load,
with servers started anew several times; the capture's sink there reads and forgets. Prints the four marks as docs/performance.md has them, and gives 1 where one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ctypes
import http.client
import inspect
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
OURS = HERE.parents[1]
NUMBERS, WHOLE, WORDS = 12, 2, 4
SERVICE = "bench"
CONNECTIONS = 32
PHOTOS = 200
PER_TURN = 1024
"""Requests to each server in one turn of the capture's cost: what goes in one event."""
Row = tuple[str, str, str, str, bool]
"""Of the table: its name, before, now, ratio and mark, and whether that is met."""
FEATURES = """
import numpy as np

from hallmark.features.fields import Columns, Field

FIELDS = (
    *(Field(name=f"number_{at}", datatype="FP64") for at in range(12)),
    *(Field(name=f"whole_{at}", datatype="INT64") for at in range(2)),
    Field(name="flag", datatype="BOOL"),
    *(Field(name=f"word_{at}", datatype="BYTES", categories=("bags", "coats", "hats", "shirts", "shoes")) for at in range(4)),
    Field(name="visitor", datatype="BYTES"),
)

def encode(columns: Columns):
    return np.stack([columns[f"number_{at}"] for at in range(12)], axis=1).astype(np.float32)

def observe(columns: Columns) -> Columns:
    return {field.name: columns[field.name] for field in FIELDS}
"""


def main() -> int:
    """Measure, print, and give 1 where a mark is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--against", type=Path, help="worktree of the commit to compare with; none: only this one's figures"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="records of the memory mark (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each speed (%(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=5, help="servers started anew for the capture's cost (%(default)s times)"
    )
    parser.add_argument("--turns", type=int, default=24, help="turns of the capture's cost with each (%(default)s)")
    parser.add_argument("--only", choices=("speed", "memory", "capture", "photos"), help="one part")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        task, *more = given.child.split(",")
        sys.stdout.write(json.dumps(CHILDREN[task](*more)))
        return 0
    roots = {"now": OURS} | ({"before": given.against.resolve()} if given.against else {})
    with tempfile.TemporaryDirectory() as work:
        folders = {name: Path(work) / name for name in roots}
        for name, root in roots.items():
            child(root, "folders", folders[name])
        rows: list[Row] = []
        if given.only in (None, "speed"):
            rows += speeds(roots, folders, given.rounds)
        if given.only in (None, "memory"):
            rows += memory(roots, folders, given.rows)
        if given.only in (None, "capture"):
            rows += capture(roots, folders, given.pairs, given.turns)
        if given.only in (None, "photos"):
            rows += photos(roots, folders, given.rounds)
    sys.stdout.write("\n| | before | now | of it | asked for |\n|---|---:|---:|---:|---:|\n")
    for name, before, now, ratio, _ in rows:
        sys.stdout.write(f"| {name} | {before} | {now} | {ratio} |\n")
    return int(not all(met for *_, met in rows))


def speeds(roots: dict[str, Path], folders: dict[str, Path], rounds: int) -> list[Row]:
    """Records and exchanges a second that a monitor takes, as wall time from the first call to the last answer."""
    out = []
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(monitor(root, folders[name])) for name, root in roots.items()}
        for each, unit, mark, counts in (
            (50, "rows/s, requests of 50 rows", 20, {"before": 600, "now": 6000}),
            (1, "exchanges/s, requests of one row", 4, {"before": 4000, "now": 60_000}),
        ):
            found: dict[str, list[float]] = {name: [] for name in roots}
            for turn in range(rounds + 1):  # the first one warms up
                for name, root in roots.items():
                    began = cpu(pid_of[ports[name]])
                    took = child(root, "feed", folders[name], ports[name], counts[name], each, 1000)
                    if turn:
                        used = (cpu(pid_of[ports[name]]) - began) / 1e9
                        found[name].append(counts[name] * each / took["seconds"])
                        rate = counts[name] * each / used
                        sys.stdout.write(f"{unit}, {name}: {found[name][-1]:,.0f}; {rate:,.0f} per second of its CPU\n")
            ratio = compared(found)
            out.append(line(f"{unit}", found, ratio, f"≥ {mark} ×", f"{ratio:.1f} ×", ratio >= mark))
    return out


def photos(roots: dict[str, Path], folders: dict[str, Path], rounds: int) -> list[Row]:
    """CPU that a monitor has for each photo that its server answered, and the server too, with listing's feature code: the whole way, from HTTP to window."""
    found: dict[str, list[float]] = {name: [] for name in roots}
    served: dict[str, list[float]] = {name: [] for name in roots}
    sent = some_photos(PHOTOS)
    with contextlib.ExitStack() as stack:
        ports = {}
        for name, root in roots.items():
            sink = stack.enter_context(monitor(root, folders[name], "photos"))
            ports[name] = stack.enter_context(server(root, folders[name], sink=sink, model="photos")), sink
        for turn in range(rounds + 1):  # the first one warms up
            for name, (asked, sink) in ports.items():
                before = joined(sink)
                began = cpu(pid_of[sink]), cpu(pid_of[asked])
                show(asked, sent)
                time.sleep(3.0)  # not asked meanwhile, since a look at its metrics is a verdict
                used = cpu(pid_of[sink]) - began[0], cpu(pid_of[asked]) - began[1]
                if (taken := joined(sink) - before) != len(sent):
                    raise SystemExit(f"the monitor took {taken} exchanges of {len(sent)}")
                if turn:
                    found[name].append(used[0] / 1e3 / len(sent))
                    served[name].append(used[1] / 1e3 / len(sent))
    for name in roots:
        sys.stdout.write(
            f"photos, {name}: {statistics.median(found[name]):,.0f} µs of the monitor's CPU a request, {statistics.median(served[name]):,.0f} of the server's\n"
        )
    ratio = 1 / compared(found)
    title = "monitor's CPU for a photo of listing, µs"
    return [line(title, found, ratio, "≤ 1/20", f"1/{ratio:.0f}", ratio >= 20)]


def memory(roots: dict[str, Path], folders: dict[str, Path], rows: int) -> list[Row]:
    """Resident memory of a monitor after so many records; one field of before has 1,000 values, that of now as many as records."""
    found: dict[str, list[float]] = {}
    for name, root in roots.items():
        with monitor(root, folders[name]) as port:
            child(root, "feed", folders[name], port, rows // 50, 50, 1000 if name == "before" else rows)
            found[name] = [resident(pid_of[port]) / 2**20]
        sys.stdout.write(f"memory after {rows:,} records, {name}: {found[name][0]:.0f} MiB\n")
    ratio = 1 / compared(found)
    title = f"resident MiB after {rows:,} rows (before: 1,000 values in the widest column; now: {rows:,})"
    return [line(title, found, ratio, "≤ 1 ×", f"{ratio:.2f} ×", ratio <= 1)]


def capture(roots: dict[str, Path], folders: dict[str, Path], pairs: int, turns: int) -> list[Row]:
    """Share of a server's CPU that its capture has, by requests of one order on 32 connections and on one.

    Servers are started anew `pairs` times, since two of one kind differ by a percent or two for as long as they live: one with a capture and
    two without, of which the second shows what the measure makes of no difference.
    """
    shares: dict[tuple[str, str, int], list[float]] = {
        (name, kind, at_once): [] for at_once in (CONNECTIONS, 1) for name in roots for kind in ("off", "on")
    }
    for _ in range(pairs):
        for name, root in roots.items():
            with contextlib.ExitStack() as stack:
                sink = stack.enter_context(started(OURS, [sys.executable, str(HERE), "--child=sink,{port}"]))
                ports = [
                    stack.enter_context(server(root, folders[name], sink=sink if kind == "on" else 0))
                    for kind in ("base", "off", "on")
                ]
                for at_once in (CONNECTIONS, 1):
                    for base, *others in itertools.islice(
                        alternating(ports, at_once), 1, turns + 1
                    ):  # the first warms up
                        for kind, spent in zip(("off", "on"), others, strict=True):
                            shares[name, kind, at_once].append(100 * (1 - base / spent))
    out = []
    for at_once in (CONNECTIONS, 1):
        for name in roots:
            for kind in ("off", "on"):
                middle, low, high = interval(shares[name, kind, at_once])
                sys.stdout.write(
                    f"capture {kind}, {at_once} at once, {name}: {middle:.1f}% of the CPU (95%: {low:.1f} to {high:.1f})\n"
                )
        found = {name: [round(statistics.median(shares[name, "on", at_once]), 1)] for name in roots}
        share = statistics.median(shares["now", "on", at_once])
        title = f"capture, % of the server's CPU, requests of one row, {at_once} at once"
        alone = (
            at_once == 1
        )  # the mark: in a burst requests share the server's work, and the capture's part of the rest is larger
        out.append(line(title, found, share, "≤ 3%" if alone else "told", f"{share:.1f}%", share <= 3 or not alone))
    return out


def some_photos(count: int) -> list[bytes]:
    """Photos as sellers send them, real ones where there are some."""
    from benchmarks.serving import bodies

    return bodies._real(count) or bodies._drawn(count)


def show(port: int, sent: Sequence[bytes]) -> None:
    """Ask a server about each of these photos, one at a time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for data in sent:
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
        connection.request("POST", f"/v2/models/{SERVICE}/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status} {text[:500]!r}")
    connection.close()


def server(root: Path, folder: Path, *, sink: int, model: str = "order") -> contextlib.AbstractContextManager[int]:
    """A model server with a capture that posts to this port; without one for 0."""
    command = [sys.executable, "-m", "inference_services.runtime", f"--model-name={SERVICE}", "--host=127.0.0.1"]
    command += [f"--model-dir={folder / model}", "--http-port={port}"]
    command += ["--grpc-port=0"] if "--grpc-port" in helped(root) else []
    command += [f"--capture-url=http://127.0.0.1:{sink}/"] if sink else []
    return started(root, command)


def alternating(ports: Sequence[int], at_once: int) -> Iterator[list[float]]:
    """For ever, nanoseconds of CPU for a request at each of these servers over 1,024 requests, so many at once.

    The servers are asked in turn, burst by burst, so that all meet what else the machine does. A server is stopped while requests are sent
    together, so that it finds them together however busy the machine is.
    """
    bursts = PER_TURN // at_once
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(port, at_once)) for port in ports]
        while True:
            began = [cpu(pid_of[port]) for port in ports]
            for burst in range(bursts):
                for at in range(len(loads)):
                    loads[(at + burst) % len(loads)].burst()
            yield [(cpu(pid_of[port]) - before) / PER_TURN for port, before in zip(ports, began, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the values between which it is with 95%, by their ranks."""
    ranked, reach = sorted(values), 0.98 * len(values) ** 0.5
    low, high = max(0, round(len(values) / 2 - reach) - 1), min(len(values), round(len(values) / 2 + reach) + 1)
    return statistics.median(values), ranked[low], ranked[high - 1]


def compared(found: dict[str, list[float]]) -> float:
    """Median of now over before, turn by turn; NaN without the latter."""
    if "before" not in found:
        return float("nan")
    return statistics.median(now / before for now, before in zip(found["now"], found["before"], strict=True))


def line(name: str, found: dict[str, list[float]], ratio: float, mark: str, shown: str, met: bool) -> Row:
    """A row of the table."""
    middle = {key: statistics.median(values) for key, values in found.items()}
    before, now = (
        f"{middle[key]:,.{0 if middle[key] >= 100 else 1}f}" if key in middle else "" for key in ("before", "now")
    )
    return name, before, now, f"{shown if ratio == ratio else ''} | {mark}", met or ratio != ratio


def environment(root: Path) -> dict[str, str]:
    """That of a process with the code of `root`."""
    return {**os.environ, "PYTHONPATH": str(root), "HALLMARK_ROOT": str(root), "K_REVISION": f"{SERVICE}-00001"}


def child(root: Path, task: str, *more: object) -> Any:
    """Result of a task of CHILDREN with the code of `root`."""
    command = [sys.executable, str(HERE), "--child", ",".join(map(str, (task, *more)))]
    done = subprocess.run(command, cwd=root, env=environment(root), stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def helped(root: Path) -> str:
    """The flags of that commit's server."""
    command = [sys.executable, "-m", "inference_services.runtime", "--help"]
    return subprocess.run(
        command, cwd=root, env=environment(root), stdout=subprocess.PIPE, check=True, text=True
    ).stdout


pid_of: dict[int, int] = {}
"""Process by the port that it was started for."""


@contextlib.contextmanager
def started(root: Path, command: Sequence[str]) -> Iterator[int]:
    """A process that answers at a port, which is given; it ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [each.format(port=port) for each in command], cwd=root, env=environment(root), stderr=subprocess.DEVNULL
    )
    pid_of[port] = process.pid
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it did not start: {' '.join(command)}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def monitor(root: Path, folder: Path, model: str = "rows") -> contextlib.AbstractContextManager[int]:
    """A drift monitor."""
    command = [sys.executable, "-m", "inference_services.drift_monitor", f"--model-dir={folder / model}"]
    return started(root, [*command, "--host=127.0.0.1", "--port={port}"])


def resident(pid: int) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid: int) -> int:
    """Nanoseconds of CPU of all threads, of those too that have ended."""
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return time.clock_gettime_ns(clock.value)


class Load:
    """Connections to a server that each ask for the score of an order."""

    def __init__(self, port: int, count: int) -> None:
        from benchmarks.serving.bodies import order

        body = order().data
        head = f"POST /v2/models/{SERVICE}/infer HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        head += "x-hallmark-request-id: 0f9c1a2e-8f1b-4f6e-9f55-0a5d5e0a7c11\r\n"
        head += "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        self._message = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        self._pid = pid_of[port]
        self._open = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            each.close()

    def burst(self) -> None:
        """One request on each connection, and all of their answers."""
        together = len(self._open) > 1
        if together:
            os.kill(self._pid, signal.SIGSTOP)
        for each in self._open:
            each.sendall(self._message)
        if together:
            os.kill(self._pid, signal.SIGCONT)
        for each in self._open:
            if not (answer := each.recv(65536)).startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the server answered {answer[:200]!r}")


def make_folders(to: str) -> None:
    """Model folders: `rows`, of 20 fields that are all watched, `order`, of the fraud domain's features and trees, and `photos`, of listing's features."""
    from benchmarks.serving import models
    from domains.fraud import features
    from hallmark.drift import profile

    try:
        from hallmark.features.fields import Output
    except ImportError:
        from hallmark.registry.folder import Output  # type: ignore[no-redef]
    made: dict[str, Any] = {}
    exec(FEATURES, made)  # noqa: S102
    columns, outputs = drawn(5000, 1000)
    rows = Path(to) / "rows"
    rows.mkdir(parents=True)
    score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    (rows / "profile.json").write_text(profile.build(columns, scores=outputs).model_dump_json(), encoding="utf-8")
    models.write(rows, models.small(), fields=made["FIELDS"], output=score, features=FEATURES)
    models.write(
        Path(to) / "order", models.forest(), fields=features.FIELDS, output=score, features=inspect.getsource(features)
    )
    make_photos(Path(to) / "photos")


def make_photos(folder: Path) -> None:
    """Listing's feature code before a small network, with the profile and the sample of embeddings of some of its photos."""
    from benchmarks.serving import models
    from domains.listing import features
    from hallmark.drift import embedding, profile

    try:
        from hallmark.features.fields import Output
    except ImportError:
        from hallmark.registry.folder import Output  # type: ignore[no-redef]
    folder.mkdir(parents=True)
    known = {"image": np.array(some_photos(PHOTOS), dtype=object)}
    scores = Output(name="score", datatype="FP32", shape=(models.CLASSES,), minimum=0, maximum=1)
    made = profile.build(features.observe(known), scores={})
    (folder / "profile.json").write_text(made.model_dump_json(), encoding="utf-8")
    (folder / embedding.FILE).write_bytes(embedding.write(embedding.sample(features.embed(known))))
    code = inspect.getsource(features).replace(f"SIDE = {features.SIDE}", "SIDE = 224")  # as models.cnn takes it
    models.write(folder, models.cnn(), fields=features.FIELDS, output=scores, features=code)


def drawn(rows: int, distinct: int, *, first: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns and outputs of so many records."""
    random = np.random.default_rng(first)
    words = np.array(["bags", "coats", "hats", "shirts", "shoes"], dtype=object)
    columns: dict[str, Any] = {f"number_{at}": np.round(random.lognormal(3, 1, rows), 2) for at in range(NUMBERS)}
    columns |= {f"whole_{at}": random.poisson(5, rows) for at in range(WHOLE)}
    columns["flag"] = random.random(rows) < 0.3
    columns |= {f"word_{at}": words[random.integers(0, 5, rows)] for at in range(WORDS)}
    columns["visitor"] = np.array([f"visitor-{(first + at) % distinct:08d}" for at in range(rows)], dtype=object)
    return columns, {"score": random.beta(0.5, 8.0, rows).astype(np.float32)}


def feed(folder: str, port: str, count: str, each: str, distinct: str) -> dict[str, float]:
    """Post to a monitor what this commit's capture sends of `count` requests of `each` records; seconds of the calls alone."""
    seconds, size, per = 0.0, 0, max(1, 50_000 // int(each))
    base = time.time_ns() % 10**9 if int(distinct) <= 1000 else 0
    before = joined(int(port))
    for first in range(0, int(count), per):
        part = min(per, int(count) - first)
        calls = asyncio.run(recorded(Path(folder) / "rows", part, int(each), int(distinct), base + first * int(each)))
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=120)
        began = time.perf_counter()
        for headers, body in calls:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202:
                raise SystemExit(f"the monitor answered {answer.status} {text[:500]!r}")
        seconds += time.perf_counter() - began
        connection.close()
        size += sum(len(body) for _, body in calls)
    if (taken := joined(int(port)) - before) != int(count):
        raise SystemExit(f"the monitor took {taken} exchanges of {count}")
    return {"seconds": seconds, "bytes": size}


def joined(port: int) -> int:
    """Exchanges that a monitor has taken."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(float(text.partition('events_total{fate="joined"} ')[2].partition("\n")[0] or 0))


async def recorded(
    folder: Path, count: int, each: int, distinct: int, first: int
) -> list[tuple[dict[str, str], bytes]]:
    """The calls of this commit's capture for so many requests: headers and body."""
    from inference_services.capture import queue
    from inference_services.capture.queue import Capture, Origin

    fresh = hasattr(Capture, "note")
    columns, outputs = drawn(count * each, distinct, first=first)
    calls: list[tuple[dict[str, str], bytes]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                calls.append((headers, await reader.readexactly(int(headers.pop("content-length")))))
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, limit=1 << 26)
    counts = Counts()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    sender = Capture(url, origin=Origin(SERVICE, SERVICE, f"{SERVICE}-00001", ""), metrics=counts)
    sender.start()
    texts = None if fresh else Texts(folder)
    for number in range(count):
        rows = slice(number * each, (number + 1) * each)
        asked = {name: values[rows] for name, values in columns.items()}
        answered = {name: values[rows] for name, values in outputs.items()}
        name, size = f"{first + number:08x}", 500 + 150 * each
        trace, known = f"00-{'ab' * 12}{name}-b7ad6b7169203331-01", f"{name}-8f1b-4f6e-9f55-0a5d5e0a7c11"
        if texts is None:
            from inference_services.capture.records import Call

            call, client = Call(asked, answered, each), f"client-{first + number}"
            headers = {b"traceparent": trace.encode(), b"x-hallmark-request-id": known.encode()}
            sender.note(call, [(0, each, size, client, headers)])
            if number % 32 == 31:
                await asyncio.sleep(0)
        else:
            more = {"client_id": f"client-{first + number}", "trace": trace, "exchange": known}
            sender.offer(queue.Exchange(size=size, **more, **texts.of(asked, answered, each)))  # type: ignore[attr-defined]
        while counts["capture_queued"] > 5000:
            await asyncio.sleep(0.001)
    await sender.close(timeout=60)
    server.close()
    if counts["capture_sent"] != count:
        raise SystemExit(f"the capture sent {counts} of {count}")
    return calls


class Texts:
    """Exchange's texts as they were made before it had columns."""

    def __init__(self, folder: Path) -> None:
        from hallmark.registry.folder import signature

        from inference_services.protocol.schema import Schema

        self._schema: Any = Schema(SERVICE, signature(folder))

    def of(self, columns: Any, outputs: Any, rows: int) -> dict[str, Any]:
        """Members of an Exchange."""
        from inference_services.protocol import v2

        texts = v2.request_text(self._schema, columns, rows), v2.response_text(self._schema, outputs)
        return {"request": lambda: texts[0], "response": lambda: texts[1]}


class Counts(Counter[str]):
    """Counters of a capture."""

    def add(self, name: str, value: str = "", amount: float = 1.0) -> None:
        """Raise one."""
        self[name] += int(amount)


def sink(port: str) -> None:
    """Read what comes, answer that it was taken, and forget it."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def run() -> None:
        await (await asyncio.start_server(take, "127.0.0.1", int(port), limit=1 << 26)).serve_forever()

    asyncio.run(run())


CHILDREN: dict[str, Any] = {"folders": make_folders, "feed": feed, "sink": sink}

if __name__ == "__main__":
    sys.exit(main())
