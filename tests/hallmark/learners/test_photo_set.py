"""The learner of photo sets counts a row as often as its weight says: what it is told beforehand, its loss, its judge and its temperature."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hallmark.features.fields import Output
from hallmark.learners.model import Examples
from hallmark.learners.photo_set import FACTS, PHOTOS, THERE, PhotoSetLearner, Recipe, TrainedPhotoSet, _Told

RECIPE = Recipe(widths=(8, 8), dim=8, epochs=3, batch=16, average=0.8)
LEARNER = PhotoSetLearner(
    score=Output(name="score", datatype="FP32"),
    embedding=Output(name="embedding", datatype="FP32", shape=(4,)),
    side=16,
    traits=("stitch", "zip"),
    brands=2,
    categories=2,
    recipe=RECIPE,
    quick=RECIPE,
)


def items(count: int, *, seed: int) -> Examples:
    """Items of one photo, as bright as their first trait is large, which altered items have more of."""
    rng = np.random.default_rng(seed)
    false = rng.random(count) < 0.3
    facts = np.column_stack((rng.integers(0, 2, (count, 2)), rng.normal(4, 1, count))).astype(np.float32)
    first = rng.normal(0.4 + 0.1 * facts[:, 0], 0.05) + 0.2 * false
    light = np.clip(first[:, None, None, None, None] * 180 + rng.normal(0, 5, (count, 1, 3, 16, 16)), 0, 255)
    named: dict[str, NDArray[Any]] = {
        PHOTOS: light.astype(np.uint8),
        THERE: np.ones((count, 1), np.float32),
        FACTS: facts,
    }
    outcomes = {"stitch": first, "zip": rng.normal(0.5, 0.1, count)}
    return Examples(named[PHOTOS], false.astype(np.int64), named=named, outcomes=outcomes)


def weighted(given: Examples, weights: NDArray[Any]) -> Examples:
    return dataclasses.replace(given, weights=weights.astype(np.float64))


def repeated(given: Examples, times: NDArray[Any]) -> Examples:
    named = {name: np.repeat(each, times, axis=0) for name, each in given.named.items()}
    outcomes = {name: np.repeat(each, times) for name, each in given.outcomes.items()}
    return Examples(named[PHOTOS], np.repeat(given.labels, times), named=named, outcomes=outcomes)


def network(seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return LEARNER._network(RECIPE)


@pytest.fixture
def times() -> NDArray[Any]:
    return np.random.default_rng(9).integers(1, 6, 60)


def test_a_loss_and_what_is_known_beforehand_are_those_of_repeated_rows(times: NDArray[Any]) -> None:
    given = items(60, seed=1)
    networks = [network(), network()]
    by_weight = _Told(weighted(given, times), LEARNER, networks[0])
    by_rows = _Told(repeated(given, times), LEARNER, networks[1])
    for name in ("scale", "reference", "price", "spread"):
        one, other = (getattr(each, name) for each in networks)
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6), name
    assert torch.allclose(networks[0].judge.expected, networks[1].judge.expected, rtol=1e-5)
    answers = torch.randn(60, 2 + 2 + 4)
    some = torch.arange(0, 60, 3)
    every = torch.from_numpy(np.flatnonzero(np.isin(np.repeat(np.arange(60), times), some)))
    many = answers[some].repeat_interleave(torch.from_numpy(times)[some], 0)
    found = [
        by_weight.loss(answers[some], some, RECIPE).item(),
        by_rows.loss(many, every, RECIPE).item(),
        _Told(given, LEARNER, networks[0]).loss(answers[some], some, RECIPE).item(),
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] != pytest.approx(found[2], rel=1e-3)


def test_a_batch_without_an_authentic_item_has_a_loss(times: NDArray[Any]) -> None:
    given = items(60, seed=1)
    told = _Told(weighted(given, times), LEARNER, network())
    false = torch.from_numpy(np.flatnonzero(given.labels))[:4]
    assert np.isfinite(told.loss(torch.zeros(4, 8), false, RECIPE).item())


def test_judge_and_temperature_are_those_of_repeated_rows(times: NDArray[Any]) -> None:
    given = items(60, seed=1)
    found = []
    for each in (weighted(given, times), repeated(given, times), given):
        made = TrainedPhotoSet(LEARNER, network())
        _Told(each, LEARNER, made.network)
        made.judged(each)
        made.tempered(each)
        found.append((made.logits(given.named), float(made.network.temperature)))
    # A search in float32 ends a little elsewhere; that of the rows as they are ends far away.
    assert found[0][0] == pytest.approx(found[1][0], abs=0.02)
    assert np.abs(found[0][0] - found[2][0]).max() > 0.2
    assert found[0][1] == found[1][1]


def test_the_figure_that_stops_a_training_is_that_of_repeated_rows(times: NDArray[Any]) -> None:
    given, fed = items(60, seed=1), torch.nn.Module()
    fed.network = network()
    one, other, even = (
        LEARNER._judge(each, RECIPE)(fed) for each in (weighted(given, times), repeated(given, times), given)
    )
    assert one == pytest.approx(other, rel=1e-5) and one != pytest.approx(even, rel=1e-4)


@pytest.mark.slow
def test_a_training_with_weights_expects_what_the_weights_make_usual() -> None:
    train, held = items(160, seed=1), items(80, seed=2)
    heavy = [weighted(each, np.where(each.labels == 1, 8.0, 1.0)) for each in (train, held)]
    plain, more = (LEARNER.fit(*parts, seed=3).predict(held.named) for parts in ((train, held), heavy))
    counts = heavy[1].weights
    assert plain.mean() == pytest.approx(held.labels.mean(), abs=0.1)
    assert np.average(more, weights=counts) == pytest.approx(np.average(held.labels, weights=counts), abs=0.1)
    assert np.average(plain, weights=counts) < np.average(held.labels, weights=counts) - 0.2


def test_equal_weights_are_none(times: NDArray[Any]) -> None:
    train, held = items(80, seed=1), items(40, seed=2)
    even = [weighted(each, np.ones(len(each))) for each in (train, held)]
    plain, same = (LEARNER.fit(*parts, seed=3).logits(held.named) for parts in ((train, held), even))
    assert same == pytest.approx(plain, abs=0.02)
