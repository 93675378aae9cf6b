"""From captured columns, or V2 JSON, to the columns that are watched: forgiving, since a broken value is a fact about the traffic."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.drift import strata
from hallmark.features import arrays
from hallmark.features.arrays import objects
from hallmark.features.fields import Columns, Field
from inference_services.capture.exchanges import Exchanges
from inference_services.capture.observing import EMBEDDED, OBSERVED, Observing
from inference_services.drift_monitor.events import Malformed
from inference_services.drift_monitor.reference import Reference

_BROKEN = b"\0"


@dataclass(frozen=True, slots=True)
class ExchangePart:
    """One half of an exchange: its record count as sent, and columns of those records that are kept.

    embeddings: (kept, d) of a request, where the model has embeddings; NaN where there is none.
    happened:   (kept,) event time of a request's records in seconds of the epoch, where it is asked for; NaN for none.
    strata:     (kept,) words of a request: what its records have in the field that the reference is matched by; "" for nothing.
    answers:    (kept,) of a response, the output that is one list per record (ids, quantiles), where a task compares it; kept, not watched.
    """

    records: int
    columns: dict[str, NDArray[Any]]
    embeddings: NDArray[np.float32] | None = None
    happened: NDArray[np.float64] | None = None
    strata: NDArray[Any] | None = None
    answers: dict[str, NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True)
class WatchedExchanges:
    """Exchanges of one variant, (n,), and those of their records that are kept, (rows,).

    requests, exchanges, traces, shadows: as in capture.exchanges.Exchanges.
    records, kept: of each exchange.   columns, outputs: watched and answered, (rows,).   answers, embeddings, happened, strata: as in ExchangePart.
    """

    records: NDArray[np.int64]
    kept: NDArray[np.int64]
    requests: Sequence[str]
    exchanges: Sequence[str]
    traces: Sequence[str]
    shadows: Sequence[bool]
    outputs: dict[str, NDArray[Any]]
    answers: dict[str, NDArray[Any]]
    columns: dict[str, NDArray[Any]]
    embeddings: NDArray[np.float32] | None = None
    happened: NDArray[np.float64] | None = None
    strata: NDArray[Any] | None = None


class Decoder:
    """Reads requests and responses of one model; of a large request it keeps `most` records, evenly spread.

    event_time: the field with the time of a record, where that is asked for.
    """

    def __init__(self, reference: Reference, *, most: int, event_time: str | None = None) -> None:
        self._event_time = event_time
        self._match = reference.profile.strata.column if reference.profile.strata else None
        self._fields = reference.signature.asked
        self._raw = [field.name for field in self._fields if field.name in (event_time, self._match)]
        self._observing = Observing(
            reference.observe,
            names=[column.name for column in reference.profile.columns if column.source == "input"],
            embed=reference.embed,
            width=0 if reference.sample is None else reference.sample.shape[1],
        )
        self._outputs = [column.name for column in reference.profile.columns if column.source == "output"]
        task, first = reference.signature.task, reference.signature.answered[0]
        shape = task.shape if reference.signature.retriever is None else first.shape
        self._listed = first.name if task.rule and shape else None
        self._length = math.prod(shape)
        self._most = most

    @property
    def unreadable(self) -> int:
        """Records that could not be observed, here or in the server."""
        return self._observing.unreadable

    def requests(self, bodies: Sequence[dict[str, Any]]) -> list[ExchangePart | Malformed]:
        """Each request's watched columns; their records are observed together, which costs a tenth."""
        raw = [_attempt(self._request, body) for body in bodies]
        good = [part for part in raw if not isinstance(part, Malformed)]
        if not good:
            return [part for part in raw if isinstance(part, Malformed)]
        joined = {
            field.name: _typed([value for _, values in good for value in values[field.name]], field)
            for field in self._fields
        }
        rows = sum(len(values[self._fields[0].name]) for _, values in good)
        watched = self._watched(
            joined, rows, {name: [each for _, values in good for each in values[name]] for name in self._raw}
        )
        parts: list[ExchangePart | Malformed] = []
        at = 0
        for part in raw:
            if isinstance(part, Malformed):
                parts.append(part)
                continue
            records, values = part
            end = at + len(values[self._fields[0].name])
            parts.append(ExchangePart(records, **_sliced(watched, slice(at, end))))
            at = end
        return parts

    def exchanges(self, found: Exchanges, new: NDArray[np.bool_]) -> WatchedExchanges:
        """The watched columns of those exchanges that are `new` (n,)."""
        kept = np.minimum(found.records, self._most)
        rows = self._rows(found.records, kept, new)
        records, kept = found.records[new], kept[new]
        count = int(kept.sum())

        def taken(values: NDArray[Any]) -> NDArray[Any]:
            return values if rows is None else values[rows]

        made = self._observing.received(_chosen(found.columns, taken), count)
        fields = [field for field in self._fields if made is None or field.name in self._raw]
        joined = {field.name: _received(found.columns.get(field.name), field, taken, count) for field in fields}
        outputs, answers = {}, {}
        for name in self._outputs:
            values = found.outputs.get(name)
            outputs[name] = taken(values) if values is not None and values.ndim == 1 else objects([None] * count)
        if self._listed is not None and (lists := found.outputs.get(self._listed)) is not None:
            whole = lists.shape[1:] == (self._length,)
            answers[self._listed] = objects(taken(lists).tolist() if whole else [None] * count)
        chosen = [*compress(range(len(new)), new.tolist())] if not new.all() else None
        said = (found.requests, found.exchanges, found.traces, found.shadows)
        told: Sequence[Any] = said if chosen is None else [[each[at] for at in chosen] for each in said]
        raw = {name: joined[name] for name in self._raw}
        watched = self._watched(joined, count, raw, made)
        return WatchedExchanges(records, kept, *told, outputs, answers, **watched)  # type: ignore[call-arg]

    def _rows(
        self, records: NDArray[np.int64], kept: NDArray[np.int64], new: NDArray[np.bool_]
    ) -> NDArray[np.int64] | None:
        """Places of the records that are kept of exchanges that are new; None for all."""
        if new.all() and (kept == records).all():
            return None
        firsts = np.cumsum(records) - records
        counts = kept[new]
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        whole = np.repeat(records[new], counts)
        found: NDArray[np.int64] = np.repeat(firsts[new], counts) + place * whole // np.repeat(counts, counts)
        return found

    def _watched(
        self,
        joined: Columns,
        rows: int,
        raw: Mapping[str, Sequence[Any] | NDArray[Any]],
        made: tuple[dict[str, NDArray[Any]], NDArray[np.float32] | None] | None = None,
    ) -> dict[str, Any]:
        """What is made of records: their watched columns, which the server may have `made`, and what else a model or a declaration asks for."""
        observed, embedded = made or (self._observing.observed(joined, rows), self._observing.embedded(joined, rows))
        when, match = self._event_time, self._match
        happened = None if when is None else times(raw[when]) if when in raw else np.full(rows, np.nan)
        return {
            "columns": observed,
            "embeddings": embedded,
            "happened": happened,
            "strata": strata.keys(raw[match]) if match is not None and match in raw else None,
        }

    def response(self, body: dict[str, Any]) -> ExchangePart:
        """The answered scores and labels that the profile knows."""
        tensors = _tensors(body, "outputs")
        records = _records(tensors)
        columns = {}
        for name in self._outputs:
            tensor = tensors.get(name, {"data": []})
            values = tensor["data"]
            columns[name] = objects(self._kept(values) if len(values) == records else [None] * self._count(records))
        answers = {}
        if self._listed is not None and self._listed in tensors:
            lists = _lists(tensors[self._listed]["data"], records, length=self._length)
            answers[self._listed] = objects(self._kept(lists))
        return ExchangePart(records, columns, answers=answers)

    def _request(self, body: dict[str, Any]) -> tuple[int, dict[str, list[Any]]]:
        tensors = _tensors(body, "inputs")
        records = _records(tensors)
        values = {}
        for field in self._fields:
            data = _nested(tensors[field.name], records, field) if field.name in tensors else [None] * records
            values[field.name] = self._kept(data)
        return records, values

    def _count(self, records: int) -> int:
        return min(records, self._most)

    def _kept(self, values: list[Any]) -> list[Any]:
        if len(values) <= self._most:
            return values
        return [values[at * len(values) // self._most] for at in range(self._most)]


def times(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """(n,) seconds of the epoch, of numbers that are such and of RFC 3339 texts with a zone; NaN for what is neither."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and values.ndim == 1:
        return values.astype(np.float64)
    return np.array(
        [_time(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)], dtype=np.float64
    )


def _time(value: object) -> float:
    if not isinstance(value, str):
        return _number(value)
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return math.nan
    return when.timestamp() if when.tzinfo is not None else math.nan


def _sliced(watched: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """Of some of the records."""
    return {
        name: {each: column[rows] for each, column in values.items()}
        if isinstance(values, dict)
        else values
        if values is None
        else values[rows]
        for name, values in watched.items()
    }


def _chosen(columns: Columns, taken: Callable[[NDArray[Any]], NDArray[Any]]) -> Columns:
    """Those that are made of records in the server, of the records that are kept."""
    return {name: taken(values) for name, values in columns.items() if name.startswith((OBSERVED, EMBEDDED))}


def _received(
    values: NDArray[Any] | None, field: Field, taken: Callable[[NDArray[Any]], NDArray[Any]], rows: int
) -> NDArray[Any]:
    """A field's column as the server sent it, checked once more: what is not of the field's form is missing."""
    if values is None:
        return _typed([None] * rows, field)
    values = taken(values)
    if not field.varies and values.shape[1:] == field.rest:
        if field.datatype != "BYTES" and values.dtype == field.dtype:
            return values
        wanted = bytes if field.media == "image" else str
        if (
            field.datatype == "BYTES"
            and values.dtype == object
            and set(map(type, values.ravel().tolist())) <= {wanted, type(None)}
        ):
            return values
    if (
        field.varies
        and values.dtype == object
        and all(isinstance(each, np.ndarray) and each.dtype == field.dtype for each in values)
    ):
        return values
    return _typed([None] * rows, field)


def _attempt(
    read: Callable[[dict[str, Any]], tuple[int, dict[str, list[Any]]]], body: dict[str, Any]
) -> tuple[int, dict[str, list[Any]]] | Malformed:
    try:
        return read(body)
    except Malformed as error:
        return error


def _tensors(body: dict[str, Any], side: str) -> dict[str, dict[str, Any]]:
    tensors = body.get(side)
    if not isinstance(tensors, list) or not tensors:
        raise Malformed(f"expected {side}: a list of tensors")
    found = {}
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise Malformed(f"expected each of {side} to have a name")
        shape = tensor.get("shape")
        if not isinstance(tensor.get("data"), list) or not isinstance(shape, list) or not _is_shape(shape):
            raise Malformed("expected a tensor with a shape and data in JSON")
        found[tensor["name"]] = tensor
    return found


def _is_shape(shape: list[Any]) -> bool:
    return bool(shape) and all(type(side) is int and side >= 0 for side in shape)


def _records(tensors: dict[str, dict[str, Any]]) -> int:
    counts = {tensor["shape"][0] for tensor in tensors.values()}
    records: int = counts.pop()
    if counts or not 0 < records <= 1_000_000:
        raise Malformed("expected tensors of the same number of records, at least one")
    if not any(len(tensor["data"]) >= records or 0 in tensor["shape"] for tensor in tensors.values()):
        raise Malformed("expected as much data as the shape holds")
    return records


def _nested(tensor: dict[str, Any], records: int, field: Field) -> list[Any]:
    """A value a record: as it is, or where a record holds many a list of them, cut from flat data or flattened."""
    data, sides = tensor["data"], tensor["shape"][1:]
    if not field.shape:
        return data if len(data) == records else [None] * records
    if len(sides) != len(field.shape) or any(
        one not in (None, side) for one, side in zip(field.shape, sides, strict=True)
    ):
        return [None] * records
    for _ in sides:
        if data and all(isinstance(each, list) for each in data):
            data = [value for each in data for value in each]
    size = math.prod(sides)
    if len(data) != records * size:
        return [None] * records
    return [_folded(data[at * size : (at + 1) * size], sides) for at in range(records)]


def _folded(values: list[Any], sides: list[int]) -> list[Any]:
    """Flat values as lists of lists."""
    for side in reversed(sides[1:]):
        values = [values[at : at + side] for at in range(0, len(values), side)]
    return values


def _lists(data: list[Any], records: int, *, length: int) -> list[Any]:
    """A list of `length` a record, of data that are such or are flat; None where a record has none."""
    if len(data) == records * length and not any(isinstance(each, list) for each in data):
        return [data[at : at + length] for at in range(0, len(data), length)]
    whole = data if len(data) == records else [None] * records
    return [each if isinstance(each, list) and len(each) == length else None for each in whole]


def _typed(values: list[Any], field: Field) -> NDArray[Any]:
    """The column of the values (hallmark.features.fields.Columns); where one does not fit, objects with None or NaN in its place."""
    if field.media == "image":
        values = [_each(_bytes if field.plain else _bytes_or_nothing, value) for value in values]
    if field.shape or field.optional:
        return _formed(values, field)
    if field.media == "image":
        return objects(values)
    if field.datatype == "BYTES":
        return objects([value if isinstance(value, str) else None for value in values])
    if field.datatype == "BOOL":
        good = [value if type(value) is bool else None for value in values]
        return np.array(good, dtype=np.bool_) if None not in good else objects(good)
    numbers = np.array([_number(value) for value in values], dtype=np.float64)
    if field.datatype in ("INT32", "INT64") and np.isfinite(numbers).all() and np.abs(numbers).max(initial=0) < 2**53:
        return numbers.astype(field.dtype if field.datatype == "INT64" else np.int64)
    return numbers


def _formed(values: list[Any], field: Field) -> NDArray[Any]:
    """As the server forms it; a record that does not fit is missing, whether or not the field is optional."""
    if field.plain:
        try:
            return arrays.column(values, field)
        except arrays.Misfit:
            pass
    lenient = field.model_copy(update={"optional": True})
    parts = [arrays.empty(lenient, 0)]
    for value in values:
        try:
            parts.append(arrays.column([value], lenient))
        except arrays.Misfit:
            parts.append(arrays.empty(lenient, 1))
    return np.concatenate(parts)


def _each(of: Callable[[object], Any], value: Any) -> Any:
    return [_each(of, inner) for inner in value] if isinstance(value, list) else of(value)


def _number(value: object) -> float:
    if type(value) is float:
        return value
    try:
        return float(value) if type(value) is int else math.nan
    except OverflowError:
        return math.nan


def _bytes(value: object) -> bytes:
    """The bytes of a photo in base64; of what is none, bytes that nothing can read either."""
    try:
        return base64.b64decode(value, validate=True) or _BROKEN if isinstance(value, str) else _BROKEN
    except (binascii.Error, ValueError):
        return _BROKEN


def _bytes_or_nothing(value: object) -> bytes | None:
    return None if value is None or value == "" else _bytes(value)
