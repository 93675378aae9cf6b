"""Many exchanges of one server as one event of columns: how the capture packs them, and the drift monitor reads them.

The body of a CloudEvent of type `TYPE`, in MessagePack. Numbers travel as the bytes of their array, words as lists; the records of all
exchanges follow each other in every column. Instead of photos there is what is watched of them (observing.py). Nothing in it is what a client wrote beside the fields of the model: its id travels as a
hash, and a trace or the gateway's id only where it has the form of one.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from inference_services.capture.records import NUMBERS, Call, joined, together

TYPES = "hallmark.exchanges."
TYPE = f"{TYPES}v2"
"""All event types of ours, and the one that is packed and read here: another form of the body is another type."""
MEDIA = "application/msgpack"
TRACE = rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
GATEWAY_ID = rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MOST_EXCHANGES = 4096
MOST_RECORDS = 1_000_000
"""In one event."""
_HASH = 16
_traces, _ids = (re.compile(rb"(?:%s)?(?:\n(?:%s)?)*" % (form, form)) for form in (TRACE, GATEWAY_ID))

T = TypeVar("T")
Marks = tuple[bytes, bytes, bytes, bytes]
"""Of a request, as they came: W3C traceparent and tracestate, the gateway's own id, which a mirrored copy has too, and b"1" of a copy."""
NO_MARKS: Marks = (b"", b"", b"", b"")
Headers = Mapping[bytes, bytes]
"""Of a request, with names in lower case."""
TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
EXCHANGE, SHADOW = b"x-hallmark-request-id", b"x-hallmark-shadow"
"""Headers of the marks; the latter two are set by the gateway, which takes them away from clients' requests."""


class Answered(msgspec.Struct, gc=False):
    """Answered requests, one of each list a request, and the calls of the model that their records follow each other in.

    rows, sizes: of each: its records, and the bytes that it keeps in memory until it is sent.
    client_ids:  the clients' own.
    at:          when they were queued, seconds of the epoch.
    """

    calls: Sequence[Call]
    rows: Sequence[int]
    sizes: Sequence[int]
    client_ids: Sequence[str]
    marks: Sequence[Marks]
    at: float = 0.0

    def only(self, chosen: Sequence[bool]) -> Answered:
        """Those of them that are chosen."""
        if all(chosen):
            return self
        places = np.flatnonzero(np.repeat(np.array(chosen, dtype=np.bool_), self.rows))
        return Answered(
            [together(self.calls).taken(places, len(places))],
            [*itertools.compress(self.rows, chosen)],
            [*itertools.compress(self.sizes, chosen)],
            [*itertools.compress(self.client_ids, chosen)],
            [*itertools.compress(self.marks, chosen)],
            self.at,
        )

    def part(self, begin: int, end: int) -> Answered:
        """Those from one place to before another."""
        first, chosen = sum(self.rows[:begin]), slice(begin, end)
        return Answered(
            [together(self.calls).part(first, first + sum(self.rows[chosen]))],
            self.rows[chosen],
            self.sizes[chosen],
            self.client_ids[chosen],
            self.marks[chosen],
            self.at,
        )


@dataclass(frozen=True)
class Exchanges:
    """Exchanges as they were read: one of each list an exchange, (n,), and the records of all in every column.

    ids:     the runtime's own.   records: of each.   requests: hashes of the clients' ids, in hex.
    traces, exchanges, shadows: W3C trace ids and the gateway's ids, "" for none, and whether it was a mirrored copy.
    """

    ids: list[str]
    records: NDArray[np.int64]
    requests: list[str]
    traces: list[str]
    exchanges: list[str]
    shadows: list[bool]
    columns: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


class _Column(msgspec.Struct, array_like=True):
    """An array: the bytes of numbers, or a list of what is none, or of few words and the places of all among these.

    Where records differ in length these are the values of all, and `lengths` says how many each has.
    """

    name: str
    kind: str
    shape: list[int]
    data: bytes | list[Any]
    codes: bytes | None = None
    lengths: bytes | None = None


class _Body(msgspec.Struct, array_like=True):
    prefix: str
    first: int
    records: bytes
    clients: bytes
    traces: str
    exchanges: str
    shadows: bytes
    inputs: list[_Column]
    outputs: list[_Column]


_HEX = b"0123456789abcdef"
_SPEAKING = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_LINE = 56
"""Bytes of a trace and its line end."""
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Body)
_digest = operator.methodcaller("digest")


def marks(requests: Sequence[Headers]) -> list[Marks]:
    """Those of requests, from their headers."""
    return [
        (each.get(TRACEPARENT, b""), each.get(TRACESTATE, b""), each.get(EXCHANGE, b""), each.get(SHADOW, b""))
        for each in requests
    ]


def packed(parts: Sequence[Answered], *, prefix: str, first: int = 1) -> bytes:
    """The body for requests to one model; the id of an exchange is the prefix and its number, from `first` on."""
    call = together(flat([each.calls for each in parts]))
    traces, _, gateways, shadows = zip(*flat([each.marks for each in parts]), strict=True)
    body = _Body(
        prefix,
        first,
        np.array(flat([each.rows for each in parts]), dtype="<i4").tobytes(),
        hashed(flat([each.client_ids for each in parts])),
        _lines_of(traces, _are_traces, TRACE),
        _lines_of(gateways, _are_ids, GATEWAY_ID),
        bytes([each == b"1" for each in shadows]) if any(shadows) else bytes(len(shadows)),
        [_column(name, values) for name, values in call.columns.items()],
        [_column(name, values) for name, values in call.outputs.items()],
    )
    return _encode(body)


def hashed(client_ids: Sequence[str]) -> bytes:
    """Hashes of clients' ids behind each other, 16 bytes each."""
    try:
        encoded = [*map(str.encode, client_ids)]
    except UnicodeEncodeError:
        encoded = [each.encode("utf-8", "replace") for each in client_ids]
    whole = b"".join(map(_digest, map(sha256, encoded)))
    return np.frombuffer(whole, dtype=np.uint8).reshape(-1, 32)[:, :_HASH].tobytes()


def read(body: bytes) -> Exchanges:
    """What `packed` made; `ValueError` where it is something else."""
    try:
        found = _decoder.decode(body)
        records = np.frombuffer(found.records, dtype="<i4").astype(np.int64)
        count = len(records)
        if not 0 < count <= MOST_EXCHANGES or records.min() < 1 or records.sum() > MOST_RECORDS:
            raise ValueError(f"expected 1 to {MOST_EXCHANGES} exchanges of 1 to {MOST_RECORDS} records in all")
        if not 0 < len(found.prefix) <= 64 or found.first < 0:
            raise ValueError("expected a prefix and a first number")
        clients = found.clients.hex()
        columns, outputs = (
            {each.name: _array(each, int(records.sum())) for each in part} for part in (found.inputs, found.outputs)
        )
        if not (columns and outputs):
            raise ValueError("expected columns and outputs")
        return Exchanges(
            ids=[f"{found.prefix}-{number:x}" for number in range(found.first, found.first + count)],
            records=records,
            requests=[
                clients[at : at + 2 * _HASH] for at in range(0, 2 * _HASH * _same(len(clients) // 32, count), 32)
            ],
            traces=[each[3:35] for each in _lines(found.traces, _traces, count)],
            exchanges=_lines(found.exchanges, _ids, count),
            shadows=[bool(each) for each in found.shadows[: _same(len(found.shadows), count)]],
            columns=columns,
            outputs=outputs,
        )
    except (msgspec.MsgspecError, IndexError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def flat(lists: Iterable[Sequence[T]]) -> list[T]:
    """Their members behind each other."""
    return [*itertools.chain.from_iterable(lists)]


def _lines_of(values: Sequence[bytes], fit: Callable[[bytes, int], bool], form: bytes) -> str:
    """A line each, empty where it is not of the form."""
    text = b"\n".join(values)
    if not fit(text, len(values)):
        text = b"\n".join([each if re.fullmatch(form, each) else b"" for each in values])
    return text.decode("ascii")


def _are_traces(text: bytes, count: int) -> bool:
    """Is it so many lines of `TRACE`, or of nothing? False too where there are some of each. It takes a fifth of the expression's time."""
    if len(text) == count - 1:
        return text.count(b"\n") == count - 1
    return (
        len(text) == _LINE * count - 1
        and text[2::_LINE] == text[35::_LINE] == text[52::_LINE] == b"-" * count
        and text[55::_LINE] == b"\n" * (count - 1)
        and len(text.translate(None, _HEX)) == 4 * count - 1
    )


def _are_ids(text: bytes, count: int) -> bool:
    """Is it so many lines of `GATEWAY_ID`, or of nothing?"""
    if text.count(b"\n") != count - 1:
        return False
    line = len(text) // count + 1
    return (
        (  # of one length, as the gateway's are, it takes a tenth of the expression's time
            len(text) == line * count - 1 <= 65 * count - 1
            and text[line - 1 :: line] == b"\n" * (count - 1)
            and text[::line].isalnum()
            and len(text.translate(None, _SPEAKING)) == count - 1
        )
        or _ids.fullmatch(text) is not None
    )


def _lines(text: str, form: re.Pattern[bytes], count: int) -> list[str]:
    if not form.fullmatch(text.encode()):
        raise ValueError("expected traces and the gateway's ids in their form")
    lines = text.split("\n")
    _same(len(lines), count)
    return lines


def _same(got: int, count: int) -> int:
    if got != count:
        raise ValueError("expected one of each for each exchange")
    return count


def _column(name: str, values: NDArray[Any]) -> _Column:
    if values.dtype.kind in NUMBERS:
        return _Column(name, values.dtype.newbyteorder("<").str, list(values.shape), values.tobytes())
    listed = values.ravel().tolist()
    if listed and isinstance(listed[0], np.ndarray):
        inner = _column(name, joined(listed))
        inner.lengths = np.array([len(each) for each in listed], dtype="<i4").tobytes()
        return inner
    if listed and not isinstance(listed[0], bytes) and len(few := dict.fromkeys(listed)) <= min(256, len(listed) // 4):
        places = dict(zip(few, range(len(few)), strict=True))
        return _Column(name, "", list(values.shape), list(few), bytes(map(places.__getitem__, listed)))
    return _Column(name, "", list(values.shape), listed)


def _array(column: _Column, records: int) -> NDArray[Any]:
    """The array, one's own, with the records first."""
    values: NDArray[Any]
    if isinstance(column.data, bytes):
        kind = np.dtype(column.kind)
        if kind.kind not in NUMBERS:
            raise ValueError(f"expected numbers in {column.name}")
        values = np.frombuffer(column.data, dtype=kind).astype(kind.newbyteorder("="))
    else:
        data = column.data
        if column.codes is not None:
            values = objects(data)[np.frombuffer(column.codes, dtype=np.uint8)]
        else:
            values = objects(data)
    values = values.reshape(column.shape)
    if column.lengths is not None:
        lengths = np.frombuffer(column.lengths, dtype="<i4").astype(np.int64)
        if len(lengths) != records or lengths.min() < 0 or lengths.sum() != len(values):
            raise ValueError(f"expected the lengths of {column.name}")
        return objects(np.split(values, np.cumsum(lengths)[:-1]))
    if not values.ndim or len(values) != records:
        raise ValueError(f"expected {records} records in {column.name}")
    return values
