"""The loop of networks: the same weights for the same seed, also when it was killed on its way; averages, temperature, early stop."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hallmark.errors import DeclarationError, HallmarkError, ModelRefused
from hallmark.learners.loop import Recipe
from hallmark.learners.model import Examples
from hallmark.learners.network import NetworkLearner
from tests.hallmark.learners.networks import PHOTOS, ROWS, Weighed, photos, rows

ROOT = Path(__file__).parents[3]


class Killed(BaseException):
    """What stands for a kill within one process."""


def fitted(learner: NetworkLearner[Any] = PHOTOS, **more: Any) -> Any:
    draw = photos if learner is PHOTOS else rows
    return learner.fit(draw(120, seed=1), draw(60, seed=2), seed=5, **more)


def weights(trained: Any, folder: Path) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(folder)
    return (folder / "weights.safetensors").read_bytes()


def stopped(after: int) -> Any:
    def tell(done: int, total: int, note: str) -> None:
        if done == after:
            raise Killed

    return tell


@pytest.mark.slow
@pytest.mark.parametrize(("after", "options"), [(1, {}), (4, {}), (6, {}), (4, {"patience": 3})])
def test_a_training_that_goes_on_gives_the_bytes_of_one_that_was_left_alone(
    after: int, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = weights(fitted(**options), tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(progress=stopped(after), checkpoint=tmp_path / "kept", **options)
    told: list[int] = []
    torch.manual_seed(99)
    again = fitted(progress=lambda *step: told.append(step[0]), checkpoint=tmp_path / "kept", **options)
    assert weights(again, tmp_path / "again") == whole
    assert told == list(range(after + 1, 7))


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.hallmark.learners.test_network import fitted
fitted(checkpoint=Path(sys.argv[2]), progress=lambda done, *_: done == 3 and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.slow
def test_a_process_killed_outright_is_gone_on_from(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(ROOT), str(tmp_path / "kept")], timeout=120)
    assert done.returncode == -signal.SIGKILL
    told: list[int] = []
    again = fitted(progress=lambda *step: told.append(step[0]), checkpoint=tmp_path / "kept")
    assert told[0] == 4
    assert weights(again, tmp_path / "again") == weights(fitted(), tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["seed", "recipe", "examples", "damage"])
def test_a_checkpoint_of_another_training_is_as_good_as_none(change: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fitted(progress=stopped(3), checkpoint=tmp_path)
    options: dict[str, Any] = {"rate": 2e-2} if change == "recipe" else {}
    train = photos(120, seed=9 if change == "examples" else 1)
    if change == "damage":
        file = tmp_path / "state.pt"
        file.write_bytes(file.read_bytes()[:-100])
    told: list[int] = []
    PHOTOS.fit(
        train, photos(60, seed=2), seed=6 if change == "seed" else 5, checkpoint=tmp_path,
        progress=lambda *step: told.append(step[0]), **options,
    )  # fmt: skip
    assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_draft_that_was_cut_off_harms_nothing(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fitted(progress=stopped(3), checkpoint=tmp_path)
    (tmp_path / "state.pt.draft").write_bytes(b"PK")
    told: list[int] = []
    fitted(progress=lambda *step: told.append(step[0]), checkpoint=tmp_path)
    assert told[0] == 4 and [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_early_stopping_keeps_the_epoch_that_answers_best() -> None:
    told: list[tuple[int, str]] = []
    options = {"epochs": 200, "patience": 3, "rate": 5e-2}
    trained = fitted(progress=lambda done, total, note: told.append((done, note)), **options)
    values = [float(note.split("validation ")[1]) for _, note in told]
    assert len(told) < 200 and values[-1 - 3] == min(values)  # told to three digits, in which a later one may be equal
    held = photos(60, seed=2)
    right = (trained.predict(held.inputs).argmax(1) == held.labels).mean()
    assert right > 0.9


def test_validation_without_early_stopping_only_sets_the_temperature(tmp_path: Path) -> None:
    given, none = photos(120, seed=1), photos(0, seed=2)
    set_, unset = PHOTOS.fit(given, photos(60, seed=2), seed=5), PHOTOS.fit(given, none, seed=5)
    one, other = (trained.serving.network.state_dict() for trained in (set_, unset))
    assert other["temperature"] == 1 and one["temperature"] != 1
    assert all(torch.equal(one[name], other[name]) for name in one if name != "temperature")


@pytest.mark.slow
def test_a_number_is_learnt_and_served(tmp_path: Path) -> None:
    trained, held = fitted(ROWS), rows(300, seed=3)
    found = trained.predict(held.inputs)
    assert found.shape == (300,) and np.abs(found - held.labels).mean() < 0.25
    trained.save(tmp_path)
    trained.export(tmp_path / "model.onnx")
    running = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 300):
        (answer,) = running.run(["value"], {"input": held.inputs[:count]})
        assert answer.shape == (count,) and np.abs(answer - found[:count]).max() < 1e-5
    assert np.array_equal(ROWS.restore(tmp_path).predict(held.inputs), found)


def test_examples_that_weigh_nothing_are_not_learnt_from() -> None:
    given, held = rows(120, seed=1), rows(0, seed=2)
    wrong = given.labels.copy()
    wrong[60:] = 100
    heavy = np.where(np.arange(120) < 60, 1.0, 0.0)
    trained = ROWS.fit(Weighed(given.inputs, wrong, weights=heavy), held, seed=5)
    assert np.abs(trained.predict(given.inputs[:60])).max() < 10


def by_row(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    return functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")


def test_temperature_and_early_stop_are_those_of_repeated_rows() -> None:
    learner = dataclasses.replace(PHOTOS, loss=by_row)
    train, held = photos(120, seed=1), photos(60, seed=2)
    times = np.where(held.labels == 0, 9, 1)
    twice = Examples(np.repeat(held.inputs, times, axis=0), np.repeat(held.labels, times))
    parts = [Weighed(held.inputs, held.labels, weights=times.astype(np.float64)), twice, held]
    told: list[list[float]] = [[], [], []]
    for place, each in enumerate(parts):

        def tell(done: int, total: int, note: str, place: int = place) -> None:
            told[place].append(getattr(note, "value", 0.0))

        trained = learner.fit(train, each, seed=5, patience=3, progress=tell)
        told[place].append(float(trained.serving.network.temperature))
    assert told[0] == pytest.approx(told[1], rel=1e-4)
    assert told[0][:-1] != pytest.approx(told[2][:-1], rel=1e-2)


def test_weights_with_a_loss_of_one_number_are_refused() -> None:
    given = photos(20, seed=1)
    with pytest.raises(DeclarationError, match=r"the loss is one number[\s\S]*data\.weight"):
        PHOTOS.fit(Weighed(given.inputs, given.labels, weights=np.ones(20)), given, seed=1)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"epoch": 3}, "epoch is not an option"),
        ({"epochs": None}, "option epochs is not what it should be"),
        ({"epochs": 0}, "option epochs"),
        ({"rate": "fast"}, "option rate"),
        ({"rate": float("inf")}, "option rate"),
    ],
)
def test_an_option_that_the_recipe_does_not_have_is_refused(option: dict[str, Any], reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason):
        fitted(**option)


def test_a_whole_number_is_a_float_where_a_float_is_asked_for() -> None:
    assert fitted(rate=1, epochs=1.0, threads=1).predict(photos(2, seed=3).inputs).shape == (2, 3)


def test_a_loss_that_is_no_number_stops_training() -> None:
    given = rows(40, seed=1)
    given.inputs[0] = np.nan
    with pytest.raises(HallmarkError, match="diverged"):
        ROWS.fit(given, rows(4, seed=2), seed=1)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    fitted(ROWS, quick=True).save(tmp_path)
    with pytest.raises(ModelRefused):
        PHOTOS.restore(tmp_path)


def test_training_leaves_torch_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    fitted(threads=threads + 1, epochs=1, checkpoint=tmp_path)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_no_rows_are_answered_with_none() -> None:
    assert fitted(epochs=1).predict(np.zeros((0, 3, 8, 8), np.float32)).shape == (0, 3)


def test_examples_are_not_changed() -> None:
    given = photos(40, seed=1)
    before = given.inputs.copy()
    PHOTOS.fit(given, Examples(given.inputs[:0], given.labels[:0]), seed=1, epochs=1)
    assert np.array_equal(given.inputs, before)
