"""Counters into counts: resets, series that come and go, who answered, and where an answer begins to be slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.rollout.evidence import RequestCounts
from hallmark.rollout.meter import (
    FAULT,
    GATEWAY_BUCKETS,
    GATEWAY_REQUESTS,
    RUNTIME_ANSWERS,
    RUNTIME_BUCKETS,
    RUNTIME_RECALL,
    RUNTIME_REFUSED,
    Meter,
    Variants,
    counts,
)
from hallmark.rollout.samples import Sample

VARIANTS = Variants(stable="r1", canary="r2")
REST, GRPC = RUNTIME_ANSWERS


def gateway(value: float, revision: str = "r2", answered: str = "canary", code: str = "200", grpc: str = "") -> Sample:
    labels = {"service": "fraud/fraud", "revision": revision, "answered": answered, "code": code, "grpc": grpc}
    return Sample(GATEWAY_REQUESTS, labels, value)


def runtime(name: str, value: float, revision: str = "r2", **labels: str) -> Sample:
    return Sample(name, {"revision": revision, **labels}, value)


def buckets(name: str, revision: str, at: dict[str, float]) -> list[Sample]:
    return [Sample(name, {"revision": revision, "le": edge}, value) for edge, value in at.items()]


def counted(*samples: Sample, objective: float = 0.05, shadow: bool = False) -> dict[str, RequestCounts]:
    return counts(samples, VARIANTS, objective=objective, shadow=shadow)


def test_the_first_look_is_the_baseline_and_adds_nothing() -> None:
    meter = Meter()
    assert meter.added([gateway(1_000_000)]) == []
    assert meter.added([gateway(1_000_007)]) == [gateway(7)]


def test_a_counter_that_began_again_counts_from_nothing() -> None:
    meter = Meter()
    meter.added([gateway(500)])
    assert meter.added([gateway(12)]) == [gateway(12)]
    assert meter.added([gateway(15)]) == [gateway(3)]


def test_a_series_that_is_new_after_the_first_look_counts_whole() -> None:
    meter = Meter()
    meter.added([gateway(5)])
    assert meter.added([gateway(5), gateway(3, code="503", answered="gateway")]) == [
        gateway(3, code="503", answered="gateway")
    ]


def test_a_series_that_vanishes_for_a_moment_is_not_counted_twice() -> None:
    meter = Meter()
    meter.added([gateway(100), gateway(40, "r1", "stable")])
    assert meter.added([gateway(45, "r1", "stable")]) == [gateway(5, "r1", "stable")]
    assert meter.added([gateway(103), gateway(45, "r1", "stable")]) == [gateway(3)]


def test_what_was_counted_survives_a_restart_of_the_watch() -> None:
    before = Meter()
    before.added([gateway(10)])
    assert Meter(before.last).added([gateway(14)]) == [gateway(4)]


def test_labels_in_another_order_are_the_same_series() -> None:
    meter = Meter()
    meter.added([Sample("n", {"a": "1", "b": "2"}, 5)])
    assert meter.added([Sample("n", {"b": "2", "a": "1"}, 6)]) == [Sample("n", {"b": "2", "a": "1"}, 1)]


@given(st.lists(st.integers(0, 1000), max_size=30), st.sets(st.integers(0, 30)))
def test_what_is_added_is_what_happened_whatever_restarts_when_it_is_seen(steps: list[int], restarts: set[int]) -> None:
    """A restart loses nothing that was counted after it, as long as the new value is below the old one."""
    meter, value = Meter(), 0.0
    meter.added([gateway(0)])
    for at, step in enumerate(steps):
        if at in restarts and step < value:
            value = 0.0
        value += step
        meter.added([])  # Nothing can be read for a moment.
        grown = meter.added([gateway(value)])
        assert sum(sample.value for sample in grown) == step


@pytest.mark.parametrize(
    ("answered", "code", "grpc", "failed"),
    [
        ("canary", "200", "", False),
        ("canary", "200", "0", False),
        ("canary", "201", "", False),
        ("canary", "2xx", "", False),
        ("canary", "500", "", True),
        ("canary", "5xx", "", True),
        ("gateway", "503", "", True),
        ("gateway", "504", "", True),
        ("stable", "200", "", True),  # A failover that the client never saw.
        ("stable", "422", "", True),  # The same, where the client was wrong besides.
        ("canary", "422", "", False),
        ("gateway", "413", "", False),
        ("", "0", "", False),  # The client left before any answer.
        ("canary", "200", "3", False),  # INVALID_ARGUMENT is the client's.
        ("canary", "200", "13", True),
        ("canary", "200", "14", True),
        ("canary", "200", "8", True),
    ],
)
def test_who_answered_and_how_says_whether_it_failed(answered: str, code: str, grpc: str, failed: bool) -> None:
    found = counted(gateway(10, answered=answered, code=code, grpc=grpc))["canary"]
    assert (found.requests, found.failed) == (10, 10 if failed else 0)


def test_stable_is_blamed_for_what_the_canary_answered_in_its_place() -> None:
    assert counted(gateway(10, "r1", "canary"))["stable"] == RequestCounts(requests=10, failed=10)


def test_requests_of_other_revisions_belong_to_nobody() -> None:
    assert counted(gateway(10, "r0", "stable"), gateway(3, "", "gateway", "404")) == {
        "stable": RequestCounts(),
        "canary": RequestCounts(),
    }


def test_in_shadow_the_candidates_own_counters_stand_for_its_requests() -> None:
    found = counted(
        gateway(1000, "r1", "stable"),
        runtime(REST, 900, code="200"),
        runtime(GRPC, 50, code="200"),
        runtime(REST, 30, code="500"),
        runtime(REST, 20, code="400"),
        runtime(RUNTIME_REFUSED, 25, reason=FAULT),
        runtime(RUNTIME_REFUSED, 9, reason="malformed"),
        *buckets(RUNTIME_BUCKETS, "r2", {"0.025": 900, "0.05": 940, "0.1": 970, "+Inf": 980}),
        shadow=True,
    )
    assert found["canary"] == RequestCounts(requests=980, failed=30, slow=40, answered=950, invalid=25)
    assert found["stable"] == RequestCounts(requests=1000)


def test_before_the_candidate_answers_in_shadow_stable_is_not_counted() -> None:
    """Else an outage behind both, later, were a larger part of the candidate's fewer requests."""
    stable = gateway(6000, "r1", "stable")
    assert counted(stable, shadow=True)["stable"] == RequestCounts()
    assert counted(stable, runtime(REST, 1, code="500"), shadow=True)["stable"].requests == 6000
    assert counted(stable)["stable"].requests == 6000


def test_outside_shadow_the_gateway_counts_requests_and_the_model_server_answers() -> None:
    found = counted(
        gateway(90),
        gateway(10, answered="stable"),
        runtime(REST, 90, code="200"),
        runtime(RUNTIME_REFUSED, 10, reason=FAULT),
    )
    assert found["canary"] == RequestCounts(requests=100, failed=10, answered=90, invalid=10)


@pytest.mark.parametrize(("objective", "slow"), [(0.05, 30), (0.2, 10), (0.06, 10), (0.0499999, 30), (60, 0), (90, 0)])
def test_slow_begins_above_the_first_edge_that_is_not_under_the_objective(objective: float, slow: int) -> None:
    edges = {"25": 40.0, "50": 70.0, "200": 90.0, "60000": 100.0, "+Inf": 100.0}
    found = counted(gateway(100), *buckets(GATEWAY_BUCKETS, "r2", edges), objective=objective)
    assert found["canary"].slow == slow


def test_buckets_of_several_pods_are_added_up() -> None:
    first, second = {"0.05": 5.0, "+Inf": 10.0}, {"0.05": 7.0, "+Inf": 8.0}
    samples = [*buckets(RUNTIME_BUCKETS, "r2", first), *buckets(RUNTIME_BUCKETS, "r2", second)]
    assert counted(runtime(REST, 18, code="200"), *samples, shadow=True)["canary"].slow == 6


def test_slow_is_never_more_than_there_were_requests() -> None:
    """Histograms lag behind counters by a second at most, so at one look they may hold more."""
    found = counted(gateway(3), *buckets(GATEWAY_BUCKETS, "r2", {"50": 0.0, "+Inf": 9.0}))
    assert found["canary"].slow == 3


def test_a_histogram_without_its_last_bucket_says_nothing() -> None:
    assert counted(gateway(3), *buckets(GATEWAY_BUCKETS, "r2", {"50": 1.0}))["canary"].slow == 0


def test_queries_that_were_run_again_are_counted_by_selectivity() -> None:
    values = zip(RUNTIME_RECALL, (30, 300, 280), strict=True)
    found = counted(
        gateway(90),
        *(runtime(name, value, selectivity="1%") for name, value in values),
        runtime(RUNTIME_RECALL[0], 4, "r1", selectivity="10%"),
    )
    (recall,) = found["canary"].recall
    assert (recall.selectivity, recall.checked, recall.wanted, recall.found) == ("1%", 30, 300, 280)
    assert found["stable"].recall[0].missed == 0.0
