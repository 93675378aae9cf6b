"""A second stage: it learns what scores do not say, keeps to scores where it learns nothing, and serves as it was judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hallmark.features.matching import matches
from hallmark.learners import onnx_model
from hallmark.learners.reranker import FILE, Candidates, Reranker, TrainedReranker

RECIPE = Reranker(facts=2, depth=20)


def rows(count: int, *, told: bool, seed: int = 0) -> list[Candidates]:
    """Rows in which the item that came is the best by its score, or, where it is told, most often one that shares the last one's first fact."""
    chosen, made = np.random.default_rng(seed), []
    for _ in range(count):
        recent, items = (chosen.integers(1, 6, (size, 2)).astype(np.int16) for size in (4, 20))
        scores = np.sort(chosen.normal(size=20))[::-1].astype(np.float32)
        worth = 4.0 * (items[:, 0] == recent[-1, 0]) + chosen.gumbel(size=20) if told else scores
        made.append(Candidates(recent, items, scores, np.arange(20) == worth.argmax()))
    return made


@pytest.fixture(scope="module")
def trained() -> TrainedReranker:
    return RECIPE.fit(rows(300, told=True), seed=1)


def places(ranker: TrainedReranker, some: list[Candidates]) -> float:
    """Mean place of what came."""
    return float(
        np.mean([np.flatnonzero(each.right[np.argsort(-ranker.scores(each), kind="stable")])[0] for each in some])
    )


def test_what_was_looked_at_last_orders_better_than_the_scores(trained: TrainedReranker) -> None:
    later = rows(100, told=True, seed=9)
    assert places(trained, later) < 0.7 * places(TrainedReranker(RECIPE, None), later)


@pytest.mark.parametrize("some", [rows(30, told=True), rows(300, told=False)], ids=["few rows", "nothing to learn"])
def test_scores_order_where_nothing_better_is_learnt(some: list[Candidates], tmp_path: Path) -> None:
    found = RECIPE.fit(some, seed=1)
    assert found.forest is None
    found.save(tmp_path)
    assert RECIPE.restore(tmp_path).forest is None
    assert served(found, some[0], tmp_path) == some[0].scores.tolist()


def test_the_exported_one_answers_as_the_restored_one(trained: TrainedReranker, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again, one = RECIPE.restore(tmp_path), rows(1, told=True, seed=5)[0]
    assert served(trained, one, tmp_path) == pytest.approx(again.scores(one).tolist(), abs=1e-6)


def served(ranker: TrainedReranker, one: Candidates, folder: Path) -> list[float]:
    ranker.export(folder / FILE)
    read = matches(one.recent, one.items, one.scores)
    found: list[float] = onnx_model.run(onnx_model.session(folder / FILE), read, ["score"])["score"].tolist()
    return found
