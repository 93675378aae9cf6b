"""Answers and late labels one by one: agreement in a shadow, losses, costs, and what may be neither."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.tasks import Agreement, BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Uplift
from hallmark.tasks.answers import overlap

HALF = Agreement(threshold=0.5)
ALIKE: list[tuple[BaseTask, list[Any], list[Any], Agreement]] = [
    (Binary(), [0.51], [0.97], HALF),
    (Binary(), ["fake"], ["fake"], Agreement()),
    (Binary(), [None], [None], HALF),
    (Multiclass(), ["coat"], ["coat"], Agreement()),
    (Regression(), [100.0], [104.0], Agreement()),
    (Regression(), [0.0], [0], Agreement()),
    (Regression(quantiles=(0.1, 0.9)), [[10, 20]], [[10.1, 19.5]], Agreement()),
    (Regression(), [100], [130], Agreement(tolerance=0.3)),
    (Ranking(), [3.0, 2.0, 1.0], [0.9, 0.5, 0.1], Agreement(overlap=1.0)),
    (Ranking(k=2), [5, 4, 3, 2, 1], [5, 4, 1, 2, 3], Agreement(overlap=1.0)),
    (Ranking(k=3), [], [], Agreement()),
    (Retrieval(k=3), [["a", "b", "c"]], [["a", "b", "d"]], Agreement()),
    (Retrieval(k=3), [[1, 2, 3]], [["1", "2", "3"]], Agreement(overlap=1.0)),
    (Uplift(worth=0.1), [0.2], [0.3], Agreement()),
    (Uplift(), [0.2], [0.3], Agreement(threshold=0.5)),
    (Uplift(treatments=2), [[0.1, 0.3]], [[0.2, 0.9]], Agreement()),
]
APART: list[tuple[BaseTask, list[Any], list[Any], Agreement]] = [
    (Binary(), [0.51], [0.49], HALF),
    (Binary(), [0.51], [None], HALF),
    (Binary(), ["fake"], ["real"], Agreement()),
    (Multiclass(), ["coat"], ["dress"], Agreement()),
    (Regression(), [100.0], [106.0], Agreement()),
    (Regression(), [100.0], [-100.0], Agreement()),
    (Regression(), [100.0], [None], Agreement()),
    (Regression(quantiles=(0.1, 0.9)), [[10, 20]], [[10, 30]], Agreement()),
    (Ranking(), [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], Agreement()),
    (Ranking(), [3.0, 2.0], [3.0], Agreement()),
    (Ranking(), [3.0, 2.0], [3.0, None], Agreement()),
    (Retrieval(k=3), [["a", "b", "c"]], [["d", "e", "f"]], Agreement()),
    (Retrieval(k=3), [["a", "b", "c"]], [None], Agreement()),
    (Uplift(worth=0.25), [0.2], [0.3], Agreement()),
    (Uplift(treatments=2), [[0.1, 0.3]], [[0.4, 0.3]], Agreement()),
]


@pytest.mark.parametrize(("task", "stable", "candidate", "rule"), ALIKE)
def test_answers_agree(task: BaseTask, stable: list[Any], candidate: list[Any], rule: Agreement) -> None:
    assert task.agrees(stable, candidate, rule) and task.agrees(candidate, stable, rule)


@pytest.mark.parametrize(("task", "stable", "candidate", "rule"), APART)
def test_answers_differ(task: BaseTask, stable: list[Any], candidate: list[Any], rule: Agreement) -> None:
    assert not task.agrees(stable, candidate, rule) and not task.agrees(candidate, stable, rule)


def test_overlap_by_hand() -> None:
    # shared of 1, 2, 3 places: 1, 1, 2
    weights = np.array([1, 0.9, 0.81])
    assert overlap("abc", "adb", depth=3) == pytest.approx((weights * [1, 1 / 2, 2 / 3]).sum() / weights.sum())


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(1, 10))
def test_overlap_is_symmetric_within_0_and_1_and_full_for_the_same(a: list[int], b: list[int], depth: int) -> None:
    found = overlap(a, b, depth=depth)
    assert 0 <= found <= 1 and found == overlap(b, a, depth=depth)
    assert overlap(a, a, depth=depth) == pytest.approx(1)


PROBLEMS: list[tuple[BaseTask, Agreement, bool, str | None]] = [
    (Binary(), Agreement(), False, "declare the threshold"),
    (Binary(), HALF, False, None),
    (Binary(), Agreement(), True, None),
    (Binary(), HALF, True, "words"),
    (Binary(), Agreement(threshold=0.5, tolerance=0.1), False, "tolerance says nothing about a binary answer"),
    (Multiclass(), Agreement(), True, None),
    (Multiclass(), HALF, True, "threshold says nothing about a multiclass answer"),
    (Multiclass(), Agreement(), False, "name the output that holds the class"),
    (Regression(), Agreement(), False, None),
    (Regression(), HALF, False, "declare tolerance instead"),
    (Regression(), Agreement(), True, "words"),
    (Ranking(), Agreement(overlap=0.7), False, None),
    (Ranking(), HALF, False, "declare overlap instead"),
    (Ranking(), Agreement(), True, "words"),
    (Retrieval(), Agreement(), True, None),
    (Retrieval(), Agreement(tolerance=0.1), True, "declare overlap instead"),
    (Uplift(), Agreement(), False, None),
    (Uplift(), Agreement(overlap=0.5), False, "declare threshold instead"),
    (Uplift(), Agreement(), True, "words"),
]


@pytest.mark.parametrize(("task", "rule", "words", "problem"), PROBLEMS)
def test_a_rule_that_cannot_work_says_how_to_mend_it(
    task: BaseTask, rule: Agreement, words: bool, problem: str | None
) -> None:
    found = task.disagreement_problem(rule, words=words)
    assert found is None if problem is None else problem in str(found)


JUDGED: list[tuple[BaseTask, Any, Any, float, float]] = [
    (Binary(), 0.8, 1, 0.04, 0.2),
    (Binary(), 0.8, False, 0.64, -0.8),
    (Binary(), "fake", "real", 1.0, 0.0),
    (Binary(), 0.8, "real", math.nan, math.nan),
    (Binary(), 1.5, 1, math.nan, math.nan),
    (Binary(), 0.5, 0.5, math.nan, math.nan),
    (Binary(), None, 1, math.nan, math.nan),
    (Multiclass(), "coat", "coat", 0.0, 0.0),
    (Multiclass(), "coat", "dress", 1.0, 0.0),
    (Multiclass(), "coat", 1, math.nan, math.nan),
    (Regression(), 90.0, 100, 0.1, 0.1),
    (Regression(), 90.0, 0, math.nan, math.nan),
    (Regression(), "cheap", 10, math.nan, math.nan),
    (Regression(bound="upper"), 90.0, {"label": 100, "censored": True}, 0.0, 0.0),
    (Regression(bound="upper"), 110.0, {"label": 100, "censored": True}, 0.1, -0.1),
    (Regression(bound="lower"), 90.0, {"label": 100, "censored": True}, 0.1, 0.1),
    (Regression(quantiles=(0.1, 0.5)), [80.0, 110.0], 100, (0.1 * 20 + 0.5 * 10) / 2 / 100, -0.1),
    (Regression(quantiles=(0.1, 0.5)), 110.0, 100, 0.1, -0.1),
    (Uplift(), 0.5, {"label": 1, "treatment": 1, "propensity": 0.5}, (2 - 0.5) ** 2, 1.5),
    (Uplift(), 0.5, {"label": 1, "treatment": 0, "propensity": 0.8}, (-1.25 - 0.5) ** 2, -1.75),
    (Uplift(treatments=2), [0.5, 0.1], {"label": 1, "treatment": 2, "propensity": 0.5}, (0.25 + 3.61) / 2, 0.7),
    (Uplift(treatments=2), 0.5, {"label": 1, "treatment": 2, "propensity": 0.5}, math.nan, math.nan),
    (Uplift(), 0.5, 1, math.nan, math.nan),
    (Uplift(), 0.5, {"label": 1, "treatment": 1, "propensity": 1}, math.nan, math.nan),
]


@pytest.mark.parametrize(("task", "answer", "label", "loss", "bias"), JUDGED)
def test_a_late_label_says_how_wrong_an_answer_was(
    task: BaseTask, answer: Any, label: Any, loss: float, bias: float
) -> None:
    found = task.losses([answer], [label], ["r"])
    assert found.rows.tolist() == [0]
    assert (found.loss[0], found.bias[0]) == pytest.approx((loss, bias), nan_ok=True)


def test_the_loss_of_a_ranking_is_that_of_its_request() -> None:
    scores: list[Any] = [0.1, 0.9, 0.5, 0.2, 0.7, 0.3, 0.4]
    labels: list[Any] = [1, 0, 1, 0, 0, None, 1]
    found = Ranking(k=2).losses(scores, labels, ["a", "a", "b", "b", "", "c", "c"])
    assert found.rows.tolist() == [0, 2, 4, 5]
    # a: the click is second; b: first; a row alone without a click; c: a record without a label.
    assert found.loss.tolist() == pytest.approx([1 - 1 / math.log2(3), 0.0, math.nan, math.nan], nan_ok=True)


def test_the_loss_of_a_retrieval_is_what_it_did_not_find() -> None:
    task = Retrieval(k=2)
    answers: list[Any] = [["a", "b", "c"], [1, 2], ["a"], ["a", "b"]]
    labels: list[Any] = [["b", "c"], 2, None, ["x", "b"]]
    found = task.losses(answers, labels, ["p", "q", "r", "p"])
    assert found.loss.tolist() == pytest.approx([0.5, 0.0, math.nan], nan_ok=True)


def test_no_rows_have_no_losses() -> None:
    for task in (Binary(), Ranking()):
        assert len(task.losses([], [], []).loss) == 0


LABELS: list[tuple[BaseTask, list[Any], list[Any]]] = [
    (Binary(), [0, 1, True, "real"], [2, 0.5, None, "", [1], math.nan]),
    (Multiclass(labels=("coat",)), ["coat"], ["dress", 1, None]),
    (Multiclass(), ["dress"], ["", 1]),
    (Regression(), [1, -2.5, {"label": 3, "censored": True}], ["3", None, math.inf, {"censored": True}]),
    (Regression(nonnegative=True), [0], [-1]),
    (Ranking(), [0, 1, 2.5], [-1, "click", None]),
    (Retrieval(), ["i1", 7, ["a", "b"]], [None, [], 1.5, [1.5], ""]),
    (
        Uplift(),
        [{"label": 1, "treatment": 0, "propensity": 0.5}],
        [1, {"label": 1}, {"label": 1, "treatment": 2, "propensity": 0.5}],
    ),
]


@pytest.mark.parametrize(("task", "right", "wrong"), LABELS)
def test_a_late_label_of_another_kind_is_refused_with_what_it_must_be(
    task: BaseTask, right: list[Any], wrong: list[Any]
) -> None:
    assert [task.label_problem(label) for label in right] == [None] * len(right)
    for label in wrong:
        assert str(task.label_problem(label)).startswith("expected label: "), label


COSTS: list[tuple[BaseTask, list[Any], list[Any], float | None, float]] = [
    (Binary(), [0.6], [1], 0.5, 0.0),
    (Binary(), [0.4], [1], 0.5, 10.0),
    (Binary(), [0.6], [0], 0.5, 3.0),
    (Binary(), ["real"], ["fake"], None, 10.0),
    (Binary(), [0.4], [None], 0.5, math.nan),
    (Multiclass(), ["coat"], ["dress"], None, 10.0),
    (Regression(), [90.0], [100], None, 1.0),
    (Regression(), [110.0], [100], None, 0.3),
    (Regression(), [110.0], [None], None, math.nan),
    (Ranking(), [0.1, 0.9], [0, 1], None, 0.0),
    (Retrieval(k=1), [["a"]], [["b"]], None, 10.0),
]


@pytest.mark.parametrize(("task", "answers", "labels", "threshold", "cost"), COSTS)
def test_a_wrong_answer_costs_what_its_mistake_costs(
    task: BaseTask, answers: list[Any], labels: list[Any], threshold: float | None, cost: float
) -> None:
    asked: dict[str, Any] = {"threshold": threshold, "false_negative": 10.0, "false_positive": 3.0}
    found = task.costs(answers, labels, ["unit"] * len(answers), **asked)
    assert found.tolist() == pytest.approx([cost], nan_ok=True)
    twice = task.costs(answers * 2, labels * 2, ["one"] * len(answers) + ["two"] * len(answers), **asked)
    assert twice.tolist() == pytest.approx([cost] * 2, nan_ok=True)
