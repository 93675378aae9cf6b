"""The page of reviews in a real browser: a case by keys alone, undo, the lease's end, narrow and wide, dark and light, WCAG AA by axe."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hallmark.reviews.case import Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.ui.review import app
from tests.browser import Tab, browser, needs_chromium
from tests.hallmark.reviews.cases import case
from tests.hallmark.ui.test_review import evidence
from tests.web import serving

pytestmark = [pytest.mark.slow, needs_chromium]
SHOWN = "document.querySelector('#photo')?.complete && document.querySelector('#photo').naturalWidth > 0"
KEYS = {"a": 65, "c": 67, "t": 84, "u": 85, "j": 74, "z": 90, "n": 78, "l": 76, "r": 82, "3": 51, "8": 56}


@contextmanager
def working(tmp_path: Path, *names: str, lease: float = 600.0) -> Iterator[tuple[ReviewQueue, Tab, str]]:
    folder = tmp_path / "photos"
    queue = ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=0.0, lease=lease)
    for number, name in enumerate(names):
        found = evidence(folder, name, colour=("saddlebrown", "navy", "darkgreen", "black")[number % 4])
        queue.open(case(name, price=1000.0 - number, opened=datetime.now(UTC), evidence=found))
    with serving(app(queue, photos=folder, who="ana")) as address, browser(tmp_path) as tab:
        tab.look(width=1400, dark=False)
        tab.open(f"{address}/")
        yield queue, tab, f"{address}/"
    queue.close()


def press(tab: Tab, *keys: str) -> None:
    for key in keys:
        tab.press(key, {"Enter": 13, "Escape": 27, "ArrowRight": 39}.get(key, 0) or KEYS[key])


def until_item(tab: Tab, item: str) -> None:
    tab.until(f"document.querySelector('article.case')?.dataset.item === '{item}' && {SHOWN}")


def test_cases_by_keys_alone(tmp_path: Path) -> None:
    with working(tmp_path, "a", "b", "c", "d") as (queue, tab, _):
        tab.until("document.getElementById('counts').textContent.includes('4 cases wait')")
        press(tab, "Enter")
        until_item(tab, "item-a")
        assert [
            tab.value(f"document.getElementById('{name}-name').textContent") for name in ("photo", "reference")
        ] == [
            "front",
            "authentic 1",
        ]
        press(tab, "ArrowRight", "j")
        assert tab.value("document.getElementById('photo').src.endsWith('/photo/1')")
        assert tab.value("document.getElementById('reference-name').textContent") == "authentic 2"
        press(tab, "z")
        wide = "document.querySelector('.view img').clientWidth / document.querySelector('.view').clientWidth"
        assert 2.9 < tab.value(wide) < 3.1
        press(tab, "Escape")
        assert tab.value(wide) <= 1
        began = time.monotonic()
        press(tab, "a")
        until_item(tab, "item-b")
        took = time.monotonic() - began
        press(tab, "c")
        assert tab.value("document.activeElement.dataset.reason") == "stitching"
        press(tab, "Escape")
        assert tab.value("document.getElementById('reasons').hidden")
        press(tab, "n")
        tab.ask("Input.insertText", text="a wrong a")
        press(tab, "Escape", "c", "3")
        until_item(tab, "item-c")
        assert "item-b: counterfeit, logo" in tab.value("document.getElementById('told').textContent")
        assert [(each.case.id, each.verdict.word, each.verdict.note) for each in queue.verdicts()] == [
            ("a", Word.authentic, ""),
            ("b", Word.counterfeit, "a wrong a"),
        ]
        press(tab, "u")
        until_item(tab, "item-b")
        assert [each.case.id for each in queue.verdicts()] == ["a"]
        press(tab, "t", "8")
        until_item(tab, "item-c")
        tab.value("document.getElementById('keys').click()")
        press(tab, "a")
        time.sleep(0.3)
        assert tab.value("document.querySelector('article.case').dataset.item") == "item-c", "keys are off"
        tab.value("document.querySelector('[data-word=authentic]').click()")
        until_item(tab, "item-d")
        tab.value("document.querySelector('[data-word=authentic]').click()")
        tab.until(
            "document.getElementById('told').textContent.startsWith('item-d') && !!document.getElementById('next')"
        )
        assert [each.verdict.word for each in queue.verdicts()] == [
            "authentic",
            "cannot tell",
            "authentic",
            "authentic",
        ]
        assert took < 10
        assert not tab.complaints


def test_a_verdict_tells_whether_what_a_reviewer_said_was_unfolded_before_it(tmp_path: Path) -> None:
    with working(tmp_path, "a", "b", "c") as (queue, tab, address):
        tab.until("!!document.getElementById('next')")
        press(tab, "Enter")
        until_item(tab, "item-a")
        press(tab, "a")
        until_item(tab, "item-b")
        press(tab, "r", "r", "a")
        until_item(tab, "item-c")
        assert [each.verdict.opened for each in queue.verdicts()] == [False, True], "folded again, it was read"
        press(tab, "u")
        until_item(tab, "item-b")
        tab.open(address)
        until_item(tab, "item-b")
        press(tab, "a")
        until_item(tab, "item-c")
        assert [each.verdict.opened for each in queue.verdicts()] == [False, True], "read before it was taken back"
        assert not tab.complaints


def test_a_lease_counts_down_is_lengthened_and_ends(tmp_path: Path) -> None:
    with working(tmp_path, "a", lease=8.0) as (queue, tab, _):
        press(tab, "Enter")
        until_item(tab, "item-a")
        tab.until("document.getElementById('told').textContent.startsWith('One minute left')")
        tab.until("/^0:0[1-5] left$/.test(document.getElementById('lease').textContent)")
        press(tab, "l")
        tab.until("/^0:0[78] left$/.test(document.getElementById('lease').textContent)")
        tab.until("document.getElementById('told').textContent.includes('it has gone back')")
        assert queue.held("ana") is None, "the page says so no sooner than it is true"
        assert tab.value("[...document.querySelectorAll('[data-word]')].every(each => each.disabled)")
        assert tab.value("document.activeElement.id") == "next"
        press(tab, "a")
        assert not list(queue.verdicts())
        press(tab, "Enter")
        tab.until("!!document.querySelector('article.case:not([data-over])')")


def test_it_is_for_everybody_at_every_width_dark_and_light(tmp_path: Path) -> None:
    shots = Path(os.environ.get("HALLMARK_SHOTS") or tmp_path)
    found: list[str] = []
    with working(tmp_path, "a") as (_, tab, address):
        for state in ("begin", "case", "said", "reasons", "over"):
            for width in (380, 1400):
                for dark in (False, True):
                    tab.look(width=width, dark=dark)
                    tab.open(address)
                    if state != "begin":
                        if tab.value("!!document.getElementById('next')"):
                            tab.value("document.getElementById('next').click()")
                        until_item(tab, "item-a")
                    if state == "said":
                        press(tab, "r")
                        tab.until("document.querySelector('details.said').open")
                    if state == "reasons":
                        tab.value("document.querySelector('[data-word=counterfeit]').click()")
                    if state == "over":
                        tab.value("document.querySelector('article.case').dataset.token = 'gone'")
                        tab.value("document.querySelector('[data-word=authentic]').click()")
                        tab.until("document.getElementById('told').textContent.includes('claim has ended')")
                    seen = f"{state}, {width} px, {'dark' if dark else 'light'}"
                    paper = tab.value("getComputedStyle(document.body).backgroundColor")
                    assert (paper == "rgb(20, 23, 26)") is dark, seen
                    found += [f"{seen}: {each}" for each in tab.axe()]
                    if (wide := tab.value("document.documentElement.scrollWidth")) > width:
                        found.append(f"{seen}: it is {wide} px wide")
                    tab.picture(shots / f"review-{state}-{width}-{'dark' if dark else 'light'}.png")
        tab.value("document.documentElement.remove()")
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    assert not found, "\n".join(found)
