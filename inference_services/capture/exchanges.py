"""Many exchanges of one server as one event of columns: how the capture packs them, and the drift monitor reads them.

The body of a CloudEvent of type `TYPE`, in MessagePack. Numbers travel as the bytes of their array, words and photos as lists; the records of all
exchanges follow each other in every column. Nothing in it is what a client wrote beside the fields of the model: its id travels as a
hash, and a trace or the gateway's id only where it has the form of one.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects

TYPES = "hallmark.exchanges."
TYPE = f"{TYPES}v1"
"""All event types of ours, and the one that is packed and read here: another form of the body is another type."""
MEDIA = "application/msgpack"
TRACE = rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
GATEWAY_ID = rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MOST_EXCHANGES = 4096
MOST_RECORDS = 1_000_000
"""In one event."""
_HASH = 16
_NUMBERS = "biuf"
_traces, _ids = (re.compile(rb"(?:%s)?(?:\n(?:%s)?)*" % (form, form)) for form in (TRACE, GATEWAY_ID))

Columns = Mapping[str, NDArray[Any]]


class Exchange(msgspec.Struct, gc=False):
    """One answered request: `rows` records from place `first` on of a call of the model, whose columns and outputs these are.

    size:             bytes that it keeps in memory until it is sent.
    trace, state:     its W3C trace context, as it came.
    exchange, shadow: the gateway's own id of the request, which a mirrored copy has too, and b"1" of a copy.
    number, at:       its place among those that were queued, and when: seconds of the epoch.
    """

    columns: Columns
    outputs: Columns
    first: int
    rows: int
    size: int
    client_id: str
    trace: bytes = b""
    state: bytes = b""
    exchange: bytes = b""
    shadow: bytes = b""
    number: int = 0
    at: float = 0.0

    def records(self) -> tuple[Columns, Columns]:
        """Its own columns and outputs."""
        end = self.first + self.rows
        return _part(self.columns, self.first, end), _part(self.outputs, self.first, end)


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
_LINE = 56
"""Bytes of a trace and its line end."""
_dtype = operator.attrgetter("dtype")
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Body)


def packed(batch: Sequence[Exchange], *, prefix: str) -> bytes:
    """The body for exchanges of one model, whose numbers follow each other; an id is the prefix and the number."""
    calls = _calls(batch)
    body = _Body(
        prefix,
        batch[0].number,
        np.array([each.rows for each in batch], dtype="<i4").tobytes(),
        b"".join([client(each.client_id) for each in batch]),
        _joined([each.trace for each in batch], _are_traces, TRACE),
        _joined([each.exchange for each in batch], _are_ids, GATEWAY_ID),
        bytes([each.shadow == b"1" for each in batch]),
        [_column(name, [columns[name] for columns, _ in calls]) for name in calls[0][0]],
        [_column(name, [outputs[name] for _, outputs in calls]) for name in calls[0][1]],
    )
    return _encode(body)


def client(client_id: str) -> bytes:
    """A hash of a client's id."""
    return sha256(client_id.encode("utf-8", "replace")).digest()[:_HASH]


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


def _part(columns: Columns, first: int, end: int) -> Columns:
    if not first and end == len(next(iter(columns.values()))):
        return columns
    return {name: values[first:end] for name, values in columns.items()}


def _calls(batch: Sequence[Exchange]) -> list[tuple[Columns, Columns]]:
    """Columns and outputs of the exchanges, once for those of one call that follow each other."""
    parts: list[tuple[Exchange, int]] = []
    columns, end = None, 0
    for each in batch:
        if each.columns is columns and each.first == end:
            end += each.rows
            parts[-1] = parts[-1][0], end
        else:
            columns, end = each.columns, each.first + each.rows
            parts.append((each, end))
    return [(_part(each.columns, each.first, end), _part(each.outputs, each.first, end)) for each, end in parts]


def _joined(values: list[bytes], fit: Callable[[bytes, int], bool], form: bytes) -> str:
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
    return text.count(b"\n") == count - 1 and _ids.fullmatch(text) is not None


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


def _column(name: str, parts: list[NDArray[Any]]) -> _Column:
    if len(parts) > 1 and (found := _numbers(name, parts)) is not None:
        return found
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if values.dtype.kind in _NUMBERS:
        return _Column(name, values.dtype.newbyteorder("<").str, list(values.shape), values.tobytes())
    flat = values.ravel().tolist()
    if flat and isinstance(flat[0], np.ndarray):
        inner = _column(name, flat)
        inner.lengths = np.array([len(each) for each in flat], dtype="<i4").tobytes()
        return inner
    if flat and not isinstance(flat[0], bytes) and len(few := dict.fromkeys(flat)) <= min(256, len(flat) // 4):
        places = dict(zip(few, range(len(few)), strict=True))
        return _Column(name, "", list(values.shape), list(few), bytes(map(places.__getitem__, flat)))
    return _Column(name, "", list(values.shape), flat)


def _numbers(name: str, parts: list[NDArray[Any]]) -> _Column | None:
    """A column of numbers of one type, each part in one piece; None for another. Joining their bytes takes half the time of joining arrays."""
    kind, rest = parts[0].dtype, parts[0].shape[1:]
    size = kind.itemsize * math.prod(rest)
    alike = (
        kind.kind in _NUMBERS and kind.isnative and all(map(operator.is_, map(_dtype, parts), itertools.repeat(kind)))
    )
    if not (alike and size) or (rest and any(part.shape[1:] != rest for part in parts)):
        return None
    try:
        data = b"".join(parts)  # type: ignore[arg-type]  # an array is a buffer, which its types tell from Python 3.12 on
    except TypeError:
        return None
    return _Column(name, kind.newbyteorder("<").str, [len(data) // size, *rest], data)


def _array(column: _Column, records: int) -> NDArray[Any]:
    """The array, one's own, with the records first."""
    values: NDArray[Any]
    if isinstance(column.data, bytes):
        kind = np.dtype(column.kind)
        if kind.kind not in _NUMBERS:
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
