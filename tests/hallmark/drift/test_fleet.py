"""Windows of several pods merge into one: the same verdict at 1, 4 and 12 pods, and no more false alarms."""

from __future__ import annotations

import itertools
import sys
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

import tails

from hallmark.declaration.drift import Drift
from hallmark.drift import analysis, fleet, profile
from hallmark.drift.concept import LabelSums
from hallmark.drift.fleet import Cut, FleetReference, PodWindow, WindowSketch
from hallmark.drift.profile import Profile
from tests.seeds import how_many

DRIFT = Drift(window=1000, minimum=300)
RINGS = fleet.kept(DRIFT, largest=50)
Frame = dict[str, Any]


class Traffic:
    """Rows of a fleet in the order of their time, each at one of its pods, whose rings keep the newest of their own."""

    def __init__(self, learned: Profile, rows: Frame, pods: int, *, seed: int = 0) -> None:
        self.learned = learned
        self.codes = {each.name: each.codes(rows[each.name]) for each in learned.columns}
        self.count = len(next(iter(rows.values())))
        self.at = np.random.default_rng(seed).integers(0, pods, self.count)
        self.times = np.arange(self.count) * 1000 + 10**15
        self.pods = pods

    def sketch(self, pod: int, ended: int, cut: Cut | None = None) -> WindowSketch:
        mine = np.flatnonzero(self.at[:ended] == pod)
        ring = mine[-RINGS:]
        chosen = ring if cut is None else ring[cut.holds(self.times[ring])]
        counts = {
            each.name: np.bincount(self.codes[each.name][chosen], minlength=len(each.counts))
            for each in self.learned.columns
        }
        return WindowSketch(
            added=len(mine),
            requests=len(mine),
            times=self.times[ring],
            counts=counts,
            cut=cut,
        )

    def measured(self, ended: int, drift: Drift = DRIFT) -> analysis.WindowMeasurement:
        """One interim analysis of the fleet when `ended` rows have come: as `rollout.monitors` asks for it."""
        whole = reduce(add, [self.sketch(pod, ended) for pod in range(self.pods)])
        cut = Cut.of(whole.times, whole.added, drift)
        parts = [self.sketch(pod, ended, cut) for pod in range(self.pods)]
        return fleet.measure(self.learned, None, reduce(add, parts), drift)


@pytest.fixture(scope="module")
def learned() -> Profile:
    return profile.build(tails.draw(np.random.default_rng(1), 20_000))


def test_one_pod_and_twelve_have_the_same_verdict_at_every_row(learned: Profile) -> None:
    """Clean rows, then a tail of new cities: every analysis of the fleet is the same, whatever way the rows are spread."""
    random = np.random.default_rng(2)
    rows = tails.draw(random, 2400)
    rows["city"][1500:] = tails.cities(900, seed=3, tail=tails.named(40, "new "))
    fleets = [Traffic(learned, rows, pods, seed=pods) for pods in (1, 4, 12)]
    drifted = set()
    for ended in (*range(280, 2400, 97), 2400):
        found = [each.measured(ended) for each in fleets]
        assert found[0] == found[1] == found[2]
        assert found[0].rows == (ended if ended < 300 else min(1000, max(300, ended // 20 * 20)))
        drifted |= {column.name for column in found[0].columns if column.drifted}
    assert drifted == {"city"}


def test_an_analysis_is_where_a_fiftieth_is_new_whoever_asks(learned: Profile) -> None:
    traffic = Traffic(learned, tails.draw(np.random.default_rng(3), 1300), 3)
    ends = {traffic.measured(ended) == traffic.measured(1240) for ended in range(1240, 1260)}
    assert ends == {True} and traffic.measured(1260) != traffic.measured(1240)


parts = st.lists(
    st.lists(st.sampled_from(["a", "b", "new", None, *map(str, range(40))]), max_size=12), min_size=1, max_size=5
)


@pytest.mark.examples
@given(parts=parts, data=st.data())
def test_merging_is_associative_commutative_and_equal_to_one_window_of_all_rows(
    parts: list[list[Any]], data: Any
) -> None:
    known = profile.build({"x": np.array([str(at % 40) for at in range(400)] + ["a"] * 20, dtype=object)})
    cut = Cut(since=3, until=40)

    def sketch(values: list[Any], times: list[int], vectors: list[list[float]]) -> WindowSketch:
        order = np.argsort(np.array(times, dtype=np.int64), kind="stable")
        at = np.array(times, dtype=np.int64)[order]
        column = np.array([*values, None], dtype=object)[:-1][order][cut.holds(at)]
        rows = np.array(vectors, dtype=np.float32).reshape(-1, 2)[order][cut.holds(at)]
        return WindowSketch(
            added=len(values),
            requests=len(values),
            times=at,
            counts=analysis.tally(known, {"x": column}, len(column)),
            cut=cut,
            strata=np.array([len(column)]),
            lags=np.sort(at[cut.holds(at)] / 7),
            vectors=rows,
        )

    whole = [value for each in parts for value in each]
    times = data.draw(st.lists(st.integers(0, 80), min_size=len(whole), max_size=len(whole), unique=True))
    vectors = [[float(at), float(-at)] for at in times]
    bounds = [0, *itertools.accumulate(map(len, parts))]
    spans = [slice(*each) for each in itertools.pairwise(bounds)]
    made = [sketch(whole[span], times[span], vectors[span]) for span in spans]
    made = [PodWindow.read(PodWindow(sketch=each).encoded()).sketch or each for each in made]
    expected = sketch(whole, times, vectors).told()
    assert reduce(add, made).told() == expected
    assert reduce(add, data.draw(st.permutations(made))).told() == expected
    assert reduce(lambda right, left: left + right, reversed(made)).told() == expected


def test_labels_of_pods_add_up() -> None:
    random = np.random.default_rng(1)
    loss, bias = random.random(90), random.normal(size=90)
    split = [LabelSums.of(loss[at::3], bias[at::3]) for at in range(3)]
    assert reduce(add, split) == LabelSums.of(loss, bias)
    mean, deviation = LabelSums.of(loss, bias).moments("bias")
    assert (mean, deviation) == (pytest.approx(bias.mean(), abs=1e-8), pytest.approx(bias.std(), abs=1e-8))


def test_what_one_pod_lost_and_what_another_does_not_know_is_of_the_fleet() -> None:
    assert fleet.share([PodWindow(served=(90, 100)), PodWindow(served=(100, 100))]) == (0.95, ())
    assert fleet.share([PodWindow(served=(9, 10)), PodWindow()]) == (None, ())
    assert fleet.share([PodWindow(served=(90, 100)), PodWindow(doubts=("loss is unknown",))])[1] == ("loss is unknown",)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"format": 2}', b'{"format": 1, "digest": "d"}', b"[" * 10**5])
def test_what_is_no_window_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected a window of format 1"):
        PodWindow.read(body)


def test_a_reference_travels_with_its_limits_and_embeddings(learned: Profile) -> None:
    sample = np.random.default_rng(1).random((30, 4)).astype(np.float32)
    read = FleetReference.model_validate_json(FleetReference.of("d", DRIFT, learned, sample).model_dump_json())
    assert (read.digest, read.drift, read.profile) == ("d", DRIFT, learned)
    assert read.sample is not None and np.array_equal(read.sample, sample)


def alarms(learned: Profile, windows: int, *, seed: int) -> dict[int, int]:
    """How many of so many windows' worth of clean traffic alarm at any of four analyses made in it, by the pods it is spread over."""
    random, crying = np.random.default_rng(seed), dict.fromkeys((1, 4, 12), 0)
    for start in range(windows):
        rows = tails.draw(random, DRIFT.window)
        ends = random.choice(np.arange(DRIFT.minimum, DRIFT.window + 1, 20), 4, replace=False)
        for pods in crying:
            traffic = Traffic(learned, rows, pods, seed=start)
            crying[pods] += any(column.drifted for ended in ends for column in traffic.measured(int(ended)).columns)
    return crying


def test_of_10_clean_windows_none_alarms_at_any_number_of_pods(learned: Profile) -> None:
    assert alarms(learned, 10, seed=5) == {1: 0, 4: 0, 12: 0}


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(1200)
def test_of_many_clean_windows_at_most_the_stated_share_alarms(learned: Profile) -> None:
    """Stated: 0.001 a window. More than 5 of 1,000, or 2 of 200, have a probability of about 0.001 then."""
    assert max(alarms(learned, how_many(200, 1000), seed=6).values()) <= how_many(2, 5)
