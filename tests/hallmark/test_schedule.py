"""When a cron of 6 fields fires, against days counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from hallmark.schedule import Schedule


@pytest.mark.parametrize(
    ("cron", "runs", "gap"),
    [
        ("0 0 3 * * *", 365 / 12, 1),
        ("0 0 3 * * SUN", 365 / 84, 7),
        ("0 0 3 * * 0,7", 365 / 84, 7),
        ("0 0 3 * * MON-FRI", 5 * 365 / 84, 3),
        ("0 0 */6 * * ?", 4 * 365 / 12, 1),
        ("0 0 3 1 * ?", 12 / 365.25 * 365 / 12, 31),
        ("0 30 3 1 JAN,jul *", 2 / 365.25 * 365 / 12, 184),
        ("0 0 3 29 2 ?", 1 / 1461 * 365 / 12, 1461),
        ("15,45 0 3 * * *", 2 * 365 / 12, 1),
    ],
)
def test_how_often_and_how_long_quiet(cron: str, runs: float, gap: int) -> None:
    found = Schedule(cron)
    assert found.a_month == pytest.approx(runs, rel=0.002)
    assert found.longest_gap == timedelta(days=gap)


def test_the_next_times_come_in_order_and_after_the_moment() -> None:
    moment = datetime(2026, 11, 21, 3, 0, 0, tzinfo=UTC)  # a Saturday
    weekly = [time.isoformat() for time in islice(Schedule("0 0 4 * * SUN").after(moment), 2)]
    assert weekly == ["2026-11-22T04:00:00+00:00", "2026-11-29T04:00:00+00:00"]
    assert next(Schedule("0 0 3 * * *").after(moment)) == moment + timedelta(days=1)
    assert next(Schedule("1 0 3 * * *").after(moment)) == moment + timedelta(seconds=1)
    assert next(Schedule("0 0 0 13 * FRI").after(moment)).day == 27, "either day will do where both are named"
    assert list(Schedule("0 0 3 31 2 ?").after(moment)) == []
