"""Seconds from a row's append to the log until its features can be read, at 2,000 rows a second, and how many rows a second one core takes.

`python benchmarks/features/stream.py`; some minutes. Rows of orders are streamed into the three declared views, or into three views of 40
columns together, with the state in a file. On a machine that does other things too, time is that of a core of its own: a row comes
when the CPU time that the stream has taken, and its pauses, say so. With --wall it is the clock's, and rows come from another process. The store keeps payloads in a dictionary, by the
rule of every store. Rows repeat (1%), are corrected (3%), and come late (2%); few buyers order often. The reference for the most
rows a second writes each decoded row to SQLite in one transaction a batch, and computes nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))  # so that it runs from anywhere, as a file

from benchmarks.features.merge import view as wide  # noqa: E402
from hallmark.declaration.feature_view import FeatureView, load  # noqa: E402
from hallmark.feature_store.log import FileLog  # noqa: E402
from hallmark.feature_store.stream import Stream, Written, encoded  # noqa: E402
from hallmark.feature_store.tiles import Type  # noqa: E402
from hallmark.settings import Settings  # noqa: E402

RATE, CHUNK, LIMIT, PAUSE, MARK = 2000, 20, 5000, 0.05, 1.0
TYPES: dict[str, Type] = {
    **{"order_id": "text", "buyer_id": "text", "device_id": "text", "ip": "text", "card_id": "text"},
    **{"ordered_at": "time", "known_at": "time", "amount": "int64", "price": "float64"},
    **{"id": "text", "who": "text", "at": "time", "known": "time", "card": "text"},
}


def rows(draw: random.Random, begin: int = 0) -> Iterator[dict[str, object]]:
    """Rows of orders, for both kinds of views, without end; what was known at a time is now."""
    number = begin
    while True:
        number += 1
        which = number - draw.randrange(1, 5000) if draw.random() < 0.03 else number
        own = random.Random(which)
        buyer = int(own.paretovariate(0.7)) % 500_000
        now = time.time()
        late = draw.expovariate(1 / 3600) if draw.random() < 0.02 else draw.random()
        at, known = (datetime.fromtimestamp(each, UTC).isoformat() for each in (now - late, now))
        row: dict[str, object] = {
            **{
                "order_id": f"o{which}",
                "buyer_id": f"b{buyer}",
                "device_id": f"d{buyer * 7 % 400_000}",
                "ip": f"10.{buyer % 9973}",
            },
            **{"card_id": f"c{own.randrange(3)}-{buyer}", "ordered_at": at, "known_at": known},
            **{"amount": own.randrange(10**5), "price": own.random()},
        }
        row |= {"id": row["order_id"], "who": row["buyer_id"], "at": at, "known": known, "card": row["card_id"]}
        yield row
        if draw.random() < 0.01:
            yield row


class Dictionary:
    """A store in memory, from which nobody was erased."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int | str], tuple[tuple[int, int], bytes]] = {}

    def write(self, rows: Sequence[Written]) -> None:
        for each in rows:
            had = self.rows.get((each.view, each.entity))
            if had is None or (each.stamp, each.payload) > had:
                self.rows[each.view, each.entity] = each.stamp, each.payload

    def erase(self, view: str, entity: int | str) -> None:
        self.rows.pop((view, entity), None)

    def outdated(self, view: str) -> tuple[int | str, ...]:
        return ()

    def scrub(self) -> None:
        """It has no files."""


def produce(folder: Path, seconds: float) -> None:
    """Append `RATE` rows a second; prints when each chunk was appended."""
    made = rows(random.Random(3), begin=10**7)
    times = []
    with FileLog(folder / "log", sync=1.0) as log:
        begin = time.monotonic()
        for number in range(int(seconds * RATE / CHUNK)):
            due = begin + number * CHUNK / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            chunk = [encoded(next(made)) for _ in range(CHUNK)]
            appended = time.time()
            times.append((log.append("0", chunk), appended))
    (folder / "appended.json").write_text(json.dumps(times), encoding="utf-8")


def simulated(views: Sequence[FeatureView], seconds: float) -> float:
    """Print latencies at the rate on a core of its own; gives the 99th percentile. Waiting for the disk is not in them."""
    made = rows(random.Random(3), begin=10**7)
    with tempfile.TemporaryDirectory() as name, FileLog(Path(name) / "log", sync=60) as log:
        stream = Stream(views, TYPES, log=log, store=Dictionary(), folder=Path(name) / "state")
        now, idle, come, late = 0.0, 0.0, 0, []
        while come < seconds * RATE:
            now, idle = now + PAUSE, idle + PAUSE
            waiting = int(now * RATE) - come
            log.append("0", [encoded(next(made)) for _ in range(waiting)])
            spent = time.process_time()
            stream.step(LIMIT)
            now += time.process_time() - spent
            late += [now - (come + number) / RATE for number in range(waiting)]
            come += waiting
        stream.close()
    return told(np.array(late), 1 - idle / now, come / now)


def told(late: np.ndarray, share: float, rate: float) -> float:
    shown = ", ".join(f"p{q:g} {np.percentile(late, q) * 1000:.0f} ms" for q in (50, 99, 99.9, 100))
    print(f"  {RATE} rows/s: {shown}; {share:.0%} of a core, {rate:.0f} rows/s came through")
    return float(np.percentile(late, 99))


def measured(views: Sequence[FeatureView], seconds: float) -> float:
    """Print latencies at the rate by the clock; gives the 99th percentile."""
    with tempfile.TemporaryDirectory() as name:
        folder, seen = Path(name), []
        (folder / "log" / "0").mkdir(parents=True)
        with FileLog(folder / "log") as log:
            stream = Stream(views, TYPES, log=log, store=Dictionary(), folder=folder / "state")
            with subprocess.Popen(
                [sys.executable, str(HERE), "--produce", name, "--seconds", str(seconds)]
            ) as producer:
                begin, spent, offset = time.monotonic(), time.process_time(), 0
                while offset < seconds * RATE and time.monotonic() - begin < 3 * seconds + 30:
                    count = stream.step(LIMIT)
                    offset += count
                    if count:
                        seen.append((offset, time.time()))
                    time.sleep(PAUSE if count < LIMIT else 0.0)
                wall, spent = time.monotonic() - begin, time.process_time() - spent
                producer.wait()
            stream.close()
        appended = json.loads((folder / "appended.json").read_text(encoding="utf-8"))
        ends, at = (np.array([each[place] for each in seen]) for place in (0, 1))
        late = np.array([at[np.searchsorted(ends, end)] - when for end, when in appended])
    return told(late, spent / wall, offset / wall)


def fastest(views: Sequence[FeatureView], count: int) -> None:
    """Print how many rows a CPU-second the stream takes, and the reference; rounds in turn."""
    ours, theirs = [], []
    made = rows(random.Random(5))
    content = [encoded(next(made)) for _ in range(count)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FileLog(folder / "log", sync=60) as log:
            stream = Stream(views, TYPES, log=log, store=Dictionary(), folder=folder / "state")
            plain = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
            plain.execute("PRAGMA journal_mode=WAL")
            plain.execute("PRAGMA synchronous=NORMAL")
            plain.execute("CREATE TABLE rows (id PRIMARY KEY, content) WITHOUT ROWID")
            for begin in range(0, count, 2000):
                part = content[begin : begin + 2000]
                log.append("0", part)
                spent = time.process_time()
                stream.step(2000)
                ours.append(time.process_time() - spent)
                spent = time.process_time()
                plain.execute("BEGIN")
                decoded = [(json.loads(each)["order_id"], each) for each in part]
                plain.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", decoded)
                plain.execute("COMMIT")
                theirs.append(time.process_time() - spent)
            plain.close()
            stream.close()
    one, other = (2000 / np.median(each) for each in (ours, theirs))
    print(f"  most: {one:,.0f} rows a CPU-second; decoding and SQLite alone {other:,.0f}, ratio {other / one:.1f}")


def filled(views: Sequence[FeatureView], count: int) -> None:
    """Print how many rows a CPU-second a backfill takes."""
    import pyarrow as pa

    made = rows(random.Random(6))
    some = [next(made) for _ in range(count)]
    for row in some:
        row |= {name: datetime.fromisoformat(str(row[name])) for name in ("ordered_at", "known_at", "at", "known")}
    table = pa.Table.from_pylist(some)
    with tempfile.TemporaryDirectory() as name, FileLog(Path(name) / "log") as log:
        stream = Stream(views, TYPES, log=log, store=Dictionary(), folder=Path(name) / "state")
        spent = time.process_time()
        stream.fill(table, as_of=int((time.time() + 1) * 1e6))
        print(f"  backfill: {count / (time.process_time() - spent):,.0f} rows a CPU-second")
        stream.close()


def main() -> int:
    """Measure, print, and give 1 where the mark is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20, help="at the rate (%(default)s)")
    parser.add_argument("--wall", action="store_true", help="time by the clock; for a machine that does nothing else")
    parser.add_argument("--produce", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.produce:
        produce(given.produce, given.seconds)
        return 0
    settings, missed = Settings.load(), False
    declared = [load(each, settings) for each in ("buyer_orders@1", "device@1", "ip_orders@1")]
    for shown, views in (
        ("three declared views", declared),
        ("three views of 40 columns together", [wide(f"v{n}", size) for n, size in enumerate((14, 13, 13))]),
    ):
        print(shown)
        missed |= (measured if given.wall else simulated)(views, given.seconds) > MARK
        fastest(views, 40_000)
        filled(views, 40_000)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
