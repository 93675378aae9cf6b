"""A model from Python: trained, compared, loaded, asked, and shown in a notebook."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hallmark
from hallmark.api.models import Training
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.settings import Settings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
DAY = "2026-11-01"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> tuple[Settings, Training, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("api")
    shutil.copytree(ROOT / "tests" / "toy", folder / "root")
    settings = Settings.load(
        {"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")}
    ).prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        frame = pd.DataFrame(
            {"a": [1.0, -2.0, 0.5], "b": [0.0, 1.0, 0.25], "kind": ["x", "y", "x"], "extra": [1, 2, 3]}
        )
        return settings, hallmark.train("toy", until=DAY, quiet=True), frame


@pytest.fixture(autouse=True)
def here(trained: tuple[Settings, Training, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in trained[0].environment().items():
        monkeypatch.setenv(name, value)


def test_a_training_gives_a_version_its_metrics_and_a_table(trained: tuple[Settings, Training, pd.DataFrame]) -> None:
    made = trained[1]
    assert (made.version, made.passed, made.refusal) == (1, True, None)
    assert made.metrics["average_precision"] > 0.9
    assert made.plots.is_file()
    shown = made._repr_html_()
    assert "<table>" in shown
    assert "average_precision" in shown


def test_a_model_that_is_loaded_answers_as_its_onnx_does_and_keeps_the_index(
    trained: tuple[Settings, Training, pd.DataFrame], tmp_path: Path
) -> None:
    from hallmark.features.encoding import Features
    from hallmark.learners import onnx_model

    _, made, frame = trained
    frame = frame.set_axis([7, 5, 3])
    model = hallmark.load("toy", 1)
    assert (model.version, model.digest, model.card.domain) == (1, made.digest, "toy")
    answers = model.predict(frame)
    assert list(answers.index) == [7, 5, 3]
    session = onnx_model.session(model.folder / "model.onnx")
    inputs = frame[["a", "b"]].to_numpy(dtype=np.float32)
    assert Features is not None
    expected = session.run(["score"], {session.get_inputs()[0].name: inputs})[0]
    np.testing.assert_array_equal(answers["score"].to_numpy(), expected)
    np.testing.assert_array_equal(hallmark.predict("toy", frame, version="latest")["score"], answers["score"])

    frame.to_parquet(tmp_path / "rows.parquet")
    told = hallmark.predict("toy", tmp_path / "rows.parquet", out=tmp_path / "out.parquet", version=1, quiet=True)
    assert told.rows == 3
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "out.parquet")["score"], answers["score"])


def test_a_frame_that_the_model_cannot_read_is_refused_with_the_column(
    trained: tuple[Settings, Training, pd.DataFrame],
) -> None:
    model, frame = hallmark.load("toy", 1), trained[2]
    with pytest.raises(ContractBroken, match="lacks what toy reads: b"):
        model.predict(frame.drop(columns="b"))
    with pytest.raises(ContractBroken, match="column a"):
        model.predict(frame.assign(a=["one", "two", "three"]))
    with pytest.raises(DeclarationError, match="as a frame"):
        model.predict(frame.to_dict("records"))  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="answered with a frame"):
        hallmark.predict("toy", frame, out="x.parquet", version=1)  # type: ignore[call-overload]
    with pytest.raises(DeclarationError, match="answered with a file"):
        hallmark.predict("toy", "rows.parquet", version=1)  # type: ignore[call-overload]


@pytest.mark.slow
def test_two_versions_are_compared_and_the_page_is_written(
    trained: tuple[Settings, Training, pd.DataFrame], tmp_path: Path
) -> None:
    second = hallmark.train("toy", until=DAY, seed=9, quiet=True)
    found = hallmark.compare("toy", 1, second.version or 0)
    assert "average_precision" in found.metrics.index
    assert "average_precision" in found.verdict
    assert "version 1" in found._repr_html_()
    found.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_findings_are_a_sequence_that_says_whether_a_training_would_start() -> None:
    found = hallmark.check("toy")
    assert found.ok
    assert len(found) == len(list(found))
    assert "toy" in found._repr_html_()


def test_the_import_brings_no_heavy_library_and_names_what_there_is() -> None:
    code = (
        "import sys, hallmark; heavy = {'torch', 'mlflow', 'pandas', 'numpy', 'onnxruntime', 'kubernetes', 'typer', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)), sorted(hallmark.__all__) == sorted(n for n in dir(hallmark) if n in hallmark.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("]")[0] == "["
    assert "True" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hallmark.nothing
    for name in hallmark.__all__:
        assert callable(getattr(hallmark, name))
