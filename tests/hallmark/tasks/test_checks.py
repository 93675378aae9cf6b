"""Checks of a model's output, of its export, of a part of the data, and of fields that tell the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import roc_auc_score

from hallmark.errors import ModelRefused
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Targets, Task, Uplift

TWO = Multiclass(labels=("a", "b"))
BAND = Regression(quantiles=(0.1, 0.9))
SANE: list[tuple[BaseTask, Any]] = [
    (Binary(), [0.0, 1.0]),
    (Binary(), np.array([0.2, 1 + 5e-7], dtype=np.float32)),
    (TWO, [[0.5, 0.5], [1, 0]]),
    (Regression(), [-3.0, 1e9]),
    (BAND, [[1, 2], [3, 3]]),
    (Ranking(), [-7.0, 3.0]),
    (Retrieval(k=2), [["a", "b"], ["c", ""]]),
    (Retrieval(k=2), [[4, 5], [-1, -1]]),
    (Uplift(), [-0.1, 0.2]),
    (Uplift(treatments=2), [[-0.1, 0.2], [0, 0]]),
]
INSANE: list[tuple[BaseTask, Any, str]] = [
    (Binary(), [0.1, 1.1], "out of range"),
    (Binary(), [0.1, np.nan], "out of range"),
    (Binary(), [[0.1], [0.2]], "wrong shape"),
    (Binary(), ["a", "b"], "wrong shape"),
    (TWO, [[0.5, 0.5], [0.9, 0.9]], "do not sum to 1"),
    (TWO, [[1, 0, 0], [1, 0, 0]], "wrong shape"),
    (Regression(), [1.0, np.inf], "out of range"),
    (Regression(nonnegative=True), [1.0, -1.0], "out of range"),
    (BAND, [[1, 2], [3, 2.9]], "cross"),
    (Ranking(), [1.0, np.nan], "out of range"),
    (Retrieval(k=2), [["a", "b"], ["c", "c"]], "an id twice"),
    (Retrieval(k=2), [0.5, 0.5], "wrong shape"),
    (Uplift(treatments=2), [0.1, 0.2], "wrong shape"),
]


@pytest.mark.parametrize(("task", "raw"), SANE)
def test_a_sane_output_passes(task: BaseTask, raw: Any) -> None:
    found = task.check(np.array(raw), rows=2)
    assert found.shape == (2, *task.shape)


@pytest.mark.parametrize(("task", "raw", "why"), INSANE)
def test_an_output_that_cannot_be_right_is_refused(task: BaseTask, raw: Any, why: str) -> None:
    with pytest.raises(ModelRefused, match=why):
        task.check(np.array(raw), rows=2)


def test_quantiles_that_cross_by_rounding_are_put_in_order() -> None:
    assert BAND.check(np.array([[2.000001, 2.0]]), rows=1).tolist() == [[2.0, 2.000001]]


def test_ids_become_places_in_the_answer_to_the_rows_query() -> None:
    targets = Targets(np.ones(3), groups=np.array([0, 0, 1]), items=np.array(["a", "z", "b"]))
    found = Retrieval(k=2).predictions(np.array([["b", "a"], ["b", "a"], ["b", ""]]), targets)
    assert found.tolist() == [2, np.inf, 1]


def test_an_exported_model_is_near_by_the_measure_of_its_task() -> None:
    first = np.array([0.1, 0.5, 0.9])
    assert Binary().parity(first, first + 5e-5).kept and not Binary().parity(first, first + 2e-4).kept
    prices = np.array([1e4, 2e4, 0.0])
    assert Regression().parity(prices, prices * (1 + 5e-5)).kept
    assert not Regression().parity(prices, prices * (1 + 2e-4)).kept
    assert not Regression().parity(prices, np.array([1e4, np.nan, 0])).kept
    assert Uplift().parity(np.array([0.1, 0.0]), np.array([0.1, 5e-6])).kept
    with pytest.raises(ModelRefused, match="another shape"):
        Binary().parity(first, first[:2])


def test_an_exported_ranking_may_score_otherwise_but_not_order_otherwise() -> None:
    targets = Targets(np.zeros(5), groups=np.array([0, 0, 0, 1, 1]))
    scores = np.array([3.0, 2.0, 2.0, 1.0, 9.0])
    assert Ranking().parity(scores, scores * 7 + 1, targets).value == 0
    assert Ranking().parity(scores, np.array([3.0, 2.0, 2.5, 1.0, 9.0]), targets).value == 0  # a tie
    assert Ranking().parity(scores, np.array([3.0, 2.0, 2.0, 9.0, 1.0]), targets).value == 0.5
    assert not Ranking().parity(scores, scores * np.nan, targets).kept


def test_an_exported_index_returns_the_same_ids() -> None:
    first = np.array([["a", "b"], ["c", ""]])
    assert Retrieval(k=2).parity(first, np.array([["b", "a"], ["c", ""]])).value == 0
    assert Retrieval(k=2).parity(first, np.array([["b", "x"], ["c", ""]])).value == pytest.approx(1 / 3)


ARMS = np.array([0, 1, 0, 1])
ENOUGH: list[tuple[BaseTask, Targets, str | None]] = [
    (Binary(), Targets(np.array([0, 1])), None),
    (Binary(), Targets(np.array([1, 1])), "the label is 1 in all 2 rows"),
    (Binary(), Targets(np.array([])), "missing in all 0 rows"),
    (TWO, Targets(np.array([0, 1])), None),
    (TWO, Targets(np.array([1, 1])), "the label is b in all 2 rows"),
    (Regression(), Targets(np.array([1.0, 2.0])), None),
    (Regression(), Targets(np.array([2.0, 2.0])), "the label is 2 in all 2 rows"),
    (Regression(), Targets(np.array([1.0, 2.0]), censored=np.array([True, True])), "none of 2 rows"),
    (Ranking(), Targets(np.array([0.0, 1, 1, 1]), groups=np.array([0, 0, 1, 1])), None),
    (Ranking(), Targets(np.array([0.0, 0, 1, 1]), groups=np.array([0, 0, 1, 1])), "none of 2 queries"),
    (Retrieval(), Targets(np.array([0.0, 1])), None),
    (Retrieval(), Targets(np.array([0.0, 0])), "nothing is relevant"),
    (Uplift(), Targets(np.array([0.0, 1, 1, 0]), treatment=ARMS), None),
    (Uplift(), Targets(np.array([0.0, 1, 1, 0]), treatment=ARMS * 0), "none of 4 rows has treatment 1"),
    (Uplift(), Targets(np.ones(4), treatment=ARMS), "the outcome is 1 in all 4 rows"),
]


@pytest.mark.parametrize(("task", "targets", "why"), ENOUGH)
def test_a_part_that_tells_nothing_says_why(task: BaseTask, targets: Targets, why: str | None) -> None:
    found = task.enough(targets)
    assert found is None if why is None else why in str(found)


def test_a_field_that_tells_the_answer_is_found_in_each_task() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300)
    noise = generator.random(300)
    cases: list[tuple[BaseTask, Targets]] = [
        (Binary(), Targets(labels)),
        (TWO, Targets(labels)),
        (Regression(), Targets(labels + noise)),
        (Ranking(), Targets(labels.astype(np.float64), groups=np.arange(300) // 3)),
        (Uplift(), Targets(labels.astype(np.float64), treatment=generator.integers(0, 2, 300))),
        (Uplift(), Targets(labels * 9.5 + noise, treatment=generator.integers(0, 2, 300))),
    ]
    for task, targets in cases:
        told, other = task.telltale(targets, -targets.labels), task.telltale(targets, generator.random(300))
        assert told is not None and told >= task.too_good
        assert other is not None and other < 0.7
        assert task.telltale(Targets(np.ones(300), groups=targets.groups), noise) is None


def test_words_tell_by_what_they_meant_in_the_training_rows() -> None:
    words, labels = np.array(["a", "b", "a", "b"], dtype=object), np.array([0, 1, 0, 1])
    train = (Targets(labels), words)
    assert Binary().telltale(Targets(labels), words, train=train) == 1.0
    assert TWO.telltale(Targets(labels), words, train=train) == 1.0
    assert Binary().telltale(Targets(labels), np.array(list("wxyz")), train=train) == 0.5  # never seen
    assert Binary().telltale(Targets(labels), words) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 2.5, np.nan])), min_size=2, max_size=30))
def test_a_fields_area_is_that_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    labels, values = np.array([row[0] for row in rows]).astype(np.int64), np.array([row[1] for row in rows])
    found = Binary().telltale(Targets(labels), values)
    if len(np.unique(labels)) == 1:
        assert found is None
    else:
        area = roc_auc_score(labels, np.nan_to_num(values, nan=-1))
        assert found == pytest.approx(max(area, 1 - area))


def test_slices_are_values_or_quarters() -> None:
    targets = Targets(np.zeros(40))
    few = pd.Series([1, 2] * 20)
    assert set(Binary().groups(few, targets)) == {"1", "2"}
    many = pd.Series([*np.arange(39.0), np.nan])
    names, sizes = np.unique(Binary().groups(many, targets), return_counts=True)
    assert names.tolist() == ["1: up to 9.5", "2: up to 19", "3: up to 28.5", "4: over 28.5", "missing"]
    assert sizes.tolist() == [10, 10, 9, 10, 1]


def test_a_slice_holds_whole_queries() -> None:
    targets = Targets(np.array([0.0, 1, 0, 0, 0]), groups=np.array([5, 5, 5, 2, 2]))
    column = pd.Series(["coat", "dress", "coat", "shoe", "coat"], index=list("vwxyz"))
    assert Ranking().groups(column, targets).tolist() == ["dress", "dress", "dress", "shoe", "shoe"]


def test_a_declaration_is_read_by_its_kind() -> None:
    read = TypeAdapter[Any](Task).validate_python
    assert read({"kind": "ranking", "k": 5}) == Ranking(k=5)
    for wrong in (
        {"kind": "clustering"},
        {"kind": "binary", "k": 5},
        {"kind": "regression", "quantiles": [0.9, 0.1]},
        {},
    ):
        with pytest.raises(ValidationError):
            read(wrong)
    schema = TypeAdapter[Any](Task).json_schema()
    assert set(schema["discriminator"]["mapping"]) == {
        "binary", "multiclass", "regression", "ranking", "retrieval", "uplift",
    }  # fmt: skip


def test_the_metric_of_a_gate_is_one_of_the_tasks() -> None:
    for task in (Binary(), TWO, Regression(), BAND, Ranking(k=3), Retrieval(k=7), Uplift()):
        metric = task.metrics()[task.gated]
        assert metric.direction in ("higher", "lower")
        assert all(each.description.endswith(".") and each.name == name for name, each in task.metrics().items())
