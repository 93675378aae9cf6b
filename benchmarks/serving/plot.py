"""The plot: one panel per work, one bar per contender, requests a second on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.serving.report import Figure, Report
from benchmarks.serving.trials import FLOOD, OVERLOAD
from benchmarks.serving.works import STEADY

_OURS, _STOCK, _BOUND, _OTHERS = "#0b7285", "#c92a2a", "#868e96", "#ced4da"
_LEAST = 2
_AT_A_RATE = (STEADY, OVERLOAD, FLOOD)
"""Where the rate was the load generator's choice, or had a deadline."""


def draw(report: Report, path: Path) -> None:
    """Write it; the first work, with everyone in it, to the left and the others to the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    works = list(dict.fromkeys(each.work for each in report.figures if "rate" in each.values))
    groups = [(work, [each for each in report.figures if each.work == work]) for work in works]
    groups = [(work, group) for work, group in groups if len(group) >= _LEAST and work not in _AT_A_RATE]
    if not groups:
        return
    left, right = groups[:1], groups[1:]
    figure = pyplot.figure(figsize=(13, 6.6), layout="constrained")
    columns = figure.add_gridspec(1, 2 if right else 1)
    for at, part in enumerate(each for each in (left, right) if each):
        grid = columns[at].subgridspec(len(part), 1, height_ratios=[len(group) + 0.8 for _, group in part])
        span = max(max(_medians(group)) / min(_medians(group)) for _, group in part)
        for row, (work, group) in enumerate(part):
            _panel(figure.add_subplot(grid[row]), work, group, span)
    machine = report.machine
    figure.suptitle(
        f"Requests a second, higher is better (log scale; median of {report.rounds} rounds, line: lowest to highest, ×: of stock)\n"
        f"{machine.cores} cores of {machine.cpu}, load generator on the same cores, {machine.date}",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(axes: Any, work: str, group: list[Figure], span: float) -> None:
    """Bars that are as much longer as they are faster, by the same measure in every panel of a column."""
    from matplotlib import ticker

    group = sorted(group, key=lambda each: each.median("rate"))
    stock = next((each.median("rate") for each in group if each.contender.startswith("stock")), 0.0)
    for at, each in enumerate(group):
        middle, values = each.median("rate"), each.values["rate"]
        axes.barh(at, middle, color=_colour(each.contender), height=0.72)
        axes.plot([min(values), max(values)], [at, at], color="black", linewidth=1.2, solid_capstyle="butt")
        ratio = f"   {middle / stock:.2g} ×" if stock and middle != stock else ""
        axes.text(max(values) * 1.06, at, f"{middle:,.0f}{ratio}", va="center", fontsize=8)
    axes.set_yticks(range(len(group)), [each.contender for each in group], fontsize=8)
    least = min(_medians(group)) / 2
    axes.set_xscale("log")
    axes.set_xlim(least, least * 2 * span * 3.5)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_title(work, fontsize=9, loc="left", fontweight="bold")
    axes.tick_params(axis="x", which="both", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _medians(group: list[Figure]) -> list[float]:
    return [max(each.median("rate"), 0.5) for each in group]


def _colour(contender: str) -> str:
    for start, colour in (("hallmark", _OURS), ("stock", _STOCK), ("no server", _BOUND)):
        if contender.startswith(start):
            return colour
    return _OTHERS
