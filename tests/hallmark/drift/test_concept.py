"""Is the model still right: on final labels, against its error at release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from hallmark.drift import concept
from hallmark.drift.analysis import ALPHA_PER_ANALYSIS
from hallmark.drift.concept import Concept, OutputError
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval
from hallmark.tasks.targets import TargetColumns


def traffic(rows: int, *, seed: int, truth: float = 1.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores, and labels that come true `truth` times as often as they say."""
    random = np.random.default_rng(seed)
    score = random.beta(0.5, 8.0, rows).astype(np.float32)
    return score, (random.random(rows) < np.clip(score * truth, 0, 1)).astype(np.int64)


def reference(task: BaseTask, outputs: dict[str, Any], labels: Any, requests: Sequence[str] = ()) -> OutputError | None:
    return concept.reference(task, outputs, list(labels), list(requests) or [""] * len(labels))


def judge(
    task: BaseTask,
    error: OutputError | None,
    answers: Any,
    labels: Any,
    requests: Sequence[str] = (),
    *,
    minimum: int = 300,
) -> Concept:
    requests = list(requests) or [""] * len(labels)
    return concept.judge(
        task, error, list(answers), list(labels), requests, minimum=minimum, margin=0.25, alpha=ALPHA_PER_ANALYSIS
    )


@pytest.fixture(scope="module")
def error() -> OutputError:
    score, label = traffic(10_000, seed=1)
    found = reference(Binary(), {"score": score}, label)
    assert found is not None
    return found


def judged(error: OutputError, rows: int, *, seed: int, truth: float = 1.0, minimum: int = 300) -> Concept:
    score, label = traffic(rows, seed=seed, truth=truth)
    return judge(Binary(), error, score, label, minimum=minimum)


def test_the_reference_is_briers_and_the_bias_of_a_fair_model_is_none(error: OutputError) -> None:
    score, label = traffic(10_000, seed=1)
    assert (error.output, error.rows) == ("score", 10_000)
    assert error.mean == pytest.approx(float(((score - label) ** 2).mean())) and abs(error.bias) < 0.005


@pytest.mark.slow
def test_of_300_clean_windows_none_drifts(error: OutputError) -> None:
    assert {judged(error, 2000, seed=10 + seed).state for seed in range(300)} == {"OK"}


def test_labels_that_come_true_three_times_as_often_are_drift_with_the_reason(error: OutputError) -> None:
    found = judged(error, 2000, seed=5, truth=3.0)
    assert found.state == "DRIFT" and found.worse is not None and found.worse > 0.25
    assert found.reason.startswith("error 0.") and "on 2000 final labels" in found.reason


def test_the_p_is_welchs(error: OutputError) -> None:
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


def test_few_labels_are_not_judged_however_wrong(error: OutputError) -> None:
    found = judged(error, 299, seed=5, truth=9.0)
    assert (found.state, found.reason) == ("NOT_ENOUGH_LABELS", "299 final labels, 300 are needed")
    score, label = traffic(400, seed=5)
    assert judge(Binary(), None, score, label).state == "NOT_ENOUGH_LABELS"
    unknown = [None] * 200 + label[200:].tolist()
    assert judge(Binary(), error, score, unknown).rows == 200


def test_words_are_right_or_wrong() -> None:
    random = np.random.default_rng(1)
    label = random.choice(np.array(["coat", "shoe", "hat"], dtype=object), 3000)
    answer = np.where(random.random(3000) < 0.9, label, "hat")
    confidence = random.random(3000).astype(np.float32)
    error = reference(Multiclass(), {"confidence": confidence, "label": answer}, label)
    assert error is not None and error.output == "label"
    assert error.mean == pytest.approx((answer != label).mean())
    worse = np.where(random.random(3000) < 0.7, label, "hat")
    same = np.where(random.random(3000) < 0.9, label, "hat")
    states = [judge(Multiclass(), error, each, label).state for each in (same, worse)]
    assert states == ["OK", "DRIFT"]


def test_labels_that_came_early_are_not_judged_before_the_rest_of_their_days() -> None:
    """Of 1,000 answers the first 600 all have labels; of the others only the frauds, which come within days."""
    at = np.arange(1000.0)
    labelled = (at < 600) | (at % 20 == 0)
    chosen = concept.mature(at, labelled, coverage=0.9)
    assert chosen[:600].all() and 600 <= chosen.sum() <= 605
    assert not concept.mature(at, at % 20 == 0, coverage=0.9)[1:].any()


def priced(rows: int, *, seed: int, noise: float = 0.1, dearer: float = 1.0) -> tuple[list[Any], list[Any]]:
    """Answers, and the prices that came true: a sixth of them only bounds."""
    random = np.random.default_rng(seed)
    answer = random.lognormal(4, 0.5, rows)
    truth = answer * random.lognormal(0, noise, rows) * dearer
    labels = [{"label": value, "censored": True} if row % 6 == 0 else value for row, value in enumerate(truth.tolist())]
    return answer.tolist(), labels


def test_a_regression_is_judged_by_relative_error_and_by_its_bias() -> None:
    task = Regression()
    error = reference(task, {"price": np.array(priced(5000, seed=1)[0])}, priced(5000, seed=1)[1])
    assert error is not None and (error.output, error.rows) == ("price", 5000)
    assert 0.05 < error.mean < 0.09  # a mean absolute deviation of a tenth, less where only a bound is known
    assert judge(task, error, *priced(1000, seed=2)).state == "OK"
    worse = judge(task, error, *priced(1000, seed=3, noise=0.2))
    assert worse.state == "DRIFT" and worse.reason.startswith("error ")
    dearer = judge(task, error, *priced(1000, seed=4, noise=0.02, dearer=1.1))
    assert dearer.state == "DRIFT" and "labels are higher than price says" in dearer.reason


def test_quantiles_are_judged_by_their_pinball_loss() -> None:
    task = Regression(quantiles=(0.1, 0.5, 0.9))
    spread = np.array([0.88, 1.0, 1.14])

    def drawn(rows: int, seed: int, **more: float) -> tuple[list[Any], list[Any]]:
        answers, labels = priced(rows, seed=seed, **more)
        return (np.array(answers)[:, None] * spread).tolist(), labels

    answers, labels = drawn(5000, 1)
    error = reference(task, {"quantiles": np.array(answers)}, labels)
    assert error is not None and (error.output, error.rows) == ("quantiles", 5000)
    assert judge(task, error, *drawn(1000, 2)).state == "OK"
    assert judge(task, error, *drawn(1000, 3, noise=0.3)).state == "DRIFT"
    assert judge(task, error, [each[1:] for each in answers[:500]], labels[:500]).rows == 0  # of another kind


def searched(requests: int, *, seed: int, noise: float) -> tuple[list[float], list[int], list[str]]:
    """Eight items a request, two of them clicked; scores that know it but for `noise`."""
    random = np.random.default_rng(seed)
    clicked = np.zeros((requests, 8), dtype=np.int64)
    clicked[:, :2] = 1
    clicked = random.permuted(clicked, axis=1)
    scores = clicked + noise * random.normal(size=clicked.shape)
    names = np.repeat([f"q{number}" for number in range(requests)], 8)
    return scores.ravel().tolist(), clicked.ravel().tolist(), names.tolist()


@pytest.mark.slow
def test_a_band_that_holds_less_than_is_promised_is_drift_and_chance_is_none() -> None:
    task = Regression(quantiles=(0.1, 0.5, 0.9), bound="upper", nonnegative=True)
    random = np.random.default_rng(6)
    bands = np.tile([[60.0, 100.0, 150.0]], (2000, 1))

    def told(held: float, rows: int, minimum: int = 300) -> Concept:
        inside = random.random(rows) < held
        prices = np.where(inside, random.uniform(60, 150, rows), np.where(random.random(rows) < 0.5, 50.0, 170.0))
        error = reference(task, {"band": bands}, random.choice(prices, 2000))
        found = concept.sums(task, bands[:rows].tolist(), prices.tolist(), [""] * rows)
        assert error is not None
        return concept.conclude(found, error, minimum=minimum, margin=1.0, alpha=ALPHA_PER_ANALYSIS, promise=0.77)

    broken = told(0.6, 1000)
    assert broken.state == "DRIFT" and broken.broken and "77% at least are promised" in broken.reason
    assert broken.kept == pytest.approx(0.6, abs=0.05) and broken.promised == 1000
    assert {told(0.8, 1000).state for _ in range(50)} == {"OK"}
    assert told(0.6, 200).kept is None  # too few


def test_an_unsold_item_breaks_a_promise_where_it_was_cheaper_than_the_band_and_says_nothing_elsewhere() -> None:
    task = Regression(quantiles=(0.1, 0.5, 0.9), bound="upper")
    labels: list[Any] = [50.0, 100.0, *({"label": bound, "censored": True} for bound in (50.0, 100.0, 200.0))]
    found = task.losses([[60.0, 90.0, 150.0]] * 5, labels, [""] * 5)
    assert found.kept is not None
    np.testing.assert_array_equal(found.kept, [0.0, 1.0, 0.0, np.nan, np.nan])
    frame = pd.DataFrame({"price": [50.0, 60.0], "unsold": [False, True]})
    told = task.late_labels(frame, TargetColumns(label="price", censored="unsold"))
    assert told == [50.0, {"label": 60.0, "censored": True}]


def test_a_ranking_is_judged_by_request() -> None:
    from sklearn.metrics import ndcg_score

    task = Ranking(k=5)
    scores, clicked, names = searched(2000, seed=1, noise=0.7)
    error = reference(task, {"score": np.array(scores)}, clicked, names)
    assert error is not None and error.rows == 2000  # requests, not their 16,000 records
    by_request = [np.array(each).reshape(2000, 8) for each in (clicked, scores)]
    assert error.mean == pytest.approx(1 - ndcg_score(*by_request, k=5))
    assert judge(task, error, *searched(500, seed=2, noise=0.7)).state == "OK"
    found = judge(task, error, *searched(500, seed=3, noise=1.6))
    assert (found.state, found.rows) == ("DRIFT", 500)
    assert judge(task, error, *searched(299, seed=4, noise=1.6)).state == "NOT_ENOUGH_LABELS"


def test_a_request_of_which_one_record_has_no_label_is_not_judged() -> None:
    task = Ranking(k=5)
    scores, clicked, names = searched(2000, seed=1, noise=0.7)
    error = reference(task, {"score": np.array(scores)}, clicked, names)
    labels: list[Any] = clicked[: 8 * 400]
    labels[0] = labels[17] = None
    assert judge(task, error, scores[: 8 * 400], labels, names[: 8 * 400]).rows == 398


def found_ids(requests: int, *, seed: int, hit: float) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Ten ids a request, and two that were relevant, each of them among the ten by the chance `hit`."""
    random = np.random.default_rng(seed)
    ids = [[f"i{number}" for number in random.choice(1000, 10, replace=False)] for _ in range(requests)]
    relevant = [
        [row[place] if random.random() < hit else f"other{place}" for place in random.choice(10, 2, replace=False)]
        for row in ids
    ]
    return ids, relevant, [f"r{number}" for number in range(requests)]


def test_a_retrieval_is_judged_by_what_it_missed() -> None:
    task = Retrieval(k=10)
    ids, relevant, names = found_ids(2000, seed=1, hit=0.6)
    error = reference(task, {"distance": np.ones((2000, 10)), "items": np.array(ids)}, relevant, names)
    assert error is not None and (error.output, error.rows) == ("items", 2000)
    hits = np.mean([len(set(row) & set(wanted)) / 2 for row, wanted in zip(ids, relevant, strict=True)])
    assert error.mean == pytest.approx(1 - hits) and error.bias == 0
    assert judge(task, error, *found_ids(500, seed=2, hit=0.6)).state == "OK"
    assert judge(task, error, *found_ids(500, seed=3, hit=0.3)).state == "DRIFT"
    nothing: list[Any] = [[]] * 250 + relevant[250:500]
    assert (
        judge(task, error, ids[:500], nothing, names[:500]).rows == 250
    )  # where nothing was relevant, nothing is missed


def test_an_error_from_before_there_were_tasks_is_read() -> None:
    old = {"output": "score", "kind": "probability", "rows": 10, "mean": 0.1, "deviation": 0.2, "bias": 0.0}
    assert OutputError.model_validate(old).mean == 0.1
