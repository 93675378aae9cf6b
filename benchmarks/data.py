"""Speed of the synthetic marketplace: orders and photos a second, and the cost of a contract."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from domains.fraud.synthetic import orders
from domains.listing.synthetic import photos
from hallmark.data import contract, dataset
from hallmark.declaration import domain as domains
from hallmark.training import source

START = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = 66
TARGET = 5.0
"""Seconds that 100,000 orders may take."""


def main() -> None:
    """Print one line a measurement, the best of three."""
    orders(START, START + timedelta(days=1), seed=1)
    frame, seconds = best(lambda: orders(START, START + timedelta(days=DAYS), seed=7))
    say("orders", len(frame), seconds)
    hundred = seconds * 100_000 / len(frame)
    print(
        f"{'100,000 orders':<28}{hundred:>10.2f} s   target {TARGET:.0f} s: {'met' if hundred <= TARGET else 'MISSED'}"
    )
    span = {"start": START, "end": START + timedelta(days=DAYS)}
    frame, seconds = best(lambda: source.load("fraud", source=source.SYNTHETIC, seed=7, **span))
    say("orders with their features", len(frame), seconds)
    schema = domains.module("fraud", "data").contract()
    _, seconds = best(lambda: contract.check(schema, frame, "orders"))
    say("orders under contract", len(frame), seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.parquet"
        _, seconds = best(lambda: dataset.write(frame, path))
        say("orders written", len(frame), seconds)
        _, seconds = best(lambda: dataset.read(path))
        say("orders read", len(frame), seconds)
    drawn, seconds = best(lambda: photos(200, seed=7))
    say("photos", len(drawn), seconds)


def best(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `work`, and the shortest of three times it took."""
    seconds, made = [], None
    for _ in range(3):
        began = time.perf_counter()
        made = work()
        seconds.append(time.perf_counter() - began)
    return made, min(seconds)


def say(what: str, count: int, seconds: float) -> None:
    print(f"{what:<28}{seconds:>10.2f} s {count:>10,} rows {count / seconds:>12,.0f} a second")


if __name__ == "__main__":
    main()
