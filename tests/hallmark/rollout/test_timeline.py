"""The timeline: what it keeps when it has more than it may, and the page that is made of it."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hallmark.rollout import chart
from hallmark.rollout.decision import Reason
from hallmark.rollout.page import page
from hallmark.rollout.timeline import ENTRIES, POINTS, Timeline, TimelineEntry, TimelinePoint, VariantState

if (folder := str(Path(__file__).parent)) not in sys.path:
    sys.path.insert(0, folder)  # importmode=importlib puts no test folder on the path

from timelines import BEGAN, FIRST, story

MADE = BEGAN + timedelta(minutes=150)
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a browser would make of a page; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def points(count: int, *, percent: int | None = None, every: int = 2) -> list[TimelinePoint]:
    canary = VariantState(requests=1) if percent is not None else None
    return [
        TimelinePoint(
            at=BEGAN + timedelta(seconds=every * n),
            percent=percent,
            stable=VariantState(requests=10, failed=1),
            canary=canary,
        )
        for n in range(count)
    ]


def kept(some: list[TimelinePoint]) -> Timeline:
    timeline = Timeline()
    for each in some:
        timeline = timeline.with_point(each)
    return timeline


# What is kept.


def test_of_entries_the_newest_are_kept() -> None:
    timeline = Timeline()
    for n in range(ENTRIES + 5):
        timeline = timeline.with_entry(TimelineEntry(at=BEGAN, correlation="", kind="hold", text=str(n)))
    assert [entry.text for entry in timeline.entries] == [str(n) for n in range(5, ENTRIES + 5)]


def test_points_are_joined_and_none_of_their_requests_is_lost() -> None:
    timeline = kept(points(20_000))
    assert len(timeline.points) <= POINTS
    assert sum(point.stable.requests for point in timeline.points) == 200_000
    assert sum(point.stable.failed for point in timeline.points) == 20_000
    assert timeline.points[-1].at == BEGAN + timedelta(seconds=2 * 19_999)
    assert [point.at for point in timeline.points] == sorted(point.at for point in timeline.points)


def test_a_point_stands_for_a_time_in_proportion_to_its_age() -> None:
    """Eleven hours of points every two seconds: the last minutes keep them, ten hours ago it is a few minutes each."""
    at = [point.at for point in kept(points(20_000)).points]
    ages = [(at[-1] - moment).total_seconds() for moment in at]
    spans = [(later - earlier).total_seconds() for earlier, later in pairwise(at)]
    for age, span in zip(ages[:-1], spans, strict=True):
        assert span <= max(10.0, age / 30)


def test_a_rollout_of_yesterday_is_still_told_apart_by_its_shares() -> None:
    timeline = kept(story().points[:])
    after = [
        TimelinePoint(at=MADE + timedelta(seconds=10 * n), stable=VariantState(drift="OK", psi=0.1))
        for n in range(1, 2 * 8640)
    ]
    for each in after:
        timeline = timeline.with_point(each)
    seen = [(point.version, point.percent) for point in timeline.points if point.percent is not None]
    assert list(dict.fromkeys(seen)) == [(8, 0), (8, 10), (9, 0), (9, 10), (9, 50)]
    failing = [point for point in timeline.points if (point.version, point.percent) == (8, 10)]
    assert (
        sum(p.canary.failed for p in failing if p.canary) / sum(p.canary.requests for p in failing if p.canary) > 0.02
    )


def test_points_that_cannot_be_joined_leave_at_the_old_end() -> None:
    some = [
        TimelinePoint(at=BEGAN + timedelta(seconds=n), percent=n % 2, version=1, canary=VariantState())
        for n in range(POINTS + 1)
    ]
    timeline = kept(some)
    assert timeline.points == tuple(some[len(some) // 8 :])


def test_a_timeline_survives_being_written_down() -> None:
    assert Timeline.model_validate_json(story().model_dump_json()) == story()


# The page.


def drawn(timeline: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg(timeline))  # noqa: S314


def test_the_page_says_what_happened_and_why() -> None:
    found = Page(page(story(), domain="fraud", made=MADE))
    for words in (
        "all times are UTC",
        "61 of 1201 (5.1%) of its requests failed",
        "version 7 serves everything",
        "2026-11-20 14:37:30",
        "NOT_ENOUGH_LABELS",
        FIRST,
        "the registry does not answer",
    ):
        assert words in found.text
    details = [attributes for tag, attributes in found.tags if tag == "details"]
    assert len(details) == len(story().entries)
    assert [each["class"] for each in details if "open" in each] == ["rollback"]


def test_how_things_stand_comes_first() -> None:
    text = Page(page(story(), domain="fraud", made=MADE)).text
    assert text.index("version 9 is stable") < text.index("stable OK") < text.index("Over time")


def test_the_page_needs_no_network_and_runs_no_script() -> None:
    text = page(story(), domain="fraud", made=MADE)
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert not re.search(r"https?://|url\((?!#)|@import|\bon[a-z]+=", text)
    references = [
        value for _, attributes in found.tags for name, value in attributes.items() if name in ("href", "src")
    ]
    assert references and all(value and value.startswith("#entry-") for value in references)
    policy = next(each["content"] for tag, each in found.tags if tag == "meta" and "http-equiv" in each)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert len(text) < 300_000


def test_every_sign_leads_to_its_entry_and_says_what_it_is() -> None:
    found = Page(page(story(), domain="fraud", made=MADE))
    ids = {attributes["id"] for tag, attributes in found.tags if tag == "details"}
    links = [attributes for tag, attributes in found.tags if tag == "a"]
    assert {str(each["href"])[1:] for each in links} == ids
    assert len(links) == len(ids) and all(each["aria-label"] for each in links)


def test_the_picture_shows_both_variants_in_every_panel_and_names_itself() -> None:
    found = drawn(story())
    assert found.get("role") == "img"
    named = {element.get("id") for element in found.iter() if element.get("id")}
    assert set(str(found.get("aria-labelledby")).split()) <= named
    for variant in ("stable", "canary"):
        assert {f"line-{variant}-{place}" for place in range(len(chart.PANELS))} <= named
    said = [text.text for text in found.iter("text")]
    assert {"Candidate's share of traffic", *(panel.title for panel in chart.PANELS)} <= set(said)
    assert {" version 8", " version 9", "100%"} <= set(said) and "nothing was measured" not in said
    ids = [element.get("id") for element in found.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_colours_are_the_pages_so_that_it_can_be_read_in_the_dark() -> None:
    text = page(story(), domain="fraud", made=MADE)
    picture = chart.svg(story())
    used = set(re.findall(r"var\(--(\w+)\)", picture))
    assert used <= set(re.findall(r"--(\w+):", text)) and {"stable", "canary", "good", "bad"} <= used
    assert not re.search(r"#[0-9a-f]{6}", picture)


def test_the_same_timeline_is_the_same_picture() -> None:
    assert chart.svg(story()) == chart.svg(story())


def test_a_stretch_says_its_values_when_it_is_pointed_at() -> None:
    stretches = [each for each in drawn(story()).iter("g") if str(each.get("id")).startswith("stretch-")]
    told = [str(title.text) for each in stretches for title in each.iter("title")]
    assert len(told) == len(stretches) == len(chart.slots(story().points))
    failing = [text for text in told if text.startswith("2026-11-20 14:36")]
    assert failing
    assert re.search(r"candidate at 10%\nFailed requests: stable 0\.\d\d%, candidate [3-8]\.\d\d%", failing[0])


def test_a_hole_in_the_points_is_a_hole_in_the_line() -> None:
    some = points(60, percent=10, every=10)
    whole, holed = kept(some), kept([*some[:20], *some[40:]])

    def pieces(timeline: Timeline) -> int:
        (line,) = [each for each in drawn(timeline).iter("g") if each.get("id") == "line-stable-0"]
        return sum(str(path.get("d")).count("M") for path in line.iter("path"))

    assert (pieces(whole), pieces(holed), pieces(kept(some[:1]))) == (1, 2, 1)


@pytest.mark.parametrize(
    "timeline",
    [
        Timeline(),
        Timeline(entries=story().entries),
        Timeline(points=story().points),
        Timeline(entries=story().entries[:1]),
        Timeline(points=story().points[:1]),
        Timeline(points=tuple(points(3, percent=10))),
        Timeline(
            points=(TimelinePoint(at=BEGAN, percent=0, version=1, canary=VariantState(score=-3e9, psi=1e12)),) * 2
        ),
    ],
    ids=["nothing", "entries", "points", "one entry", "one point", "three points", "far values"],
)
def test_whatever_is_there_makes_a_page(timeline: Timeline) -> None:
    found = Page(page(timeline, domain="fraud", made=MADE))
    assert ("Nothing was recorded yet" in found.text) == (not timeline.entries)


def test_days_and_weeks_are_drawn_too() -> None:
    days = [TimelinePoint(at=BEGAN + timedelta(hours=n), stable=VariantState(psi=0.1)) for n in range(24 * 30)]
    labels = [str(text.text) for text in drawn(kept(days)).iter("text")]
    assert any("Dec" in label for label in labels)


EVIL = "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def test_what_came_from_outside_is_only_text() -> None:
    reason = Reason(rule=EVIL, outcome="against", text=EVIL)
    entries = [
        TimelineEntry(at=BEGAN, correlation=EVIL, kind=kind, text=EVIL, reasons=(reason,))
        for kind in ("rollback", "trouble", "hold")
    ]  # fmt: skip
    point = TimelinePoint(at=BEGAN + timedelta(minutes=1), stable=VariantState(drift=EVIL))
    found = Page(page(Timeline(entries=tuple(entries), points=(point,)), domain=EVIL, made=MADE))
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.text.count(EVIL) >= 7


def test_times_are_in_the_zone_that_the_page_names() -> None:
    zone = timezone(timedelta(hours=2), "EET")
    found = Page(page(story(), domain="fraud", made=datetime(2026, 11, 20, 22, tzinfo=UTC), zone=zone))
    assert "As of 2026-11-21 00:00:00; all times are EET." in found.text
    assert "2026-11-20 16:37:30" in found.text
