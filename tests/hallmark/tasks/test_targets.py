"""Targets of each kind from a frame, and the first bad value of each column that cannot be one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.tasks import (
    BaseTask,
    Binary,
    Multiclass,
    Ranking,
    Regression,
    Retrieval,
    TargetColumns,
    Targets,
    Uplift,
)

BY_QUERY = TargetColumns("clicked", query="query_id", item="item_id")
ARMS = TargetColumns("bought", treatment="arm", propensity="chance")


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_binary_labels_are_0_and_1_however_they_are_written() -> None:
    for written in ([0, 1, 1], [0.0, 1.0, 1.0], [False, True, True]):
        assert Binary().targets(frame(y=written), TargetColumns("y")).labels.tolist() == [0, 1, 1]


def test_multiclass_labels_are_places_in_the_list_of_classes() -> None:
    task = Multiclass().model_copy(update={"labels": ("coat", "dress")})
    found = task.targets(frame(y=["dress", "coat"]), TargetColumns("y"))
    assert found.labels.tolist() == [1, 0] and found.labels.dtype == np.int64


def test_entities_are_groups_where_one_has_two_rows() -> None:
    columns = TargetColumns("y", entity="who")
    assert Binary().targets(frame(y=[0, 1, 1], who=["b", "a", "b"]), columns).groups.tolist() == [0, 1, 0]  # type: ignore[union-attr]
    assert Binary().targets(frame(y=[0, 1], who=["b", "a"]), columns).groups is None


def test_censored_rows_keep_their_bound() -> None:
    found = Regression(nonnegative=True).targets(
        frame(price=[10, 20], unsold=[False, True], w=[1, 2]), TargetColumns("price", censored="unsold", weight="w")
    )
    assert found.labels.tolist() == [10, 20]
    assert found.censored is not None and found.censored.tolist() == [False, True]
    assert found.weights is not None and found.weights.tolist() == [1, 2]


def test_queries_and_items_are_read() -> None:
    data = frame(clicked=[1, 0, 2], query_id=["q", "q", "p"], item_id=[7, 8, 7])
    assert Ranking().targets(data, BY_QUERY).groups.tolist() == [0, 0, 1]  # type: ignore[union-attr]
    assert Retrieval().targets(data, BY_QUERY).items.tolist() == [7, 8, 7]  # type: ignore[union-attr]
    words = data.assign(item_id=["a", "b", "a"])
    assert Retrieval().targets(words, BY_QUERY).items.tolist() == ["a", "b", "a"]  # type: ignore[union-attr]


def test_treatments_have_the_chance_of_what_the_row_got() -> None:
    data = frame(bought=[1, 0, 0, 1], arm=[0, 1, 1, 1], chance=[0.5, 0.5, 0.2, 0.3])
    found = Uplift().targets(data, ARMS)
    assert found.treatment is not None and found.treatment.tolist() == [0, 1, 1, 1]
    assert found.propensity is not None and found.propensity.tolist() == [0.5, 0.5, 0.2, 0.3]
    drawn = Uplift().targets(data, TargetColumns("bought", treatment="arm", shares=(0.75,))).propensity
    assert drawn is not None and drawn.tolist() == [0.25, 0.75, 0.75, 0.75]


def test_propensities_that_the_treatments_contradict_are_refused() -> None:
    generator, n = np.random.default_rng(3), 2_000
    arm = (generator.random(n) < 0.85).astype(np.int64)
    got = np.where(arm == 1, 0.85, 0.15)
    bought = generator.integers(0, 2, n)
    assert Uplift().targets(frame(bought=bought, arm=arm, chance=got), ARMS).propensity is not None
    for wrong in (np.full(n, 0.85), 1 - got, got / 2):
        with pytest.raises(ContractBroken, match="not the chance of what each row got"):
            Uplift().targets(frame(bought=bought, arm=arm, chance=wrong), ARMS)


@pytest.mark.parametrize("columns", [TargetColumns("bought", treatment="arm"), ARMS])
def test_a_log_without_propensities_is_refused_with_the_reason(columns: TargetColumns) -> None:
    with pytest.raises(
        DeclarationError, match="whom somebody chose, and why, would be taken for what the treatment did"
    ) as refused:
        Uplift().targets(frame(bought=[1, 0], arm=[0, 1]), columns)
    assert refused.value.exit_code == 2


def test_treatments_that_were_not_drawn_by_the_declared_lot_are_refused() -> None:
    data = frame(bought=[0, 1] * 500, arm=[0] * 150 + [1] * 850)
    assert Uplift().targets(data, TargetColumns("bought", treatment="arm", shares=(0.85,))).propensity is not None
    with pytest.raises(ContractBroken, match="treatment 0 was not drawn by the lot"):
        Uplift().targets(data, TargetColumns("bought", treatment="arm", shares=(0.5,)))


REFUSED: list[tuple[BaseTask, dict[str, list[Any]], TargetColumns, str, str]] = [
    (Binary(), {"y": [0, 2, 1, 2, 3]}, TargetColumns("y"), "label column y holds 2", "3 of 5 rows with 2, 3"),
    (Binary(), {"y": [0, None]}, TargetColumns("y"), "label column y holds nan", "1 of 2 rows"),
    (Binary(), {"y": ["yes", "no"]}, TargetColumns("y"), "label column y holds 'yes'", "'yes', 'no'"),
    (Binary(), {"x": [0, 1]}, TargetColumns("y"), "label column y is not in the data", "x"),
    (Binary(), {"y": [0, 1], "w": [1, 0]}, TargetColumns("y", weight="w"), "weight column w holds 0", "1 of 2"),
    (Binary(), {"y": [0, 1], "e": ["a", None]}, TargetColumns("y", entity="e"), "entity column e holds None", "1 of 2"),
    (Multiclass(labels=("a", "b")), {"y": ["a", "c"]}, TargetColumns("y"), "label column y holds 'c'", "1 of 2"),
    (Regression(), {"y": [1, np.inf]}, TargetColumns("y"), "label column y holds inf", "1 of 2"),
    (Regression(nonnegative=True), {"y": [1, -2]}, TargetColumns("y"), "label column y holds -2", "1 of 2"),
    (
        Regression(),
        {"y": [1.0, None], "c": [False, True]},
        TargetColumns("y", censored="c"),
        "label column y holds nan",
        "",
    ),
    (Regression(), {"y": [1, 2], "c": [0, 2]}, TargetColumns("y", censored="c"), "censored column c holds 2", ""),
    (Ranking(), {"y": [1, 0]}, TargetColumns("y"), "no column is declared for the query", "none"),
    (Ranking(), {"y": [1, -1], "q": [1, 1]}, TargetColumns("y", query="q"), "label column y holds -1", "1 of 2"),
    (Retrieval(), {"y": [1, 1], "q": [1, 1]}, TargetColumns("y", query="q"), "no column is declared for the item", ""),
    (
        Retrieval(),
        {"clicked": [1, 1], "query_id": [1, 1], "item_id": ["i", "i"]},
        BY_QUERY,
        "item column item_id holds 'i'",
        "1 of 2",
    ),
    (
        Uplift(),
        {"bought": [1, 1], "arm": [0, 2]},
        TargetColumns("bought", treatment="arm"),
        "treatment column arm holds 2",
        "",
    ),
    (
        Uplift(),
        {"bought": [1, 1], "arm": [0, 1], "chance": [0.5, 1]},
        ARMS,
        "propensity column chance holds 1.0",
        "1 of 2",
    ),
]


@pytest.mark.parametrize(("task", "data", "columns", "message", "got"), REFUSED)
def test_a_column_that_breaks_the_contract_is_named_with_its_first_bad_values(
    task: BaseTask, data: dict[str, list[Any]], columns: TargetColumns, message: str, got: str
) -> None:
    with pytest.raises(ContractBroken) as refused:
        task.targets(pd.DataFrame(data), columns)
    assert message in refused.value.message
    assert got in refused.value.got and refused.value.expected and refused.value.fix


def test_a_part_of_the_targets_keeps_all_columns() -> None:
    whole = Uplift().targets(frame(bought=[1, 0, 0], arm=[0, 1, 1], chance=[0.5, 0.4, 0.3]), ARMS)
    part = whole.take(np.array([True, False, True]))
    assert len(part) == 2
    assert part.treatment is not None and part.treatment.tolist() == [0, 1]
    assert part.propensity is not None and part.propensity.tolist() == [0.5, 0.3]
    with pytest.raises(ValueError, match="one length"):
        Targets(np.zeros(2), weights=np.ones(3))


def test_a_ranking_of_places_that_were_looked_at_unlike_weighs_its_clicks() -> None:
    columns = TargetColumns("clicked", query="query_id", propensity="look", weight="w")
    data = frame(clicked=[1, 0, 2, 0], query_id=[*"qqpp"], look=[1.0, 0.5, 0.02, 0.5], w=[1.0, 1.0, 3.0, 3.0])
    found = Ranking().targets(data, columns)
    assert found.propensity is not None and found.propensity.tolist() == [1.0, 0.5, 0.02, 0.5]
    assert found.weights is not None and found.weights.tolist() == [1, 1, 60, 60]  # 2 clicks, 10 each at most
    assert found.labels.tolist() == [1, 0, 2, 0]  # what is learnt stays as it was
    for bad in (0.0, 1.5):
        with pytest.raises(ContractBroken, match=f"propensity column look holds {bad}"):
            Ranking().targets(data.assign(look=[1.0, bad, 1.0, 1.0]), columns)
