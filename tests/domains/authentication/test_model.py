"""The view model: any order, any number of photos, what is missing left out, and one ONNX that answers as the network does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from domains.authentication import model
from domains.authentication.synthetic import items
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.learners.model import Examples, examples
from hallmark.learners.photo_set import TrainedPhotoSet

START = datetime(2026, 3, 1, tzinfo=UTC)


def drawn(days: int, *, after: int = 0) -> Examples:
    start = START + timedelta(days=after)
    return examples("authentication", items(start, start + timedelta(days=days), seed=5, per_day=30))


@pytest.fixture(scope="module")
def held() -> Examples:
    return drawn(1, after=9)


@pytest.fixture(scope="module")
def trained(held: Examples) -> TrainedPhotoSet:
    return model.fit(drawn(3), held, seed=5, quick=True, epochs=1)


@pytest.fixture(scope="module")
def folder(trained: TrainedPhotoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained.save(folder)
    trained.export(folder / "model.onnx")
    return folder


def test_the_order_of_photos_does_not_matter(trained: TrainedPhotoSet, held: Examples) -> None:
    turned = {**held.named, "photos": held.named["photos"][:, ::-1], "there": held.named["there"][:, ::-1]}
    assert np.allclose(trained.predict(turned), trained.predict(held.named), atol=1e-5)


def test_places_without_a_photo_say_nothing(trained: TrainedPhotoSet, held: Examples) -> None:
    photos, there = held.named["photos"], held.named["there"]
    noise = np.random.default_rng(1).integers(0, 256, (len(photos), 2, *photos.shape[2:]), dtype=np.uint8)
    wider = {
        **held.named,
        "photos": np.concatenate((photos, noise), axis=1),
        "there": np.concatenate((there, np.zeros((len(there), 2), np.float32)), axis=1),
    }
    assert np.allclose(trained.predict(wider), trained.predict(held.named), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "views"), [(1, 1), (1, 8), (5, 3)])
def test_onnx_takes_any_number_of_items_and_photos_and_answers_as_torch_does(
    trained: TrainedPhotoSet, folder: Path, held: Examples, count: int, views: int
) -> None:
    running = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    part = {name: values[:count] for name, values in held.named.items()}
    part["photos"] = np.resize(part["photos"], (count, views, *part["photos"].shape[2:]))
    part["there"] = np.resize(part["there"], (count, views)).astype(np.float32)
    score, embedding = running.run(["score", "embedding"], part)
    assert np.abs(score - trained.predict(part)).max() < 1e-4
    assert np.abs(embedding - trained.embed(part)).max() < 1e-4
    assert np.linalg.norm(embedding, axis=1) == pytest.approx(np.ones(count), abs=1e-4)


def test_restored_is_the_same_model_and_other_weights_are_refused(
    trained: TrainedPhotoSet, folder: Path, held: Examples, tmp_path: Path
) -> None:
    assert np.array_equal(model.restore(folder).predict(held.named), trained.predict(held.named))
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelRefused, match="not a model of photo sets"):
        model.restore(tmp_path)


def test_it_knows_what_authentic_items_of_a_brand_have(trained: TrainedPhotoSet) -> None:
    learnt = drawn(3)
    rows = (learnt.named["facts"][:, 0] == 0) & (learnt.named["facts"][:, 1] == 0) & (learnt.labels == 0)
    known = trained.network.reference[0, 0].numpy()
    assert known == pytest.approx([learnt.outcomes[name][rows].mean() for name in model.LEARNER.traits], abs=1e-3)


def test_without_what_the_expert_measured_it_says_what_is_missing() -> None:
    few = drawn(1)
    bare = Examples(few.inputs, few.labels, named=few.named)
    with pytest.raises(DeclarationError, match="told what an expert measured"):
        model.fit(bare, bare, seed=5, quick=True)
