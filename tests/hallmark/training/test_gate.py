from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts.evaluation import Beside, Evaluation, GateDecision, Slice
from hallmark.declaration.gate import Gate, Slices
from hallmark.tasks import BaseTask, Binary, Regression, Targets, Uplift, difference_error, estimates
from hallmark.tasks.bootstrap import Estimate
from hallmark.training import gate as gating

GATE = Gate(
    metric="average_precision",
    floor=0.30,
    minimum_gain=-0.02,
    slices=Slices(columns=("payment",), minimum_rows=500, tolerance=0.10),
)


def decide(gate: Gate, candidate: Evaluation, champion: Evaluation | None = None) -> GateDecision:
    return gating.decide(gate, candidate, champion, metrics=Binary().metrics())


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


def test_gate_rejects_a_model_below_the_floor_with_and_without_a_champion() -> None:
    for champion in (None, evaluation(0.1)):
        decision = decide(GATE, evaluation(0.29), champion)
        assert not decision.passed
        assert decision.reasons[0] == "average_precision 0.2900 does not reach the floor 0.3000"


def test_gate_rejects_a_worse_model() -> None:
    decision = decide(GATE, evaluation(0.55), evaluation(0.60))
    assert not decision.passed
    assert "gain -0.0500, less than the -0.0200 asked for" in decision.reasons[0]


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


def test_gate_reads_lower_as_better_where_the_metric_says_so() -> None:
    gate = GATE.model_copy(update={"metric": "log_loss", "floor": 0.5, "slices": Slices()})
    assert decide(gate, evaluation(0.60), evaluation(0.60)).passed
    assert not decide(gate, evaluation(0.55), evaluation(0.60)).passed
    assert not decide(gate, evaluation(0.49)).passed
    assert decide(gate, evaluation(0.65), evaluation(0.60)).passed


def test_gate_judges_slices_in_the_metrics_direction() -> None:
    gate = GATE.model_copy(update={"metric": "log_loss", "floor": 0.5})
    assert decide(gate, evaluation(0.6, card=0.3), evaluation(0.6, card=0.6)).passed
    assert not decide(gate, evaluation(0.6, card=0.9), evaluation(0.6, card=0.6)).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gate_rejects_a_metric_that_is_not_a_number(value: float) -> None:
    assert not decide(GATE, evaluation(value)).passed
    assert not decide(GATE, evaluation(0.6), evaluation(value)).passed


def test_gate_rejects_a_missing_metric_a_missing_slice_and_another_test_set() -> None:
    assert not decide(GATE.model_copy(update={"metric": "roc_auc"}), evaluation()).passed
    bare = evaluation().model_copy(update={"slices": ()})
    assert not decide(GATE, bare, evaluation()).passed
    other = decide(GATE, evaluation(0.9), evaluation(0.1, test="u"))
    assert other.reasons[0] == "candidate and champion were evaluated on different examples"


# Noise. The same draws for the same examples, so that the error is that of the difference.


@pytest.mark.parametrize(
    ("covered", "error", "rows", "passed", "said"),
    [
        (0.80, 0.01, 900, True, "interval_coverage is kept in 1 of 1 slices"),
        (0.72, 0.02, 900, True, "interval_coverage is kept in 1 of 1 slices"),
        (
            0.72,
            0.01,
            900,
            False,
            "brand=nike: interval_coverage 0.7200 misses 0.7500 to 0.8500 by more than chance, 2.0 standard errors of 0.0100 (900 rows)",
        ),
        (
            0.88,
            0.01,
            900,
            False,
            "brand=nike: interval_coverage 0.8800 misses 0.7500 to 0.8500 by more than chance, 2.0 standard errors of 0.0100 (900 rows)",
        ),
        (0.10, 0.01, 300, True, "interval_coverage is kept in 0 of 0 slices"),
    ],
)
def test_each_larger_slice_keeps_its_own_floors_with_or_without_a_champion(
    covered: float, error: float, rows: int, passed: bool, said: str
) -> None:
    own = Slices(columns=("brand",), minimum_rows=400, floors={"interval_coverage": (0.75, 0.85)})
    part = Slice(
        column="brand",
        value="nike",
        rows=rows,
        metric=2.0,
        others={"interval_coverage": Estimate(value=covered, error=error)},
    )
    found = Evaluation(rows=rows, test="t", metric="pinball_loss", metrics={"pinball_loss": 2.0}, slices=(part,))
    metrics = Regression(quantiles=(0.1, 0.5, 0.9)).metrics()
    decision = gating.decide(Gate(metric="pinball_loss", floor=9.0, slices=own), found, metrics=metrics)
    assert decision.passed is passed and any(reason.startswith(said) for reason in decision.reasons)


def test_the_more_slices_there_are_the_further_off_one_has_to_be() -> None:
    """Of fifty slices some are two errors off by chance alone."""

    def decided(count: int, off: float) -> bool:
        floors = Slices(columns=("brand",), minimum_rows=400, floors={"interval_coverage": (0.77, 0.83)})
        parts = [
            Slice(
                column="brand",
                value=f"{place}",
                rows=900,
                metric=2.0,
                others={"interval_coverage": Estimate(value=value, error=0.01)},
            )
            for place, value in enumerate([0.77 - off * 0.01, *[0.8] * (count - 1)])
        ]
        found = Evaluation(
            rows=900, test="t", metric="pinball_loss", metrics={"pinball_loss": 2.0}, slices=tuple(parts)
        )
        gate = Gate(metric="pinball_loss", floor=9.0, slices=floors)
        return gating.decide(gate, found, metrics=Regression(quantiles=(0.1, 0.5, 0.9)).metrics()).passed

    assert decided(50, 2.9) and not decided(1, 2.9) and not decided(50, 3.5)


def test_a_range_is_kept_to_beyond_the_error_of_the_figure_which_the_reason_states() -> None:
    metrics = Regression(quantiles=(0.1, 0.5, 0.9)).metrics()
    gate = Gate(metric="pinball_loss", floor=9.0, floors={"interval_coverage": (0.77, 0.83)})
    for covered, passed in ((0.755, True), (0.745, False), (0.85, False)):
        told = {"interval_coverage": Estimate(value=covered, error=0.009)}
        found = Evaluation(
            rows=900,
            test="t",
            metric="pinball_loss",
            metrics={"pinball_loss": 2.0, "interval_coverage": covered},
            estimates=told,
        )
        decision = gating.decide(gate, found, metrics=metrics)
        assert decision.passed is passed and any(
            "give or take 2 standard errors of 0.0090" in each for each in decision.reasons
        )


def judged(
    targets: Targets, predictions: np.ndarray, *, task: BaseTask, metric: str, slices: bool = False
) -> Evaluation:
    """What `evaluate` makes of predictions, with one slice of all rows where that is asked for."""
    found = estimates(task.metrics().values(), targets, predictions, seed="examples")
    metrics = {name: each.value for name, each in found.items()}
    told = found[metric].model_dump(exclude={"value"})
    whole = Slice(column="payment", value="card", rows=len(targets), metric=metrics[metric], **told)
    return Evaluation(
        rows=len(targets),
        test="examples",
        metric=metric,
        metrics=metrics,
        estimates=found,
        slices=(whole,) if slices else (),
    )


PRICES = Gate(metric="mean_absolute_error", floor=100.0, slices=Slices(columns=("payment",), tolerance=0.0))


def pair(*, shift: float, wobble: float = 1.0, rows: int = 400) -> tuple[Evaluation, Evaluation]:
    """A candidate whose errors are `shift` larger than the champion's in the mean, and `wobble` up or down in each row."""
    random = np.random.default_rng(5)
    off = random.uniform(5, 15, rows)
    apart = random.normal(size=rows)
    apart = shift + wobble * (apart - apart.mean()) / apart.std()
    targets = Targets(labels=np.zeros(rows))
    task: Any = {"task": Regression(), "metric": "mean_absolute_error", "slices": True}
    return judged(targets, off + apart, **task), judged(targets, off, **task)


def prices(candidate: Evaluation, champion: Evaluation, **changes: Any) -> GateDecision:
    return gating.decide(PRICES.model_copy(update=changes), candidate, champion, metrics=Regression().metrics())


def error_of(candidate: Evaluation, champion: Evaluation) -> float:
    name = "mean_absolute_error"
    found = difference_error(candidate.estimates[name], champion.estimates[name])
    assert found is not None
    return found


def test_the_noise_is_that_of_the_paired_difference() -> None:
    candidate, champion = pair(shift=0.05)
    paired = error_of(candidate, champion)
    assert paired == pytest.approx(
        1.0 / 400**0.5, rel=0.25
    )  # of the wobble; the prices' own spread of 2.9 is on both sides
    alone = candidate.errors["mean_absolute_error"]
    assert alone > 2 * paired


def test_a_loss_within_two_standard_errors_is_no_loss() -> None:
    candidate, champion = pair(shift=0.05)
    decision = prices(candidate, champion)
    assert decision.passed, decision.reasons
    assert any(
        "less than the +0.0000 asked for by no more than the noise of the test set" in r for r in decision.reasons
    )
    assert any("(standard error 0.0" in reason for reason in decision.reasons)


def test_a_loss_of_more_is_one() -> None:
    candidate, champion = pair(shift=0.15)
    assert 2 * error_of(candidate, champion) < 0.15
    decision = prices(candidate, champion)
    assert not decision.passed
    assert decision.reasons[0].endswith("less than the +0.0000 asked for")
    assert any(
        reason.startswith("payment=card: ") for reason in decision.reasons
    )  # the slice of all rows says the same


def test_the_noise_is_beside_what_the_declaration_allows() -> None:
    candidate, champion = pair(shift=0.15)
    allowed = PRICES.slices.model_copy(update={"tolerance": 0.1})
    assert prices(candidate, champion, minimum_gain=-0.1, slices=allowed).passed
    assert not prices(candidate, champion, minimum_gain=-0.02, slices=allowed).passed


def test_a_gain_that_is_asked_for_is_never_excused() -> None:
    candidate, champion = pair(shift=-0.05)  # a gain of 0.05, by far within the noise of 0.06
    assert prices(candidate, champion, minimum_gain=0.04).passed
    refused = prices(candidate, champion, minimum_gain=0.06)
    assert not refused.passed and "gain +0.0500" in refused.reasons[0]


def test_other_draws_say_nothing_of_a_difference() -> None:
    candidate, champion = pair(shift=0.05)
    other = {name: each.model_copy(update={"draws": "other"}) for name, each in champion.estimates.items()}
    assert not prices(candidate, champion.model_copy(update={"estimates": other})).passed


# Floors of other metrics.


@pytest.mark.parametrize(
    ("floors", "passed", "said"),
    [
        ({"roc_auc": 0.9}, True, "roc_auc 0.9000 reaches the floor 0.9000"),
        ({"roc_auc": 0.91}, False, "roc_auc 0.9000 does not reach the floor 0.9100"),
        ({"brier": 0.1}, True, "brier 0.1000 reaches the floor 0.1000"),
        ({"brier": 0.09}, False, "brier 0.1000 does not reach the floor 0.0900"),
        ({"positive_share": (0.01, 0.05)}, True, "positive_share 0.0500 is within 0.0100 to 0.0500"),
        ({"positive_share": (0.06, 0.20)}, False, "positive_share 0.0500 is outside of 0.0600 to 0.2000"),
        ({"positive_share": (0.01, 0.04)}, False, "positive_share 0.0500 is outside of 0.0100 to 0.0400"),
        ({"precision": 0.1}, False, "precision of the candidate is missing"),
    ],
)
def test_floors_are_numbers_to_reach_or_ranges_to_keep_to(floors: dict[str, Any], passed: bool, said: str) -> None:
    found = evaluation()
    found.metrics.update({"roc_auc": 0.9, "brier": 0.1, "positive_share": 0.05})
    decision = decide(GATE.model_copy(update={"floors": floors}), found)
    assert decision.passed is passed
    assert said in decision.reasons
    if not passed:
        assert decision.reasons[0] == said


def uplifts(quality: float, *, rival: float) -> Evaluation:
    """An uplift of this quality, and beside it answers of another one: 1 is the truth, 0 says nothing."""
    random = np.random.default_rng(2)
    n = 6000
    truth, treated = random.normal(0, 0.3, n), random.integers(0, 2, n)
    targets = Targets(truth * treated + random.normal(size=n), treatment=treated, propensity=np.full(n, 0.5))
    noise = random.normal(0, 0.3, n)
    ours, theirs = (
        judged(targets, q * truth + (1 - q) * noise, task=Uplift(treat=0.3), metric="policy_gain_dr")
        for q in (quality, rival)
    )
    beside = Beside(name="the likeliest first", metrics=theirs.metrics, estimates=theirs.estimates)
    return ours.model_copy(update={"beside": (beside,)})


def rivalled(candidate: Evaluation, champion: Evaluation | None = None) -> GateDecision:
    gate = Gate(metric="policy_gain_dr", floor=-1.0, minimum_gain=-1.0, rivals=("policy_value_ips", "policy_value_dr"))
    return gating.decide(gate, candidate, champion, metrics=Uplift().metrics())


def test_gate_rejects_a_policy_that_loses_to_the_likeliest_first() -> None:
    refused = rivalled(uplifts(0.0, rival=1.0))
    assert not refused.passed and "against the likeliest first's" in refused.reasons[0]
    assert refused.reasons[0].endswith("a loss beyond the noise of the test set")
    assert rivalled(uplifts(1.0, rival=0.0)).passed
    assert rivalled(uplifts(0.5, rival=0.5)).passed


def test_gate_rejects_a_policy_that_loses_to_the_champions() -> None:
    better, worse = uplifts(1.0, rival=0.0), uplifts(0.0, rival=0.0)
    assert not rivalled(worse, better).passed and rivalled(better, worse).passed


def test_random_scores_stay_at_0() -> None:
    found = uplifts(0.0, rival=1.0)
    assert abs(found.metrics["policy_gain_dr"]) < 3 * found.errors["policy_gain_dr"]
