"""A small sealed model folder with its model card, and a registry set up once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hallmark.artifacts.evaluation import GateDecision, Parity, Slice
from hallmark.artifacts.folder import seal
from hallmark.artifacts.model_card import Champion, Code, DatasetFacts, ModelCard, TrainingRequest
from hallmark.settings import Settings

Make = Callable[[str], tuple[Path, ModelCard]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A model folder that holds `text`, and its model card."""

    def made(text: str) -> tuple[Path, ModelCard]:
        folder = tmp_path / f"made-{text}"
        folder.mkdir()
        (folder / "model.onnx").write_text(text)
        (folder / "features.py").write_text("FIELDS = ()\n")
        (folder / "profile.json").write_text("{}")
        return folder, model_card(seal(folder))

    return made


def model_card(digest: str, domain: str = "toy") -> ModelCard:
    """A model card of the model with this digest."""
    return ModelCard(
        domain=domain,
        created=datetime(2026, 11, 1, tzinfo=UTC),
        model=digest,
        features="sha256:" + "1" * 64,
        profile="sha256:" + "2" * 64,
        request=TrainingRequest(
            origin="synthetic", as_of="2026-11-01T00:00:00+00:00", seed=7, shift="", options={"pause": 0}
        ),
        data=DatasetFacts(digest="sha256:" + "3" * 64, rows=1000, columns=("a",), contract="sha256:" + "4" * 64),
        code=Code(commit="0" * 40, dirty=True),
        libraries={"numpy": "2.3.0"},
        test="sha256:" + "5" * 64,
        test_rows=200,
        metric="average_precision",
        metrics={"average_precision": 0.7, "roc_auc": 0.9},
        slices=(Slice(column="kind", value="x", rows=100, metric=0.6),),
        decision=GateDecision(passed=True, reasons=("0.7 is above the floor",)),
        champion=Champion(version=1, digest="sha256:" + "6" * 64, metrics={"average_precision": 0.69}),
        parity=Parity(rows=200, difference=1e-7, tolerance=1e-5),
    )


@pytest.fixture
def settings(tmp_path: Path, empty_registry: Path) -> Settings:
    """Settings of a registry of this test's own."""
    found = at(tmp_path)
    found.state.mkdir()
    shutil.copyfile(empty_registry, found.state / "mlflow.db")
    return found


def at(root: Path) -> Settings:
    """Settings below `root`."""
    return Settings(
        root=root,
        state=root / "state",
        releases=root / "releases",
        tracking=f"sqlite:///{root / 'state' / 'mlflow.db'}",
    )
