"""Events of columns: taken whole, once, as what they are, and refused with a counted reason where they are not known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sidecar import Sidecar, draw, events

from hallmark.artifacts.signature import Signature
from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.features.fields import Columns, Field, Output
from inference_services.capture import exchanges
from inference_services.capture.exchanges import NO_MARKS, Answered, Marks
from inference_services.capture.records import Call
from inference_services.drift_monitor import events as parsing
from inference_services.drift_monitor import reference, state
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.table import Table, Words

Start = Callable[..., Sidecar]
WATCHED = Drift(window=600, minimum=100)


def head(kind: str = exchanges.TYPE, service: str = "shop") -> dict[str, str]:
    found = {"specversion": "1.0", "type": kind, "id": "a", "source": "/", "revision": "shop-00001"}
    found |= {"inferenceservicename": service, "namespace": service}
    return {"content-type": exchanges.MEDIA, **{f"ce-{name}": value for name, value in found.items()}}


def batch(rows: int, *, seed: int, each: int = 1, first: int = 1, prefix: str = "p", factor: float = 1.0) -> bytes:
    """Exchanges of `each` records that were one call of the model."""
    columns, scores = draw(rows, seed=seed, factor=factor)
    return packed(columns, scores, [each] * (rows // each), first=first, prefix=prefix)


def packed(
    columns: Columns,
    outputs: Columns,
    rows: list[int],
    *,
    marks: list[Marks] | None = None,
    first: int = 1,
    prefix: str = "p",
) -> bytes:
    """Exchanges of so many records each that were one call of the model."""
    ids = [f"c-{first + at}" for at in range(len(rows))]
    call = Call(columns, outputs, sum(rows))
    sent = Answered([call], rows, [100] * len(rows), ids, marks or [NO_MARKS] * len(rows))
    return exchanges.packed([sent], prefix=prefix, first=first)


def take(monitor: Monitor, body: bytes) -> None:
    captured = parsing.columns(head(), body)
    assert captured is not None
    monitor.take_columns(captured, at=1e9)


@pytest.fixture(scope="module")
def learned(sealed: Path) -> Reference:
    return reference.read(sealed)


def test_columns_are_what_the_same_exchanges_are_one_by_one(learned: Reference) -> None:
    together, alone = Monitor(learned, WATCHED), Monitor(learned, WATCHED)
    take(together, batch(400, seed=2))
    good, _ = parsing.parse(
        {"content-type": "application/cloudevents-batch+json"}, msgspec.json.encode(events(400, seed=2))
    )
    assert alone.take(good, at=1e9) == []
    ours, theirs = together.window("shop-00001"), alone.window("shop-00001")
    assert {name: values.tolist() for name, values in ours.columns().items()} == {
        name: values.tolist() for name, values in theirs.columns().items()
    }
    rows = [list(each.answers.of("shop-00001")) for each in (together, alone)]
    assert [(row.columns, row.outputs) for row in rows[0]] == [(row.columns, row.outputs) for row in rows[1]]
    assert together.verdict("shop-00001").columns == alone.verdict("shop-00001").columns
    assert together.counts["joined"] == ours.requests == theirs.requests == 400


def test_an_event_that_comes_again_or_in_part_counts_once_and_over_a_restart(
    learned: Reference, tmp_path: Path
) -> None:
    monitor = Monitor(learned, WATCHED)
    take(monitor, batch(40, seed=2, each=2))
    take(monitor, batch(40, seed=2, each=2))
    take(monitor, batch(40, seed=3, each=2, first=11))
    assert (monitor.counts["joined"], monitor.counts["duplicate"]) == (30, 30)
    amounts = draw(40, seed=3)[0]["amount"][20:].tolist()
    assert monitor.window("shop-00001").columns()["amount"][-20:].tolist() == amounts
    state.save(monitor, tmp_path / "state.json")
    again = Monitor(learned, WATCHED)
    assert state.restore(again, tmp_path / "state.json")
    take(again, batch(40, seed=2, each=2))
    assert (again.counts["joined"], again.counts["duplicate"]) == (0, 20)


def test_a_request_larger_than_its_share_is_kept_evenly(learned: Reference) -> None:
    monitor = Monitor(learned, WATCHED)
    columns, scores = draw(63, seed=2)
    take(monitor, packed(columns, scores, [1, 60, 2]))
    kept = [0, *range(1, 61, 2), 61, 62]
    assert monitor.window("shop-00001").columns()["amount"].tolist() == columns["amount"][kept].tolist()
    assert [row.row for row in monitor.answers.of("shop-00001")] == [0, *range(0, 60, 2), 0, 1]


def test_one_poisoned_record_costs_itself_alone() -> None:
    def observe(columns: Columns) -> Columns:
        if (columns["amount"] == 13).any():
            raise RuntimeError("thirteen")
        return {"amount": columns["amount"]}

    fields = (Field(name="amount", datatype="FP64"),)
    signature = Signature(domain="shop", fields=fields, outputs=(Output(name="score", datatype="FP32"),))
    known = profile.build({"amount": np.arange(9.0)}, scores={"score": np.arange(9.0)})
    monitor = Monitor(Reference("", signature, known, observe), WATCHED)
    amounts = np.arange(200.0)
    monitor.decoder._most = 200
    take(monitor, packed({"amount": amounts}, {"score": amounts.astype(np.float32)}, [200]))
    found = monitor.window("shop-00001").columns()
    assert np.flatnonzero(np.isnan(found["amount"])).tolist() == [13] and monitor.decoder.unreadable == 1
    assert found["score"].tolist() == amounts.tolist()


def test_a_column_that_is_none_of_the_fields_form_is_missing(learned: Reference) -> None:
    columns, scores = draw(20, seed=2)
    wrong = {**columns, "amount": np.array(["x"] * 20, dtype=object), "payment": np.ones(20)}
    del wrong["express"]
    monitor = Monitor(learned, WATCHED)
    take(monitor, packed(wrong, scores, [20]))
    found = monitor.window("shop-00001").columns()
    assert np.isnan(found["amount"]).all() and found["payment"].tolist() == found["express"].tolist() == [None] * 20
    assert found["orders"].tolist() == columns["orders"].tolist()


def test_an_event_of_another_release_is_refused_and_counted(start: Start) -> None:
    sidecar = start()
    answer = sidecar.client.post("/", content=batch(5, seed=2), headers=head("hallmark.exchanges.v9"))
    assert answer.status_code == 400 and "release server and monitor together" in answer.json()["errors"][0]
    assert sidecar.client.post("/", content=batch(5, seed=2), headers=head()).json()["accepted"] == 5
    foreign = sidecar.client.post("/", content=batch(5, seed=3, prefix="q"), headers=head(service="other"))
    assert foreign.status_code == 202
    fates = sidecar.counts()
    assert (fates["unknown"], fates["joined"], fates["foreign"], fates["malformed"]) == (1, 5, 5, 0)
    assert 'hallmark_drift_events_total{fate="unknown"} 1' in sidecar.client.get("/metrics").text


def broken() -> list[bytes]:
    """Bodies that are nearly right."""
    good: list[Any] = msgspec.msgpack.decode(batch(4, seed=2, each=2))
    out = [b"", b"{}", msgspec.msgpack.encode([]), msgspec.msgpack.encode(good)[:-3]]
    for place, value in (
        *(
            (0, ""),
            (0, "x" * 99),
            (1, -1),
            (2, b""),
            (2, b"\x00" * 8),
            (2, b"\xff" * 8),
            (2, b"\x02\x00\x00"),
        ),
        *((3, b"\x00"), (4, "no trace\n"), (4, "\n\n"), (5, "a b\n"), (6, b"\x00"), (7, []), (8, [])),
        (7, [["amount", "<f8", [4], b"\x00" * 31]]),
        (7, [["amount", "<f8", [3], b"\x00" * 24]]),
        (7, [["amount", "O", [4], b"\x00" * 32]]),
        (7, [["amount", "nonsense", [4], b"\x00" * 32]]),
        (7, [["payment", "", [4], ["card"], b"\x00\x00\x00\x07"]]),
        (7, [["payment", "", [4], ["card"] * 4, None, b"\x01\x00\x00\x00"]]),
    ):
        changed = [*good]
        changed[place] = value
        out.append(msgspec.msgpack.encode(changed))
    return out


def test_what_is_no_event_of_columns_is_malformed_and_counted(start: Start) -> None:
    sidecar = start()
    bodies = broken()
    statuses = [sidecar.client.post("/", content=body, headers=head()).status_code for body in bodies]
    assert statuses == [400] * len(bodies)
    assert sidecar.counts()["malformed"] == len(bodies) and sidecar.client.get("/verdict").json()["variants"] == {}


def test_ids_are_of_their_form_or_left_out() -> None:
    three = {"x": np.zeros(3)}
    odd = (b"Bearer secret", b"", b"a\nb", b"yes")
    good = (b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01", b"", b"e-2", b"1")
    body = packed(three, three, [1] * 3, marks=[NO_MARKS, odd, good])
    found = exchanges.read(body)
    assert (found.traces, found.exchanges, found.shadows) == (
        ["", "", "ab" * 16],
        ["", "", "e-2"],
        [False, False, True],
    )
    assert b"secret" not in body and found.ids == ["p-1", "p-2", "p-3"]


def test_a_table_holds_what_came_whatever_its_type() -> None:
    table = Table()
    table.append({"a": np.array([1, 2]), "b": np.array([True, False])}, 2)
    table.append({"a": np.array([0.5]), "c": np.array(["x"], dtype=object)}, 1)
    table.append({"a": np.array([3], dtype=np.int32), "b": np.array([True])}, 1)
    assert table["a"].tolist() == [1, 2, 0.5, 3]
    assert (table["b"].tolist(), table["c"].tolist()) == ([True, False, None, True], [None, None, "x", None])
    table.keep(np.array([1, 3]))
    table.append({"a": np.array(["late"], dtype=object)}, 1)
    assert (table["a"].tolist(), table["b"].tolist()) == ([2, 3, "late"], [False, True, None])


@pytest.mark.parametrize(
    "parts",
    [
        [np.array([1.5]), np.array([2], dtype=np.int64)],
        [np.array([1.5], dtype=np.float32), np.array([2.5])],
        [np.zeros((1, 2, 3)), np.ones((2, 2, 3))],
        [np.arange(12.0).reshape(2, 6).T, np.ones((1, 2))],
        [np.arange(8)[::2], np.arange(3)],
        [np.array([True]), np.array([False, True])],
        [np.array([1], dtype=">i4"), np.array([2], dtype=">i4")],
    ],
)
def test_calls_of_one_event_come_out_as_they_went_in(parts: list[Any]) -> None:
    sent = [
        Answered([Call({"x": part}, {"y": part}, len(part))], [len(part)], [1], ["c"], [NO_MARKS]) for part in parts
    ]
    found = exchanges.read(exchanges.packed(sent, prefix="p"))
    expected = np.concatenate(parts)
    assert found.records.tolist() == [len(part) for part in parts]
    for values in (found.columns["x"], found.outputs["y"]):
        assert values.shape == expected.shape and values.tolist() == expected.tolist()


@pytest.mark.parametrize("place", [0, 2, 3, 35, 40, 52, 54])
def test_a_trace_that_is_nearly_one_does_not_travel(place: int) -> None:
    good = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"
    three, near = {"x": np.zeros(3)}, good[:place] + b"g" + good[place + 1 :]
    marks: list[Marks] = [(trace, b"", b"", b"") for trace in (good, near, good)]
    assert exchanges.read(packed(three, three, [1] * 3, marks=marks)).traces == ["ab" * 16, "", "ab" * 16]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ([b"0f9c1a2e", b"7a-b_c.d"], ["0f9c1a2e", "7a-b_c.d"]),
        ([b"a", b"", b"bc"], ["a", "", "bc"]),
        ([b"-a", b"ab"], ["", "ab"]),
        ([b"a b", b"abc"], ["", "abc"]),
        ([b"a\nb", b"abc"], ["", "abc"]),
        ([b"a\n", b"\nb"], ["", ""]),
        ([b"x" * 65, b"y" * 65], ["", ""]),
        ([b"x" * 64, b"y" * 64], ["x" * 64, "y" * 64]),
        ([b"\xe9a", b"ab"], ["", "ab"]),
    ],
)
def test_a_gateways_id_of_another_form_does_not_travel(sent: list[bytes], read: list[str]) -> None:
    columns = {"x": np.zeros(len(sent))}
    marks: list[Marks] = [(b"", b"", each, b"") for each in sent]
    assert exchanges.read(packed(columns, columns, [1] * len(sent), marks=marks)).exchanges == read


def test_words_that_are_kept_whole_are_told_from_all_others() -> None:
    words = Words(3)
    asked = np.array(["a", None, "b", "a"], dtype=object)
    found = words.known(asked)
    assert found is not None and found.tolist() == asked.tolist() and found[0] is found[3]
    for odd in ("x" * 65, 1, True, b"a", ["a"], float("nan")):
        values = np.empty(2, dtype=object)
        values[:] = ["a", odd]
        assert words.known(values) is None
    assert words.known(np.array([1.0])) is None
    assert words.of(["x" * 65, "c", "d", "e", None]) == ["x" * 64, "c", "d", "e", None] and len(words) <= 4


def test_a_table_keeps_rows_whether_or_not_they_are_behind_each_other() -> None:
    for places in ([], [0], [2, 3, 4], [0, 2, 4], [1, 2, 4]):
        table = Table()
        table.append({"n": np.arange(5), "w": np.array(list("abcde"), dtype=object)}, 5)
        table.keep(np.array(places, dtype=np.int64))
        table.append({"n": np.array([9]), "w": np.array(["z"], dtype=object)}, 1)
        assert table["n"].tolist() == [*places, 9]
        assert table["w"].tolist() == [*("abcde"[at] for at in places), "z"]
