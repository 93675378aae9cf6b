from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.artifacts import bundle
from hallmark.artifacts import folder as folders
from hallmark.artifacts.evaluation import Parity
from hallmark.declaration import domain as domains
from hallmark.drift import embedding
from hallmark.drift.profile import Profile
from hallmark.features import image
from hallmark.learners.model import Trained, examples
from hallmark.tasks import Multiclass
from hallmark.tasks.charts import Confusion
from hallmark.training.evaluate import evaluate
from hallmark.training.export import export, score_folder
from hallmark.training.split import Split, split

pytestmark = pytest.mark.slow

LISTING = domains.load("listing")
DAY = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def parts() -> Split:
    data = domains.module("listing", "data")
    return split(LISTING, data.draw(start=DAY, end=DAY + timedelta(days=16), seed=3))


@pytest.fixture(scope="module")
def trained(parts: Split) -> Trained:
    train, validation = (examples("listing", part) for part in (parts.train, parts.validation))
    model = domains.module("listing", "model")
    fitted: Trained = model.fit(train, validation, seed=7, quick=True, epochs=1)
    return fitted


@pytest.fixture(scope="module")
def exported(parts: Split, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parity]:
    folder = tmp_path_factory.mktemp("photos") / "model"
    return folder, export(LISTING, trained, folder, test=parts.test, reference=parts.test)


def test_a_network_is_exported_with_its_answer_code(exported: tuple[Path, Parity]) -> None:
    folder, parity = exported
    assert parity.difference <= parity.tolerance
    names = {path.name for path in folder.iterdir()}
    assert {"model.onnx", "weights.safetensors", "serving.py", "features.py", "profile.json"} <= names
    assert not any(name.endswith(".data") for name in names)
    assert folders.verify(folder).startswith("sha256:")
    assert folders.signature(folder).labels == domains.module("listing", "model").LABELS


def test_it_scores_from_its_folder_as_it_was_trained(
    exported: tuple[Path, Parity], trained: Trained, parts: Split
) -> None:
    scores = score_folder(exported[0], parts.test)
    assert np.abs(scores - trained.predict(examples("listing", parts.test).inputs)).max() <= 1e-4
    (confusion,) = evaluate(LISTING, scores, parts.test).charts
    assert isinstance(confusion, Confusion) and folders.signature(exported[0]).task == Multiclass(
        labels=confusion.labels
    )


def test_its_profile_watches_photo_statistics_and_the_answer_and_holds_no_photo(exported: tuple[Path, Parity]) -> None:
    profile = Profile.model_validate_json((exported[0] / "profile.json").read_bytes())
    names = [column.name for column in profile.columns]
    assert {"brightness", "label", "confidence"} <= set(names)
    sample = pd.read_parquet(exported[0] / "reference.parquet")
    assert list(sample.columns) == names
    assert not any(isinstance(value, bytes) for column in sample for value in sample[column])


def test_its_embeddings_are_a_sample_under_the_manifest(exported: tuple[Path, Parity], parts: Split) -> None:
    folder = exported[0]
    kept = bundle.read(folder, expected=None, keep=bundle.WATCHED)
    sample = embedding.read(kept.file(embedding.FILE))
    assert sample.shape == (min(len(parts.test), embedding.MOST), image.DESCRIBED) and np.isfinite(sample).all()
    error = Profile.model_validate_json(kept.file("profile.json")).error
    assert error is not None and error.output == "label" and 0 < error.mean <= 1


def test_it_names_no_file_of_this_machine_and_exports_the_same_twice(
    exported: tuple[Path, Parity], trained: Trained, parts: Split, tmp_path: Path
) -> None:
    root = str(Path(__file__).resolve().parents[3]).encode()
    assert all(root not in path.read_bytes() for path in exported[0].iterdir())
    export(LISTING, trained, tmp_path / "model", test=parts.test, reference=parts.test)
    assert folders.verify(tmp_path / "model") == folders.verify(exported[0])
