"""A timeline as one static page for a person on call: no script, no network, and everything from outside escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from hallmark.rollout import chart
from hallmark.rollout.chart import SIGNS, TRAFFIC_CHANGES, clock
from hallmark.rollout.timeline import Timeline, TimelineEntry

_TEMPLATE = Path(__file__).with_name("timeline.html")


def page(timeline: Timeline, *, domain: str, made: datetime, zone: tzinfo = UTC) -> str:
    """The page as HTML. Times are in `zone`; `made` is when the timeline was read."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters["clock"] = lambda at: clock(at, zone)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        domain=domain,
        made=made,
        zone=made.astimezone(zone).tzname() or "",
        last=list(_last(timeline.entries)),
        entries=timeline.entries,
        signs=SIGNS,
        drawn=Markup(chart.svg(timeline, zone=zone)),  # noqa: S704 - of which the words from outside are escaped there
    )


def _last(entries: tuple[TimelineEntry, ...]) -> Iterator[tuple[str, TimelineEntry]]:
    """Current state first: the newest entry, and before it the newest of a rollout."""
    newest = next((entry for entry in reversed(entries) if entry.kind in (*TRAFFIC_CHANGES, "hold")), None)
    if newest is not None and newest is not entries[-1]:
        yield "The last about a rollout", newest
    if entries:
        yield "The last that happened", entries[-1]
