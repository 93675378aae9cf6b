"""Ranges and choices of `hallmark tune --option`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.errors import DeclarationError
from hallmark.training.search_space import Choice, Range, parse


def test_an_option_is_a_range_a_choice_or_the_same_in_every_try() -> None:
    searched, same = parse(
        ["learning_rate=0.01..0.2", "num_leaves=7..31", "objective=[binary, cross_entropy]", "rounds=50", "bias=-1..1"]
    )
    assert searched == {
        "learning_rate": Range(low=0.01, high=0.2),
        "num_leaves": Range(low=7, high=31),
        "objective": Choice(values=("binary", "cross_entropy")),
        "bias": Range(low=-1, high=1),
    }
    assert same == {"rounds": 50}


@pytest.mark.parametrize(
    ("text", "whole", "logarithm"),
    [
        ("1..9", True, False),
        ("1..10", True, True),
        ("1e-4..1", False, True),
        ("-2..2.5", False, False),
        ("0..1", True, False),
    ],
)
def test_a_range_knows_its_scale(text: str, whole: bool, logarithm: bool) -> None:
    found = parse([f"x={text}"])[0]["x"]
    assert isinstance(found, Range)
    assert (found.whole, found.by_logarithm) == (whole, logarithm)
    distribution = found.distribution()
    assert (distribution.log, type(distribution).__name__) == (
        logarithm,
        "IntDistribution" if whole else "FloatDistribution",
    )


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["rounds=50"],
        ["x"],
        ["x=2..1"],
        ["x=1..1"],
        ["x=a..b"],
        ["x=true..2"],
        ["x=0..1e400"],
        ["x=.nan..1"],
        ["x=[1]"],
        ["x=[1, 1]"],
        ["x=[[1], 2]"],
        ["x=[.inf, 2]"],
        ["x=[1, 2"],
        ["x={a: 1}", "y=1..2"],
        ["x=1..2", "x=3..4"],
        ["x=1..2", "x=3"],
        ["a-b=1..2"],
    ],
)
def test_what_cannot_be_searched_is_refused_with_an_example(options: list[str]) -> None:
    with pytest.raises(DeclarationError) as refused:
        parse(options)
    assert refused.value.exit_code == 2
    assert refused.value.expected


@given(st.floats(-1e9, 1e9, allow_nan=False), st.floats(-1e9, 1e9, allow_nan=False))
def test_every_range_reads_back_as_it_was_written(first: float, second: float) -> None:
    low, high = sorted((first, second))
    if low == high:
        return
    assert parse([f"x={low!r}..{high!r}"])[0]["x"] == Range(low=low, high=high)
