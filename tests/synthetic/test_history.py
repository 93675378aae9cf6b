"""Counts over trailing windows, against counting by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synthetic import chance, history

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 60)), max_size=60)


@given(events=EVENTS, window=st.integers(1, 40))
def test_counts_are_those_of_a_loop(events: list[tuple[int, int, int]], window: int) -> None:
    events = sorted(events, key=lambda event: event[2])
    groups, values, times = (np.array([event[i] for event in events], dtype=np.int64) for i in range(3))
    seen = [
        [(g, v) for g, v, t in events[:row] if g == groups[row] and t > times[row] - window]
        for row in range(len(events))
    ]
    assert history.earlier(groups, times, window=window).tolist() == [len(each) for each in seen]
    kinds = [len({v for _, v in each} | {values[row]}) for row, each in enumerate(seen)]
    assert history.distinct(groups, values, times, window=window).tolist() == kinds


def test_groups_far_apart_in_number_and_time_are_kept_apart() -> None:
    groups = np.array([2**61, 5, 2**61, 5], dtype=np.int64)
    times = np.array([0, 15_552_000, 15_552_000, 15_552_001], dtype=np.int64)
    assert history.earlier(groups, times, window=3600).tolist() == [0, 0, 0, 1]


def test_chance_by_name_is_even_and_its_own() -> None:
    ids = np.arange(50_000)
    first, second = chance.uniform(ids, "device", seed=7), chance.uniform(ids, "card", seed=7)
    assert np.histogram(first, bins=10, range=(0, 1))[0].max() < 5_400
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02
    assert not np.array_equal(first, chance.uniform(ids, "device", seed=8))
    np.testing.assert_array_equal(first[10:20], chance.uniform(ids[10:20], "device", seed=7))


def test_picks_follow_their_weights() -> None:
    u = chance.uniform(np.arange(40_000), "u", seed=1)
    weights = np.array([1.0, 0.0, 3.0])
    shares = np.bincount(chance.pick(u, weights), minlength=3) / len(u)
    np.testing.assert_allclose(shares, [0.25, 0, 0.75], atol=0.01)
    np.testing.assert_array_equal(chance.pick(u, weights), chance.pick(u, np.tile(weights, (len(u), 1))))
