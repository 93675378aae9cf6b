"""A second stage behind a recommender: a forest that reads each candidate's score and what it shares with what was looked at before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Output
from hallmark.features.matching import matches, width
from hallmark.learners.boosting import Boosting, Forest, Rows

FILE = "ranker.onnx"
SCORE = Output(name="score", datatype="FP32")
_PREFIX = "ranker-"
_HELD = 5
"""One in so many rows says when to stop, and whether the forest orders better than the scores alone."""
_FEWEST = 40
"""Rows without which nothing is learnt."""


_OPTIONS = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "eval_at": 10,
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_data_in_leaf": 200,
    "lambda_l2": 5.0,
    "feature_fraction": 0.8,
}


class Candidates(NamedTuple):
    """What was retrieved for one row, best first.

    recent: (t, f) facts of what was looked at before.   items: (m, f) facts of the candidates.   scores: (m,).   right: which of them came next.
    """

    recent: NDArray[np.int16]
    items: NDArray[np.int16]
    scores: NDArray[np.float32]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Reranker:
    """A recipe, as a domain's model.py declares it. facts: of each item.   depth: candidates of a row that are learnt from."""

    facts: int
    depth: int = 100
    forest: Boosting = field(default_factory=lambda: Boosting(output=SCORE, options=_OPTIONS, rounds=300, patience=40))

    def fit(self, rows: Sequence[Candidates], *, seed: int) -> TrainedReranker:
        """Learn from rows that the recommender has not learnt from; the scores alone where there are few, or those order as well."""
        found = [each for each in rows if each.right.any()]
        if len(found) < _FEWEST or not any(each.items.any() for each in found):
            return TrainedReranker(self, None)
        held = np.arange(len(found)) % _HELD == 0
        held = held[np.random.default_rng(seed).permutation(len(found))]
        parts = [
            [each for each, out in zip(found, held.tolist(), strict=True) if out == late] for late in (False, True)
        ]
        forest = self.forest.fit(*(_rows(part) for part in parts), seed=seed)
        made = TrainedReranker(self, forest)
        plain, ranked = (
            sum(_gain(each.right[np.argsort(-order(each), kind="stable")]) for each in parts[1])
            for order in (lambda each: each.scores, made.scores)
        )
        return made if ranked > plain else TrainedReranker(self, None)

    def restore(self, folder: Path) -> TrainedReranker:
        """What `save` wrote into `folder`."""
        there = (folder / f"{_PREFIX}booster.txt").is_file()
        return TrainedReranker(self, self.forest.restore(folder, prefix=_PREFIX) if there else None)


class TrainedReranker:
    """A trained one. forest: None orders by the scores alone."""

    def __init__(self, recipe: Reranker, forest: Forest | None) -> None:
        self.recipe, self.forest = recipe, forest

    def scores(self, each: Candidates) -> NDArray[np.float32]:
        """(m,) of one row's candidates."""
        read = matches(each.recent, each.items, each.scores)
        return read[:, 0] if self.forest is None else self.forest.predict(read)

    def save(self, folder: Path) -> None:
        """Write the forest into `folder`, where there is one."""
        if self.forest is not None:
            self.forest.save(folder, prefix=_PREFIX)

    def export(self, path: Path) -> None:
        """Write the ONNX model: `input` (n, k), what `matches` gives, to `score` (n,)."""
        if self.forest is not None:
            self.forest.export(path)
        else:
            path.write_bytes(_plain(width(self.recipe.facts)).SerializeToString(deterministic=True))


def _rows(part: Sequence[Candidates]) -> Rows:
    sizes = [len(each.scores) for each in part]
    return Rows(
        np.concatenate([matches(each.recent, each.items, each.scores) for each in part]),
        np.concatenate([each.right for each in part]).astype(np.int64),
        groups=np.repeat(np.arange(len(part)), sizes),
    )


def _gain(right: NDArray[np.bool_]) -> float:
    """ndcg@10 of one row whose relevant candidate is where `right` is true."""
    places = np.flatnonzero(right[:10])
    return float((1 / np.log2(2 + places)).sum())


def _plain(columns: int) -> Any:
    """The first column as it is."""
    from onnx import TensorProto, helper, numpy_helper

    from hallmark.learners.trees import IR_VERSION, OPSET

    graph = helper.make_graph(
        [helper.make_node("Gather", ["input", "first"], [SCORE.name], axis=1)],
        "score",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info(SCORE.name, TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array(0, dtype=np.int64), "first")],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hallmark")
