"""Calibration as a step: thresholds of the slices from the latest examples, or a clear word why there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.settings import Settings
from hallmark.training import calibration, precision


@pytest.fixture
def declared() -> Domain:
    return domains.load("authentication", Settings.load())


def rows(count: int, *, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Items of one large slice and a small one, and scores that tell counterfeits well."""
    rng = np.random.default_rng(seed)
    false = rng.random(count) < 0.08
    frame = pd.DataFrame(
        {
            "brand": np.where(rng.random(count) < 0.8, "Aurelle", "Tolva"),
            "category": "belt",
            "counterfeit": false.astype(int),
        }
    )
    return frame, np.where(false, rng.beta(8, 2, count), rng.beta(2, 8, count))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation part's scores without a model: what `precisions.predict` would give."""
    monkeypatch.setattr(calibration, "examples", lambda name, frame: type("Given", (), {"given": frame})())
    monkeypatch.setattr(precision, "predict", lambda name, folder, frame: rows(len(frame), seed=1)[1])


@pytest.mark.usefixtures("scored")
def test_the_large_slice_has_a_threshold_and_the_small_one_none(declared: Domain, tmp_path: Path) -> None:
    (validation, _), (test, scores) = rows(600, seed=1), rows(1400, seed=2)
    found = calibration.calibrated(declared, tmp_path, validation=validation, test=test, scores=scores)
    large, small = found.slices
    assert large.values == ("Aurelle", "belt") and large.threshold is not None and large.accepted >= 437
    assert small.values == ("Tolva", "belt") and small.threshold is None and small.examples > 200
    assert (found.score, found.fields, found.at_most) == ("view.score", ("brand", "category"), 0.01)
    told = calibration.markdown(found)
    assert "| Tolva | belt | NO_THRESHOLD |" in told and found.line.startswith(
        "0.01 at most, with 0.95, in 1 of 2 slices"
    )


@pytest.mark.usefixtures("scored")
def test_examples_that_were_drawn_by_different_chances_are_thinned(declared: Domain, tmp_path: Path) -> None:
    (validation, _), (test, scores) = rows(600, seed=1), rows(1400, seed=2)
    weighed = declared.model_copy(update={"data": declared.data.model_copy(update={"weight": "counts"})})
    validation, test = validation.assign(counts=1.0), test.assign(counts=np.where(np.arange(1400) % 2, 1.0, 4.0))
    found = calibration.calibrated(weighed, tmp_path, validation=validation, test=test, scores=scores)
    plain = calibration.calibrated(declared, tmp_path, validation=validation, test=test, scores=scores)
    for left, whole in zip(found.slices, plain.slices, strict=True):
        assert left.examples == pytest.approx(whole.examples * (0.5 + 0.5 / 4), rel=0.1)
    with pytest.raises(ContractBroken, match="counts"):
        calibration.calibrated(weighed, tmp_path, validation=validation, test=test.assign(counts=0.0), scores=scores)


@pytest.mark.usefixtures("scored")
def test_a_model_that_tells_nothing_sends_each_item_to_a_person(declared: Domain, tmp_path: Path) -> None:
    (validation, _), (test, scores) = rows(600, seed=1), rows(1400, seed=2)
    found = calibration.calibrated(
        declared, tmp_path, validation=validation, test=test, scores=np.random.default_rng(3).permutation(scores)
    )
    assert all(each.threshold is None for each in found.slices)
    assert found.line == "NO_THRESHOLD in all of 2 slices: each item goes to a person"


def test_what_cannot_be_calibrated_is_told(declared: Domain, tmp_path: Path) -> None:
    frame, scores = rows(50, seed=1)
    with pytest.raises(DeclarationError, match="names category, and the examples have no such column"):
        calibration.calibrated(declared, tmp_path, validation=frame, test=frame.drop(columns="category"), scores=scores)
    assert declared.decision is not None
    node = declared.decision.nodes["view"].model_copy(update={"service": "another"})
    elsewhere = declared.decision.model_copy(update={"nodes": {**declared.decision.nodes, "view": node}})
    with pytest.raises(DeclarationError, match="not what this training can calibrate"):
        calibration.calibrated(
            declared.model_copy(update={"decision": elsewhere}), tmp_path, validation=frame, test=frame, scores=scores
        )
    with pytest.raises(DeclarationError, match="declares no decision"):
        calibration.calibrated(
            declared.model_copy(update={"decision": None}), tmp_path, validation=frame, test=frame, scores=scores
        )
