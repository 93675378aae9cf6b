"""Conditions of a trustworthy verdict: variants apart, loss counted over restarts, poison set aside, age and trace reported."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sidecar import draw, event, events, exchange

from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.drift.analysis import measure
from hallmark.drift.concept import OutputError
from hallmark.drift.verdict import Verdict
from inference_services.drift_monitor import events as parsing
from inference_services.drift_monitor import exposition, reference, state
from inference_services.drift_monitor.events import Event
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.responses import LabelledRecords
from inference_services.drift_monitor.served import ServedCounts

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
HEADERS = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture(scope="module")
def learned(sealed: Path) -> Reference:
    return reference.read(sealed)


def send(monitor: Monitor, items: list[dict[str, Any]], *, at: datetime = NOW) -> None:
    for first in range(0, len(items), 2000):
        good, wrong = parsing.parse(HEADERS, json.dumps(items[first : first + 2000]).encode())
        assert not wrong and monitor.take(good, at=at.timestamp()) == []


def batches(rows: int, *, seed: int, each: int = 25, prefix: str = "", scores: float = 1.0, **more: str) -> list[Any]:
    """Events of requests of `each` rows, their scores multiplied."""
    columns, answered = draw(rows, seed=seed)
    answered = {"score": (answered["score"] * scores).clip(0, 1)}
    out = []
    for row in range(0, rows, each):
        request, response = exchange(columns, answered, slice(row, row + each))
        out.append(event(f"{prefix}{seed}-{row}", "request", request, **more))
        out.append(event(f"{prefix}{seed}-{row}", "response", response, **more))
    return out


def test_of_10000_events_only_the_canary_drifts_and_pooled_it_would_not_show(learned: Reference) -> None:
    drift = Drift(window=10_000, minimum=300)
    apart, pooled = Monitor(learned, drift), Monitor(learned, drift)
    for monitor, canary in ((apart, "shop-00002"), (pooled, "shop-00001")):
        send(monitor, batches(8000, seed=2))
        send(monitor, batches(2000, seed=3, prefix="canary", scores=1.8, revision=canary))
    assert apart.verdict("shop-00001").state == "OK"
    verdict = apart.verdict("shop-00002")
    assert verdict.state == "DRIFT" and [each.name for each in verdict.columns if each.drifted] == ["score"]
    whole = pooled.verdict("shop-00001")
    assert (whole.state, whole.rows) == ("OK", 10_000)


class Runtime:
    """The counters of a runtime, as its /metrics tells them."""

    def __init__(self) -> None:
        self.offered = 0
        self.seconds = 0.0

    def text(self, revision: str = "shop-00001") -> bytes:
        labels = f'{{model="shop",revision="{revision}"}}'
        return f"hallmark_capture_offered_total{labels} {self.offered}\nhallmark_capture_queued{labels} 0\n".encode()


def counted(learned: Reference, runtime: Runtime) -> Monitor:
    monitor = Monitor(learned, Drift(window=600, minimum=100))
    monitor.served = ServedCounts("http://unused", captured=monitor.captured, clock=lambda: runtime.seconds)
    return monitor


def serve(monitor: Monitor, runtime: Runtime, items: list[Any], *, lost: int = 0) -> None:
    """The runtime answered these and `lost` others, and was asked for its counters before and after."""
    assert monitor.served is not None
    monitor.served.note(runtime.text(), monitor.captured())
    runtime.offered += len(items) // 2 + lost
    send(monitor, items)
    monitor.served.note(runtime.text(), monitor.captured())


@pytest.mark.parametrize(("lost", "expected"), [(0, "OK"), (25, "OK"), (40, "INSUFFICIENT"), (400, "INSUFFICIENT")])
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_under_95_percent_captured_nothing_is_ok_and_nothing_is_drift(
    learned: Reference, lost: int, expected: str, factor: float
) -> None:
    runtime = Runtime()
    monitor = counted(learned, runtime)
    serve(monitor, runtime, events(600, seed=4, factor=factor), lost=lost)
    verdict = monitor.verdict("shop-00001")
    assert verdict.captured == pytest.approx(600 / (600 + lost), abs=1e-3)
    assert verdict.state == ("DRIFT" if expected == "OK" and factor > 1 else expected)


def test_what_was_served_while_the_sidecar_was_down_counts_as_lost(learned: Reference, tmp_path: Path) -> None:
    runtime = Runtime()
    first = counted(learned, runtime)
    serve(first, runtime, events(500, seed=4))
    before = first.verdict("shop-00001")
    state.save(first, tmp_path / "state.json")
    runtime.offered += 200
    second = counted(learned, runtime)
    assert state.restore(second, tmp_path / "state.json") and second.served is not None
    second.served.note(runtime.text(), second.captured())
    verdict = second.verdict("shop-00001")
    assert (before.state, before.captured) == ("OK", 1.0)
    assert (verdict.state, verdict.captured) == ("INSUFFICIENT", pytest.approx(500 / 700, abs=1e-3))
    serve(second, runtime, events(650, seed=5))
    assert second.verdict("shop-00001").state == "OK"  # the loss lies before the window now


def test_a_runtime_that_begins_anew_goes_on_being_counted(learned: Reference) -> None:
    runtime = Runtime()
    monitor = counted(learned, runtime)
    serve(monitor, runtime, events(300, seed=4))
    runtime.offered = 0
    serve(monitor, runtime, events(200, seed=5), lost=100)
    assert monitor.verdict("shop-00001").captured == pytest.approx(500 / 600, abs=1e-3)


def test_a_variant_that_the_runtime_here_does_not_serve_is_never_ok(learned: Reference) -> None:
    runtime = Runtime()
    monitor = counted(learned, runtime)
    serve(monitor, runtime, events(300, seed=4))
    send(monitor, events(300, seed=5, prefix="other", revision="shop-00002"))
    assert monitor.verdict("shop-00001").state == "OK"
    verdict = monitor.verdict("shop-00002")
    assert verdict.state == "INSUFFICIENT" and "does not serve shop-00002" in verdict.reasons[0]


POISON = st.sampled_from(
    [1e6, -1e6, 1e300, None, "x", True, [], {}, 10**400, "", "never seen", "1e6"]  # JSON has no inf but what overflows
)
INPUTS = ("amount", "orders", "express", "payment")
WATCHED = Drift(window=600, minimum=100)


@cache
def honest(factor: float) -> list[Any]:
    return events(600, seed=6, factor=factor)


@pytest.fixture(scope="module")
def without(learned: Reference) -> Callable[..., Verdict]:
    """The verdict on the honest ones alone, where those of so many rows are taken out."""

    @cache
    def verdict(rows: int, factor: float) -> Verdict:
        monitor = Monitor(learned, WATCHED)
        send(monitor, [item for at, item in enumerate(honest(factor)) if at // 2 % 100 or at // 200 >= rows])
        return monitor.verdict("shop-00001")

    return verdict


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    poison=POISON,
    names=st.sets(st.sampled_from((*INPUTS, "score")), min_size=1),
    rows=st.integers(1, 6),
    factor=st.sampled_from([1.0, 1.35, 1.6, 3.0]),
)
def test_up_to_1_percent_of_poisoned_rows_change_no_verdict(
    learned: Reference, without: Callable[..., Verdict], poison: Any, names: set[str], rows: int, factor: float
) -> None:
    """Fault 20, through the route that events come by: of 600 rows up to 6 are poisoned, in any columns, by any kind."""
    items, poisoned = list(honest(factor)), Monitor(learned, WATCHED)
    for at in [200 * row + half for row in range(rows) for half in (0, 1)]:
        items[at] = copy.deepcopy(items[at])
        for tensor in items[at]["data"].get("inputs") or items[at]["data"]["outputs"]:
            if tensor["name"] in names:
                tensor["data"] = [poison]
    send(poisoned, items)
    before, after = without(rows, factor), poisoned.verdict("shop-00001")
    assert after.rows == 600 and after.state == before.state
    assert [each.drifted for each in after.columns] == [each.drifted for each in before.columns]


def fresh(learned: Reference, column: str = "amount") -> Monitor:
    return Monitor(
        learned, Drift.model_validate({"window": 600, "minimum": 100, "freshness": {"column": column, "limit": "5m"}})
    )


def dated(rows: int, age: timedelta, *, stale: int = 0) -> list[Any]:
    """Events whose orders tell, instead of their amount, when they happened; the first `stale` an hour ago."""
    items = events(rows, seed=7)
    for at, item in enumerate(items[::2]):
        then = NOW - (timedelta(hours=1) if at < stale else age)
        item["data"]["inputs"][0]["data"] = [then.timestamp()]
    return items


def test_the_age_of_inputs_is_told_and_stale_ones_are_never_ok(learned: Reference) -> None:
    watched = Drift.model_validate(
        {
            "window": 600,
            "minimum": 100,
            "columns": ["orders", "score"],
            "freshness": {"column": "amount", "limit": "5m"},
        }
    )
    for stale, expected in ((0, "OK"), (3, "OK"), (30, "INSUFFICIENT")):
        monitor = Monitor(learned, watched)
        send(monitor, dated(300, timedelta(seconds=20), stale=stale))
        verdict = monitor.verdict("shop-00001")
        assert verdict.state == expected and verdict.lag is not None
        assert (verdict.lag.median, verdict.lag.stale) == (
            pytest.approx(20, abs=0.1),
            pytest.approx(stale / 300, abs=1e-3),
        )
    assert verdict.reasons[0].startswith("stale inputs: 10% of rows are older than 300 s")
    text = exposition.text(monitor, {"shop-00001": verdict})
    assert 'hallmark_drift_input_lag_seconds{variant="shop-00001",quantile="0.99"} 3600' in text
    assert 'hallmark_drift_stale_ratio{variant="shop-00001"} 0.1' in text


def test_inputs_that_do_not_say_when_they_happened_are_never_ok(learned: Reference) -> None:
    monitor = fresh(learned, "payment")
    send(monitor, events(300, seed=7))
    verdict = monitor.verdict("shop-00001")
    assert verdict.state == "INSUFFICIENT" and "inputs of unknown age: 100%" in verdict.reasons[0]


def test_the_trace_that_most_records_share_is_named(learned: Reference) -> None:
    monitor = Monitor(learned, Drift(window=600, minimum=100))
    send(monitor, events(200, seed=8))
    assert monitor.verdict("shop-00001").trace == ""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    send(monitor, [{**item, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"} for item in events(300, seed=9)])
    assert monitor.verdict("shop-00001").trace == trace
    send(monitor, [{**item, "traceparent": "nonsense"} for item in events(600, seed=10)])
    assert monitor.verdict("shop-00001").trace == ""


def test_asking_every_second_is_told_the_same_until_a_fiftieth_is_new(learned: Reference) -> None:
    monitor = Monitor(learned, Drift(window=600, minimum=100))
    send(monitor, events(408, seed=11))
    columns = monitor.verdict("shop-00001").columns
    send(monitor, events(11, seed=12, factor=3.0), at=NOW + timedelta(seconds=1))
    assert all(monitor.verdict("shop-00001").columns is not None for _ in range(5))
    assert monitor.verdict("shop-00001").columns == columns
    send(monitor, events(1, seed=13), at=NOW + timedelta(seconds=2))
    assert monitor.verdict("shop-00001").columns != columns


def test_the_history_keeps_a_point_a_minute_and_each_change_and_outlives_a_restart(
    learned: Reference, tmp_path: Path
) -> None:
    monitor, start = Monitor(learned, Drift(window=600, minimum=100)), NOW.timestamp()
    send(monitor, events(600, seed=14))
    for second in range(180):
        monitor.verdict("shop-00001", at=start + second)
    send(monitor, events(600, seed=15, factor=3.0))
    monitor.verdict("shop-00001", at=start + 181)
    points = monitor.history.points("shop-00001")
    assert [round(point.at - start) for point in points] == [0, 60, 120, 181]
    assert points[-1].state == "DRIFT" and "amount" in points[-1].drifted and points[-1].effects["amount"] > 1
    state.save(monitor, tmp_path / "state.json")
    again = Monitor(learned, Drift(window=600, minimum=100))
    assert state.restore(again, tmp_path / "state.json")
    assert again.history.points() == points
    assert again.verdict("shop-00001", at=start).columns == monitor.verdict("shop-00001", at=start).columns
    for second in range(3000):
        again.verdict("shop-00001", at=start + 1000 + 61 * second)
    assert len(again.history.points()) == 1000


def error_of(learned: Reference) -> Reference:
    error = OutputError(output="score", rows=5000, mean=0.02, deviation=0.1, bias=0.0, bias_deviation=0.14)
    return replace(learned, profile=learned.profile.model_copy(update={"error": error}))


def test_final_labels_are_a_line_of_the_verdict(learned: Reference) -> None:
    monitor = Monitor(error_of(learned), Drift(window=600, minimum=100))
    send(monitor, events(300, seed=16))
    assert monitor.verdict("shop-00001").labels is not None
    assert monitor.verdict("shop-00001").labels.state == "NOT_ENOUGH_LABELS"  # type: ignore[union-attr]
    random = np.random.default_rng(1)
    score = random.beta(0.5, 8.0, 600)
    for wrong, expected in ((score, "OK"), (np.clip(score * 4, 0, 1), "DRIFT")):
        labels = np.array([int(each) for each in random.random(600) < wrong], dtype=object)
        good = OutputError(
            output="score",
            rows=5000,
            mean=float((score * (1 - score)).mean()),
            deviation=0.18,
            bias_deviation=0.2,
        )
        monitor.reference = replace(learned, profile=learned.profile.model_copy(update={"error": good}))
        monitor._concepts.clear()
        monitor.learn("shop-00001", LabelledRecords(np.arange(600.0), score.tolist(), labels.tolist(), [""] * 600))
        verdict = monitor.verdict("shop-00001")
        assert verdict.state == expected
        line = verdict.columns[-1]
        assert (line.name, line.source, line.drifted) == ("error of score", "label", expected == "DRIFT")


def test_labels_of_too_few_of_the_answers_are_told_as_what_is_missing(learned: Reference) -> None:
    monitor, labels = Monitor(error_of(learned), Drift(window=600, minimum=100)), [1, *[None] * 3] * 150
    send(monitor, events(300, seed=16))
    monitor.learn("shop-00001", LabelledRecords(np.arange(600.0), [0.1] * 600, labels, [""] * 600))
    found = monitor.verdict("shop-00001").labels
    assert found is not None and (found.state, found.rows) == ("NOT_ENOUGH_LABELS", 1)
    assert found.reason.startswith("150 of 600 answers have a label; none is judged until 90%")


def test_last_years_weeks_excuse_what_looked_like_this_then() -> None:
    """September coats: drift against a reference of August, none where last September is known, and drift again in May."""
    random = np.random.default_rng(3)

    def orders(rows: int, coats: float) -> dict[str, Any]:
        shares = [coats, 1 - coats - 0.2, 0.2]
        words = random.choice(np.array(["coats", "dresses", "bags"], dtype=object), rows, p=shares)
        return {"category": words, "amount": random.lognormal(3, 1, rows)}

    august = profile.build(orders(8000, 0.1))
    season = august.season(orders(5000, 0.45), first=datetime(2025, 9, 1), last=datetime(2025, 9, 30))
    both = august.model_copy(update={"seasons": (season,)})
    window, drift = orders(2000, 0.45), Drift()

    def drifted(known: profile.Profile, at: datetime, columns: dict[str, Any]) -> list[str]:
        return [each.name for each in measure(known, columns, drift, at=at).columns if each.drifted]

    september, may = datetime(2026, 9, 12, tzinfo=UTC), datetime(2026, 5, 12, tzinfo=UTC)
    assert drifted(august, september, window) == ["category"]
    assert drifted(both, september, window) == []
    assert measure(both, window, drift, at=september).columns[0].season == "09-01 to 09-30"
    assert drifted(both, may, window) == ["category"]
    assert drifted(both, september, orders(2000, 0.75)) == ["category"]
    assert drifted(both, september, {**window, "amount": window["amount"] * 2}) == ["amount"]


def test_an_event_without_a_trace_has_none() -> None:
    assert Event("a", "request", "shop", "shop", "v1", {}).trace == ""
