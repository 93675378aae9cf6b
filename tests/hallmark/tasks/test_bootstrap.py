"""Standard errors against the true deviation over fresh samples, for rows, entities and queries."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hallmark.tasks import (
    Binary,
    Estimate,
    Metric,
    Ranking,
    Regression,
    Targets,
    bootstrap,
    difference_error,
    estimates,
)

SAMPLES = 150
"""The true deviation itself is then known to some 6%."""
Sample = tuple[Targets, NDArray[np.float64]]


def numbers(generator: np.random.Generator) -> Sample:
    labels = generator.normal(size=200)
    return Targets(labels), labels + generator.standard_t(4, 200)


def rare(generator: np.random.Generator) -> Sample:
    labels = (generator.random(800) < 0.15).astype(np.int64)
    return Targets(labels), 1 / (1 + np.exp(2 - generator.normal(size=800) - 1.5 * labels))


def queries(generator: np.random.Generator) -> Sample:
    query = np.repeat(np.arange(100), 8)
    labels = (generator.random(800) < 0.25).astype(np.float64)
    return Targets(labels, groups=query), labels + generator.normal(size=800)


def members(generator: np.random.Generator) -> Sample:
    """Rows of one member err alike: forty members know less than four hundred rows would."""
    member = np.repeat(np.arange(40), 10)
    off = generator.normal(size=40)[member] + generator.normal(size=400) / 2
    return Targets(np.zeros(400), groups=member), off


MEAN_ERROR, PRECISION = Regression().metrics()["mean_absolute_error"], Binary().metrics()["average_precision"]
GAIN = Ranking(k=5).metrics()["ndcg@5"]


@pytest.mark.parametrize(
    ("draw", "metric"), [(numbers, MEAN_ERROR), (rare, PRECISION), (queries, GAIN), (members, MEAN_ERROR)]
)
def test_the_error_is_the_deviation_over_fresh_samples(
    draw: Callable[[np.random.Generator], Sample], metric: Metric
) -> None:
    generator = np.random.default_rng(0)
    found = [estimates([metric], *draw(generator), seed=str(turn))[metric.name] for turn in range(SAMPLES)]
    true = np.std([each.value for each in found], ddof=1)
    assert np.mean([each.error for each in found if each.error is not None]) == pytest.approx(true, rel=0.18)


@pytest.mark.slow
def test_the_error_of_a_difference_sees_only_what_two_models_differ_in() -> None:
    generator = np.random.default_rng(1)
    differences, errors, apart = [], [], []
    for _ in range(SAMPLES):
        targets, scores = rare(generator)
        other = np.clip(scores + generator.normal(0, 0.03, len(scores)), 0, 1)
        first, second = (
            estimates([PRECISION], targets, each, seed="same")["average_precision"] for each in (scores, other)
        )
        differences.append(first.value - second.value)
        error = difference_error(first, second)
        assert error is not None and first.error is not None and second.error is not None
        errors.append(error)
        apart.append(math.hypot(first.error, second.error))
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.18)
    assert np.mean(errors) < 0.4 * np.mean(apart)


def test_the_same_examples_get_the_same_draws() -> None:
    targets, scores = rare(np.random.default_rng(2))
    first, again, other = (estimates([PRECISION], targets, scores, seed=seed)["average_precision"] for seed in "aab")
    assert first == again
    assert first.replicates != other.replicates and first.value == other.value
    assert difference_error(first, again) == 0.0
    with pytest.raises(ValueError, match="the same draws"):
        difference_error(first, other)


def test_many_rows_are_drawn_a_few_replicates_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores = rare(np.random.default_rng(3))
    monkeypatch.setattr(bootstrap, "_CELLS", 3_000)
    found = estimates([PRECISION], targets, scores, seed="a", replicates=50)["average_precision"]
    assert len(found.replicates) == 50 and found.error is not None and 0.01 < found.error < 0.08


def test_what_the_rows_cannot_tell_has_no_estimate_and_a_rare_figure_no_error() -> None:
    assert estimates(Binary().metrics().values(), Targets(np.zeros(0)), np.zeros(0), seed="a") == {}
    none = estimates([PRECISION], Targets(np.zeros(9, dtype=np.int64)), np.linspace(0, 1, 9), seed="a")
    assert none == {}
    one = Targets(np.array([1] + [0] * 8))
    found = estimates([PRECISION], one, np.linspace(1, 0, 9), seed="a")["average_precision"]
    assert None in found.replicates  # draws without the one positive
    few = Estimate(value=1.0, replicates=(1.0, None, None), draws="x")
    assert difference_error(few, few) is None


def test_an_estimate_survives_json() -> None:
    one = Targets(np.array([1] + [0] * 8))
    found = estimates([PRECISION], one, np.linspace(1, 0, 9), seed="a")["average_precision"]
    assert Estimate.model_validate_json(found.model_dump_json()) == found


def test_weights_count_in_value_and_error() -> None:
    generator = np.random.default_rng(4)
    off = np.concatenate([np.ones(50), generator.normal(size=50)])
    heavy = Targets(np.zeros(100), weights=np.repeat([1.0, 1e-6], 50))
    found = estimates([MEAN_ERROR], heavy, off, seed="a")["mean_absolute_error"]
    assert found.value == pytest.approx(1.0, abs=1e-4)
    assert found.error == pytest.approx(0.0, abs=1e-4)
