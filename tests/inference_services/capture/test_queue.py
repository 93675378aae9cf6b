"""What is noted of answered requests comes out of events as it was answered: once, in order, whole, and within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hallmark.declaration.serving_config import CaptureLimits
from hallmark.features.arrays import objects
from hallmark.features.fields import Field
from hallmark.features.record import RecordLayout
from inference_services.capture import exchanges
from inference_services.capture.exchanges import Exchanges
from inference_services.capture.queue import Capture, Noted, Origin
from inference_services.capture.records import Call, Records, together


class Counts(Counter[str]):
    """Counters by name, those of drops by their reason too."""

    def add(self, name: str, value: str = "", amount: float = 1.0) -> None:
        self[f"{name} {value}".strip()] += int(amount)


Turn = tuple[Call, list[Noted]]
"""A call of the model, and the answered requests of it."""


def noted(call: Call, requests: Sequence[tuple[int, int, int, str]]) -> Turn:
    """Answered requests without marks: the first record of each, how many, its bytes, and its client's id."""
    return call, [(*each, {}) for each in requests]


LAYOUT = RecordLayout([Field(name="x", datatype="FP64"), Field(name="word", datatype="BYTES")])


class Sink:
    """Keeps the bodies that it is posted."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.task: asyncio.Task[Any] | None = None

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.task = asyncio.current_task()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def sent(turns: Sequence[Turn], limits: CaptureLimits) -> tuple[list[bytes], Counts]:
    """Bodies that a capture posts of what is noted, each in one turn of the loop, and its counters."""
    sink, counts = Sink(), Counts()

    async def main() -> None:
        server = await asyncio.start_server(sink.take, "127.0.0.1", 0, limit=1 << 24)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        capture = Capture(url, origin=Origin("o", "n", "r", "e"), metrics=counts, limits=limits)
        capture.start()
        for turn in turns:
            capture.note(*turn)
            await asyncio.sleep(0)
        await capture.close(timeout=10)
        server.close()
        assert sink.task is not None
        await sink.task

    asyncio.run(main())
    return sink.bodies, counts


def calls(count: int, seed: int) -> list[Turn]:
    """Calls of a model, each on some requests of some records, of which one in ten was not answered."""
    dice, number = random.Random(seed), 0
    found: list[Turn] = []
    for _ in range(count):
        rows = [dice.choice((1, 1, 1, 2, 5)) for _ in range(dice.choice((1, 1, 1, 4, 40)))]
        total = sum(rows)
        names = np.arange(number, number + total)
        columns: dict[str, Any] = {
            "number": names.astype(np.float64),
            "vector": np.stack([names, -names], axis=1).astype(np.float32),
            "word": objects([f"w{each % 3}" for each in names]),
            "several": objects([np.arange(each % 4) for each in names]),
        }
        call = Call(columns, {"score": (names / 2).astype(np.float32)}, total)
        firsts = np.cumsum(rows) - rows
        whole = [(int(first), each, 100, f"c{number + first}") for first, each in zip(firsts, rows, strict=True)]
        if answered := [each for each in whole if dice.random() > 0.1]:
            found.append(noted(call, answered))
        number += total
    return found


@pytest.mark.parametrize("batch", [1024, 100, 3])
def test_requests_of_many_calls_come_out_as_they_were_answered(batch: int) -> None:
    turns = calls(150, seed=batch)
    flat = [(call, first, rows, client) for call, requests in turns for first, rows, _, client, _ in requests]
    bodies, counts = sent(turns, CaptureLimits(batch=batch))
    found = [exchanges.read(body) for body in bodies]
    assert counts["capture_offered"] == counts["capture_sent"] == len(flat)
    assert counts["capture_queued"] == counts["capture_queued_bytes"] == 0
    prefix = found[0].ids[0].rpartition("-")[0]
    assert [each for one in found for each in one.ids] == [f"{prefix}-{at + 1:x}" for at in range(len(flat))]
    assert max(len(one.ids) for one in found) <= batch
    assert [each for one in found for each in one.records] == [rows for _, _, rows, *_ in flat]
    hashes = exchanges.hashed([each[3] for each in flat]).hex()
    assert "".join(each for one in found for each in one.requests) == hashes
    for side in ("columns", "outputs"):
        for name in getattr(flat[0][0], side):
            expected = [
                value
                for call, first, rows, *_ in flat
                for value in plain(getattr(call, side)[name][first : first + rows])
            ]
            assert [value for one in found for value in plain(read(one, side)[name])] == expected


def read(one: Exchanges, side: str) -> dict[str, Any]:
    return one.columns if side == "columns" else one.outputs


def plain(values: Any) -> list[Any]:
    """Values that can be compared."""
    return [each.tolist() if isinstance(each, np.ndarray) else each for each in values]


def test_an_event_has_no_more_bytes_than_it_may_but_for_one_large_request() -> None:
    call = Call({"x": np.arange(9.0)}, {"y": np.zeros(9)}, 9)
    requests = [(at, 1, size, "c") for at, size in enumerate((1, 1, 1, 9, 1, 3, 1, 1, 1))]
    bodies, counts = sent([noted(call, requests)], CaptureLimits(batch_bytes=4))
    found = [exchanges.read(body) for body in bodies]
    assert [one.columns["x"].tolist() for one in found] == [[0, 1, 2], [3], [4, 5], [6, 7, 8]]
    assert counts["capture_sent"] == 9


def test_those_that_there_is_no_room_for_are_dropped_and_the_others_sent() -> None:
    call = Call({"x": np.arange(8.0)}, {"y": np.zeros(8)}, 8)
    requests = [(at, 1, size, f"{at}") for at, size in enumerate((5, 9, 5, 9, 1, 1, 1, 1))]
    bodies, counts = sent([noted(call, requests)], CaptureLimits(queued_bytes=13, queued=4))
    (found,) = [exchanges.read(body) for body in bodies]
    assert found.columns["x"].tolist() == [0, 2, 4, 5]
    assert found.requests == [exchanges.hashed([name]).hex() for name in "0245"]
    assert (counts["capture_dropped bytes"], counts["capture_dropped full"]) == (2, 2)
    assert counts["capture_offered"] == 8 and counts["capture_sent"] == 4 and counts["capture_queued"] == 0


def test_what_is_noted_is_queued_when_it_is_much_or_large_or_old() -> None:
    counts = Counts()
    one = Call({"x": np.zeros(1)}, {"y": np.zeros(1)}, 1)
    many = Call({"x": np.zeros(1100)}, {"y": np.zeros(1100)}, 1100)

    async def main() -> None:
        url, origin = "http://127.0.0.1:9/", Origin("o", "n", "r", "e")

        async def queued(turns: Sequence[Turn], wait: float = 0.0) -> int:
            before = counts["capture_queued"]
            for each in turns:
                capture.note(*each)
            await asyncio.sleep(wait)
            return counts["capture_queued"] - before

        capture = Capture(url, origin=origin, metrics=counts)
        record = LAYOUT.record({"x": 0.5, "word": "a"})
        small = [noted(Call({}, one.outputs, 1, LAYOUT, record), [(0, 1, 1, "")]) for _ in range(1023)]
        assert await queued(small) == 0
        assert await queued(small[:1]) == 1024
        few = [noted(Call(one.columns, one.outputs, 1), [(0, 1, 1, "")]) for _ in range(31)]
        assert await queued(few) == 0
        assert await queued(few[:1]) == 32
        together = [(at, 1, 1, "") for at in range(1024)]
        assert await queued([noted(many, together[:1023])]) == 0
        assert await queued([noted(many, together[1023:])]) == 1024
        assert await queued([noted(one, [(0, 1, 1 << 20, "")])]) == 1
        assert await queued([noted(one, [(0, 1, 1, "")])]) == 0
        assert await queued([], wait=0.2) == 1
        capture.note(*noted(one, [(0, 1, 1, "")]))
        capture.gather()
        assert counts["capture_queued"] == 1024 + 32 + 1024 + 3
        await capture.close(timeout=0)
        assert counts["capture_dropped shutdown"] == counts["capture_offered"] == 1024 + 32 + 1024 + 3

    asyncio.run(main())


def small_calls(seed: int) -> list[Call]:
    """Calls on a few records, whose columns now and then have another type, shape or order, or are not in one piece."""
    dice, found = random.Random(seed), []
    for number in range(0, 900, 3):
        rows = dice.choice((1, 1, 1, 1, 2, 3))
        names = np.arange(number, number + rows)
        vectors = np.stack([names, names, -names, -names], axis=1).astype(np.float32)
        columns: dict[str, Any] = {
            "word": objects([f"w{each}" for each in names]),
            "number": names.astype(np.float64) if dice.random() < 0.95 else names,
            "vector": vectors[:, ::2] if dice.random() < 0.05 else np.ascontiguousarray(vectors[:, ::2]),
            "nothing": objects([None] * rows),
        }
        if dice.random() < 0.05:
            columns = dict(reversed(columns.items()))
        found.append(Call(columns, {"label": names.astype(str), "score": (names / 2).astype(np.float32)}, rows))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_small_calls_are_copied_and_come_out_as_they_were(seed: int) -> None:
    given = small_calls(seed)
    rows = [call.rows for call in given]
    found = together(Records().of(given, [1] * len(given), [0] * len(given), rows))
    assert found.rows == sum(rows)
    for side in ("columns", "outputs"):
        for name, values in getattr(found, side).items():
            expected = [value for call in given for value in getattr(call, side)[name].tolist()]
            assert values.tolist() == expected
    assert found.columns["number"].dtype == np.float64 and found.columns["vector"].dtype == np.float32


def test_small_calls_with_lists_in_a_column_are_kept_as_they_are() -> None:
    lists = np.array([["a", "b"]], dtype=object)
    calls = [Call({"x": np.array([float(at)]), "lists": lists}, {"y": np.zeros(1)}, 1) for at in range(20)]
    (found,) = Records().of(calls, [1] * 20, [0] * 20, [1] * 20)
    assert found.columns["x"].tolist() == list(range(20)) and found.columns["lists"].shape == (20, 2)


def test_requests_of_one_record_come_out_as_they_went_in_whatever_came_between() -> None:
    dice = random.Random(3)
    given: list[Call] = []
    firsts: list[list[int]] = []
    expected = []
    for number in range(200):
        count = dice.choice((1, 1, 1, 12))
        each = [{"x": number + at / 16, "word": f"w{number % 7}-{at}"} for at in range(count)]
        outputs = {"score": np.array([each["x"] for each in each])}
        if dice.random() < 0.9:
            call = Call({}, outputs, count, LAYOUT, LAYOUT.joined([LAYOUT.record(one) for one in each]))
        else:
            columns = {"x": outputs["score"], "word": objects([one["word"] for one in each])}
            call = Call(columns, outputs, count)
        given.append(call)
        firsts.append([at for at in range(count) if dice.random() < 0.9])
        expected += [(each[at]["x"], each[at]["word"], each[at]["x"]) for at in firsts[-1]]
    flat = [at for each in firsts for at in each]
    found = together(Records().of(given, [*map(len, firsts)], flat, [1] * len(flat)))
    values = (found.columns["x"], found.columns["word"], found.outputs["score"])
    assert [*zip(*[each.tolist() for each in values], strict=True)] == expected
