"""A timeline as one static page for a person on call: no script, no network, and everything from outside escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from hallmark import page as static_page
from hallmark.rollout import chart
from hallmark.rollout.chart import SIGNS, TRAFFIC_CHANGES, clock
from hallmark.rollout.timeline import Timeline, TimelineEntry


def page(timeline: Timeline, *, domain: str, made: datetime, zone: tzinfo = UTC) -> str:
    """The page as HTML. Times are in `zone`; `made` is when the timeline was read."""
    from markupsafe import Markup

    return static_page.filled(
        "rollout/timeline.html",
        filters={"clock": lambda at: clock(at, zone)},
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
