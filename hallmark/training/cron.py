"""When a schedule is due: cron of six fields, seconds first, in UTC, as Kubeflow's scheduler reads it (robfig/cron, version 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

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
_YEARS = 5
"""Whoever is not due within them is never due, such as on the 30th of February."""


def upcoming(schedule: str, after: datetime) -> Iterator[datetime]:
    """The times at which it is due, the first one later than `after`; none where it never is."""
    seconds, minutes, hours, days, months, weekdays = _parsed(schedule)
    _, _, _, on_day, _, on_weekday = schedule.split()
    either = not _open(on_day) and not _open(on_weekday)
    after = after.astimezone(UTC)
    first = after.date()
    for offset in range(_YEARS * 366):
        day = first + timedelta(days=offset)
        fits = [day.day in days, (day.weekday() + 1) % 7 in weekdays]
        if day.month not in months or not (any(fits) if either else all(fits)):
            continue
        for hour, minute, second in itertools.product(sorted(hours), sorted(minutes), sorted(seconds)):
            due = datetime.combine(day, time(hour, minute, second), tzinfo=UTC)
            if due > after:
                yield due


def due(schedule: str, after: datetime) -> datetime | None:
    """The first time later than `after`; none where it never is."""
    return next(upcoming(schedule, after), None)


def _parsed(schedule: str) -> list[set[int]]:
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        raise _wrong(schedule, f"{len(parts)} fields", "six fields, seconds first")
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


def _wrong(schedule: str, came: str, expected: str) -> DeclarationError:
    return DeclarationError(
        f"{schedule!r} is no schedule", expected=expected, came=came, do="mend training.schedule in domain.yaml"
    )
