"""An evaluation to look at: one self-contained HTML page, or a PNG."""

from __future__ import annotations

import base64
import io
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from hallmark.tasks.charts import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hallmark.artifacts.evaluation import Evaluation
    from hallmark.tasks.bootstrap import Estimate
    from hallmark.tasks.charts import Chart

_INK, _LINE, _SOFT = "#1f2933", "#0b6e6e", "#c9d3d8"
_OTHERS = ("#c2571a", "#4a6fa5", "#8a6d3b", "#7b4b94")
_TITLE = 46
"""Characters of a chart's title that one line holds."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:1040px;margin:2rem auto;padding:0 1rem}
img{max-width:100%} table{border-collapse:collapse;margin:1rem 0} td,th{padding:.25rem .9rem;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums} tr{border-bottom:1px solid #e4e9ec}
.bar{display:inline-block;height:.7em;background:#0b6e6e} small{color:#616e7c}
"""


def png(evaluation: Evaluation, *, title: str) -> bytes:
    """The evaluation's charts side by side, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    FigureCanvasAgg(drawn(evaluation, title=title)).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def drawn(evaluation: Evaluation, *, title: str) -> Figure:
    """The same as a figure."""
    from matplotlib.figure import Figure

    charts = evaluation.charts
    tables = [chart for chart in charts if isinstance(chart, Confusion)]
    side = max([4.6, *(2.5 + 0.42 * len(table.labels) for table in tables)])
    figure = Figure(figsize=(max(1, len(charts)) * (side + 0.4), side), layout="constrained")
    for axes, chart in zip(figure.subplots(1, max(1, len(charts)), squeeze=False)[0], charts, strict=False):
        if isinstance(chart, Confusion):
            _confusion(axes, chart)
        else:
            _chart(axes, chart, evaluation.metrics)
    figure.suptitle(title, color=_INK, fontsize=12)
    return figure


def html(evaluation: Evaluation, *, title: str) -> str:
    """The same with the tables of metrics and slices, as a page that needs nothing else."""
    picture = base64.b64encode(png(evaluation, title=title)).decode()
    metrics = "".join(
        _row(name, f"{value:.4f}" + (f" ± {evaluation.errors[name]:.4f}" if name in evaluation.errors else ""))
        for name, value in evaluation.metrics.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{evaluation.rows:,} test examples <small>{evaluation.test}</small></p>"
        f'<img alt="charts of {escape(title)}" src="data:image/png;base64,{picture}">'
        f'<h2>Metrics</h2><table><tr><th>metric<th class="n">value ± standard error</tr>{metrics}</table>'
        f"{_beside(evaluation)}{_slices(evaluation)}</html>\n"
    )


def _row(name: str, value: str) -> str:
    return f'<tr><td>{escape(name)}<td class="n">{value}</tr>'


def _beside(evaluation: Evaluation) -> str:
    """The same figures of other answers, and of each by slice."""
    if not evaluation.beside:
        return ""
    names = list(evaluation.beside[0].metrics)
    rows = [("model", evaluation.metrics), *((each.name, each.metrics) for each in evaluation.beside)]
    head = "".join(f'<th class="n">{escape(name)}' for name in names)
    body = "".join(
        f"<tr><td>{escape(who)}" + "".join(f'<td class="n">{metrics[name]:.4f}' for name in names) + "</tr>"
        for who, metrics in rows
    )
    parts = [("model", evaluation.slices), *((each.name, each.slices) for each in evaluation.beside)]
    places = [(part.column, part.value) for part in evaluation.slices]
    by_slice = "".join(
        f"<tr><td>{escape(who)}"
        + "".join(
            f'<td class="n">{"—" if value is None else f"{value:.4f}"}'
            for value in ({(each.column, each.value): each.metric for each in slices}.get(place) for place in places)
        )
        + "</tr>"
        for who, slices in parts
    )
    over = "".join(f'<th class="n">{escape(column)}<br>{escape(value)}' for column, value in places)
    return (
        f"<h2>Beside others</h2><table><tr><th>whose answers{head}</tr>{body}</table>"
        f"<table><tr><th>{escape(evaluation.metric)}{over}</tr>{by_slice}</table>"
    )


def _told(given: Estimate | None) -> str:
    if given is None:
        return "—"
    return f"{given.value:.4f}" + ("" if given.error is None else f" ± {given.error:.4f}")


def _slices(evaluation: Evaluation) -> str:
    if not evaluation.slices:
        return ""
    rows = []
    more = list(dict.fromkeys(name for part in evaluation.slices for name in part.others))
    most = max([1.0, *(part.metric for part in evaluation.slices if part.metric is not None)])
    for part in evaluation.slices:
        value = "—" if part.metric is None else f"{part.metric:.4f}"
        width = 0 if part.metric is None else round(120 * max(0.0, part.metric) / most)
        rows.append(
            f'<tr><td>{escape(part.column)}<td>{escape(part.value)}<td class="n">{part.rows:,}<td class="n">{value}'
            f'<td><span class="bar" style="width:{width}px"></span>'
            + "".join(f'<td class="n">{_told(part.others.get(name))}' for name in more)
            + "</tr>"
        )
    head = f'<tr><th>column<th>value<th class="n">rows<th class="n">{escape(evaluation.metric)}<th>'
    head += "".join(f'<th class="n">{escape(name)}' for name in more) + "</tr>"
    return f"<h2>By slice</h2><table>{head}{''.join(rows)}</table>"


def _chart(axes: Any, chart: Chart, metrics: dict[str, float]) -> None:
    for number, line in enumerate(chart.lines):
        x, y = [point.x for point in line.points], [point.y for point in line.points]
        colour = _LINE if not number else _OTHERS[(number - 1) % len(_OTHERS)]
        axes.plot(
            x, y, color=colour, linewidth=1.8, drawstyle="steps-pre" if chart.steps else "default", label=line.name
        )
    if chart.diagonal:
        ends = [
            min(p.x for line in chart.lines for p in line.points),
            max(p.x for line in chart.lines for p in line.points),
        ]
        axes.plot(ends, ends, color=_SOFT, linestyle="--", linewidth=1)
    if chart.baseline is not None:
        axes.axhline(chart.baseline, color=_SOFT, linestyle="--", linewidth=1)
        axes.annotate(
            f"by chance {chart.baseline:.1%}", (0.98, chart.baseline), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8, color="#616e7c",
        )  # fmt: skip
    if len(chart.lines) > 1:
        axes.legend(frameon=False, fontsize=8)
    value = metrics.get(chart.metric)
    told = f"\n{chart.metric} {value:.3f}" if value is not None else ""
    axes.set_title(textwrap.fill(chart.title, _TITLE) + told, fontsize=10)
    axes.set(xlabel=chart.across, ylabel=chart.up)
    axes.grid(color=_SOFT, linewidth=0.5, alpha=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _confusion(axes: Any, confusion: Confusion) -> None:
    counts = np.array(confusion.counts, dtype=np.float64)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    axes.imshow(shares, cmap="BuGn", vmin=0, vmax=1)
    ticks = range(len(confusion.labels))
    axes.set_xticks(ticks, confusion.labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [f"{name} ({int(n)})" for name, n in zip(confusion.labels, rows[:, 0], strict=True)])
    axes.set(xlabel="the model says", ylabel="it is (examples)")
    axes.tick_params(length=0)
    for i, j in np.argwhere(counts > 0):
        colour = "white" if shares[i, j] > 0.55 else _INK
        axes.text(j, i, f"{shares[i, j]:.0%}".removesuffix("%"), ha="center", va="center", fontsize=7, color=colour)
    axes.set_title("per cent of each class", fontsize=10)
