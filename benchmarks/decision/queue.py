"""A claim with 100,000 open cases beside the bare statement. `python -m benchmarks.decision.queue`, some minutes; ends with 1 above 20 ms p99.

Each round, in turn: `ReviewQueue.claim`, and what a program without a queue would do to take the dearest row of a table of as many:
`SELECT … ORDER BY … LIMIT 1` (`FOR UPDATE SKIP LOCKED` in PostgreSQL), UPDATE, COMMIT. The bare
statement is brought to the disk; so is a claim in SQLite, and in PostgreSQL it need not be (docs/decisions/0059).
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hallmark.reviews.database import Database, connect
from hallmark.reviews.queue import ReviewQueue
from tests.hallmark.reviews.cases import case
from tests.hallmark.reviews.server import created, missing, postgres

OPEN = 100_000
ROUNDS = 500
LIMIT = 0.020
_FILLED = 2000


def filled(database: Database) -> None:
    """Put the cases in, many to a transaction, and as many rows into a bare table."""
    queue = ReviewQueue(database)
    chance, now = random.Random(0), datetime.now(UTC)
    queue.counts()
    with database.transaction() as session:
        session.run("CREATE TABLE bare (number INTEGER PRIMARY KEY, value FLOAT NOT NULL, who TEXT)")
        session.run("CREATE INDEX bare_value ON bare (value DESC) WHERE who IS NULL")
    for start in range(0, OPEN, _FILLED):
        with database.transaction() as session:
            for number in range(start, start + _FILLED):
                each = case(
                    f"c{number}", price=chance.lognormvariate(5, 1), opened=now, hours=chance.choice((4, 24, 48))
                )
                queue.put(session, each)
                session.run("INSERT INTO bare (number, value) VALUES (:n, :value)", n=number, value=each.value)


def bare(database: Database, who: str) -> None:
    """Take the dearest row."""
    with database.transaction() as session:
        ((number,),) = session.all(
            f"SELECT number FROM bare WHERE who IS NULL ORDER BY value DESC LIMIT 1{database.lock}"  # noqa: S608
        )
        session.run("UPDATE bare SET who = :who WHERE number = :n", who=who, n=number)


def took(work: Callable[[], Any]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(name: str, address: str) -> bool:
    """Print a line a contender; is the claim within its limit?"""
    database = connect(address)
    filled(database)
    queue = ReviewQueue(database)
    found: dict[str, list[float]] = {"claim": [], "bare": []}
    for number in range(ROUNDS):
        found["claim"].append(took(lambda number=number: queue.claim(f"p{number}")))  # type: ignore[misc]
        found["bare"].append(took(lambda number=number: bare(database, f"p{number}")))  # type: ignore[misc]
    database.close()
    for what, seconds in found.items():
        p99 = statistics.quantiles(seconds, n=100)[98]
        sys.stdout.write(
            f"{name:<10} {what:<6} median {1000 * statistics.median(seconds):6.2f} ms, p99 {1000 * p99:6.2f} ms\n"
        )
    return statistics.quantiles(found["claim"], n=100)[98] <= LIMIT


def main() -> int:
    """Both databases; PostgreSQL where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        within = measured("SQLite", f"sqlite:///{Path(folder) / 'reviews.db'}")
    if why := missing():
        sys.stdout.write(f"PostgreSQL: {why}\n")
    else:
        with postgres(durable=True) as server:
            within &= measured("PostgreSQL", created(server, "reviews"))
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
