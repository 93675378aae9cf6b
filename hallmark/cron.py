"""Times of a schedule: cron of six fields, seconds first, in UTC, as Kubeflow's scheduler reads it (robfig/cron, version 1)."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache

from hallmark.errors import DeclarationError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_FIRST, _SPAN = date(2024, 1, 1), 10_227
"""28 years in days, after which days of the week and of the month meet as before."""
_YEARS = 5
"""Whoever is not due within them is never due, such as on the 30th of February."""


def upcoming(schedule: str, after: datetime) -> Iterator[datetime]:
    """The times at which it is due, the first one later than `after`; none where it never is."""
    seconds, minutes, hours, *_ = parsed(schedule)
    after, due_on = after.astimezone(UTC), _calendar(schedule)
    for offset in range(_YEARS * 366):
        day = after.date() + timedelta(days=offset)
        if not due_on(day):
            continue
        for hour, minute, second in itertools.product(sorted(hours), sorted(minutes), sorted(seconds)):
            due = datetime.combine(day, time(hour, minute, second), tzinfo=UTC)
            if due > after:
                yield due


def due(schedule: str, after: datetime) -> datetime | None:
    """The first time later than `after`; none where it never is."""
    return next(upcoming(schedule, after), None)


def latest(schedule: str, after: datetime, until: datetime) -> datetime | None:
    """The last time later than `after` and no later than `until`; none where it was not due between them."""
    for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=_YEARS * 366)):
        start = max(after, until - back)
        *_, found = None, *itertools.takewhile(lambda due: due <= until, upcoming(schedule, start))
        if found is not None or start == after:
            return found
    return None


def times_a_month(schedule: str) -> float:
    """Average number of runs in a month of 365/12 days, over 28 years."""
    seconds, minutes, hours, *_ = parsed(schedule)
    return len(seconds) * len(minutes) * len(hours) * len(_days(schedule)) / _SPAN * 365 / 12


def longest_gap(schedule: str) -> timedelta:
    """The most days between two that it names, one at least: 1d daily, 7d weekly, 31d monthly."""
    gaps = [later - sooner for sooner, later in itertools.pairwise(_days(schedule))]
    return timedelta(days=max(gaps, default=_SPAN))


@cache
def _days(schedule: str) -> tuple[int, ...]:
    due_on = _calendar(schedule)
    first = _FIRST.toordinal()
    return tuple(at for at in range(_SPAN) if due_on(date.fromordinal(first + at)))


def _calendar(schedule: str) -> Callable[[date], bool]:
    """Says of a day whether it is due on it. Where both days are given either will do, which is cron's own rule."""
    *_, days, months, weekdays = parsed(schedule)
    _, _, _, on_day, _, on_weekday = schedule.split()
    meet = operator.and_ if _open(on_day) or _open(on_weekday) else operator.or_
    return lambda day: day.month in months and meet(day.day in days, day.isoweekday() % 7 in weekdays)


def parsed(schedule: str) -> list[set[int]]:
    """The values of each field, seconds first; `DeclarationError` names what is none."""
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        raise _wrong(schedule, f"{len(parts)} fields", "six fields, seconds first (Kubeflow's form)")
    return [
        set().union(*(_range(schedule, part, *field) for part in text.split(",")))
        for text, field in zip(parts, _FIELDS, strict=True)
    ]


def _range(schedule: str, text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> set[int]:
    """The values of one part, such as 5, 1-5, */15, MON-FRI or 10/20 (from 10 on)."""
    span, slash, step = text.partition("/")
    first, dash, last = span.partition("-")
    if span in ("*", "?"):
        start, end = low, high
    else:
        start = _value(schedule, first, name, low, words)
        end = _value(schedule, last, name, low, words) if dash else high if slash else start
    if not low <= start <= end <= high or (slash and not (step.isdigit() and int(step))):
        raise _wrong(schedule, f"{text} as {name}", f"{low} to {high}, in order")
    return set(range(start, end + 1, int(step) if slash else 1))


def _value(schedule: str, text: str, name: str, low: int, words: tuple[str, ...]) -> int:
    if text.upper() in words:
        return words.index(text.upper()) + low
    if text.isdigit():
        return int(text)
    raise _wrong(schedule, f"{text or 'nothing'} as {name}", "a number" + (f" or {', '.join(words)}" if words else ""))


def _open(text: str) -> bool:
    return any(part.partition("/")[0] in ("*", "?") for part in text.split(","))


def _wrong(schedule: str, got: str, expected: str) -> DeclarationError:
    return DeclarationError(
        f"{schedule!r} is no schedule", expected=expected, got=got, fix="mend training.schedule in domain.yaml"
    )
