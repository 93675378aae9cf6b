"""When a schedule is due, against hand-computed times and against asking every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hallmark import cron
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.settings import Settings

AFTER = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday
ROOT = Path(__file__).parents[2]


def due(schedule: str, count: int = 3) -> list[str]:
    return [f"{when:%m-%d %H:%M:%S}" for when in islice(cron.upcoming(schedule, AFTER), count)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 0 3 * * *", ["11-22 03:00:00", "11-23 03:00:00", "11-24 03:00:00"]),
        ("0 0 12 * * *", ["11-22 12:00:00", "11-23 12:00:00", "11-24 12:00:00"]),  # later than, not at
        ("30 59 23 * * ?", ["11-21 23:59:30", "11-22 23:59:30", "11-23 23:59:30"]),
        ("0 0 4 * * SUN", ["11-22 04:00:00", "11-29 04:00:00", "12-06 04:00:00"]),
        ("0 0 5 * * mon-wed", ["11-23 05:00:00", "11-24 05:00:00", "11-25 05:00:00"]),
        ("*/20 0 12 21 11 *", ["11-21 12:00:20", "11-21 12:00:40", "11-21 12:00:00"]),
        ("0 10/25 14 * * *", ["11-21 14:10:00", "11-21 14:35:00", "11-22 14:10:00"]),
        ("0 0 0 13 * FRI", ["11-27 00:00:00", "12-04 00:00:00", "12-11 00:00:00"]),  # either, where both are given
        ("0 0 0 31 JAN,MAR *", ["01-31 00:00:00", "03-31 00:00:00", "01-31 00:00:00"]),
        ("0 0 0 29 2 *", ["02-29 00:00:00"]),  # 2028
        ("0 0 0 30 2 *", []),
    ],
)
def test_the_next_times(schedule: str, expected: list[str]) -> None:
    assert due(schedule, len(expected) or 1) == expected


@pytest.mark.parametrize(
    "schedule",
    ["0 0 3 * *", "0 0 24 * * *", "0 0 3 * * 7", "0 0 3 * * XYZ", "0 5-1 3 * * *", "0 */0 3 * * *", "0 , 3 * * *", ""],
)
def test_what_is_no_schedule_is_told(schedule: str) -> None:
    with pytest.raises(DeclarationError, match="is no schedule"):
        cron.due(schedule, AFTER)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (datetime(2026, 3, 29, 1, 30), "2026-03-29T02:30:00+00:00"),
        (datetime(2026, 10, 25, 2, 15), "2026-10-25T02:30:00+00:00"),
        (datetime(2026, 10, 25, 2, 15, fold=1), "2026-10-25T02:30:00+00:00"),
    ],
)
def test_the_hour_that_a_clock_skips_or_repeats_moves_no_run(after: datetime, expected: str) -> None:
    """Rundeck #6879, asked in Berlin: at 2:30 local time there is none in March, and two in October."""
    first, second = islice(cron.upcoming("0 30 2 * * *", after.replace(tzinfo=ZoneInfo("Europe/Berlin"))), 2)
    assert first.isoformat() == expected and second - first == timedelta(days=1)


@pytest.mark.parametrize(
    ("schedule", "until", "expected"),
    [
        ("0 0 3 * * *", "2026-10-05T02:59:59", "2026-10-04T03:00:00"),
        ("0 0 3 * * *", "2026-10-05T03:00:00", "2026-10-05T03:00:00"),
        ("0 0 3 1 * *", "2027-03-20T00:00:00", "2027-03-01T03:00:00"),
        ("* * * * * *", "2028-10-05T12:00:00", "2028-10-05T12:00:00"),
        ("0 0 3 * * *", "2026-10-01T14:00:00", None),
    ],
)
def test_the_last_time_that_it_was_due(schedule: str, until: str, expected: str | None) -> None:
    after = datetime(2026, 10, 1, 12, tzinfo=UTC)
    found = cron.latest(schedule, after, datetime.fromisoformat(until).replace(tzinfo=UTC))
    assert found == (datetime.fromisoformat(expected).replace(tzinfo=UTC) if expected else None)


@pytest.mark.parametrize("name", domains.names(Settings.load({"HALLMARK_ROOT": str(ROOT)})))
def test_every_declared_schedule_is_due_when_asking_each_minute_says_so(name: str) -> None:
    schedule = domains.load(name, Settings.load({"HALLMARK_ROOT": str(ROOT)})).training.schedule
    second, minute, hour, day, month, weekday = schedule.split()
    assert (second, day, month) == ("0", "*", "*")
    days = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
    wanted = [
        when
        for when in (AFTER + timedelta(minutes=n) for n in range(1, 15 * 24 * 60))
        if (str(when.minute), str(when.hour)) == (minute, hour)
        and weekday in ("*", days[(when.weekday() + 1) % 7], str((when.weekday() + 1) % 7))
    ]
    assert list(islice(cron.upcoming(schedule, AFTER), len(wanted))) == wanted


@pytest.mark.parametrize(
    ("schedule", "days"),
    [
        ("0 0 3 * * *", 1),
        ("0 30 2 ? * ?", 1),
        ("0 0 4 * * SUN", 7),
        ("0 0 4 * * MON-FRI", 3),
        ("0 0 4 * * MON,THU", 4),
        ("0 0 4 1 * *", 31),
        ("0 0 4 1,15 * *", 17),
        ("0 0 4 */10 * *", 10),
        ("0 0 4 1 JAN *", 366),
        ("0 0 4 1 1-12/3 *", 92),
        ("0 0 4 1 * SUN", 7),
    ],
)
def test_the_longest_quiet_time_of_a_schedule(schedule: str, days: int) -> None:
    assert cron.longest_gap(schedule) == timedelta(days=days)


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("0 0 3 * * *", 365 / 12),
        ("0 0 3 * * SUN", 365 / 84),
        ("0 0 3 * * MON-FRI", 5 * 365 / 84),
        ("0 0 */6 * * ?", 4 * 365 / 12),
        ("0 0 3 1 * ?", 12 / 365.25 * 365 / 12),
        ("15,45 0 3 * * *", 2 * 365 / 12),
    ],
)
def test_how_often_it_is_due_in_a_month(schedule: str, times: float) -> None:
    assert cron.times_a_month(schedule) == pytest.approx(times)
