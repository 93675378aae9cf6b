"""A timeline as one picture: share, failures, slow answers, scores and drift over the same hours, and what was decided when."""

from __future__ import annotations

import functools
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from html import escape
from typing import Any

from hallmark.rollout.timeline import Timeline, TimelineEntry, TimelinePoint, VariantState, merged

SIGNS = {
    "drift": ("D", "drift"),
    "guarantee": ("G", "promise broken"),
    "training": ("T", "training"),
    "candidate": ("C", "candidate registered"),
    "shadow": ("S", "shadow"),
    "canary": ("%", "share of traffic"),
    "hold": ("=", "hold"),
    "promote": ("P", "promoted"),
    "rollback": ("R", "rolled back"),
    "trouble": ("!", "trouble"),
    "labels": ("L", "labels"),
    "reset": ("0", "reset"),
    "pull": ("V", "version pulled"),
    "decision": ("U", "unit of a decision"),
}
"""A letter and a word for each kind of entry, so that nothing is told by colour alone."""
TRAFFIC_CHANGES = ("shadow", "canary", "promote", "rollback")
"""Entries that change the traffic; their lines run through all panels."""

_SLOTS, _LANES, _SIGNS = 160, 3, 40
_STABLE, _CANARY, _GOOD, _BAD, _NOTE = "#2558c9", "#b4470a", "#17703a", "#b3202c", "#7a5b00"
_INK, _FAINT, _RULE, _PAPER = "#1c2024", "#667077", "#e3e6e8", "#fefefe"
_NAMES = {_STABLE: "stable", _CANARY: "canary", _GOOD: "good", _BAD: "bad", _NOTE: "note"}
_NAMES |= {_INK: "ink", _FAINT: "faint", _RULE: "rule", _PAPER: "paper"}
"""The variables of the page's style, which have other values in the dark, for the colours that are drawn."""
_OF = {
    "canary": _CANARY,
    "shadow": _CANARY,
    "promote": _GOOD,
    "rollback": _BAD,
    "trouble": _BAD,
    "guarantee": _BAD,
    "drift": _NOTE,
}


@dataclass(frozen=True)
class ChartPanel:
    """One quantity of both variants; `floor` is the least that the axis goes up to."""

    title: str
    value: Callable[[VariantState], float | None]
    shown: str
    floor: float
    from_zero: bool = True

    def of(self, side: VariantState | None) -> float:
        """The quantity of one variant; NaN where it was not measured."""
        value = self.value(side) if side else None
        return math.nan if value is None else value


PANELS = (
    ChartPanel("Failed requests", lambda side: side.failed / side.requests if side.requests else None, ".2%", 0.01),
    ChartPanel(
        "Answers over the latency objective",
        lambda side: side.slow / side.requests if side.requests else None,
        ".1%",
        0.01,
    ),
    ChartPanel("Mean score", lambda side: side.score, ".3g", 0.02, from_zero=False),
    ChartPanel("Drift index of the farthest column (PSI)", lambda side: side.psi, ".2f", 0.25),
)


def slots(points: Sequence[TimelinePoint]) -> list[TimelinePoint]:
    """Neighbouring points together, so that a share is of more than a handful of requests."""
    whole = points[-1].at - points[0].at if points else timedelta()

    def place(point: TimelinePoint) -> tuple[int, int | None, int | None]:
        return int((point.at - points[0].at) / whole * _SLOTS) if whole else 0, point.percent, point.version

    return [functools.reduce(merged, each) for _, each in itertools.groupby(points, place)]


def svg(timeline: Timeline, *, zone: tzinfo = UTC) -> str:
    """The picture, as an SVG element in the variables of the page's style; empty where there is nothing to draw."""
    times = [point.at for point in timeline.points] + [entry.at for entry in timeline.entries]
    if not times:
        return ""
    import matplotlib
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    first, last = min(times), max(times)
    if last - first < timedelta(seconds=10):
        first, last = first - timedelta(seconds=5), last + timedelta(seconds=5)
    seen = slots(timeline.points)
    written = io.StringIO()
    # Text stays text, and the same timeline is the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hallmark", "lines.solid_capstyle": "round"}):
        figure = Figure(figsize=(13.3, 9.6), facecolor="none")
        figure.subplots_adjust(left=0.06, right=0.99, top=0.99, bottom=0.04, hspace=0.4)
        grid = figure.add_gridspec(len(PANELS) + 2)
        axes: Any = grid.subplots(sharex=True)
        signs, *panels = axes
        for axis, title in zip(panels, ["Candidate's share of traffic", *(each.title for each in PANELS)], strict=True):
            axis.set_title(title, loc="left", size=10, weight="bold", color=_INK)
            axis.grid(color=_RULE)
        for axis in (signs, *panels):
            axis.set(facecolor="none", xlim=(first, last))
            axis.tick_params(colors=_FAINT, length=0)
            axis.spines[:].set_visible(False)
        _decisions(timeline.entries, signs, panels, (last - first) / _SIGNS)
        gap = max(timedelta(minutes=1), 4 * (last - first) / _SLOTS)
        _share(seen, panels[0], gap)
        for panel, axis in zip(PANELS, panels[1:], strict=True):
            _panel(panel, seen, axis, gap)
        whole: Any = figure.add_subplot(grid[1:, :], xlim=(first, last), frame_on=False)
        whole.set_axis_off()
        for place, (before, slot) in enumerate(itertools.pairwise([*seen[:1], *seen])):
            left = max(before.at, slot.at - (last - first) / _SIGNS)
            whole.axvspan(left, slot.at, color=_FAINT, linewidth=0).set_gid(f"stretch-{place}")
        locator = AutoDateLocator(tz=zone, minticks=3, maxticks=9)
        panels[-1].xaxis.set(major_locator=locator, major_formatter=ConciseDateFormatter(locator, tz=zone))
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inlined(written.getvalue(), timeline, seen, zone)


def _inlined(text: str, timeline: Timeline, seen: Sequence[TimelinePoint], zone: tzinfo) -> str:
    """A whole SVG file as an element of a page: the page's colours, a name, and words where the pointer rests."""
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text[text.index("<svg") :]).replace("xlink:href", "href")
    text = re.sub("|".join(_NAMES), lambda found: f"var(--{_NAMES[found[0]]})", text)
    told = [escape(f"{clock(each.at, zone)} {SIGNS[each.kind][1]}: {each.told}") for each in timeline.entries]
    values = [escape("\n".join(_values(slot, zone))) for slot in seen]
    changes = [words for words, entry in zip(told, timeline.entries, strict=True) if entry.kind in TRAFFIC_CHANGES]
    head = '<title id="chart-title">Traffic, failures, latency, scores, drift and decisions over time</title>'
    head += f'<desc id="chart-text">{"; ".join(changes[-20:])}</desc>'

    def signed(found: re.Match[str]) -> str:
        words = told[int(found[1])]
        return f'<a href="#entry-{found[1]}" aria-label="{words}"><title>{words}</title>'

    text = re.sub(r'<a href="#entry-(\d+)"[^>]*>', signed, text)
    text = re.sub(r'<g id="stretch-(\d+)">', lambda found: f"{found[0]}<title>{values[int(found[1])]}</title>", text)
    text = re.sub("<svg ", '<svg role="img" aria-labelledby="chart-title chart-text" ', text, count=1)
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + head, text, count=1)


def _decisions(entries: Sequence[TimelineEntry], signs: Any, panels: Sequence[Any], room: timedelta) -> None:
    """A sign for each entry, in lanes so that neighbours do not hide each other; it leads to the entry below."""
    signs.set(ylim=(_LANES - 0.5, -0.5), yticks=[])
    free = [entry.at for entry in entries[:1]] * _LANES
    for place, entry in enumerate(entries):
        lane = min(range(_LANES), key=lambda at: max(free[at] - entry.at, timedelta()))
        free[lane] = entry.at + room
        colour = _OF.get(entry.kind, _FAINT)
        disc = {"boxstyle": "circle", "facecolor": colour, "edgecolor": "none", "url": f"#entry-{place}"}
        given = {"ha": "center", "va": "center", "weight": "bold", "color": _PAPER}
        signs.text(entry.at, lane, SIGNS[entry.kind][0], bbox=disc, **given)
        for axis in panels if entry.kind in TRAFFIC_CHANGES else ():
            axis.axvline(entry.at, color=colour, linewidth=1.2)


def _share(seen: Sequence[TimelinePoint], axis: Any, gap: timedelta) -> None:
    axis.set(ylim=(0, 104), yticks=[0, 50, 100], yticklabels=["0%", "50%", "100%"])
    at, value = _series(seen, [math.nan if slot.percent is None else slot.percent for slot in seen], gap)
    axis.step(at, value, where="post", color=_CANARY, linestyle="--", gid="line-canary-share")
    axis.fill_between(at, value, step="post", color=_CANARY, alpha=0.16, linewidth=0)
    version = None
    for slot in seen:
        now = slot.version if slot.percent is not None else None
        if now is not None and now != version:
            axis.text(slot.at, 96, f" version {now}", color=_CANARY, weight="bold", va="top")
        version = now


def _panel(panel: ChartPanel, seen: Sequence[TimelinePoint], axis: Any, gap: timedelta) -> None:
    sides = {"stable": [panel.of(slot.stable) for slot in seen], "canary": [panel.of(slot.canary) for slot in seen]}
    values = [value for side in sides.values() for value in side if not math.isnan(value)] or [0.0]
    low = 0.0 if panel.from_zero else min(values)
    room = max((max(values) - low) * 1.1, panel.floor)
    axis.set_ylim(low - (0 if panel.from_zero else room * 0.05), low + room)
    axis.locator_params(axis="y", nbins=3)
    axis.yaxis.set_major_formatter(lambda value, _: format(value, panel.shown))
    for name, colour, style in (("stable", _STABLE, "-"), ("canary", _CANARY, "--")):
        axis.plot(
            *_series(seen, sides[name], gap),
            color=colour,
            linestyle=style,
            linewidth=2,
            gid=f"line-{name}-{PANELS.index(panel)}",
        )
    if all(map(math.isnan, itertools.chain(*sides.values()))):
        axis.text(0.5, 0.5, "nothing was measured", transform=axis.transAxes, ha="center", va="center", color=_FAINT)


def _series(
    seen: Sequence[TimelinePoint], values: Sequence[float], gap: timedelta
) -> tuple[list[datetime], list[float]]:
    """Times and values with NaN where nothing is known, so that a line has a hole there; one value alone is a dot: a line of no length."""
    found: list[tuple[datetime, float]] = []
    for slot, value in zip(seen, values, strict=True):
        if found and slot.at - found[-1][0] > gap:
            found.append((found[-1][0] + gap / 2, math.nan))
        if not found or math.isnan(found[-1][1]):
            found.append((slot.at, value))
        found.append((slot.at, value))
    return [at for at, _ in found], [value for _, value in found]


def _values(slot: TimelinePoint, zone: tzinfo) -> Iterator[str]:
    """Known quantities of a stretch of time, one line per quantity."""
    yield clock(slot.at, zone) + ("" if slot.percent is None else f", candidate at {slot.percent}%")
    for panel in PANELS:
        sides = {"stable": panel.of(slot.stable)} | ({"candidate": panel.of(slot.canary)} if slot.canary else {})
        if not all(map(math.isnan, sides.values())):
            shown = (f"{name} {'-' if math.isnan(at) else format(at, panel.shown)}" for name, at in sides.items())
            yield f"{panel.title}: {', '.join(shown)}"


def clock(at: datetime, zone: tzinfo) -> str:
    """A moment as a person writes it."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
