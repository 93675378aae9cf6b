"""Reads of the online stores: `python -m benchmarks.features.online [--feast VENV]`, about a minute.

Three views with 40 columns of 8 bytes, for 1 entity and for 100. Our read of Redis beside redis-py's HMGET of the same bytes from one hash, in
pairs, and SQLite beside both; asked for: at most 2 times HMGET. With an environment that has Feast 0.67 and its Redis (`pip install
"feast[redis]==0.67.*"`) also its `get_online_features` of the same values from the same Redis; asked for: 5 times as long as ours at least, with
our values unpacked into a dict. Last, what a read costs while the server hangs; asked for: 50 ms, and 10 for a busy machine.

`cpu` is of the process that reads, and steadier than the wall's time where the machine is shared; each ratio is of medians, and a target holds
for both. hiredis, where it is installed, makes both of them faster.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hallmark.errors import Unavailable
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.store import READ_SECONDS, OnlineStore, Row, packed

COLUMNS = (14, 13, 13)
ENTITIES = (1, 100)
RAW_TARGET, FEAST_TARGET = 2.0, 5.0
BURST = 20
"""Calls of each in a row, where the other is another process, which leaves cold caches behind."""
DOWN_TARGET = READ_SECONDS + 0.01
Times = tuple[float, float]
"""Wall and CPU seconds of a call."""


def main() -> int:
    """Measure, print, and give 1 where a target is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    flags.add_argument("--pairs", type=int, default=1000, help="calls of each contender (1000)")
    flags.add_argument("--feast", type=Path, metavar="VENV", help="an environment with Feast and its Redis")
    options = flags.parse_args()
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as (port, process):
        redis = connect(f"redis://127.0.0.1:{port}/0", namespace="bench", read_seconds=5)
        sqlite = connect(f"sqlite:///{name}/online.db", namespace="bench", read_seconds=5)
        rows = [
            Row(Key(f"view{place}@1", entity_key(number)), 1, 1, struct.pack(f"{count}d", *[number * 1.5] * count))
            for number in range(max(ENTITIES))
            for place, count in enumerate(COLUMNS)
        ]
        for each in (redis, sqlite):
            each.write(rows)
        say(
            f"redis-py with {'hiredis' if find_spec('hiredis') else 'its own parser'}, {options.pairs} calls each, medians"
        )
        missed = [beside_raw(redis, sqlite, port, rows, options.pairs)]
        if options.feast:
            missed.append(beside_feast(redis, rows, options.feast, Path(name), port, options.pairs))
        missed.append(hanging(port, process))
        redis.close()
        sqlite.close()
    return int(any(missed))


def beside_raw(redis: OnlineStore, sqlite: OnlineStore, port: int, rows: Sequence[Row], pairs: int) -> bool:
    """Ours, HMGET and SQLite in turn; true where the target is missed."""
    from redis import Redis

    missed = False
    with Redis(port=port) as raw, asyncio.Runner() as loop:
        fields = {b"%s/%s" % (row.key.view.encode(), row.key.entity): packed(row) for row in rows}
        raw.hset("raw", mapping=fields)
        for count in ENTITIES:
            wanted = rows[: count * len(COLUMNS)]
            keys, names = [row.key for row in wanted], list(fields)[: len(wanted)]
            if (
                redis.read(keys) != wanted
                or sqlite.read(keys) != wanted
                or raw.hmget("raw", names) != list(fields.values())[: len(wanted)]
            ):
                raise AssertionError("they read different bytes")
            found = interleaved(
                {
                    "HMGET": lambda names=names: [timed(lambda: raw.hmget("raw", names))],
                    "ours": lambda keys=keys: [timed(lambda: redis.read(keys))],
                    "ours, awaited": lambda keys=keys: [loop.run(awaited(redis, keys))],
                    "SQLite": lambda keys=keys: [timed(lambda: sqlite.read(keys))],
                },
                pairs,
            )
            missed |= told(f"{count:>3} entities", found, "ours", "HMGET", most=RAW_TARGET)
        loop.run(redis.aclose())
    return missed


def beside_feast(redis: OnlineStore, rows: Sequence[Row], venv: Path, folder: Path, port: int, pairs: int) -> bool:
    """Ours, unpacked, and Feast in turn; true where the target is missed."""
    program = Path(__file__).with_name("feast_reads.py")
    columns, place = ",".join(str(count) for count in COLUMNS), folder / "feast"
    place.mkdir()
    command = [
        str(venv / "bin/python"),
        "-W",
        "ignore",
        str(program),
        str(place),
        f"127.0.0.1:{port}",
        columns,
        str(max(ENTITIES)),
    ]
    missed = False
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place) as feast:
        try:
            answers = iter(feast.stdout or ())
            while next(answers) != "ready\n":
                pass

            def theirs(count: int) -> list[Times]:
                assert feast.stdin
                feast.stdin.write(f"{count} {BURST}\n")
                feast.stdin.flush()
                numbers = [float(each) for each in next(answers).split()]
                return list(zip(numbers[::2], numbers[1::2], strict=True))

            for count in ENTITIES:
                keys = [row.key for row in rows[: count * len(COLUMNS)]]
                found = interleaved(
                    {
                        "Feast": lambda count=count: theirs(count),
                        "ours, unpacked": lambda keys=keys: [
                            timed(lambda: unpacked(redis.read(keys))) for _ in range(BURST)
                        ],
                    },
                    max(10, pairs // BURST),
                )
                missed |= told(f"{count:>3} entities", found, "Feast", "ours, unpacked", least=FEAST_TARGET)
        finally:
            feast.kill()
    return missed


def hanging(port: int, process: subprocess.Popen[bytes]) -> bool:
    """What a read costs while the server is stopped; true where the target is missed."""
    store = connect(f"redis://127.0.0.1:{port}/0", namespace="bench")
    key = [Key("view0@1", entity_key(0))]
    process.send_signal(signal.SIGSTOP)
    try:
        with asyncio.Runner() as loop:
            found = {
                name: statistics.median(refused(lambda call=call: timed(call)[0]) for _ in range(20))
                for name, call in (("read", lambda: store.read(key)), ("aread", lambda: loop.run(store.aread(key))))
            }
            loop.run(store.aclose())
    finally:
        process.send_signal(signal.SIGCONT)
    met = max(found.values()) <= DOWN_TARGET
    shown = "  ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in found.items())
    say(f"a server that hangs: {shown}  target {DOWN_TARGET * 1000:g} ms: {'met' if met else 'MISSED'}")
    return not met


def refused(call: Callable[[], float]) -> float:
    began = time.perf_counter()
    try:
        call()
    except Unavailable:
        return time.perf_counter() - began
    raise AssertionError("a stopped server answered")


async def awaited(store: OnlineStore, keys: Sequence[Key]) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    await store.aread(keys)
    return time.perf_counter() - wall, time.process_time() - cpu


def timed(call: Callable[[], Any]) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def unpacked(rows: Sequence[Row | None]) -> list[dict[str, float]]:
    """The values by column and entity, as Feast answers them."""
    return [
        dict(zip(NAMES[place % len(COLUMNS)], FORMATS[place % len(COLUMNS)].unpack(row.payload), strict=True))
        for place, row in enumerate(rows)
        if row is not None
    ]


NAMES = [[f"v{place}_c{number}" for number in range(count)] for place, count in enumerate(COLUMNS)]
FORMATS = [struct.Struct(f"{count}d") for count in COLUMNS]


def interleaved(calls: dict[str, Callable[[], list[Times]]], rounds: int) -> dict[str, Times]:
    """Medians of each, called in turn in an order drawn anew each round, after three rounds that do not count."""
    taken: dict[str, list[Times]] = {name: [] for name in calls}
    order = list(calls)
    for number in range(rounds + 3):
        random.shuffle(order)
        for name in order:
            times = calls[name]()
            if number >= 3:
                taken[name] += times
    return {
        name: (statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times))
        for name, times in taken.items()
    }


def told(what: str, found: dict[str, Times], above: str, below: str, *, most: float = 0, least: float = 0) -> bool:
    """Print a line; true where the ratio of `above` to `below` is not in its bounds."""
    wall, cpu = (found[above][kind] / found[below][kind] for kind in (0, 1))
    met = max(wall, cpu) <= most if most else min(wall, cpu) >= least
    shown = "  ".join(f"{name} {wall * 1e6:,.0f} (cpu {cpu * 1e6:,.0f})" for name, (wall, cpu) in found.items())
    bound = f"at most {most:g}" if most else f"at least {least:g}"
    say(f"{what}, µs: {shown}")
    say(f"    {above} / {below}: {wall:.2f} (cpu {cpu:.2f})  target {bound}: {'met' if met else 'MISSED'}")
    return not met


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A redis-server on a free port, without persistence."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > until or process.poll() is not None:
                        raise
                    time.sleep(0.01)
            yield port, process
        finally:
            process.kill()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
