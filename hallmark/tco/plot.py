"""Cost against requests a second, a panel a domain, on log scales."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from hallmark.declaration.domain import Domain
from hallmark.tco.comparison import Comparison, Inputs, bills

_COLOURS = {"in house": "#1b7f5c", "real-time": "#c2571a", "serverless": "#6a4fb3", "batch": "#8a8a8a"}
_TITLE = 10
"""Characters of the title in an inch."""
_COLUMNS = 3
_POINTS = 121


def draw(domains: Sequence[Domain], compared: Sequence[Comparison], inputs: Inputs, path: Path) -> None:
    """Write a PNG: each way's USD a month over four decades of traffic around the declared one, which a line marks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    rows = -(-len(domains) // _COLUMNS)
    columns = min(_COLUMNS, len(domains))
    figure = Figure(figsize=(5.0 * columns, 3.6 * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, domain, found in zip(axes, domains, compared, strict=False):
        mean = domain.serving.traffic.mean
        factors = [10 ** (4 * at / (_POINTS - 1) - 2) for at in range(_POINTS)]
        all_bills = [bills(domain, inputs, factor=factor) for factor in factors]
        for at, way in enumerate(_COLOURS):
            style = ":" if not all_bills[0][at].ready and way != "in house" else "-"
            costs = [each[at].total for each in all_bills]
            axis.plot([mean * f for f in factors], costs, style, color=_COLOURS[way], label=way, linewidth=1.6)
        axis.axvline(mean, color="#333333", linewidth=0.8)
        axis.annotate("declared", (mean, 0.02), xycoords=("data", "axes fraction"), fontsize=8, rotation=90, ha="right")
        if found.break_even and factors[0] * mean <= found.break_even <= factors[-1] * mean:
            axis.axvline(found.break_even, color=_COLOURS["in house"], linewidth=0.8, linestyle="--")
        axis.set(xscale="log", yscale="log", title=f"{domain.name}: {found.cheapest}", xlabel="requests/s, mean")
        axis.set_ylabel("USD a month")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.yaxis.set_minor_formatter("")
        axis.grid(visible=True, which="major", linewidth=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(domains) :]:
        axis.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    title = (
        f"Cost a month by traffic, {inputs.prices.region}, list prices of {inputs.prices.recorded}"
        " (dotted: does not keep the domain's latency objective; dashed: in house from here on)"
    )
    figure.suptitle(textwrap.fill(title, int(_TITLE * figure.get_figwidth())))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": "hallmark tco"})
