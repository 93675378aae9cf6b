"""A month's bill, line by line."""

from __future__ import annotations

from hallmark.section import Section


class BillLine(Section):
    """An item and what it costs a month."""

    item: str
    monthly: float
    how: str = ""


class Bill(Section):
    """One way to run a domain for a month; `reason` says why it cannot, where it cannot.

    ready: does it answer within the domain's latency objective?
    """

    way: str
    lines: tuple[BillLine, ...]
    ready: bool = True
    reason: str = ""

    @property
    def total(self) -> float:
        """Of all lines, a month."""
        return sum(line.monthly for line in self.lines)
