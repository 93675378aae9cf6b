"""A cron of 6 fields, read: when it fires, how often, and how long it may be quiet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

from hallmark.section import Cron

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIRST, _SPAN = date(2024, 1, 1), 10_227
"""28 years, after which days of the week and of the month meet as before."""


class Schedule:
    """Seconds, minutes, hours, day of month, month, day of week; UTC, as Kubeflow reads it.

    Where both days are restricted either will do, which is cron's own rule.
    """

    def __init__(self, cron: Cron) -> None:
        self.cron = cron
        seconds, minutes, hours, days, months, weekdays = cron.split()
        self._seconds = sorted(_values(seconds, range(60)))
        self._minutes = sorted(_values(minutes, range(60)))
        self._hours = sorted(_values(hours, range(24)))
        self._days = _values(days, range(1, 32))
        self._months = _values(months, range(1, 13), _MONTHS)
        self._weekdays = {value % 7 for value in _values(weekdays, range(8), _DAYS)}
        self._either = days not in ("*", "?") and weekdays not in ("*", "?")

    def names(self, day: date) -> bool:
        """Does it fire on this day?"""
        by_month, by_week = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        return day.month in self._months and (by_month or by_week if self._either else by_month and by_week)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times at which it fires after `moment`, in order; none more where it names no day of 28 years."""
        start = moment.astimezone(UTC)
        for at in range(_SPAN + 1):
            day = start.date() + timedelta(days=at)
            if self.names(day):
                times = (
                    datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
                    for hour in self._hours
                    for minute in self._minutes
                    for second in self._seconds
                )
                yield from (time for time in times if time > start)

    @property
    def a_month(self) -> float:
        """Times it fires in a month of 365/12 days, on average."""
        a_day = len(self._seconds) * len(self._minutes) * len(self._hours)
        return a_day * len(_named(self.cron)) / _SPAN * 365 / 12

    @property
    def longest_gap(self) -> timedelta:
        """The most whole days between two that it names, one at least: 1d daily, 7d weekly, 31d monthly."""
        return timedelta(days=max((later - sooner for sooner, later in pairwise(_named(self.cron))), default=_SPAN))


@cache
def _named(cron: Cron) -> tuple[int, ...]:
    schedule = Schedule(cron)
    return tuple(at for at in range(_SPAN) if schedule.names(_FIRST + timedelta(days=at)))


def _values(field: str, every: range, words: tuple[str, ...] = ()) -> set[int]:
    """The numbers that a field such as *, 5, 1-5, */2 or MON-FRI,SUN names."""
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        low, _, high = body.partition("-")
        if body in ("*", "?"):
            chosen = every
        else:
            first = _number(low, every, words)
            last = _number(high, every, words) if high else (every[-1] if step else first)
            chosen = range(first, last + 1)
        found |= set(chosen[:: int(step or 1)])
    return found


def _number(text: str, every: range, words: tuple[str, ...]) -> int:
    upper = text.upper()[:3]
    return words.index(upper) + every[0] if upper in words else int(text)
