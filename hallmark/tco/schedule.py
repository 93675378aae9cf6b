"""How often a cron of 6 fields fires in a month of 730 hours."""

from __future__ import annotations

from hallmark.section import Cron

_DAYS = {name: at for at, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_MONTHS = {
    name: at + 1
    for at, name in enumerate(("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"))
}
_MONTH = 365 / 12


def runs_a_month(cron: Cron) -> float:
    """Times a month, on average: seconds, minutes, hours, day of month, month, day of week."""
    seconds, minutes, hours, day, month, weekday = cron.upper().split()
    a_day = len(_values(seconds, 0, 59)) * len(_values(minutes, 0, 59)) * len(_values(hours, 0, 23))
    months = len(_values(month, 1, 12, _MONTHS)) / 12
    by_month = len(_values(day, 1, 31)) / 31
    by_week = len({at % 7 for at in _values(weekday, 0, 7, _DAYS)}) / 7
    either = day not in "*?" and weekday not in "*?"
    # With both given, cron fires on either.
    share = by_month + by_week - by_month * by_week if either else by_month * by_week
    return a_day * share * months * _MONTH


def _values(field: str, low: int, high: int, words: dict[str, int] | None = None) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first in "*?":
            start, end = low, high
        else:
            start = _number(first, words)
            end = _number(last, words) if last else (high if step else start)
        found |= set(range(start, end + 1, int(step or 1)))
    return found


def _number(text: str, words: dict[str, int] | None) -> int:
    return (words or {})[text] if text.isalpha() else int(text)
