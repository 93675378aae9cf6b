"""From V2 JSON to the columns that are watched: forgiving, since a broken value is a fact about the traffic."""

from __future__ import annotations

import base64
import binascii
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.drift import strata
from hallmark.features import arrays
from hallmark.features.fields import Columns, Field
from inference_services.drift_monitor.events import Malformed
from inference_services.drift_monitor.reference import Reference

_BROKEN = b"\0"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One half of an exchange: its record count as sent, and columns of those records that are kept.

    embeddings: (kept, d) of a request, where the model has embeddings; NaN where there is none.
    happened:   (kept,) event time of a request's records in seconds of the epoch, where it is asked for; NaN for none.
    strata:     (kept,) of a request, what its records have in the field that the reference is matched by; "" for nothing.
    answers:    (kept,) of a response, the output that is a list a record (ids, quantiles), where a task compares it; kept, not watched.
    """

    records: int
    columns: dict[str, NDArray[Any]]
    embeddings: NDArray[np.float32] | None = None
    happened: NDArray[np.float64] | None = None
    strata: list[str] | None = None
    answers: dict[str, NDArray[Any]] | None = None


class Decoder:
    """Reads requests and responses of one model; of a large request it keeps `most` records, evenly spread.

    event_time: the field that says when a record happened, where that is asked for.
    """

    def __init__(self, reference: Reference, *, most: int, event_time: str | None = None) -> None:
        self._event_time = event_time
        self._match = reference.profile.strata.column if reference.profile.strata else None
        self._embed = reference.embed
        self._width = 0 if reference.sample is None else reference.sample.shape[1]
        self._fields = reference.signature.fields
        self._observe: Callable[[Columns], Columns] = reference.observe
        self._inputs = [column.name for column in reference.profile.columns if column.source == "input"]
        self._outputs = [column.name for column in reference.profile.columns if column.source == "output"]
        task, first = reference.signature.task, reference.signature.outputs[0]
        self._listed = first.name if task.rule and task.shape else None
        self._length = math.prod(task.shape)
        self._most = most
        self.unreadable = 0

    def requests(self, bodies: Sequence[dict[str, Any]]) -> list[Part | Malformed]:
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
        observed = self._observed(joined, rows)
        embedded = self._embedded(joined, rows)
        happened = times([value for _, values in good for value in values.get(self._event_time or "", [])])
        found = strata.keys([value for _, values in good for value in values.get(self._match or "", [])])
        parts: list[Part | Malformed] = []
        at = 0
        for part in raw:
            if isinstance(part, Malformed):
                parts.append(part)
                continue
            records, values = part
            end = at + len(values[self._fields[0].name])
            columns = {name: column[at:end] for name, column in observed.items()}
            parts.append(
                Part(
                    records,
                    columns,
                    None if embedded is None else embedded[at:end],
                    None if self._event_time is None else _padded(happened[at:end], end - at),
                    None if self._match is None or len(found) != rows else found[at:end],
                )
            )
            at = end
        return parts

    def response(self, body: dict[str, Any]) -> Part:
        """The answered scores and labels that the profile knows."""
        tensors = _tensors(body, "outputs")
        records = _records(tensors)
        columns = {}
        for name in self._outputs:
            tensor = tensors.get(name, {"data": []})
            values = tensor["data"]
            columns[name] = _objects(self._kept(values) if len(values) == records else [None] * self._count(records))
        answers = {}
        if self._listed is not None and self._listed in tensors:
            lists = _lists(tensors[self._listed]["data"], records, length=self._length)
            answers[self._listed] = _objects(self._kept(lists))
        return Part(records, columns, answers=answers)

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

    def _observed(self, columns: Columns, rows: int) -> dict[str, NDArray[Any]]:
        """What `observe` makes of the records; where it fails, record by record, and the broken ones are all missing."""
        try:
            return self._shaped(self._observe(columns), rows)
        except Exception as error:  # noqa: BLE001  the domain's own code, on records that may be broken in any way
            if rows == 1:
                self.unreadable += 1
                _log.debug("a record cannot be observed: %s", error)
                return {name: _objects([None]) for name in self._inputs}
        single = [
            self._observed({name: values[row : row + 1] for name, values in columns.items()}, 1) for row in range(rows)
        ]
        return {name: np.concatenate([part[name] for part in single]) for name in self._inputs}

    def _embedded(self, columns: Columns, rows: int) -> NDArray[np.float32] | None:
        """(rows, d) what `embed` makes of the records, NaN for those it fails on; None for a model without."""
        if self._embed is None:
            return None
        try:
            found = np.asarray(self._embed(columns), dtype=np.float32)
            if found.shape != (rows, self._width):
                raise ValueError(f"embed gives {found.shape}")
            return found
        except Exception as error:  # noqa: BLE001  the domain's own code, as above
            if rows == 1:
                _log.debug("a record cannot be embedded: %s", error)
                return np.full((1, self._width), np.nan, dtype=np.float32)
        single = [
            self._embedded({name: values[row : row + 1] for name, values in columns.items()}, 1) for row in range(rows)
        ]
        return np.concatenate([each for each in single if each is not None])

    def _shaped(self, observed: Columns, rows: int) -> dict[str, NDArray[Any]]:
        found = {name: np.asarray(observed[name]) for name in self._inputs if name in observed}
        if wrong := [name for name, values in found.items() if values.shape != (rows,)]:
            raise ValueError(f"{wrong[0]} is not a value a record")
        return {name: found[name] if name in found else _objects([None] * rows) for name in self._inputs}


def times(values: Sequence[Any]) -> NDArray[np.float64]:
    """(n,) seconds of the epoch, of numbers that are such and of RFC 3339 texts with a zone; NaN for what is neither."""
    return np.array([_time(value) for value in values], dtype=np.float64)


def _time(value: object) -> float:
    if not isinstance(value, str):
        return _number(value)
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return math.nan
    return when.timestamp() if when.tzinfo is not None else math.nan


def _padded(values: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    return values if len(values) == rows else np.full(rows, np.nan)


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
        raise Malformed("expected as much data as the shape says")
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
        return _objects(values)
    if field.datatype == "BYTES":
        return _objects([value if isinstance(value, str) else None for value in values])
    if field.datatype == "BOOL":
        good = [value if type(value) is bool else None for value in values]
        return np.array(good, dtype=np.bool_) if None not in good else _objects(good)
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


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        out[at] = value
    return out
