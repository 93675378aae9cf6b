"""The judge of readings: nearly as good as the best possible answer to them, silent about what no photo showed, and never infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor

from domains.authentication.synthetic import stock
from hallmark.learners.photo_set_judge import Compared, TraitJudge, _quantile
from synthetic import bags
from synthetic.chance import generator

NOISE = np.array([0.013, 0.012, 0.034, 0.022])
"""Errors with which the view model reads each trait (decision 62)."""
MEAN, SPREAD = 0.5, 0.14
"""Of a trait over all items, towards which a reading is drawn."""


def read(count: int, seed: int) -> tuple[Compared, Tensor, NDArray[np.float64]]:
    """What a judge is given of items as a model reads them, the answers, and the best possible ones from what the photos show."""
    random = generator(seed, "readings")
    offered = stock(count, random)
    items = offered.bags
    noise = np.where(offered.seen, NOISE, 5.0)
    shrunk = SPREAD**2 / (SPREAD**2 + noise**2)
    mean = MEAN + shrunk * (items.traits + random.normal(0, 1, items.traits.shape) * noise - MEAN)
    given = (
        tensor(mean / SPREAD),
        tensor(np.log(np.sqrt(shrunk) * noise / SPREAD)),
        tensor(bags.DECLARED[items.brand, items.category] / SPREAD),
        tensor(np.full(4, bags.TOLERANCE / SPREAD)),
        (tensor(np.eye(len(bags.BRANDS))[items.brand]), tensor(np.eye(len(bags.CATEGORIES))[items.category])),
        torch.zeros(count),
    )
    return given, tensor(items.counterfeit), bags.chance(items, offered.seen)


def tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def fitted() -> TraitJudge:
    given, labels, _ = read(3000, 1)
    judge = TraitJudge(traits=4, brands=len(bags.BRANDS), categories=len(bags.CATEGORIES))
    judge.expected.fill_(MEAN / SPREAD)
    judge.fit(given, labels)
    return judge


@pytest.mark.slow
def test_it_judges_nearly_as_well_as_one_who_knows_how_counterfeits_are_made(fitted: TraitJudge) -> None:
    given, labels, best = read(6000, 2)
    with torch.no_grad():
        found = average_precision_score(labels, fitted(*given))
    assert found > average_precision_score(labels, best) - 0.03


@pytest.mark.slow
def test_it_learns_how_far_an_altered_trait_is_off(fitted: TraitJudge) -> None:
    assert bags.ORDINARY.least < fitted.altered.exp().item() < bags.ORDINARY.most


def test_a_trait_that_no_photo_shows_says_nothing() -> None:
    judge = TraitJudge(traits=4, brands=len(bags.BRANDS), categories=len(bags.CATEGORIES))
    given, _, _ = read(50, 3)
    with torch.no_grad():
        answers = judge(judge.expected.expand(50, 4), judge.silent.expand(50, 4), *given[2:])
    assert torch.sigmoid(answers).numpy() == pytest.approx(torch.sigmoid(judge.usual).item(), abs=0.02)


def test_readings_far_off_are_surely_counterfeits_and_no_number_overflows(fitted: TraitJudge) -> None:
    given, _, _ = read(8, 4)
    with torch.no_grad():
        far = fitted(given[0] + 1e3, torch.full((8, 4), -4.0), *given[2:])
    assert bool(torch.isfinite(far).all()) and float(far.min()) > 20


def test_answers_of_one_kind_leave_it_as_it_began() -> None:
    given, labels, _ = read(40, 5)
    judge = TraitJudge(traits=4, brands=4, categories=3)
    began = judge.usual.item()
    judge.fit(given, torch.zeros_like(labels))
    assert judge.usual.item() == began


@pytest.mark.parametrize("level", [0.0, 0.3, 0.95, 1.0])
def test_a_quantile_by_weight_is_that_of_repeated_rows(level: float) -> None:
    torch.manual_seed(1)
    values, times = torch.randn(37, 3), torch.randint(1, 6, (37,))
    wanted = values.repeat_interleave(times, 0).quantile(level, dim=0)
    assert torch.allclose(_quantile(values, level, times.float()), wanted, atol=1e-6)
    assert torch.equal(_quantile(values, level, None), values.quantile(level, dim=0))
    one = _quantile(values[:1], level, torch.tensor([0.25]))
    assert torch.equal(one, values[0]), "weights below 1 all together are of one row"


def test_a_weight_is_so_many_items() -> None:
    given, labels, _ = read(300, 6)
    times = torch.randint(1, 4, (300,), generator=torch.Generator().manual_seed(2))
    twice: Any = tuple(
        tuple(part.repeat_interleave(times, 0) for part in each)
        if isinstance(each, tuple)
        else each.repeat_interleave(times, 0)
        if len(each) == 300
        else each
        for each in given
    )
    answers = []
    for learnt, told, weights in ((given, labels, times.float()), (twice, labels.repeat_interleave(times), None)):
        judge = TraitJudge(traits=4, brands=len(bags.BRANDS), categories=len(bags.CATEGORIES))
        judge.expected.fill_(MEAN / SPREAD)
        judge.fit(learnt, told, weights=weights)
        with torch.no_grad():
            answers.append(torch.sigmoid(judge(*given)).numpy())
    assert answers[0] == pytest.approx(answers[1], abs=0.01)
