"""Search against numpy: what is found, behind filters, after changes, by words and by both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import Refused
from hallmark.retrieval import filters
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.search import Retriever
from tests.hallmark.retrieval.corpus import built, corpus


def test_a_filter_leaves_exactly_the_items_that_meet_it(tmp_path: Path) -> None:
    items = corpus(500, 8)
    retriever = Retriever(built(tmp_path / "index", items))
    where = filters.parse({"category": "coat", "price": {"max": 50}})
    asked = items.vectors[:7]
    hits = retriever.search(asked, 5, where)
    left = [row for row in range(500) if items.values["category"][row] == "coat" and items.values["price"][row] <= 50]
    scores = asked @ items.vectors[left].T
    wanted = np.asarray(left)[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    assert hits.ids.tolist() == [[f"i{row}" for row in rows] for rows in wanted]
    assert retriever.count(where) == len(left)


def test_a_query_of_another_shape_is_refused(tmp_path: Path) -> None:
    retriever = Retriever(built(tmp_path / "index", corpus(20, 8)))
    for query in (np.zeros(8), np.ones(7), np.full(8, np.nan)):
        with pytest.raises(Refused):
            retriever.search(query, 3)
    with pytest.raises(Refused, match="no column"):
        retriever.search(np.ones(8), 3, filters.parse({"colour": "red"}))


def test_changes_are_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    items = corpus(50, 8)
    unit = built(tmp_path / "index", items)
    deltas = Deltas.open(tmp_path / "state", unit)
    retriever = Retriever(unit, deltas)
    deltas.apply([Upsert("new", items.vectors[3], {"category": "hat"}, "a velvet hat"), Delete("i3")])
    assert retriever.search(items.vectors[3], 1).of() == [("new", pytest.approx(1.0, abs=1e-5))]
    deltas.close()
    again = Retriever(unit, Deltas.open(tmp_path / "state", unit))
    assert again.search(items.vectors[3], 1).ids[0, 0] == "new"
    assert again.search_words("velvet", 3)[0][0] == "new"
    assert again.values("i3") is None
