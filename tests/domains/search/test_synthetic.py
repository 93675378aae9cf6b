"""Searches of the synthetic marketplace: the same every time, biased by place as a cascade is, and shifted where told to be."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest

from domains.search.synthetic import GOES_ON, PLACES, SHIFTS, corpus, questions, searches
from hallmark.errors import DeclarationError
from synthetic.listings import Listings

START = datetime(2026, 7, 1, tzinfo=UTC)


@cache
def drawn(days: int = 10, *, shift: str | None = None, seed: int = 7) -> pd.DataFrame:
    return searches(START, START + timedelta(days=days), seed=seed, shift=shift)


def test_a_seed_gives_the_same_searches_and_another_seed_others() -> None:
    first, again, other = (searches(START, START + timedelta(days=2), seed=seed, per_day=100) for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert first["query"].tolist()[:50] != other["query"].tolist()[:50]


def test_a_day_is_the_same_in_every_window_that_holds_it() -> None:
    day = START + timedelta(days=3)
    alone = searches(day, day + timedelta(days=1), seed=7)
    inside = drawn()[(drawn().searched_at >= day) & (drawn().searched_at < day + timedelta(days=1))]
    pd.testing.assert_frame_equal(alone, inside.reset_index(drop=True))
    part = searches(day + timedelta(hours=6), day + timedelta(hours=18), seed=7)
    assert set(part.query_id) < set(alone.query_id) and part.searched_at.min() >= day + timedelta(hours=6)


def test_an_item_is_shown_once_in_a_search_after_it_was_listed_and_before_it_is_gone() -> None:
    frame = drawn()
    assert not frame.duplicated(["query_id", "item_id"]).any() and not frame.duplicated(["query_id", "position"]).any()
    assert frame.position.max() <= PLACES and (frame.groupby("query_id").position.min() == 1).all()
    first = int(START.timestamp()) // 86_400
    items = Listings(seed=7).listed(first - 60, first + 10)
    known = pd.DataFrame(
        {"item_id": [f"i{n}" for n in items["number"]], "listed": items["listed"], "gone": items["gone"]}
    )
    both = frame.merge(known, on="item_id", validate="many_to_one")
    second = both.searched_at.astype("int64") // 1_000_000
    assert len(both) == len(frame) and (second >= both.listed).all() and (second < both.gone).all()


def test_readers_stop_somewhere_so_the_same_relevance_is_clicked_less_further_down() -> None:
    frame = drawn(20)
    alike = frame[frame.relevance == 2].groupby("position").clicked.mean()
    assert alike[1] > 1.5 * alike[4] > 2 * alike[9]
    assert alike[5] / alike[1] < GOES_ON**4  # those who clicked stop sooner
    assert frame[frame.position == 1].groupby("relevance").clicked.mean().is_monotonic_increasing


def test_queries_are_words_of_three_languages_with_slips_and_the_commonest_are_common() -> None:
    once = drawn().drop_duplicates("query_id")
    assert set(once.locale) == {"de", "en", "fr"}
    words = set(" ".join(once["query"]).split())
    assert {"mantel", "coat", "manteau", "rouge", "red", "rot"} <= words
    assert len(words) > 500  # of a vocabulary of some 250: the rest are slips
    counts = once["query"].value_counts()
    assert counts.iloc[:30].sum() > 0.1 * len(once) and (counts == 1).mean() > 0.5


def test_the_season_is_searched_for_other_things() -> None:
    usual, season = (frame.drop_duplicates("query_id") for frame in (drawn(), drawn(shift="season")))
    assert [shift.name for shift in SHIFTS] == ["season"]
    gifts = [frame["query"].str.contains("gift|geschenk|cadeau").mean() for frame in (usual, season)]
    assert gifts[0] < 0.03 and gifts[1] > 0.15
    coats = [(frame.category == "coats").mean() for frame in (drawn(), drawn(shift="season"))]
    assert coats[1] > 1.8 * coats[0]
    with pytest.raises(DeclarationError, match="search has no shift 'winter'"):
        drawn(1, shift="winter")


def test_windows_that_are_none_are_refused() -> None:
    with pytest.raises(DeclarationError, match="the window is empty"):
        searches(START, START, seed=7)
    with pytest.raises(DeclarationError, match="start has no time zone"):
        searches(datetime(2026, 7, 1), START, seed=7)


def test_what_can_be_bought_now_and_what_is_asked_come_with_their_meaning() -> None:
    frame, items = corpus(START, seed=7, listed=100)
    asked, meant = questions(START, seed=7, count=50)
    assert len(frame) == len(items["kind"]) > 1000 and frame.item_id.is_unique
    assert len(asked) == len(meant["kind"]) and all(asked)


@pytest.mark.slow
def test_a_hundred_thousand_listings_and_fifty_thousand_searches_are_drawn_in_seconds() -> None:
    start = time.process_time()
    frame = searches(START, START + timedelta(days=30), seed=3, per_day=1700, listed=1100)
    assert frame.query_id.nunique() > 45_000 and np.isfinite(frame.price).all()
    assert time.process_time() - start < 20
