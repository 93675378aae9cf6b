"""Refusing 1,000,000 rows for a wrong time column against reading them, in CSV and in Parquet: a ratio, in CPU time of one process."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd

from domains.fraud import data
from domains.fraud.synthetic import orders
from hallmark.errors import ContractBroken

ROWS = 1_000_000
TARGET = 2.0
"""Times the CPU of reading that refusing may take."""


def main() -> None:
    """Print one line a form: CPU seconds to read, to refuse, and their ratio."""
    start = datetime(2026, 7, 1, tzinfo=UTC)
    drawn = orders(start, start + timedelta(days=66), seed=7)
    frame = pd.concat([drawn] * (ROWS // len(drawn) + 1), ignore_index=True).head(ROWS)
    wrong = frame.assign(ordered_at=frame["ordered_at"].dt.tz_localize(None))
    with tempfile.TemporaryDirectory() as folder:
        for form, write in (
            ("csv", lambda each, path: each.to_csv(path, index=False)),
            ("parquet", lambda each, path: each.to_parquet(path, index=False)),
        ):
            good, bad = Path(folder) / f"good.{form}", Path(folder) / f"bad.{form}"
            write(frame, good)
            write(wrong, bad)
            read = best(lambda good=good: data.read(good))
            refuse = best(lambda bad=bad: refused(bad))
            met = "met" if refuse <= TARGET * read else "MISSED"
            print(
                f"{form:<10}{ROWS:>10,} rows  read {read:>6.2f} s  refuse {refuse:>6.2f} s  {refuse / read:>5.2f} x  target {TARGET:g} x: {met}"
            )


def refused(path: Path) -> None:
    try:
        data.read(path)
    except ContractBroken:
        return
    raise AssertionError(f"{path.name} was read")


def best(work: Callable[[], Any]) -> float:
    """The least CPU seconds of three times."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
