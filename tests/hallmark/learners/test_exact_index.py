"""An exact index: the best of all items by brute force, as ONNX, as saved and as restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import DeclarationError, ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import onnx_model
from hallmark.learners.exact_index import ExactIndex
from hallmark.learners.model import Examples

WORDS = Output(name="items", datatype="BYTES", shape=(3,))


def examples(*, items: int = 12, queries: int = 400, seed: int = 1, whole: bool = False) -> Examples:
    """Queries of four numbers, each with the two items whose direction is nearest."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(items, 4))
    inputs = random.normal(size=(queries, 4)).astype(np.float32)
    best = np.argsort(-(inputs @ directions.T), axis=1)[:, :2].ravel()
    names = best if whole else np.array([f"i{number:02d}" for number in best.tolist()])
    rows = np.repeat(np.arange(queries), 2)
    return Examples(inputs=inputs[rows], labels=np.ones(len(rows)), groups=rows, items=names)


def test_it_finds_what_was_relevant_to_queries_like_this() -> None:
    index = ExactIndex(output=WORDS).fit(examples(), examples(), seed=0)
    asked = examples(seed=2)
    found = index.predict(asked.inputs)
    assert asked.items is not None
    assert (found == asked.items[:, None]).any(axis=1).mean() > 0.8


def test_its_answers_are_those_of_every_item_scored_and_sorted() -> None:
    index = ExactIndex(output=WORDS).fit(examples(), examples(), seed=0)
    inputs = examples(seed=3, queries=50).inputs
    x = (inputs - index.scale[0]) / index.scale[1]
    scores = x @ index.vectors[:-1] + index.vectors[-1]
    expected = np.array(index.ids)[np.argsort(-scores, axis=1, kind="stable")[:, :3]]
    assert (index.predict(inputs) == expected).all()


@pytest.mark.parametrize("whole", [False, True])
def test_saved_restored_and_exported_it_answers_the_same(tmp_path: Path, whole: bool) -> None:
    recipe = ExactIndex(output=Output(name="items", datatype="INT64" if whole else "BYTES", shape=(3,)))
    index = recipe.fit(examples(whole=whole), examples(whole=whole), seed=0)
    index.save(tmp_path)
    index.export(tmp_path / "model.onnx")
    inputs = examples(seed=4, queries=30).inputs
    served = onnx_model.run(onnx_model.session(tmp_path / "model.onnx"), inputs, ["items"])["items"]
    assert (recipe.restore(tmp_path).predict(inputs) == index.predict(inputs)).all()
    assert (served == index.predict(inputs)).all()


def test_a_catalogue_smaller_than_k_is_filled_up_with_no_item() -> None:
    given = examples(items=2)
    found = ExactIndex(output=WORDS).fit(given, given, seed=0).predict(given.inputs[:1])
    assert sorted(found[0].tolist()) == ["", "i00", "i01"]


def test_what_is_missing_of_a_query_counts_as_the_mean() -> None:
    given = examples()
    index = ExactIndex(output=WORDS).fit(given, given, seed=0)
    gone, mean = given.inputs[:1].copy(), given.inputs[:1].copy()
    gone[0, 2], mean[0, 2] = np.nan, index.scale[0, 2]
    assert (index.predict(gone) == index.predict(mean)).all()


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="an index does not answer"):
        ExactIndex(output=Output(name="score", datatype="FP32"))
    with pytest.raises(DeclarationError, match="queries and their items"):
        ExactIndex(output=WORDS).fit(Examples(inputs=np.zeros((2, 1)), labels=np.ones(2)), examples(), seed=0)
    with pytest.raises(ModelRefused, match="holds no index"):
        ExactIndex(output=WORDS).restore(tmp_path)
