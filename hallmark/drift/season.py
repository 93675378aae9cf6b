"""References by part of the year: what last year's traffic looked like in the weeks that are coming."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import Field

from hallmark.section import Frozen

SLACK = timedelta(days=10)
"""A season comes this much earlier or later than last year."""
DAYS = r"^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"


class Season(Frozen):
    """One part of the year, as `rows` of its traffic fell into the bins of the profile's columns.

    first, last: month and day, both inside; a part that goes over New Year has its first after its last.
    counts:      for each column of the profile, in that order, what `Column.counts` is; so a season is some 2 KB.
    """

    first: str = Field(pattern=DAYS)
    last: str = Field(pattern=DAYS)
    rows: int = Field(ge=1)
    counts: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """Such as `09-01 to 09-30`."""
        return f"{self.first} to {self.last}"

    def holds(self, at: datetime) -> bool:
        """True if `at` (UTC) lies in this part of the year, give or take `SLACK`."""
        return any(self._holds(at + timedelta(days=days)) for days in range(-SLACK.days, SLACK.days + 1))

    def _holds(self, at: datetime) -> bool:
        day = at.astimezone(UTC).strftime("%m-%d")
        if self.first <= self.last:
            return self.first <= day <= self.last
        return day >= self.first or day <= self.last


def parts(
    start: datetime, end: datetime, *, longest: timedelta = timedelta(days=30)
) -> list[tuple[datetime, datetime]]:
    """The time from `start` until before `end` in even parts of at most `longest`."""
    count = max(1, -(-(end - start) // longest))
    each = (end - start) / count
    return [(start + at * each, start + (at + 1) * each) for at in range(count)]
