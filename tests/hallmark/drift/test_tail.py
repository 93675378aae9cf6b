"""B03: new and vanished values in the tail of a column of words are drift, and clean traffic with such a tail is not."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

import tails
from tails import CITIES, cities, named

from hallmark.declaration.drift import Drift
from hallmark.drift import profile, sketch
from hallmark.drift.profile import Column, Profile
from hallmark.drift.verdict import Verdict, judge

Words = NDArray[Any]
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"

HASHES = ["2e67a4f65c50c5a7", "0000000000000000", "0b93a58daf1354fe", "8dfd4766b9cd2a27"]


def learn(values: Words) -> Profile:
    return profile.build({"x": values})


def column(values: Words) -> Column:
    return learn(values).columns[0]


def verdict(learned: Profile, window: Words) -> Verdict:
    return judge(learned, {"x": window}, Drift())


@pytest.fixture(scope="module")
def learned() -> Profile:
    return learn(cities(20_000, seed=1))


def test_b03_skus_of_which_none_was_ever_seen_are_drift() -> None:
    random = np.random.default_rng(1)
    found = verdict(learn(random.choice(named(3000, "sku-"), 20_000)), random.choice(named(2000, "new-"), 2000))
    assert found.state == "DRIFT" and found.reasons == ("x: values never seen in 100% of rows, 0% in the reference",)
    assert (found.columns[0].unseen, found.columns[0].unseen_in_reference) == (1.0, pytest.approx(0.001, abs=0.001))


@pytest.mark.parametrize("rows", [300, 2000])
def test_b03_a_tail_of_300_cities_that_becomes_5_is_drift(learned: Profile, rows: int) -> None:
    found = verdict(learned, cities(rows, seed=2, tail=CITIES[20:25]))
    assert found.state == "DRIFT" and "not as common among each other as in the reference" in found.reasons[0]
    assert found.columns[0].tail > 0.2 and found.columns[0].shift_p < 1e-6 and found.columns[0].psi < 0.2


@pytest.mark.parametrize("rows", [300, 2000])
def test_b03_a_tail_that_becomes_one_new_word_is_drift(learned: Profile, rows: int) -> None:
    found = verdict(learned, cities(rows, seed=2, tail=named(1, "nowhere")))
    assert found.state == "DRIFT" and found.columns[0].unseen == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize(("share", "state"), [(0.005, "OK"), (0.01, "OK"), (0.12, "DRIFT"), (0.3, "DRIFT")])
def test_new_values_beyond_1_percent_count_in_full(learned: Profile, share: float, state: str) -> None:
    window = cities(2000, seed=3)
    window[: round(share * 2000)] = named(round(share * 2000), "new-")
    assert verdict(learned, window).state == state


def test_browsers_that_differ_late_in_their_long_names_are_told_apart() -> None:
    random = np.random.default_rng(1)
    agents = np.array([AGENT.format(at) for at in range(160)], dtype=object)
    known = learn(random.choice(agents[:80], 20_000))
    assert verdict(known, random.choice(agents[:80], 2000)).state == "OK"
    assert verdict(known, random.choice(agents[80:], 2000)).state == "DRIFT"


@pytest.mark.parametrize("rows", [300, 2000])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ids that never repeat", named(40_000, "order-")),
        ("sessions of ten rows", np.repeat(named(4000, "session-"), 10)),
        ("ids seen two or three times", np.random.default_rng(1).choice(named(15_000, "item-"), 40_000)),
    ],
)
def test_values_that_are_always_new_are_no_drift_and_the_reference_says_how_many(
    kind: str, values: Words, rows: int
) -> None:
    known = learn(values[:20_000])
    tail = known.columns[0].tail
    assert tail is not None
    for first in range(20_000, 40_000 - rows, 5000):
        found = verdict(known, values[first : first + rows])
        assert found.state == "OK"
        assert found.columns[0].unseen == pytest.approx(tail.unseen, abs=0.12)


def test_values_of_the_reference_itself_that_come_again_are_no_drift() -> None:
    ids = named(20_000, "order-")
    assert verdict(learn(ids), np.random.default_rng(1).choice(ids, 2000)).state == "OK"


def test_the_filter_takes_new_words_for_known_as_often_as_it_says_and_no_known_one_for_new() -> None:
    for count in (25, 900, 3000, 20_000):
        words = named(count, "word ").tolist()
        known = sketch.KnownValues.of(sketch.hashes(words))
        assert known.holds(sketch.hashes(words)).all()
        wrong = known.holds(sketch.hashes(named(50_000, "other ").tolist())).mean()
        assert wrong == pytest.approx(known.false_positive, rel=0.15, abs=0.001) and wrong < 0.05
        assert len(known.bits) < 24_000 and (count > 3000 or len(known.bits) < 6000)


def test_hashes_are_the_same_in_every_pod_and_version() -> None:
    assert [f"{each:016x}" for each in sketch.hashes(["Lisbon", "", "Łódź", "x" * 64]).tolist()] == HASHES


def test_a_season_with_the_same_tail_excuses_it_and_hours_have_tails_of_their_own(learned: Profile) -> None:
    new = cities(2000, seed=5, tail=named(200, "beach "))
    then = learned.season(
        {"x": cities(5000, seed=6, tail=named(200, "beach "))}, first=date(2025, 7, 1), last=date(2025, 7, 30)
    )
    seasoned = learned.model_copy(update={"seasons": (then,)})
    july, may = (judge(seasoned, {"x": new}, Drift(), at=datetime(2026, month, 10, tzinfo=UTC)) for month in (7, 5))
    assert (july.state, may.state) == ("OK", "DRIFT") and july.columns[0].season == "07-01 to 07-30"


def test_a_profile_of_the_second_version_is_judged_as_it_was(learned: Profile) -> None:
    values = cities(20_000, seed=1)
    made = learned.columns[0]
    counts = [*made.counts[: len(made.categories)], sum(made.counts[len(made.categories) : -1]), 0]
    old = {"name": "x", "kind": "category", "categories": made.categories, "counts": counts}
    read = Profile.model_validate_json(json.dumps({"version": 2, "rows": 20_000, "columns": [old]}))
    assert read.columns[0].tail is None and read.columns[0].tally(values).tolist() == counts
    assert verdict(read, cities(2000, seed=2, tail=named(1, "nowhere"))).state == "OK"
    assert read.columns[0].read(np.array(["y" * 70], dtype=object))[0] == "y" * 64


@pytest.mark.examples
@given(
    reference=st.lists(st.text(max_size=70), min_size=26, max_size=120),
    windows=st.lists(st.lists(st.one_of(st.text(max_size=70), st.none(), st.integers()), max_size=30), max_size=4),
)
def test_every_row_is_counted_once_and_parts_add_up_to_the_whole(
    reference: list[str], windows: list[list[Any]]
) -> None:
    def objects(values: list[Any]) -> Words:
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out

    found = column(objects(reference))
    assert found.rows == len(reference) and len(found.coarse(np.array(found.counts))) == len(found.labels())
    parts = [found.tally(objects(each)) for each in windows]
    whole = found.tally(objects([value for each in windows for value in each]))
    assert sum(parts, np.zeros_like(whole)).tolist() == whole.tolist() and len(whole) == len(found.counts)


@pytest.mark.parametrize("rows", [300, 2000])
def test_of_50_clean_windows_with_tails_none_alarms(rows: int) -> None:
    """Five columns at once, each with a tail of another kind; test_fleet.py has 1,000 windows at 1, 4 and 12 pods."""
    random = np.random.default_rng(7)
    known = profile.build(tails.draw(random, 20_000))
    for _ in range(50):
        assert judge(known, tails.draw(random, rows), Drift()).state == "OK"
