from __future__ import annotations

import math

import pytest

from hallmark.artifacts.evaluation import Evaluation, Slice
from hallmark.declaration.gate import Gate, Slices
from hallmark.errors import GateRefused
from hallmark.training.gate import decide

GATE = Gate(
    metric="average_precision",
    floor=0.30,
    minimum_gain=-0.02,
    slices=Slices(columns=("payment",), minimum_rows=500, tolerance=0.10),
)


def evaluation(
    value: float = 0.6, *, card: float | None = 0.6, invoice: float | None = 0.5, rows: int = 900, test: str = "t"
) -> Evaluation:
    slices = (
        Slice(column="payment", value="card", rows=rows, metric=card),
        Slice(column="payment", value="invoice", rows=rows, metric=invoice),
    )
    metrics = {"average_precision": value, "log_loss": 1 - value}
    return Evaluation(rows=2 * rows, test=test, metric="average_precision", metrics=metrics, slices=slices)


def test_gate_accepts_the_first_model_that_reaches_the_floor() -> None:
    decision = decide(GATE, evaluation(0.30))
    assert decision.passed
    assert decision.reasons == (
        "average_precision 0.3000 reaches the floor 0.3000",
        "there is no champion to compare with",
    )
    decision.enforce()


def test_gate_rejects_a_model_below_the_floor_with_and_without_a_champion() -> None:
    for champion in (None, evaluation(0.1)):
        decision = decide(GATE, evaluation(0.29), champion)
        assert not decision.passed
        assert decision.reasons[0] == "average_precision 0.2900 does not reach the floor 0.3000"


def test_gate_rejects_a_worse_model() -> None:
    decision = decide(GATE, evaluation(0.55), evaluation(0.60))
    assert not decision.passed
    assert "gain -0.0500, less than the -0.0200 asked for" in decision.reasons[0]
    with pytest.raises(GateRefused, match="less than the"):
        decision.enforce()


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.02])
def test_gate_allows_the_loss_that_the_declaration_allows(loss: float) -> None:
    assert decide(GATE, evaluation(0.60 - loss), evaluation(0.60)).passed


def test_gate_asks_for_a_gain_where_the_declaration_does() -> None:
    strict = GATE.model_copy(update={"minimum_gain": 0.01})
    assert not decide(strict, evaluation(0.605), evaluation(0.60)).passed
    assert decide(strict, evaluation(0.61), evaluation(0.60)).passed


def test_gate_rejects_a_model_that_is_better_overall_and_worse_on_a_slice() -> None:
    decision = decide(GATE, evaluation(0.70, invoice=0.39), evaluation(0.60, invoice=0.50))
    assert not decision.passed
    assert decision.reasons[0].startswith("payment=invoice: average_precision 0.3900 is worse than the champion's")


def test_gate_does_not_judge_small_slices_or_those_without_a_metric() -> None:
    assert decide(GATE, evaluation(invoice=0.1, rows=499), evaluation(rows=499)).passed
    assert decide(GATE, evaluation(invoice=None), evaluation(invoice=None)).passed


def test_gate_reads_lower_as_better_where_declared() -> None:
    gate = GATE.model_copy(update={"metric": "log_loss", "direction": "lower", "floor": 0.5, "slices": Slices()})
    assert decide(gate, evaluation(0.60), evaluation(0.60)).passed
    assert not decide(gate, evaluation(0.55), evaluation(0.60)).passed
    assert not decide(gate, evaluation(0.49)).passed
    assert decide(gate, evaluation(0.65), evaluation(0.60)).passed


def test_gate_judges_slices_in_the_declared_direction() -> None:
    gate = GATE.model_copy(update={"metric": "log_loss", "direction": "lower", "floor": 0.5})
    assert decide(gate, evaluation(0.6, card=0.3), evaluation(0.6, card=0.6)).passed
    assert not decide(gate, evaluation(0.6, card=0.9), evaluation(0.6, card=0.6)).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gate_rejects_a_metric_that_is_not_a_number(value: float) -> None:
    assert not decide(GATE, evaluation(value)).passed
    assert not decide(GATE, evaluation(0.6), evaluation(value)).passed


def test_gate_rejects_a_missing_metric_a_missing_slice_and_another_test_set() -> None:
    assert not decide(GATE.model_copy(update={"metric": "top1"}), evaluation()).passed
    bare = evaluation().model_copy(update={"slices": ()})
    assert not decide(GATE, bare, evaluation()).passed
    other = decide(GATE, evaluation(0.9), evaluation(0.1, test="u"))
    assert other.reasons[0] == "candidate and champion were evaluated on different examples"
