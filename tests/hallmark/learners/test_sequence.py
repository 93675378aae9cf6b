"""A sequential recommender: learns what follows what, knows a new item by its facts, and is one model in all of its forms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from hallmark.errors import DeclarationError, ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import onnx_model
from hallmark.learners.checkpoint import Checkpoint
from hallmark.learners.model import Examples
from hallmark.learners.sequence import FACTS, ITEMS, Recipe, SequenceLearner, TrainedSequence

ITEMS_THERE, KINDS, LONGEST = 40, 5, 6
RECIPE = Recipe(dim=16, layers=1, heads=2, epochs=12, negatives=16, batch=16, rate=2e-2, average=0.8, dropout=0.0)
LEARNER = SequenceLearner(
    output=Output(name="items", datatype="BYTES", shape=(5,)), longest=LONGEST, facts=1, recipe=RECIPE, quick=RECIPE
)


def facts(names: np.ndarray) -> np.ndarray:
    """The kind of each item, 1.., of its number by five; 0 for none."""
    kinds = [1 + int(name[1:]) % KINDS if name else 0 for name in names.ravel().tolist()]
    return np.array(kinds, dtype=np.int16).reshape(*names.shape, 1)


def asked(*sequences: list[int], known: bool = True) -> dict[str, np.ndarray]:
    """Inputs of sequences of item numbers."""
    names = np.full((len(sequences), max([1, *map(len, sequences)])), "", dtype=object)
    for row, sequence in enumerate(sequences):
        names[row, : len(sequence)] = [f"i{number}" for number in sequence]
    return {ITEMS: names, FACTS: facts(names) if known else np.zeros((*names.shape, 1), dtype=np.int16)}


def examples(*, members: int = 150, seed: int = 1, new: tuple[int, ...] = ()) -> Examples:
    """Members who stay with one kind of item; `new` ones are only told of."""
    random = np.random.default_rng(seed)
    sequences, items, labels = [], [], []
    for _ in range(members):
        kind = random.integers(KINDS)
        mine = [int(kind + KINDS * number) for number in random.permutation(ITEMS_THERE // KINDS)]
        mine = [each for each in mine if each not in new]
        for place in range(1, len(mine)):
            sequences.append(mine[max(0, place - LONGEST) : place])
            items.append(f"i{mine[place]}")
            labels.append(1.0)
    for number in new:
        sequences, items, labels = [*sequences, [number]], [*items, f"i{number}"], [*labels, 0.0]
    named = asked(*sequences)
    return Examples(named[ITEMS], np.array(labels), items=np.array(items), named=named)


NEW = (35, 36)


@pytest.fixture(scope="module")
def trained() -> TrainedSequence:
    return LEARNER.fit(examples(new=NEW), examples(members=20, seed=2), seed=3)


def test_it_answers_with_what_follows_and_not_with_what_was_there(trained: TrainedSequence) -> None:
    found = trained.predict(asked([0, 5, 10], [1, 6]))
    assert {int(name[1:]) % KINDS for name in found[0]} == {0}
    assert {int(name[1:]) % KINDS for name in found[1]} == {1}
    assert not {"i0", "i5", "i10"} & set(found[0])


def test_an_item_that_nobody_looked_at_is_found_by_what_is_known_of_it_and_not_by_its_id(
    trained: TrainedSequence,
) -> None:
    given = asked([1, 6, 11, 16, 21, 26])  # of the eight of this kind only 31 and the new 36 are left
    assert "i36" in trained.predict(given)[0]
    others = trained.others(given)
    assert others.items == ITEMS_THERE and set(others.answers) == {"popularity", "item-kNN", "ids alone"}
    assert all("i36" not in each[0] for each in others.answers.values())


def test_a_sequence_of_an_unknown_id_is_read_by_its_facts(trained: TrainedSequence) -> None:
    found = trained.predict(asked([902, 907], known=True))[0]  # of kind 2
    assert sum(int(name[1:]) % KINDS == 2 for name in found) >= 4


def test_no_past_is_a_past_too(trained: TrainedSequence) -> None:
    assert len(set(trained.predict(asked([]))[0])) == 5


@pytest.mark.slow
def test_saved_restored_and_exported_it_answers_the_same(trained: TrainedSequence, tmp_path: Path) -> None:
    trained.save(tmp_path)
    restored = LEARNER.restore(tmp_path)
    given = examples(members=30, seed=9).named
    expected = trained.predict(given)
    assert (restored.predict(given) == expected).all()
    for name, model in (("one", trained), ("other", restored)):
        model.export(tmp_path / f"{name}.onnx")
        onnx_model.tidy(tmp_path / f"{name}.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()
    running = onnx_model.session(tmp_path / "one.onnx")
    onnx_model.agrees(
        running, (LEARNER.output, Output(name="scores", datatype="FP32", shape=(5,))), inputs=[ITEMS, FACTS]
    )
    found = onnx_model.run(running, given, ["items", "scores"])
    assert (found["items"] == expected).mean() > 0.99
    assert (np.diff(found["scores"], axis=1) <= 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_exported_one_takes_any_batch_and_length(trained: TrainedSequence, tmp_path: Path, rows: int) -> None:
    trained.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [each.shape for each in session.get_inputs()] == [["batch", "items"], ["batch", "items", 1]]
    for length in (1, 3, LONGEST):
        given = asked(*[[number % 3] * length for number in range(rows)])
        assert session.run(["items"], given)[0].shape == (rows, 5)


@pytest.mark.slow
def test_encoder_and_vectors_of_items_give_the_scores_of_the_whole(trained: TrainedSequence, tmp_path: Path) -> None:
    trained.export_encoder(tmp_path / "encoder.onnx")
    trained.export_items(tmp_path / "items.onnx")
    given = asked([0, 5], [3, 8, 13], [902])
    (vector,) = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx")).run(["vector"], given)
    assert np.allclose(vector, trained.encode(given), atol=1e-5)
    ids, vectors = trained.vectors()
    names = np.array([*ids, "i999"], dtype=object)
    (told,) = onnxruntime.InferenceSession(str(tmp_path / "items.onnx")).run(
        ["vector"], {"item": names, FACTS: facts(names)}
    )
    assert np.allclose(told[:-1], vectors, atol=1e-5)
    assert np.allclose(told[-1], told[ids.index("i34")] - _id(trained, "i34"), atol=1e-5), "unknown: its facts alone"
    best = np.array(ids)[np.argsort(-(vector @ vectors.T), axis=1)]
    for row, sequence in enumerate(({"i0", "i5"}, {"i3", "i8", "i13"}, set[str]())):
        left = [name for name in best[row].tolist() if name not in sequence][:5]
        assert left == trained.predict(given)[row].tolist()


def _id(trained: TrainedSequence, name: str) -> Any:
    return trained.network.ids.weight[trained.ids.index(name) + 2].detach().numpy()


@pytest.mark.slow
def test_where_nothing_is_told_of_items_it_has_ids_alone_and_takes_the_same_inputs(tmp_path: Path) -> None:
    given = examples(members=40)
    given.named[FACTS] = np.zeros_like(given.named[FACTS])
    model = LEARNER.fit(given, given, seed=0, epochs=2)
    assert model.network.architecture["facts"] == 0 and len(model.network.words.weight) == 1
    model.export(tmp_path / "model.onnx")
    model.export_items(tmp_path / "items.onnx")
    running = onnx_model.session(tmp_path / "model.onnx")
    rows = examples(members=5, seed=4).named  # a request may tell of items all the same
    assert (onnx_model.run(running, rows, ["items"])["items"] == model.predict(rows)).all()
    names = np.array(model.ids, dtype=object)
    (vectors,) = onnxruntime.InferenceSession(str(tmp_path / "items.onnx")).run(
        ["vector"], {"item": names, FACTS: facts(names)}
    )
    assert np.allclose(vectors, model.vectors()[1], atol=1e-5)
    assert list(model.others(rows).answers) == ["popularity", "item-kNN"]


def test_fewer_items_than_asked_for_are_filled_up_with_nothing() -> None:
    named = asked([0], [1], [2], [0, 1])
    few = Examples(named[ITEMS], np.ones(4), items=np.array(["i1", "i2", "i0", "i2"]), named=named)
    model = LEARNER.fit(few, few, seed=0, epochs=1)
    assert model.predict(asked([0, 1])).tolist() == [["i2", "", "", "", ""]]


def test_the_same_seed_gives_the_same_weights_also_after_a_kill(tmp_path: Path) -> None:
    def weights(folder: str, **options: Any) -> dict[str, Any]:
        (tmp_path / folder).mkdir(exist_ok=True)
        LEARNER.fit(examples(members=40), examples(members=9, seed=2), seed=5, epochs=4, **options).save(
            tmp_path / folder
        )
        return load_file(tmp_path / folder / "weights.safetensors")

    class Killed(Exception):
        pass

    def die(done: int, total: int, note: str) -> None:
        if done == 2:
            raise Killed

    whole = weights("whole")
    with pytest.raises(Killed):
        weights("killed", checkpoint=tmp_path / "kept", progress=die)
    assert Checkpoint(tmp_path / "kept", of="").folder.is_dir()
    again = weights("again", checkpoint=tmp_path / "kept")
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


def test_what_cannot_be_learnt_or_read_is_refused_with_the_reason(trained: TrainedSequence, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="longer than the model reads"):
        trained.predict(asked(list(range(LONGEST + 1))))
    with pytest.raises(DeclarationError, match="does not divide"):
        LEARNER.fit(examples(), examples(), seed=0, heads=3)
    with pytest.raises(DeclarationError, match="nothing is relevant"):
        named = asked([0])
        none = Examples(named[ITEMS], np.zeros(1), items=np.array(["i0"]), named=named)
        LEARNER.fit(none, none, seed=0)
    with pytest.raises(DeclarationError, match="sequences and the item after each"):
        LEARNER.fit(Examples(np.zeros((1, 2)), np.ones(1)), examples(), seed=0)
    with pytest.raises(DeclarationError, match="does not answer"):
        SequenceLearner(
            output=Output(name="x", datatype="INT64", shape=(5,)), longest=5, facts=0, recipe=RECIPE, quick=RECIPE
        )
    with pytest.raises(ModelRefused, match="are not a recommender"):
        LEARNER.restore(tmp_path)
    trained.save(tmp_path)
    (tmp_path / "items.json").write_text('["i1"]')
    with pytest.raises(ModelRefused, match="are not a recommender"):
        LEARNER.restore(tmp_path)


def test_weights_are_refused() -> None:
    given = examples(members=5)
    heavy = dataclasses.replace(given, weights=np.ones(len(given)))
    with pytest.raises(DeclarationError, match=r"counts each row once[\s\S]*data\.weight"):
        LEARNER.fit(heavy, given, seed=1)
