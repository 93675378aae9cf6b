"""Looks by place, against readers whose looks are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hallmark.errors import ContractBroken
from hallmark.learners import click_model

TRUE = np.array([1.0, 0.8, 0.6, 0.45, 0.3, 0.2])


def log(
    queries: int = 8000, *, biased: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
    """Lists of six, the better rows mostly higher: places, clicks and what is known of each row."""
    random = np.random.default_rng(3)
    x = random.normal(size=(queries, 6))
    x = np.take_along_axis(x, np.argsort(-biased * x - random.normal(0, 0.7, x.shape), axis=1), axis=1)
    position = np.tile(np.arange(1, 7), queries)
    like = 1 / (1 + np.exp(-(1.2 * x - 1)))
    clicked = random.random(x.shape) < TRUE * like
    noise = random.normal(size=(queries * 6, 2))
    return position, clicked.ravel().astype(np.float64), np.column_stack((x.ravel(), noise)).astype(np.float32)


def test_looks_are_found_although_what_is_better_stands_higher() -> None:
    position, clicked, inputs = log()
    found = click_model.looks(position, clicked, inputs)
    by_place = np.bincount(position - 1, weights=clicked) / np.bincount(position - 1)
    assert np.abs(found - TRUE).max() < 0.06
    assert np.abs(by_place / by_place[0] - TRUE).max() > 0.15  # clicks by place alone take relevance for looks


def test_what_is_missing_counts_as_the_mean() -> None:
    position, clicked, inputs = log()
    inputs[::7, 1] = np.nan
    assert np.abs(click_model.looks(position, clicked, inputs) - TRUE).max() < 0.06


def test_places_with_few_clicks_share_what_is_told_of_them() -> None:
    position, clicked, inputs = log(300)
    found = click_model.looks(position, clicked, inputs)
    assert found[0] == 1 and len(found) == 6 and found[-1] == found[-2] and (found > 0).all()


def test_a_log_without_clicks_tells_nothing_and_breaks_nothing() -> None:
    position, clicked, inputs = log(50)
    found = click_model.looks(position, 0 * clicked, inputs)
    assert np.isfinite(found).all() and (found > 0).all() and (found <= 1).all()


def test_places_are_counted_from_1() -> None:
    position, clicked, inputs = log(50)
    with pytest.raises(ContractBroken, match="a place is not one of a list"):
        click_model.looks(position - 1, clicked, inputs)
