"""Recall, its interval, the choice of codes; rank agreement and fusion by hand and by what others publish."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hallmark.retrieval import recall
from hallmark.retrieval.agreement import rbo
from hallmark.retrieval.card import IndexOptions, UnitCard
from hallmark.retrieval.fusion import fuse
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import Items, build, open_unit
from tests.hallmark.retrieval.corpus import built, corpus


def test_recall_s_interval_is_wilson_s() -> None:
    """The bounds of 9 of 10: 0.5958 and 0.9821 (Newcombe, Statistics in Medicine 17, 1998, method 3)."""
    mean, low, high = recall.interval([1.0] * 9 + [0.0])
    assert (mean, low, high) == (pytest.approx(0.9), pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))
    assert recall.interval([]) == (1.0, 0.0, 1.0)
    assert recall.interval([1.0] * 200)[1] > 0.98


@pytest.mark.slow
def test_auto_takes_the_smallest_codes_that_keep_the_recall(tmp_path: Path) -> None:
    items = corpus(3000, 32)
    strict = built(tmp_path / "strict", items, IndexOptions(kind="exact", codes="auto", recall=0.9999)).card
    usual = built(tmp_path / "usual", items, IndexOptions(kind="exact", codes="auto", recall=0.95)).card
    loose = built(tmp_path / "loose", items, IndexOptions(kind="exact", codes="auto", recall=0.3)).card
    assert (strict.codes, usual.codes, loose.codes) == ("float32", "int8", "pq")
    assert {row.codes: row.bytes_per_item for row in usual.codes_table} == {"float32": 128, "int8": 32, "pq": 8}
    told = {row.codes: row.recall for row in usual.codes_table}
    assert told["float32"] == 1.0 > told["int8"] > 0.95 > told["pq"] > 0.3
    assert usual.recall[0].recall == pytest.approx(told["int8"], abs=0.002)
    assert "vectors.npy" not in usual.files


def test_a_graph_has_no_product_codes() -> None:
    with pytest.raises(ValidationError, match="pq goes with exact and ivf"):
        IndexOptions(kind="hnsw", codes="pq")


@given(st.permutations(list("abcdefgh")), st.permutations(list("abcdefghij")))
def test_rank_agreement_is_the_truncated_sum_with_its_tail(one: list[str], other: list[str]) -> None:
    """For lists of one length, equation 23 of Webber, Moffat and Zobel, put down as it is printed."""
    p, depth = 0.8, 8
    agreed = [len(set(one[:rank]) & set(other[:rank])) for rank in range(1, depth + 1)]
    wanted = agreed[-1] / depth * p**depth + (1 - p) / p * sum(
        x / rank * p**rank for rank, x in enumerate(agreed, start=1)
    )
    assert rbo(one[:depth], other[:depth], p=p, depth=depth) == pytest.approx(wanted)


def test_rank_agreement_by_hand() -> None:
    assert rbo(list("abc"), list("abc")) == pytest.approx(1.0)
    assert rbo(list("abc"), list("xyz")) == 0.0
    assert rbo([], []) == 1.0
    assert rbo([], ["a"]) == 0.0
    # Swapped first two of two: agreement 0 at rank 1, 1 at rank 2: (1-p)/p * p^2 + p^2 = p
    assert rbo(["a", "b"], ["b", "a"], p=0.9) == pytest.approx(0.9)
    # A prefix of length 1 of a list of 2: X = 1, 1: (1-p)/p (p + p^2/2 + p^2/2) + (0/2 + 1) p^2 = 1
    assert rbo(["a"], ["a", "b"], p=0.9) == pytest.approx(1.0)
    assert rbo(list("ab"), list("ba"), p=0.5) == rbo(list("ba"), list("ab"), p=0.5) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        rbo(["a"], ["a"], p=1.0)


def test_fusion_by_hand() -> None:
    fused = fuse({"vectors": [("a", 0.9), ("b", 0.8)], "words": [("b", 7.0), ("c", 3.0)]}, 3)
    assert [each.id for each in fused] == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused[0].ranks == {"vectors": 2, "words": 1}
    assert fused[0].scores == {"vectors": 0.8, "words": 7.0}
    assert fused[1].score == pytest.approx(1 / 61)
    assert fuse({"one": [("b", 1.0)], "other": [("a", 1.0)]}, 1)[0].id == "a"
    assert fuse({}, 5) == []


def test_the_share_of_true_items_that_were_found() -> None:
    from hallmark.retrieval.search import Hits

    none = -np.inf
    truth = Hits(
        np.array([["a", "b"], ["c", ""], ["", ""], ["d", "e"]], dtype=object),
        np.array([[0.9, 0.8], [0.7, none], [none, none], [0.9, 0.5]], np.float32),
    )
    found = Hits(
        np.array([["b", "x"], ["c", ""], ["", ""], ["d", "f"]], dtype=object),
        np.array([[0.8, 0.7], [0.7, none], [none, none], [0.9, 0.5]], np.float32),
    )
    assert recall.at_k(found, truth).tolist() == [0.5, 1.0, 1.0, 1.0], "f is as near as e"


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_items_that_are_equally_near_are_no_loss(tmp_path: Path, kind: Literal["exact", "ivf"]) -> None:
    """An index of 50 vectors, each of 40 items: which of them come first says nothing."""
    same = np.repeat(np.random.default_rng(0).normal(size=(50, 8)), 40, axis=0).astype(np.float32)
    parts = [Items([f"i{number}" for number in range(len(same))], same)]
    card = build(
        tmp_path / "index", parts, encoder="e", preprocessing="p", dimension=8, options=IndexOptions(kind=kind)
    )
    least = 1.0 if kind == "exact" else 0.95
    assert next(each.recall for each in card.recall if each.selectivity == 1.0) >= least
    unit = open_unit(tmp_path / "index", encoder="e", preprocessing="p")
    assert recall.measure(Retriever(unit), same[::40])[0].recall >= least


@pytest.mark.slow
def test_an_index_of_many_equal_vectors_is_lists_where_the_kind_is_ours_to_choose(tmp_path: Path) -> None:
    """A graph of 300 vectors, each of 40 items, finds three quarters: links of equals lead to each other alone."""
    same = np.repeat(np.random.default_rng(0).normal(size=(300, 8)), 40, axis=0).astype(np.float32)
    parts = [Items([f"i{number}" for number in range(len(same))], same)]
    kinds: dict[str, UnitCard] = {}
    for kind in ("hnsw", "auto"):
        options = IndexOptions.model_validate({"kind": kind})
        kinds[kind] = build(tmp_path / kind, parts, encoder="e", preprocessing="p", dimension=8, options=options)
    asked, chosen = kinds["hnsw"], kinds["auto"]
    assert (asked.kind, chosen.kind) == ("hnsw", "ivf")
    assert asked.recall[0].recall < 0.9, "the card says it, and the gate's floor refuses it"
    assert chosen.recall[0].recall >= 0.97
    unit = open_unit(tmp_path / "auto", encoder="e", preprocessing="p")
    assert recall.measure(Retriever(unit), same[::40])[0].recall >= 0.97
