"""A timeline as one picture: share, failures, slow answers, scores and drift over the same hours, and what was decided when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from html import escape

from hallmark.rollout.timeline import Entry, Point, Side, Timeline, joined

SIGNS = {
    "drift": ("D", "drift"),
    "training": ("T", "training"),
    "candidate": ("C", "candidate registered"),
    "shadow": ("S", "shadow"),
    "canary": ("%", "share of traffic"),
    "hold": ("=", "hold"),
    "promote": ("P", "promoted"),
    "rollback": ("R", "rolled back"),
    "trouble": ("!", "trouble"),
}
"""A letter and a word for each kind of entry, so that nothing is told by colour alone."""
TURNS = ("shadow", "canary", "promote", "rollback")
"""Entries that change the traffic; their lines run through all panels."""

_WIDTH, _LEFT, _RIGHT = 960, 66, 14
_HEIGHT, _GAP, _TOP = 92, 36, 92
_SLOTS, _LANES, _SIGN = 160, 3, 22
_TICKS = [timedelta(seconds=s) for s in (10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)]


@dataclass(frozen=True)
class Slot:
    """Both variants over a stretch of time: counts added up, the last of what is no count."""

    at: datetime
    percent: int | None
    version: int | None
    stable: Side
    canary: Side | None


@dataclass(frozen=True)
class Panel:
    """One quantity of both variants; `floor` is the least that the axis goes up to."""

    title: str
    value: Callable[[Side], float | None]
    shown: str
    floor: float
    from_zero: bool = True


PANELS = (
    Panel("Failed requests", lambda side: _part(side.failed, side.requests), ".2%", 0.01),
    Panel("Answers over the latency objective", lambda side: _part(side.slow, side.requests), ".1%", 0.01),
    Panel("Mean score", lambda side: side.score, ".3g", 0.02, from_zero=False),
    Panel("Drift index of the farthest column (PSI)", lambda side: side.psi, ".2f", 0.25),
)


def slots(points: Sequence[Point], *, most: int = _SLOTS) -> list[Slot]:
    """Neighbouring points together, so that a share is of more than a handful of requests."""
    if not points:
        return []
    start, whole = points[0].at, (points[-1].at - points[0].at).total_seconds()
    found: list[Slot] = []
    places: list[int] = []
    for point in points:
        place = int((point.at - start).total_seconds() / whole * most) if whole else 0
        if places and places[-1] == place and (found[-1].percent, found[-1].version) == (point.percent, point.version):
            last = found[-1]
            canary = joined(last.canary, point.canary) if last.canary and point.canary else point.canary
            found[-1] = Slot(point.at, point.percent, point.version, joined(last.stable, point.stable), canary)
        else:
            found.append(Slot(point.at, point.percent, point.version, point.stable, point.canary))
            places.append(place)
    return found


def svg(timeline: Timeline, *, zone: tzinfo = UTC) -> str:
    """The picture, as an SVG element whose classes the page gives colours to; empty where there is nothing to draw."""
    times = [point.at for point in timeline.points] + [entry.at for entry in timeline.entries]
    if not times:
        return ""
    first, last = min(times), max(times)
    if last - first < timedelta(seconds=10):
        first, last = first - timedelta(seconds=5), last + timedelta(seconds=5)
    scale = _Scale(first, last)
    seen = slots(timeline.points)
    height = _TOP + (len(PANELS) + 1) * (_HEIGHT + _GAP) + 6
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="chart-title chart-text">',
        '<title id="chart-title">Traffic, failures, latency, scores, drift and decisions over time</title>',
        f'<desc id="chart-text">{escape(_described(timeline, zone))}</desc>',
    ]
    bottom = height - _GAP - 6
    parts += _decisions(timeline.entries, scale, bottom, zone)
    top = _TOP
    parts += _share(seen, scale, top)
    for panel in PANELS:
        top += _HEIGHT + _GAP
        parts += _panel(panel, seen, scale, top)
    parts += _hours(scale, bottom, zone)
    parts += _hovers(seen, scale, bottom, zone)
    return "\n".join([*parts, "</svg>"])


class _Scale:
    def __init__(self, first: datetime, last: datetime) -> None:
        self.first, self.last = first, last
        self.seconds = (last - first).total_seconds()

    def x(self, at: datetime) -> float:
        return _LEFT + (at - self.first).total_seconds() / self.seconds * (_WIDTH - _LEFT - _RIGHT)

    @property
    def gap(self) -> float:
        """Seconds without a point after which a line breaks."""
        return max(60.0, 4 * self.seconds / _SLOTS)


def _decisions(entries: Sequence[Entry], scale: _Scale, bottom: int, zone: tzinfo) -> Iterator[str]:
    """A sign for each entry, in lanes so that neighbours do not hide each other; it leads to the entry below."""
    free = [-math.inf] * _LANES
    for place, entry in enumerate(entries):
        x = scale.x(entry.at)
        lane = next((at for at, end in enumerate(free) if x - end >= _SIGN), None)
        if lane is None:
            lane = min(range(_LANES), key=lambda at: free[at])
        free[lane] = x
        y = 14 + lane * 24
        letter, word = SIGNS[entry.kind]
        told = escape(f"{clock(entry.at, zone)} {word}: {entry.text}")
        if entry.kind in TURNS:
            yield f'<line class="turn {entry.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 10}" y2="{bottom}"/>'
        yield f'<a href="#entry-{place}" class="sign {entry.kind}" aria-label="{told}"><title>{told}</title>'
        yield f'<circle cx="{x:.1f}" cy="{y}" r="10"/><text x="{x:.1f}" y="{y + 4.5}">{letter}</text></a>'


def _share(seen: Sequence[Slot], scale: _Scale, top: int) -> Iterator[str]:
    yield from _frame("Candidate's share of traffic", top, ["0%", "50%", "100%"])
    for run in _runs(seen, scale, lambda slot: None if slot.percent is None else float(slot.percent)):
        places = [(scale.x(at), top + _HEIGHT * (1 - value / 100)) for at, value in run]
        steps = [f"M{places[0][0]:.1f},{places[0][1]:.1f}"]
        steps += [f"H{x:.1f}V{y:.1f}" for x, y in places[1:]]
        base = top + _HEIGHT
        yield f'<path class="area" d="{"".join(steps)}V{base}H{places[0][0]:.1f}Z"/>'
        yield f'<path class="line canary" d="{"".join(steps)}"/>'
    version = None
    for slot in seen:
        if slot.version is not None and slot.version != version and slot.percent is not None:
            yield f'<text class="version" x="{scale.x(slot.at) + 4:.1f}" y="{top + 12}">version {slot.version}</text>'
        version = slot.version if slot.percent is not None else None


def _panel(panel: Panel, seen: Sequence[Slot], scale: _Scale, top: int) -> Iterator[str]:
    sides: dict[str, Callable[[Slot], float | None]] = {
        "stable": lambda slot: panel.value(slot.stable),
        "canary": lambda slot: panel.value(slot.canary) if slot.canary else None,
    }
    values = [value for side in sides.values() for slot in seen if (value := side(slot)) is not None]
    low, high = _span(values, panel)
    yield from _frame(panel.title, top, [format(low + part * (high - low), panel.shown) for part in (0, 0.5, 1)])
    if not values:
        yield f'<text class="none" x="{_WIDTH / 2}" y="{top + _HEIGHT / 2 + 4}">nothing was measured</text>'
    for name, side in sides.items():
        for run in _runs(seen, scale, side):
            places = [(scale.x(at), top + _HEIGHT * (1 - (value - low) / (high - low))) for at, value in run]
            if len(places) == 1:
                yield f'<circle class="dot {name}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2"/>'
            else:
                line = "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
                yield f'<path class="line {name}" d="M{line}"/>'


def _frame(title: str, top: int, labels: Sequence[str]) -> Iterator[str]:
    yield f'<text class="name" x="{_LEFT}" y="{top - 8}">{escape(title)}</text>'
    for place, label in enumerate(labels):
        y = top + _HEIGHT * (1 - place / (len(labels) - 1))
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="value" x="{_LEFT - 6}" y="{y + 4}">{escape(label)}</text>'


def _hours(scale: _Scale, bottom: int, zone: tzinfo) -> Iterator[str]:
    step = next((each for each in _TICKS if scale.seconds / each.total_seconds() <= 8), _TICKS[-1])
    midnight = scale.first.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * math.ceil((scale.first - midnight) / step)
    form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M" if step < timedelta(days=1) else "%d %b"
    long = scale.seconds > 86_400 and step < timedelta(days=1)
    while at <= scale.last:
        x = scale.x(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text class="hour" x="{x:.1f}" y="{bottom + 18}">{at.strftime("%d %b " + form if long else form)}</text>'
        at += step


def _hovers(seen: Sequence[Slot], scale: _Scale, bottom: int, zone: tzinfo) -> Iterator[str]:
    """Over each stretch an invisible bar whose title says its values."""
    for place, slot in enumerate(seen):
        x = scale.x(slot.at)
        before = scale.x(seen[place - 1].at) if place else x - 6
        left = max(before, x - 24, _LEFT)
        share = "" if slot.percent is None else f", candidate at {slot.percent}%"
        lines = [f"{clock(slot.at, zone)}{share}"]
        for panel in PANELS:
            mine, theirs = _shown(panel, slot.stable), _shown(panel, slot.canary)
            if (mine, theirs) != ("-", "-"):
                lines.append(f"{panel.title}: stable {mine}" + (f", candidate {theirs}" if slot.canary else ""))
        told = escape("\n".join(lines))
        yield (
            f'<rect class="hover" x="{left:.1f}" y="{_TOP}" width="{max(x - left, 2):.1f}" height="{bottom - _TOP}">'
            f"<title>{told}</title></rect>"
        )


def clock(at: datetime, zone: tzinfo) -> str:
    """A moment as a person writes it."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _runs(
    seen: Sequence[Slot], scale: _Scale, value: Callable[[Slot], float | None]
) -> Iterator[list[tuple[datetime, float]]]:
    """Stretches without a hole, of more than nothing."""
    run: list[tuple[datetime, float]] = []
    for slot in seen:
        now = value(slot)
        if run and (now is None or (slot.at - run[-1][0]).total_seconds() > scale.gap):
            yield run
            run = []
        if now is not None:
            run.append((slot.at, now))
    if run:
        yield run


def _span(values: Sequence[float], panel: Panel) -> tuple[float, float]:
    """The axis: from 0, or around the values, to a round number above them."""
    if not values:
        return 0.0, panel.floor
    low = 0.0 if panel.from_zero else min(values)
    room = max((max(values) - low) * 1.1, panel.floor)
    unit = 10.0 ** math.floor(math.log10(room))
    room = next(unit * part for part in (1, 1.5, 2, 3, 4, 5, 8, 10) if unit * part >= room * 0.999)
    if not panel.from_zero:
        low = math.floor((low - room * 0.05) / (room / 20)) * (room / 20)
    return low, low + room


def _described(timeline: Timeline, zone: tzinfo) -> str:
    turns = [entry for entry in timeline.entries if entry.kind in TURNS]
    return "; ".join(f"{clock(entry.at, zone)} {SIGNS[entry.kind][1]}: {entry.text}" for entry in turns[-20:])


def _shown(panel: Panel, side: Side | None) -> str:
    value = panel.value(side) if side else None
    return "-" if value is None else format(value, panel.shown)


def _part(some: int, of: int) -> float | None:
    return some / of if of else None
