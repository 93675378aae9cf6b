"""How often a schedule of training comes round: the longest it may be quiet."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIRST = date(2024, 1, 1)
_SPAN = 1461


def longest_gap(cron: str) -> timedelta:
    """The most days between two that a cron of 6 fields (seconds first) names, one at least: 1d daily, 7d weekly, 31d monthly."""
    _, _, _, days, months, weekdays = cron.split()
    in_month = _values(days, range(1, 32), ())
    in_year = _values(months, range(1, 13), _MONTHS)
    in_week = {value % 7 for value in _values(weekdays, range(7), _DAYS)}
    # Where both are restricted, either will do: cron's own rule.
    either = days not in ("*", "?") and weekdays not in ("*", "?")
    found = []
    for at in range(_SPAN):
        day = _FIRST + timedelta(days=at)
        by_month, by_week = day.day in in_month, (day.weekday() + 1) % 7 in in_week
        if day.month in in_year and (by_month or by_week if either else by_month and by_week):
            found.append(at)
    gaps = [after - before for before, after in pairwise(found)]
    return timedelta(days=max(gaps, default=_SPAN))


def _values(field: str, every: range, names: tuple[str, ...]) -> set[int]:
    """The numbers that a field such as *, 5, 1-5, */2 or MON-FRI,SUN names."""
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        low, _, high = body.partition("-")
        if body in ("*", "?"):
            chosen = every
        else:
            first = _number(low, every, names)
            last = _number(high, every, names) if high else (every[-1] if step else first)
            chosen = range(first, last + 1)
        found |= set(chosen[:: int(step or 1)])
    return found


def _number(text: str, every: range, names: tuple[str, ...]) -> int:
    upper = text.upper()[:3]
    return names.index(upper) + every[0] if upper in names else int(text)
