from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from hallmark.artifacts import folder as folders
from hallmark.declaration import domain as domains
from hallmark.drift.profile import Profile
from hallmark.errors import Conflict, ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import onnx_model
from hallmark.learners.model import columns, examples
from hallmark.tasks import Binary
from hallmark.training import source
from hallmark.training.evaluate import evaluate
from hallmark.training.export import SeasonRows, export, score_folder
from hallmark.training.split import split

ROOT = Path(__file__).resolve().parents[3]
FRAUD = domains.load("fraud")
AS_OF = datetime(2026, 10, 1, tzinfo=UTC)


class Made:
    """A fraud model trained small, its folder, and the orders it was tested on."""

    def __init__(self, folder: Path) -> None:
        model = domains.module("fraud", "model")
        end = AS_OF - FRAUD.data.label_delay
        frame = source.load("fraud", source=source.SYNTHETIC, start=end - timedelta(days=8), end=end, seed=3)
        parts = split(FRAUD, frame, as_of=AS_OF)
        train, validation = (examples("fraud", part) for part in (parts.train, parts.validation))
        self.trained = model.fit(train, validation, seed=7, rounds=25)
        self.test: pd.DataFrame = parts.test
        self.folder = folder
        self.parity = export(FRAUD, self.trained, folder, test=self.test, reference=self.test)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "model"))


def test_the_folder_holds_what_serving_needs_and_is_sealed(made: Made) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == [
        *("booster.txt", "features.py", "manifest.json", "model.onnx", "profile.json", "reference.parquet"),
        "signature.json",
    ]
    assert folders.verify(made.folder).startswith("sha256:")
    signature = folders.signature(made.folder)
    assert signature.domain == "fraud" and [output.name for output in signature.outputs] == ["score"]
    assert signature.task == Binary()
    assert (made.folder / "features.py").read_bytes() == (ROOT / "domains/fraud/features.py").read_bytes()


def test_onnx_and_trained_model_agree_over_all_test_rows(made: Made) -> None:
    assert made.parity.rows == len(made.test)
    assert made.parity.difference <= 1e-6 < made.parity.tolerance


def test_the_folder_scores_as_the_trained_model_does(made: Made) -> None:
    scores = score_folder(made.folder, made.test, expected=folders.verify(made.folder))
    expected = made.trained.predict(examples("fraud", made.test).inputs)
    assert scores.shape == (len(made.test),)
    assert np.abs(scores - expected).max() <= 1e-6
    assert evaluate(FRAUD, scores, made.test).metrics["average_precision"] > 0.2


def test_scoring_leaves_the_folder_as_it_was(made: Made) -> None:
    before = folders.verify(made.folder)
    score_folder(made.folder, made.test[:5])
    assert folders.verify(made.folder) == before  # no bytecode left beside the model's code


def test_the_profile_is_of_what_is_observed_and_of_scores(made: Made) -> None:
    profile = Profile.model_validate_json((made.folder / "profile.json").read_bytes())
    names = [column.name for column in profile.columns]
    features = domains.module("fraud", "features")
    watched = features.observe(columns(made.test, features.FIELDS))
    assert names == [*watched, "score"]
    assert profile.rows == min(len(made.test), 20_000)
    sample = pd.read_parquet(made.folder / "reference.parquet")
    assert len(sample) == 2000 and list(sample.columns) == names


def test_the_profile_knows_how_wrong_the_model_was(made: Made) -> None:
    error = Profile.model_validate_json((made.folder / "profile.json").read_bytes()).error
    scores = made.trained.predict(examples("fraud", made.test).inputs)
    loss = (scores - made.test["fraud"].to_numpy()) ** 2
    assert error is not None and (error.output, error.rows) == ("score", len(made.test))
    assert error.mean == pytest.approx(float(loss.mean()), rel=1e-4)


@pytest.mark.slow
def test_last_years_weeks_are_references_in_the_same_bins(made: Made, tmp_path: Path) -> None:
    start = datetime(2025, 10, 1, tzinfo=UTC)
    end = start + timedelta(days=2)
    rows = source.load("fraud", source=source.SYNTHETIC, start=start, end=end, seed=3)
    part = SeasonRows(start.date(), (start + timedelta(days=1)).date(), rows)
    export(FRAUD, made.trained, tmp_path / "model", test=made.test, reference=made.test, seasons=[part])
    path = tmp_path / "model" / "profile.json"
    profile = Profile.model_validate_json(path.read_bytes())
    (season,) = profile.seasons
    assert (season.name, season.rows) == ("10-01 to 10-02", len(rows))
    amount = [column.name for column in profile.columns].index("amount")
    counted = profile.columns[amount].tally(rows["amount"].to_numpy())
    assert list(season.counts[amount]) == counted.tolist()
    assert path.stat().st_size < 20_000


def test_exporting_again_gives_the_same_digest(made: Made, tmp_path: Path) -> None:
    export(FRAUD, made.trained, tmp_path / "model", test=made.test, reference=made.test)
    assert folders.verify(tmp_path / "model") == folders.verify(made.folder)


_AGAIN = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("exported_here", sys.argv[1])
tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)
print(tests.folders.verify(tests.Made(Path(sys.argv[2])).folder))
"""


@pytest.mark.slow
def test_the_same_seed_and_data_give_the_same_digest_in_another_process(made: Made, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _AGAIN, __file__, str(tmp_path / "model")]
    other = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert other.stdout.strip() == folders.verify(made.folder)


def test_nothing_in_the_folder_names_this_machine(made: Made) -> None:
    for path in made.folder.iterdir():
        text = path.read_bytes()
        assert str(ROOT).encode() not in text and str(made.folder.parent).encode() not in text


class Off:
    """A trained model whose ONNX form answers otherwise."""

    def __init__(self, trained: Any, *, by: float) -> None:
        self._trained, self._by = trained, by
        self.save, self.export = trained.save, trained.export

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        scores = self._trained.predict(inputs)
        scores[len(scores) // 2] += self._by
        return np.asarray(scores)


@pytest.mark.parametrize("by", [0.001, float("nan")])
def test_broken_parity_is_refused_and_nothing_is_left(made: Made, tmp_path: Path, by: float) -> None:
    with pytest.raises(ModelRefused, match="does not answer as the trained one"):
        export(FRAUD, Off(made.trained, by=by), tmp_path / "model", test=made.test, reference=made.test)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(OSError, match="No space left"):
        export(FRAUD, made.trained, tmp_path / "model", test=made.test, reference=made.test)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    export(FRAUD, made.trained, tmp_path / "model", test=made.test, reference=made.test)
    assert folders.verify(tmp_path / "model") == folders.verify(made.folder)


def test_a_model_folder_is_replaced_and_anything_else_is_kept(made: Made, copy: Path, tmp_path: Path) -> None:
    (copy / "model.onnx").write_bytes(b"cut short")
    export(FRAUD, made.trained, copy, test=made.test, reference=made.test)
    assert folders.verify(copy) == folders.verify(made.folder)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(Conflict, match="holds something else"):
        export(FRAUD, made.trained, tmp_path / "home", test=made.test, reference=made.test)
    assert (tmp_path / "home" / "thesis.txt").is_file()


@pytest.mark.parametrize("name", ["model.onnx", "features.py", "signature.json", "manifest.json"])
def test_a_changed_folder_is_never_loaded(made: Made, copy: Path, name: str, tmp_path: Path) -> None:
    expected = folders.verify(made.folder)
    ran = tmp_path / "ran"
    code = f"\nopen({str(ran)!r}, 'w').close()\n".encode() if name == "features.py" else b" "
    (copy / name).write_bytes((copy / name).read_bytes() + code)
    with pytest.raises(ModelRefused):
        score_folder(copy, made.test[:5], expected=expected)
    assert not ran.exists()


def test_bytecode_beside_the_model_is_never_run(made: Made, copy: Path) -> None:
    (copy / "__pycache__").mkdir()
    with pytest.raises(ModelRefused, match="not in its manifest"):
        score_folder(copy, made.test[:5])


def test_weights_outside_the_file_are_refused(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    path.write_bytes(_model([weight]).SerializeToString())
    with pytest.raises(ModelRefused, match=r"weights w lie outside") as refused:
        onnx_model.tidy(path)
    assert "../../etc/passwd" in str(refused.value)


def test_tidying_forgets_notes_and_keeps_the_answers(tmp_path: Path) -> None:
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    for path, note in ((one, "/home/ada/model.py:3"), (other, "/home/bob/model.py:4")):
        noted = _model([helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])])
        noted.doc_string = noted.graph.doc_string = note
        noted.graph.node[0].doc_string = note
        props = noted.graph.node[0].metadata_props.add()
        props.key, props.value = "stack", note
        path.write_bytes(noted.SerializeToString())
        onnx_model.tidy(path)
    assert one.read_bytes() == other.read_bytes()
    running = onnx_model.session(one)
    assert onnx_model.run(running, np.float32([[3.0]]), ["score"])["score"].tolist() == [[6.0]]


def test_a_session_that_is_not_what_the_domain_declares_is_refused(made: Made) -> None:
    running = onnx_model.session(made.folder / "model.onnx")
    score = Output(name="score", datatype="FP32")
    onnx_model.agrees(running, [score])
    for wrong in (score.model_copy(update={"name": "scores"}), score.model_copy(update={"shape": (17,)})):
        with pytest.raises(ModelRefused, match="does not give"):
            onnx_model.agrees(running, [wrong])


def _model(weights: list[TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["input", "w"], ["score"])],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
