"""A variant's verdicts over time as one picture: each column's effect, the line where drift begins, and where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hallmark.errors import NotFound

_SHOWN = 6
_STATES = {"OK": "#e6f4ea", "DRIFT": "#fbd5d0", "INSUFFICIENT": "#f1f1f1"}
_LINES = ("#0b5394", "#b45f06", "#38761d", "#741b47", "#134f5c", "#7f6000")
_HIGHEST = 20.0


def draw(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, *, title: str) -> Path:
    """Write a PNG of `histories`, points of GET /history by variant; `NotFound` where there is none.

    One panel a variant. Lines are the six columns that came farthest, of one colour in all panels, as effect: psi or shift over its threshold, on a
    scale that keeps both a tenth and twenty readable. Red ground is DRIFT, grey INSUFFICIENT, green OK.
    """
    shown = {variant: sorted(points, key=lambda point: point["at"]) for variant, points in histories.items() if points}
    if not shown:
        raise NotFound(
            "there is no history to draw", expected="verdicts over time", got="none", fix="send requests first"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.8 + 3.4 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    named = dict(zip(_farthest([point for points in shown.values() for point in points]), _LINES * 9, strict=False))
    for panel, (variant, points) in zip(panels, shown.items(), strict=True):
        _panel(panel, variant, points, named)
    panels[-1].set_xlabel("time, UTC")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, format="png")
    return path


def _farthest(points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Columns by the largest effect that each ever had, the farthest first."""
    most: dict[str, float] = {}
    for point in points:
        for name, effect in point["effects"].items():
            most[name] = max(most.get(name, 0.0), float(effect))
    return dict(sorted(most.items(), key=lambda item: -item[1]))


def _panel(panel: Any, variant: str, points: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    times = [datetime.fromtimestamp(point["at"], UTC) for point in points]
    _ground(panel, times, [str(point["state"]) for point in points])
    most = _farthest(points)
    chosen = list(most)[:_SHOWN]
    for name in chosen:
        colour = colours[name]
        effects = [min(_HIGHEST, float(point["effects"].get(name, "nan"))) for point in points]
        panel.plot(times, effects, color=colour, linewidth=1.6, marker=".", markersize=4, label=name)
        drifted = [
            (at, effect) for at, effect, point in zip(times, effects, points, strict=True) if name in point["drifted"]
        ]
        if drifted:
            panel.scatter(*zip(*drifted, strict=True), color=colour, marker="D", s=26, zorder=3)
    panel.axhline(1.0, color="#b42318", linewidth=1.2, linestyle="--")
    panel.text(0.004, 1.06, "drift begins", color="#b42318", fontsize=8, transform=panel.get_yaxis_transform())
    panel.set_yscale("symlog", linthresh=1.0, linscale=1.2)
    panel.set_ylim(0, max(2.0, *(min(_HIGHEST, value) * 1.3 for value in most.values())) if most else 2.0)
    ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1, 2, 5, 10, 20) if tick <= panel.get_ylim()[1]]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.set_ylabel("effect over threshold")
    panel.set_title(f"{variant}: {points[-1]['state']}", loc="left", fontsize=11)
    locator = AutoDateLocator()
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panel.grid(axis="y", color="#ddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    if chosen:
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _ground(panel: Any, times: Sequence[datetime], states: Sequence[str]) -> None:
    """The state that held from each point to the next."""
    ends = [*times[1:], times[-1]]
    for first, last, state in zip(times, ends, states, strict=True):
        panel.axvspan(first, last, color=_STATES.get(state, "#fff"), linewidth=0, zorder=0)
