"""The listing model learns, answers in probabilities, and is the same wherever it is kept."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file

from domains.listing import features, model
from hallmark.errors import DeclarationError, HallmarkError, ModelRefused
from hallmark.learners import lite0, onnx_model
from hallmark.learners.model import Examples
from hallmark.learners.network import TrainedNetwork

SHAPES = ("ellipse", "rectangle", "line", "rounded_rectangle")


def drawn(count: int, *, seed: int) -> Examples:
    """Photos of four shapes in any colour and place, as the first four garments."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(SHAPES), count)
    inputs = np.empty((count, 3, features.SIDE, features.SIDE), dtype=np.float32)
    for row, label in enumerate(labels):
        ground, ink = (tuple(int(c) for c in rng.integers(low, low + 100, 3)) for low in (0, 150))
        photo = Image.new("RGB", (features.SIDE, features.SIDE), ground)
        left, top = (int(c) for c in rng.integers(5, 50, 2))
        box = (left, top, left + int(rng.integers(60, 90)), top + int(rng.integers(60, 90)))
        draw = ImageDraw.Draw(photo)
        if SHAPES[label] == "line":
            draw.line(box, fill=ink, width=12)
        elif SHAPES[label] == "rounded_rectangle":
            draw.rounded_rectangle(box, radius=30, outline=ink, width=9)
        else:
            getattr(draw, SHAPES[label])(box, fill=ink)
        inputs[row] = (np.asarray(photo, dtype=np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.25
    return Examples(inputs=inputs, labels=labels.astype(np.int64))


@pytest.fixture(scope="module")
def trained() -> TrainedNetwork:
    return model.fit(drawn(320, seed=1), drawn(64, seed=2), seed=5, quick=True)


@pytest.fixture(scope="module")
def folder(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained.save(folder)
    trained.export(folder / "model.onnx")
    return folder


def session(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float((probabilities.argmax(1) == labels).mean())


def test_labels_are_seventeen_and_sorted() -> None:
    assert len(model.LABELS) == 17
    assert list(model.LABELS) == sorted(model.LABELS)
    assert model.OUTPUTS[0].shape == (17,)


@pytest.mark.slow
def test_it_learns_what_it_is_shown(trained: TrainedNetwork) -> None:
    held = drawn(200, seed=3)
    assert accuracy(trained.predict(held.inputs), held.labels) > 0.6


@pytest.mark.slow
def test_layers_that_a_recipe_freezes_stay_as_they_came(trained: TrainedNetwork) -> None:
    assert model.QUICK.frozen == 18
    came, learnt = lite0.pretrained().state_dict(), trained.serving.network.layers.state_dict()
    assert all(torch.equal(came[name], value) for name, value in learnt.items())


@pytest.mark.slow
def test_it_answers_in_probabilities(trained: TrainedNetwork) -> None:
    answer = trained.predict(drawn(5, seed=4).inputs)
    assert answer.shape == (5, 17)
    assert answer.dtype == np.float32
    assert answer.min() >= 0.0
    assert answer.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert trained.predict(drawn(1, seed=4).inputs[:0]).shape == (0, 17)


@pytest.mark.slow
def test_a_photo_and_its_mirror_image_get_one_answer(trained: TrainedNetwork) -> None:
    inputs = drawn(8, seed=6).inputs
    assert np.allclose(trained.predict(inputs), trained.predict(inputs[..., ::-1]), atol=1e-6)


@pytest.mark.slow
def test_validation_sets_how_sure_it_is() -> None:
    train, held = drawn(96, seed=1), drawn(64, seed=2)
    sure = model.fit(train, held, seed=5, quick=True, epochs=1)
    unset = model.fit(train, Examples(held.inputs[:0], held.labels[:0]), seed=5, quick=True, epochs=1)
    chosen = np.arange(64), held.labels
    assert -np.log(sure.predict(held.inputs)[chosen]).mean() <= -np.log(unset.predict(held.inputs)[chosen]).mean()


@pytest.mark.slow
def test_one_seed_gives_one_model(tmp_path: Path) -> None:
    def fitted(seed: int) -> TrainedNetwork:
        options = {"quick": True, "epochs": 2, "mixing": 0.2}
        return model.fit(drawn(96, seed=1), drawn(32, seed=2), seed=seed, **options)

    def digests(again: TrainedNetwork, name: str) -> list[str]:
        (tmp_path / name).mkdir()
        again.save(tmp_path / name)
        again.export(tmp_path / name / "model.onnx")
        onnx_model.tidy(tmp_path / name / "model.onnx")
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())]

    one = fitted(5)
    first = digests(one, "first")
    torch.manual_seed(99)
    assert digests(fitted(5), "second") == first
    inputs = drawn(4, seed=3).inputs
    assert not np.array_equal(fitted(6).predict(inputs), one.predict(inputs))


def test_training_leaves_torch_as_it_was() -> None:
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model.fit(drawn(32, seed=1), drawn(8, seed=2), seed=5, quick=True, epochs=1, threads=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    parts, options = (drawn(32, seed=1), drawn(8, seed=2)), {"seed": 5, "quick": True, "epochs": 3, "mixing": 0.3}

    def killed(done: int, total: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(*parts, progress=killed, checkpoint=tmp_path / "kept", **options)
    told: list[int] = []
    again = model.fit(*parts, checkpoint=tmp_path / "kept", progress=lambda *step: told.append(step[0]), **options)
    whole = model.fit(*parts, **options)
    for name, trained in (("again", again), ("whole", whole)):
        (tmp_path / name).mkdir()
        trained.save(tmp_path / name)
    assert told == [3]
    one, other = (tmp_path / name / "weights.safetensors" for name in ("again", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_progress_is_told_epoch_by_epoch() -> None:
    told: list[tuple[int, int, str]] = []
    options = {"quick": True, "epochs": 3}
    model.fit(drawn(32, seed=1), drawn(8, seed=2), seed=5, progress=lambda *step: told.append(step), **options)
    assert [step[:2] for step in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1][2].startswith("loss ")


def test_a_loss_that_is_no_number_stops_training() -> None:
    train = drawn(32, seed=1)
    train.inputs[0] = np.nan
    with pytest.raises(HallmarkError, match="diverged"):
        model.fit(train, drawn(8, seed=2), seed=5, quick=True)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(DeclarationError, match="epochs_"):
        model.fit(drawn(8, seed=1), drawn(8, seed=2), seed=5, epochs_=3)


@pytest.mark.slow
def test_onnx_answers_as_torch_does(trained: TrainedNetwork, folder: Path) -> None:
    inputs = drawn(33, seed=7).inputs
    (answer,) = session(folder).run(["probabilities"], {"input": inputs})
    assert np.abs(answer - trained.predict(inputs)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_takes_any_number_of_photos(folder: Path, count: int) -> None:
    running = session(folder)
    assert running.get_inputs()[0].shape == ["batch", 3, features.SIDE, features.SIDE]
    assert running.get_outputs()[0].shape == ["batch", 17]
    assert running.run(None, {"input": drawn(count, seed=8).inputs})[0].shape == (count, 17)


@pytest.mark.slow
def test_onnx_holds_its_own_weights(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "weights.safetensors"]
    graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
    assert not any(weights.external_data for weights in graph.initializer)


@pytest.mark.slow
def test_restored_is_the_same_model(trained: TrainedNetwork, folder: Path) -> None:
    inputs = drawn(9, seed=9).inputs
    assert np.array_equal(model.restore(folder).predict(inputs), trained.predict(inputs))


@pytest.mark.slow
def test_weights_that_are_not_this_model_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not a model of this domain"):
        model.restore(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelRefused):
        model.restore(tmp_path)
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    save_file({"stem.0.weight": torch.zeros(3)}, tmp_path / "weights.safetensors", metadata=metadata)
    with pytest.raises(ModelRefused):
        model.restore(tmp_path)


@pytest.mark.slow
def test_seconds_on_real_photos_beat_the_largest_class_on_people_never_seen(clothing: Path) -> None:
    with (clothing / "images.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows = rows[::2]
    held = np.array([hashlib.sha256(row["sender_id"].encode()).digest()[0] < 52 for row in rows])
    labels = np.array([model.LABELS.index(row["label"]) for row in rows], dtype=np.int64)
    photos = np.array([(clothing / "images" / f"{row['image']}.jpg").read_bytes() for row in rows], dtype=object)
    inputs = features.encode({"image": photos})
    train, test = (Examples(inputs=inputs[part], labels=labels[part]) for part in (~held, held))
    fitted = model.fit(train, test, seed=7, quick=True)
    largest = np.bincount(test.labels).max() / len(test)
    assert accuracy(fitted.predict(test.inputs), test.labels) > largest + 0.05
