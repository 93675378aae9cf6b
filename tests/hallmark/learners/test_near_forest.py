"""Encoder and forest of one log: words that go together are learnt from clicks, and what is exported answers as what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.errors import ContractBroken, ModelRefused
from hallmark.features import text
from hallmark.features.fields import Output
from hallmark.learners import onnx_model
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import Examples
from hallmark.learners.near_forest import NearForest
from hallmark.learners.text_encoder import TextTower

WORDS = (
    ("rot", "red"),
    ("blau", "blue"),
    ("schwarz", "black"),
    ("grün", "green"),
    ("mantel", "coat"),
    ("kleid", "dress"),
)
OUT = Output(name="score", datatype="FP32")
OPTIONS: dict[str, Any] = {"objective": "lambdarank", "min_data_in_leaf": 10, "num_leaves": 7}
RECIPE = NearForest(forest=Boosting(output=OUT, options=OPTIONS, rounds=40), tower=TextTower(buckets=1 << 12, batch=64))
BUCKETS = 1 << 12


def grams(texts: list[str]) -> np.ndarray[Any, np.dtype[np.int32]]:
    return text.grams(texts, slots=16, buckets=BUCKETS)


def log(queries: int, *, seed: int) -> Examples:
    """Searches in German among English items, one of six of which is what was asked for, and mostly clicked."""
    random = np.random.default_rng(seed)
    asked = np.repeat(random.integers(0, len(WORDS), queries), len(WORDS))
    shown = np.tile(np.arange(len(WORDS)), queries)
    clicked = (random.random(len(asked)) < np.where(asked == shown, 0.7, 0.05)).astype(np.float64)
    named = {
        "query": grams([WORDS[at][0] for at in asked]),
        "item": grams([f"{WORDS[at][1]} {random.integers(99)}" for at in shown]),
        "numbers": random.normal(size=(len(asked), 3)).astype(np.float32),
    }
    groups = np.repeat(np.arange(queries), len(WORDS))
    return Examples(inputs=named["query"], labels=clicked, groups=groups, named=named)


@pytest.fixture(scope="module")
def trained() -> Any:
    return RECIPE.fit(log(300, seed=1), log(80, seed=2), seed=3)


def test_words_that_go_together_come_to_lie_together(trained: Any) -> None:
    near = (
        trained.encoder.encode(grams([de for de, _ in WORDS]))
        @ trained.encoder.encode(grams([en for _, en in WORDS])).T
    )
    assert (near.argmax(axis=1) == np.arange(len(WORDS))).all()
    assert np.allclose(np.linalg.norm(trained.encoder.encode(grams(["rot", "never seen"])), axis=1), 1, atol=1e-5)
    assert not trained.encoder.encode(grams([""])).any()


def test_what_was_asked_for_is_put_first(trained: Any) -> None:
    held = log(100, seed=5)
    scores = trained.predict(held.named).reshape(-1, len(WORDS))
    clicked = held.labels.reshape(-1, len(WORDS))
    known = clicked.sum(axis=1) == 1
    assert (scores.argmax(axis=1) == clicked.argmax(axis=1))[known].mean() > 0.65


def test_the_same_examples_give_the_same_model_and_it_is_restored(trained: Any, tmp_path: Path) -> None:
    again = RECIPE.fit(log(300, seed=1), log(80, seed=2), seed=3)
    trained.save(tmp_path)
    held = log(50, seed=6).named
    assert (again.predict(held) == trained.predict(held)).all()
    assert (RECIPE.restore(tmp_path).predict(held) == trained.predict(held)).all()
    (tmp_path / "text_encoder.npy").write_bytes(b"no table")
    with pytest.raises(ModelRefused, match=r"text_encoder\.npy is no table"):
        RECIPE.restore(tmp_path)


def test_the_exported_graph_answers_as_the_model_does_alone_and_in_company(trained: Any, tmp_path: Path) -> None:
    trained.export(tmp_path / "model.onnx")
    held = log(60, seed=7).named
    running = onnx_model.session(tmp_path / "model.onnx", threads=1)
    given = {name: np.ascontiguousarray(values) for name, values in held.items()}
    together = onnx_model.run(running, given, ["score"])["score"]
    one_by_one = onnx_model.run(running, given, ["score"], batch=1)["score"]
    assert np.allclose(together, trained.predict(held), atol=1e-5) and np.allclose(one_by_one, together, atol=1e-6)


def test_the_encoder_alone_is_exported_beside_it(trained: Any, tmp_path: Path) -> None:
    trained.export(tmp_path / "model.onnx")
    running = onnx_model.session(tmp_path / "encoder.onnx", threads=1)
    for texts in (grams(["rot", "blauer Mantel", ""]), text.grams(["rot"], slots=40, buckets=BUCKETS)):
        made = onnx_model.run(running, {"text": texts}, ["embedding"])["embedding"]
        assert np.allclose(made, trained.encoder.encode(texts), atol=1e-6)


def test_examples_that_teach_no_texts_are_refused() -> None:
    made = log(20, seed=1)
    with pytest.raises(ContractBroken, match="texts are learnt from groups of rows"):
        RECIPE.fit(Examples(inputs=made.inputs, labels=made.labels, named=made.named), made, seed=1)
    silent = Examples(inputs=made.inputs, labels=0 * made.labels, groups=made.groups, named=made.named)
    with pytest.raises(ContractBroken, match="nothing was clicked"):
        RECIPE.fit(silent, made, seed=1)


def test_an_input_that_is_missing_is_named(trained: Any) -> None:
    with pytest.raises(ModelRefused, match="an input of the model is missing"):
        trained.predict({"query": grams(["rot"]), "numbers": np.zeros((1, 3), np.float32)})
