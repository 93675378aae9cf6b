"""A search and an item as the model reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from domains.search.features import FIELDS, ITEM_SLOTS, NAMES, QUERY_SLOTS, encode, observe
from hallmark.learners.model import columns

ROW: dict[str, Any] = {
    "query": "Roter Mantel Größe M", "locale": "de", "title": "Mantel rot Wolle", "brand": "norrgard", "size": "M",
    "category": "coats", "condition": "good", "price": 40.0, "photos": 3, "seller_rating": 4.5, "item_age_days": 2,
    "item_views_7d": 30, "item_likes": 4, "member_brand_share": 0.25, "member_price": 20.0,
}  # fmt: skip


def numbers(**changes: Any) -> dict[str, float]:
    made = encode(columns(pd.DataFrame([ROW | changes]), FIELDS))["numbers"][0]
    return dict(zip(NAMES, made.tolist(), strict=True))


def test_inputs_are_words_as_numbers_and_numbers_by_name() -> None:
    made = encode(columns(pd.DataFrame([ROW, ROW]), FIELDS))
    assert made["query"].shape == (2, QUERY_SLOTS) and made["query"].dtype == np.int32
    assert made["item"].shape == (2, ITEM_SLOTS) and made["item"].dtype == np.int32
    assert made["numbers"].shape == (2, len(NAMES)) and made["numbers"].dtype == np.float32
    found = numbers()
    assert np.isclose(found["price_by_usual"], np.log(2)) and found["category_coats"] == found["locale_de"] == 1
    assert found["condition_good"] == 1 and found["condition_new"] == 0 and np.isclose(found["likes_by_views"], 0.08)


def test_a_size_is_asked_for_and_met_or_not() -> None:
    assert numbers()["size_asked"] == 1
    assert numbers(size="L")["size_asked"] == -1
    assert numbers(query="roter mantel")["size_asked"] == 0
    assert numbers(query="turnschuhe 42", size="42")["size_asked"] == 1
    assert numbers(query="jeans w30", size="W31")["size_asked"] == -1


def test_a_brand_is_asked_for_whatever_its_signs() -> None:
    assert numbers(query="tandy roe kleid", brand="Tandy & Roe")["brand_asked"] == 1
    assert numbers()["brand_asked"] == 0


def test_words_are_shared_without_accents_and_in_part_with_a_slip() -> None:
    right, slip = numbers(query="mantel wolle"), numbers(query="matnel wolle")
    assert right["shared_words"] == 1 and right["shared_parts"] == 1
    assert slip["shared_words"] == 0.5 and 0.5 < slip["shared_parts"] < 1
    assert numbers(query="écharpe", title="Echarpe laine")["shared_words"] == 1


def test_what_is_not_known_of_a_member_or_seller_is_missing() -> None:
    found = numbers(member_price=None, member_brand_share=None, seller_rating=None)
    assert all(np.isnan(found[name]) for name in ("price_by_usual", "brand_share", "seller_rating"))


def test_a_record_is_encoded_alike_in_any_company() -> None:
    rows = [ROW, ROW | {"query": "belt", "title": "x"}, ROW | {"query": "", "title": "Ceinture cuir noir" * 8}]
    together = encode(columns(pd.DataFrame(rows), FIELDS))
    for at, row in enumerate(rows):
        alone = encode(columns(pd.DataFrame([row]), FIELDS))
        assert all(np.array_equal(alone[name][0], values[at], equal_nan=True) for name, values in together.items())


def test_a_query_is_watched_by_its_words_and_not_as_it_was_typed() -> None:
    watched = observe(columns(pd.DataFrame([ROW]), FIELDS))
    assert "query" not in watched and watched["query_words"].tolist() == [4]
    buckets = [name for name in watched if name.startswith("word_")]
    assert sum(float(watched[name][0]) for name in buckets) == pytest.approx(1)
    sized = {
        query: observe(columns(pd.DataFrame([ROW | {"query": query}]), FIELDS)) for query in ("coat size M", "coat")
    }
    assert [float(each["size_asked"][0]) for each in sized.values()] == [1, 0]
