"""Distribution of the traffic, against KServe's rules: first by a table, then by properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from local_cluster.rollout import RevisionTraffic, TrafficTarget, decide


def latest(revision: str, percent: int) -> TrafficTarget:
    return TrafficTarget(revision=revision, percent=percent, latest=True)


def prev(revision: str, percent: int) -> TrafficTarget:
    return TrafficTarget(revision=revision, percent=percent, latest=False, tag="prev")


FIRST = RevisionTraffic(created="v1", ready="v1", rolled_out="v1", traffic=(latest("v1", 100),))
CANARY = RevisionTraffic(created="v2", ready="v2", rolled_out="v1", traffic=(latest("v2", 10), prev("v1", 90)))
PROMOTED = RevisionTraffic(created="v2", ready="v2", rolled_out="v2", previous="v1", traffic=(latest("v2", 100),))
ROLLED_BACK = RevisionTraffic(
    created="v2", ready="v2", rolled_out="v1", previous="v1", traffic=(latest("v2", 0), prev("v1", 100))
)

TABLE: list[tuple[str, RevisionTraffic, int | None, str, str, dict[str, Any]]] = [
    (
        "nothing is ready, nothing gets traffic",
        RevisionTraffic(),
        None,
        "v1",
        "",
        {"traffic": (), "ready": "", "rolled_out": ""},
    ),
    ("the first ready revision is rolled out", RevisionTraffic(), None, "v1", "v1", FIRST.model_dump()),
    (
        "a percentage without an earlier revision leaves it all",
        RevisionTraffic(),
        10,
        "v1",
        "v1",
        {"ready": "v1", "rolled_out": "v1", "traffic": (latest("v1", 10), prev("v1", 90))},
    ),
    (
        "a percentage of 0 on the first revision leaves it all",
        RevisionTraffic(),
        0,
        "v1",
        "v1",
        {"ready": "v1", "rolled_out": "v1", "traffic": (latest("v1", 0), prev("v1", 100))},
    ),
    (
        "a new revision that is not ready gets nothing",
        FIRST,
        10,
        "v1 v2",
        "v1",
        {"created": "v2", "ready": "v1", "rolled_out": "v1", "traffic": (latest("v1", 10), prev("v1", 90))},
    ),
    ("a ready candidate gets its share", FIRST, 10, "v1 v2", "v1 v2", CANARY.model_dump()),
    (
        "without the field a new revision takes all once it is ready",
        FIRST,
        None,
        "v1 v2",
        "v1 v2",
        PROMOTED.model_dump(),
    ),
    ("no field promotes", CANARY, None, "v1 v2", "v1 v2", PROMOTED.model_dump()),
    ("100 promotes too", CANARY, 100, "v1 v2", "v1 v2", PROMOTED.model_dump()),
    (
        "0 pins the one before",
        CANARY,
        0,
        "v1 v2",
        "v1 v2",
        {"rolled_out": "v1", "traffic": (latest("v2", 0), prev("v1", 100))},
    ),
    ("0 on what is rolled out goes back to the previous one", PROMOTED, 0, "v1 v2", "v1 v2", ROLLED_BACK.model_dump()),
    (
        "a share of what is rolled out goes back to the previous one",
        PROMOTED,
        25,
        "v1 v2",
        "v1 v2",
        {"rolled_out": "v1", "traffic": (latest("v2", 25), prev("v1", 75))},
    ),
    (
        "going back waits until the previous one is up again",
        PROMOTED,
        0,
        "v1 v2",
        "v2",
        {"rolled_out": "v1", "traffic": (latest("v2", 0), prev("v2", 100))},
    ),
    ("what was rolled back can be promoted again", ROLLED_BACK, None, "v1 v2", "v1 v2", PROMOTED.model_dump()),
    (
        "going back is possible although the candidate is dead",
        CANARY,
        0,
        "v1 v2",
        "v1",
        {"ready": "v2", "traffic": (latest("v2", 0), prev("v1", 100))},
    ),
    ("a dead candidate gets no more than it has", CANARY, 50, "v1 v2", "v1", {"traffic": CANARY.traffic}),
    ("a dead candidate is not promoted", CANARY, None, "v1 v2", "v1", {"rolled_out": "v1", "traffic": CANARY.traffic}),
    ("a restart with nothing ready changes nothing", CANARY, 10, "v1 v2", "", CANARY.model_dump()),
    (
        "a third revision that fails leaves the second as the latest ready",
        CANARY,
        10,
        "v1 v2 v3",
        "v1 v2",
        {"created": "v3", "ready": "v2", "traffic": CANARY.traffic},
    ),
    (
        "a third revision takes the candidate's place once it is ready",
        CANARY,
        10,
        "v1 v2 v3",
        "v1 v2 v3",
        {"ready": "v3", "rolled_out": "v1", "traffic": (latest("v3", 10), prev("v1", 90))},
    ),
    (
        "the latest ready revision never moves backward",
        PROMOTED,
        None,
        "v1 v2",
        "v1",
        {"ready": "v2", "traffic": PROMOTED.traffic},
    ),
]


@pytest.mark.parametrize(
    ("was", "percent", "order", "ready", "wanted"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_traffic_follows_kserves_rules(
    was: RevisionTraffic, percent: int | None, order: str, ready: str, wanted: dict[str, Any]
) -> None:
    decided = decide(was, percent=percent, order=order.split(), ready=set(ready.split()))
    expected = RevisionTraffic.model_validate({**decided.model_dump(), **wanted})
    assert decided == expected


@pytest.mark.parametrize("row", TABLE, ids=[r[0] for r in TABLE])
def test_deciding_again_changes_nothing(row: tuple[str, RevisionTraffic, int | None, str, str, dict[str, Any]]) -> None:
    _, was, percent, order, ready, _ = row
    once = decide(was, percent=percent, order=order.split(), ready=set(ready.split()))
    assert decide(once, percent=percent, order=order.split(), ready=set(ready.split())) == once


def test_a_rollout_survives_its_own_status() -> None:
    for rollout in (FIRST, CANARY, PROMOTED, ROLLED_BACK):
        assert RevisionTraffic.read(rollout.status()) == rollout


def test_the_pinned_revision_and_the_candidate_are_both_kept_running() -> None:
    assert CANARY.needed == {"v1", "v2"}
    assert PROMOTED.needed == {"v2"}
    assert ROLLED_BACK.needed == {"v1", "v2"}


class Life(RuleBasedStateMachine):
    """Any sequence of changed predictors, percentages, deaths, recoveries and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.ready: set[str] = set()
        self.was_ready: set[str] = set()
        self.percent: int | None = None
        self.rollout = RevisionTraffic()
        self.before = RevisionTraffic()

    def _decide(self) -> None:
        self.before = self.rollout
        self.rollout = decide(self.rollout, percent=self.percent, order=self.order, ready=self.ready)

    @rule(percent=st.one_of(st.none(), st.integers(0, 100)), candidate=st.booleans())
    def change(self, percent: int | None, candidate: bool) -> None:
        self.percent = percent
        if candidate or not self.order:
            self.order.append(f"v{len(self.order) + 1}")
        self._decide()

    @rule(index=st.integers(0, 5))
    def becomes_ready(self, index: int) -> None:
        if self.order:
            name = self.order[-1 - index % len(self.order)]
            if name in self.rollout.needed:
                self.ready.add(name)
                self.was_ready.add(name)
                self._decide()

    @rule(index=st.integers(0, 5))
    def dies(self, index: int) -> None:
        if self.order:
            self.ready.discard(self.order[-1 - index % len(self.order)])
            self._decide()

    @rule()
    def restarts(self) -> None:
        self.ready = set()
        self.rollout = RevisionTraffic.read(self.rollout.status())
        self._decide()

    @invariant()
    def the_shares_are_whole(self) -> None:
        assert sum(t.percent for t in self.rollout.traffic) in ((100,) if self.rollout.traffic else (0,))
        assert all(0 <= t.percent <= 100 for t in self.rollout.traffic)

    @invariant()
    def no_revision_gains_traffic_that_is_not_ready(self) -> None:
        had = self.before.shares
        for name, share in self.rollout.shares.items():
            assert share <= had.get(name, 0) or name in self.ready

    @invariant()
    def no_revision_has_traffic_that_never_was_ready(self) -> None:
        assert {name for name, share in self.rollout.shares.items() if share} <= self.was_ready

    @invariant()
    def traffic_once_there_never_goes_away(self) -> None:
        assert bool(self.rollout.traffic) >= bool(self.before.traffic)

    @invariant()
    def what_serves_is_kept_running(self) -> None:
        assert set(self.rollout.shares) <= self.rollout.needed

    @invariant()
    def deciding_twice_is_deciding_once(self) -> None:
        again = decide(self.rollout, percent=self.percent, order=self.order, ready=self.ready)
        assert again == self.rollout


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(percent=st.integers(0, 100))
def test_a_candidate_gets_exactly_its_percentage(percent: int) -> None:
    decided = decide(FIRST, percent=percent, order=["v1", "v2"], ready={"v1", "v2"})
    assert decided.shares.get("v2", 0) == percent
    assert decided.shares.get("v1", 0) == 100 - percent
