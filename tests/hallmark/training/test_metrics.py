from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.training import metrics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scikit-learn's own import warns on some machines
    from sklearn import metrics as reference


def scored(seed: int, n: int = 500, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    answers = (random.random(n) < 0.1).astype(np.int64)
    scores = np.clip(0.3 * answers + random.random(n) * 0.7, 0, 1)
    return answers, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_binary_metrics_agree_with_scikit_learn(seed: int, ties: bool) -> None:
    answers, scores = scored(seed, ties=ties)
    ours = metrics.binary(answers, scores)
    assert ours["average_precision"] == pytest.approx(reference.average_precision_score(answers, scores))
    assert ours["roc_auc"] == pytest.approx(reference.roc_auc_score(answers, scores))
    assert ours["log_loss"] == pytest.approx(reference.log_loss(answers, scores))
    assert ours["brier"] == pytest.approx(reference.brier_score_loss(answers, scores))
    assert ours["precision"] == pytest.approx(reference.precision_score(answers, scores >= 0.5))
    assert ours["recall"] == pytest.approx(reference.recall_score(answers, scores >= 0.5))
    false, true, _ = reference.roc_curve(answers, scores, drop_intermediate=False)
    assert ours["recall_at_1pct_fpr"] == pytest.approx(true[false <= 0.01].max())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_the_roc_curve_is_scikit_learns(count: int, ties: bool) -> None:
    answers, scores = scored(5, count, ties=ties)
    answers[0], answers[-1] = 0, 1
    for kind in (np.float64, np.float32):
        found = metrics.roc_curve(answers, scores.astype(kind))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one example only: no negative
            expected = reference.roc_curve(answers, scores.astype(kind))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, np.nan_to_num(theirs, posinf=np.inf))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])), min_size=2, max_size=40))
def test_ranking_metrics_agree_on_any_small_sample(pairs: list[tuple[int, float]]) -> None:
    answers, scores = np.array([a for a, _ in pairs]), np.array([s for _, s in pairs])
    if 0 < answers.sum() < len(answers):
        assert metrics.roc_auc(answers, scores) == pytest.approx(reference.roc_auc_score(answers, scores))
        expected = reference.average_precision_score(answers, scores)
        assert metrics.average_precision(answers, scores) == pytest.approx(expected)
    else:
        assert math.isnan(metrics.roc_auc(answers, scores))


def test_multiclass_metrics_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    answers = random.integers(0, 5, 400)
    probabilities = random.dirichlet(np.ones(5), 400)
    probabilities[np.arange(400), answers] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    guessed, names = probabilities.argmax(axis=1), tuple("abcde")
    ours = metrics.multiclass(answers, probabilities, names=names)
    assert ours["top1"] == pytest.approx(reference.accuracy_score(answers, guessed))
    assert ours["top3"] == pytest.approx(reference.top_k_accuracy_score(answers, probabilities, k=3))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(answers, guessed, average="macro"))
    assert ours["log_loss"] == pytest.approx(reference.log_loss(answers, probabilities))
    by_class = reference.f1_score(answers, guessed, average=None)
    assert [ours[f"f1_{name}"] for name in names] == pytest.approx(list(by_class))
    assert (metrics.confusion(answers, probabilities) == reference.confusion_matrix(answers, guessed)).all()


def test_what_the_examples_cannot_tell_is_nan() -> None:
    none, scores = np.zeros(4, dtype=np.int64), np.linspace(0, 0.4, 4)
    assert math.isnan(metrics.average_precision(none, scores))
    assert math.isnan(metrics.recall_at_fpr(none, scores))
    assert math.isnan(metrics.recall(none, scores))
    assert math.isnan(metrics.precision(none, scores))
    empty = np.array([], dtype=np.int64)
    assert all(math.isnan(value) for value in metrics.binary(empty, np.array([])).values())


def test_a_class_never_seen_nor_guessed_does_not_lower_macro_f1() -> None:
    answers, probabilities = np.array([0, 1, 0]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.7, 0.3, 0]])
    assert metrics.macro_f1(answers, probabilities) == 1.0
