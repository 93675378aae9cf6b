from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domains.recommendations.features import FACTS, FIELDS, LONGEST, encode, observe
from hallmark.features.arrays import Misfit, column
from hallmark.features.fields import Columns


def asked(*records: dict[str, Any]) -> Columns:
    """Columns as the server has them, of records as callers send them."""
    return {field.name: column([record.get(field.name) for record in records], field) for field in FIELDS}


KNOWN = {
    "recent_items": ["a", "b"],
    "recent_categories": ["coats", "bags"],
    "recent_brands": ["zig", "unknown"],
    "recent_sizes": ["M", "L"],
    "recent_colours": ["red", "blue"],
    "recent_conditions": ["new", "worn"],
    "recent_prices": [20.0, 0.0],
    "recent_listed": [20_000, 0],
}


def test_ids_are_words_and_facts_hashes_with_none_where_nothing_is_known() -> None:
    found = encode(asked(KNOWN, {"recent_items": ["c"]}, {}))
    assert found["recent"].tolist() == [["a", "b"], ["c", ""], ["", ""]]
    facts = found["facts"]
    assert facts.shape == (3, 2, FACTS) and facts.dtype == np.int16
    assert (facts[0, 0] > 0).all() and (facts[0, 1] > 0).tolist() == [1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0]
    assert not facts[1:].any()


def test_a_record_has_the_same_code_alone_and_in_a_batch() -> None:
    together, alone = encode(asked(KNOWN, {"recent_items": ["x"] * LONGEST})), encode(asked(KNOWN))
    assert (together["facts"][0, :2] == alone["facts"][0]).all()
    assert together["recent"][0, :2].tolist() == alone["recent"][0].tolist()


def test_facts_of_other_items_than_there_are_are_refused() -> None:
    with pytest.raises(Misfit, match="of each of 2 recent_items") as refused:
        encode(asked({}, {"recent_items": ["a", "b"], "recent_brands": ["zig"]}))
    assert refused.value.row == 1


def test_some_facts_may_be_left_out() -> None:
    found = encode(asked({"recent_items": ["a"], "recent_brands": ["zig"]}))["facts"][0, 0]
    assert (found > 0).tolist() == [0, 1] + [0] * (FACTS - 2)


def test_what_is_observed_is_how_many_there_are_and_the_last_one() -> None:
    watched = observe(asked(KNOWN, {}))
    assert watched["recent"].tolist() == [2, 0] and watched["category"].tolist() == ["bags", "unknown"]
    assert watched["price"].tolist() == [0.0, 0.0]
