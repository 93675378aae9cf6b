"""A comparison as a sentence, and as one page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hallmark import page
from hallmark.settings import SYNTHETIC

if TYPE_CHECKING:
    from hallmark.registry.comparison import Comparison

_WIDEST = 12.0
"""Width of the longest bar of a page, in rem."""


def verdict(found: Comparison) -> str:
    """The comparison by the gate's metric, in a sentence; of synthetic and real data none is (decision 52)."""
    origin = next((each for each in found.data if each.what == "origin"), None)
    if origin is not None and not origin.same and SYNTHETIC in (origin.a, origin.b):
        return (
            f"{found.a.name} has learnt from {origin.a} and {found.b.name} from {origin.b}:"
            " made-up examples are no rival of real ones, and these figures do not tell which is better"
        )
    row = next(each for each in found.metrics if each.metric == found.metric)
    if row.difference is None:
        return f"{found.metric} is not known of both"
    shown = f"{found.metric} differs by {row.difference:+.4f}"
    if row.told is None:
        return f"{shown}; how far chance alone moves it is not known"
    shown += f" (standard error {row.error:.4f})"
    if not row.told:
        return f"{shown}: no more than chance makes"
    better = {"a": f"{found.a.name} is better", "b": f"{found.b.name} is better"}.get(
        row.better, "more than chance makes"
    )
    return f"{shown}: {better}" + ("" if found.paired else ", on other test examples")


def filled(found: Comparison) -> str:
    """The page as HTML."""
    most = max((abs(each) for row in found.importance for each in (row.a, row.b) if each), default=0.0)

    def width(value: float | None) -> str:
        return f"{_WIDEST * max(value or 0.0, 0.0) / most:.2f}" if most else "0"

    return page.filled("registry/comparison.html", filters={}, found=found, verdict=verdict(found), width=width)


def write(path: Path, found: Comparison) -> None:
    """Write the page; errors as of `page.write`."""
    page.write(path, filled(found))
