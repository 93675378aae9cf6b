"""Bins of a reference: deciles, heavy values, categories, what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hallmark.drift import profile
from hallmark.drift.profile import Profile
from hallmark.drift.season import Season
from hallmark.errors import HallmarkError

BROKEN = [None, float("nan"), float("inf"), -float("inf"), "12", b"12", True, [], {}, 10**400, 1 + 2j]


def column(values: Any) -> profile.Column:
    return profile.build({"x": np.asarray(values)}).columns[0]


def objects(values: list[Any]) -> Any:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def test_a_smooth_column_has_deciles() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    found = column(values)
    assert found.counts == (100,) * 10 + (0, 0)
    inside = np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf")
    assert np.all(np.abs(np.array(found.edges) - inside) < 0.02)


def test_a_heavy_value_is_a_bin_of_its_own() -> None:
    random = np.random.default_rng(1)
    found = column(np.where(random.random(10_000) < 0.7, 0.0, random.lognormal(size=10_000)))
    assert found.atoms == (0.0,) and len(found.edges) == 2
    assert found.counts[0] == pytest.approx(7000, abs=200)
    assert found.tally(np.zeros(5)).tolist() == [5, 0, 0, 0, 0, 0]


def test_ties_do_not_make_empty_bins() -> None:
    found = column(np.repeat(np.arange(40), 25))
    assert len(set(found.edges)) == len(found.edges)
    assert min(found.counts[:-2]) > 0 and sum(found.counts) == 1000


def test_a_float32_score_stays_in_its_bin_when_written_in_decimals() -> None:
    scores = np.random.default_rng(1).choice(np.float32([0.1, 0.2, 0.3, 0.7]), 1000)
    found = column(scores)
    written = np.array([float(str(value)) for value in scores])
    assert found.tally(written).tolist() == list(found.counts)


def test_a_constant_column_and_an_empty_one_have_a_profile() -> None:
    assert column(np.full(50, 3.0)).tally(np.array([3.0, 3.0, 4.0, np.nan])).tolist() == [2, 0, 1, 1]
    nothing = column(objects([None] * 50))
    assert nothing.missing == 1.0 and nothing.tally(np.array([1.0]))[-1] == 0


def test_the_rest_of_many_categories_is_a_tail() -> None:
    values = objects([f"brand{at % 100}" for at in range(1000)] + ["common"] * 500)
    found = column(values)
    assert found.categories[0] == "common" and len(found.categories) == profile.MOST_CATEGORIES
    known, never, missing = found.coarse(np.array(found.counts))[-3:]
    assert (known, never, missing) == (1500 - sum(found.counts[: len(found.categories)]), 0, 0) and known > 0


def test_truth_values_and_strings_are_categories_and_numbers_among_them_are_missing() -> None:
    assert column(np.array([True, False, True])).categories == ("true", "false")
    assert column(objects(["a", 3, None, "b", "a"])).counts == (2, 1, 0, 2)


@pytest.mark.parametrize("value", BROKEN)
def test_what_is_no_number_is_missing_and_never_an_error(value: Any) -> None:
    found = column(np.arange(100.0))
    assert found.tally(objects([value, 5.0]))[-1] == 1


def test_a_bool_array_where_numbers_were_is_missing() -> None:
    assert column(np.arange(100.0)).tally(np.array([True, False]))[-1] == 2


def test_far_outside_is_apart_from_just_outside() -> None:
    found = column(np.linspace(0, 100, 1000))
    assert found.tally(np.array([150.0, -50.0, 1e6, -1e6]))[[0, -3, -2, -1]].tolist() == [1, 1, 2, 0]


def test_a_profile_survives_json_and_is_the_same_each_time() -> None:
    random = np.random.default_rng(1)
    columns = {"amount": random.lognormal(size=500), "brand": random.choice(np.array(["a", "b"], dtype=object), 500)}
    made = profile.build(columns, scores={"score": random.random(500).astype(np.float32)})
    assert profile.Profile.model_validate_json(made.model_dump_json()) == made
    assert [each.source for each in made.columns] == ["input", "input", "output"]


@pytest.mark.parametrize(
    "columns", [{}, {"a": np.array([])}, {"a": np.ones(3), "b": np.ones(4)}, {"a": np.ones((3, 2))}]
)
def test_rows_without_a_profile_are_said_so(columns: Any) -> None:
    with pytest.raises(HallmarkError, match="no profile"):
        profile.build(columns)


def test_a_score_may_not_have_an_inputs_name() -> None:
    with pytest.raises(HallmarkError, match="both watched and answered"):
        profile.build({"score": np.ones(3)}, scores={"score": np.ones(3)})


@pytest.mark.examples
@given(
    reference=st.lists(st.one_of(st.floats(), st.integers(-5, 5), st.none()), min_size=1, max_size=60),
    window=st.lists(st.one_of(st.floats(), st.text(max_size=3), st.booleans(), st.none(), st.integers()), max_size=40),
)
def test_every_row_falls_into_exactly_one_bin(reference: list[Any], window: list[Any]) -> None:
    found = column(objects(reference))
    assert found.rows == len(reference)
    counts = found.tally(objects(window))
    assert counts.sum() == len(window) and len(counts) == len(found.counts) == len(found.labels())


def test_a_profile_of_the_first_version_is_read_as_it_was() -> None:
    made = profile.build({"x": np.arange(100.0)})
    old = made.model_dump(mode="json", exclude={"seasons", "strata", "error"}) | {"version": 1}
    read = Profile.model_validate_json(json.dumps(old))
    assert (read.version, read.columns, read.seasons, read.strata, read.error) == (1, made.columns, (), None, None)


def test_a_season_that_counts_other_bins_is_refused() -> None:
    made = profile.build({"x": np.arange(100.0)})
    season = {"first": "09-01", "last": "09-30", "rows": 9, "counts": [[1, 2]]}
    with pytest.raises(ValidationError, match="09-01 to 09-30 to count the bins"):
        Profile.model_validate({**made.model_dump(), "seasons": [season]})


def test_a_season_over_new_year_holds_both_sides_of_it() -> None:
    season = Season(first="12-15", last="01-14", rows=9, counts=())
    days = ((2026, 12, 20), (2027, 1, 2), (2026, 12, 6), (2027, 1, 24), (2026, 12, 4), (2027, 1, 26), (2026, 7, 1))
    held = [season.holds(datetime(*day, tzinfo=UTC)) for day in days]
    assert held == [True, True, True, True, False, False, False]


def test_hours_have_references_of_their_own_and_rare_ones_share_one() -> None:
    hours = np.repeat([2, 3, 12, 20], [30, 30, 400, 540])
    amounts = np.where(hours < 5, 500.0, 20.0) + np.arange(1000) % 7
    made = profile.build({"amount": amounts}).stratified({"amount": amounts}, by="hour", values=hours.tolist())
    assert made.strata is not None and made.strata.values == (("12",), ("20",), ("2", "3"))
    night = made.strata.matched(0, made.columns[0].counts, made.strata.shares(["3"] * 50))
    assert night.sum() == pytest.approx(60) and night == pytest.approx(made.columns[0].tally(amounts[hours < 5]))
    unknown = made.strata.matched(0, made.columns[0].counts, made.strata.shares(["", "7"]))
    assert unknown == pytest.approx(np.array(made.columns[0].counts))
