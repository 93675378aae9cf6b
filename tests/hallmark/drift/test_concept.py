"""Is the model still right: on final labels, against its error at release."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from hallmark.drift import concept
from hallmark.drift.concept import Concept, Error
from hallmark.drift.look import PER_LOOK


def traffic(rows: int, *, seed: int, truth: float = 1.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores, and labels that come true `truth` times as often as they say."""
    random = np.random.default_rng(seed)
    score = random.beta(0.5, 8.0, rows).astype(np.float32)
    return score, (random.random(rows) < np.clip(score * truth, 0, 1)).astype(np.int64)


@pytest.fixture(scope="module")
def error() -> Error:
    score, label = traffic(10_000, seed=1)
    found = concept.reference({"score": score}, label)
    assert found is not None
    return found


def judged(error: Error, rows: int, *, seed: int, truth: float = 1.0, minimum: int = 300) -> Concept:
    score, label = traffic(rows, seed=seed, truth=truth)
    return concept.judge(error, score, label, minimum=minimum, margin=0.25, alpha=PER_LOOK)


def test_the_reference_is_briers_and_the_bias_of_a_fair_model_is_none(error: Error) -> None:
    score, label = traffic(10_000, seed=1)
    assert (error.output, error.kind, error.rows) == ("score", "probability", 10_000)
    assert error.mean == pytest.approx(float(((score - label) ** 2).mean())) and abs(error.bias) < 0.005


def test_of_300_clean_windows_none_drifts(error: Error) -> None:
    assert {judged(error, 2000, seed=10 + seed).state for seed in range(300)} == {"OK"}


def test_labels_that_come_true_three_times_as_often_are_drift_with_the_reason(error: Error) -> None:
    found = judged(error, 2000, seed=5, truth=3.0)
    assert found.state == "DRIFT" and found.worse is not None and found.worse > 0.25
    assert found.reason.startswith("error 0.") and "on 2000 final labels" in found.reason


def test_the_p_is_welchs(error: Error) -> None:
    score, label = traffic(2000, seed=5, truth=1.3)
    loss, before = (score - label) ** 2, error
    theirs = scipy.stats.ttest_ind_from_stats(
        loss.mean(),
        loss.std(),
        2000,
        before.mean,
        before.deviation,
        before.rows,
        equal_var=False,
        alternative="greater",
    )
    ours = concept._welch(float(loss.mean()), float(loss.std()), 2000, before.mean, before.deviation, before.rows) / 2
    assert ours == pytest.approx(theirs.pvalue, rel=0.02)


def test_few_labels_are_not_judged_however_wrong(error: Error) -> None:
    found = judged(error, 299, seed=5, truth=9.0)
    assert (found.state, found.reason) == ("NOT_ENOUGH_LABELS", "299 final labels, 300 are needed")
    score, label = traffic(400, seed=5)
    assert concept.judge(None, score, label, minimum=300, margin=0.25, alpha=PER_LOOK).state == "NOT_ENOUGH_LABELS"
    unknown = np.array([None] * 200 + label[200:].tolist(), dtype=object)
    assert concept.judge(error, score, unknown, minimum=300, margin=0.25, alpha=PER_LOOK).rows == 200


def test_words_are_right_or_wrong() -> None:
    random = np.random.default_rng(1)
    label = random.choice(np.array(["coat", "shoe", "hat"], dtype=object), 3000)
    answer = np.where(random.random(3000) < 0.9, label, "hat")
    error = concept.reference({"confidence": random.random(3000).astype(np.float32), "label": answer}, label)
    assert error is not None and (error.output, error.kind) == ("label", "word")
    assert error.mean == pytest.approx((answer != label).mean())
    worse = np.where(random.random(3000) < 0.7, label, "hat")
    same = np.where(random.random(3000) < 0.9, label, "hat")
    states = [
        concept.judge(error, each, label, minimum=300, margin=0.25, alpha=PER_LOOK).state for each in (same, worse)
    ]
    assert states == ["OK", "DRIFT"]


def test_labels_that_came_early_are_not_judged_before_the_rest_of_their_days() -> None:
    """Of 1,000 answers the first 600 all have labels; of the others only the frauds, which come within days."""
    at = np.arange(1000.0)
    labelled = (at < 600) | (at % 20 == 0)
    chosen = concept.mature(at, labelled, coverage=0.9)
    assert chosen[:600].all() and 600 <= chosen.sum() <= 605
    assert not concept.mature(at, at % 20 == 0, coverage=0.9)[1:].any()
