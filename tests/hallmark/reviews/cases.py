"""Cases to try, and a clock that a test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hallmark.reviews.case import Case

BEGAN = datetime(2026, 12, 1, 8, tzinfo=UTC)


class Clock:
    """Seconds of the epoch, from `BEGAN` on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return BEGAN.timestamp() + self.seconds

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds)


def case(id: str, *, price: float = 500.0, opened: datetime = BEGAN, hours: float = 24.0, **more: Any) -> Case:  # noqa: A002
    """A bag, by default of 500 EUR, that takes three minutes and is due in a day."""
    given = {"domain": "authentication", "item": f"item-{id}", "saved": 0.1 * price, "minutes": 3.0, **more}
    return Case(id=id, price=price, opened=opened, due=opened + timedelta(hours=hours), **given)
