"""What the online store holds for one view and entity: bytes from which every column is read at any later time.

Little endian: format and digest of the view, length, newest event time, newest known-at time, count of events ahead; of each window
the number of its first tile and the count of tiles; of each `last` its time, state and value; then of each window its tiles' numbers
less the first, and a row for each tile; then the events that are ahead, by order; then texts.

A row holds the aggregates of its tile *and of all later ones*, so a window is read by one search and one row, however many tiles it has,
and `distinct` needs no values: a row counts those that occur from its tile on. An event ahead (hallmark/feature_store/tiles.py) has what
it adds to each window; of `distinct` the number of the tile where its value occurred before. No text or number is lost: int64 to the
last digit, a null is no 0, and a sum that int64 cannot hold is null, counted by who encodes it, and never wraps.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

from hallmark.errors import Refused
from hallmark.feature_store.aggregates import Partial, total
from hallmark.feature_store.tiles import LEAST, MOST, Event, Plan, Tiles, Type

FORMAT = b"HMT1"
_PLAIN, _SUM, _NAN, _MEAN, _FLAG, _BOOL, _TEXT = range(7)
_EXTREMES: dict[int, str] = {_NAN: "d", _FLAG: "Bq", _BOOL: "Bq", _TEXT: "iI"}
_NULL: dict[int, tuple[Any, ...]] = {
    **{_PLAIN: (0,), _SUM: (0,), _NAN: (nan,), _MEAN: (0, 0)},
    **{_FLAG: (0, 0), _BOOL: (0, 0), _TEXT: (-1, 0)},
}
_LAST: dict[Type, str] = {"int64": "q", "float64": "d", "bool": "q", "text": "iI", "time": "q"}
_NUMPY = {"I": "<u4", "i": "<i4", "q": "<i8", "d": "<f8", "B": "u1"}
_ABSENT, _IS_NULL, _IS_VALUE = range(3)


class Cell(NamedTuple):
    """A column in the rows of a window: its place in the view's computed columns and in a row's fields, and how they are read."""

    slot: int
    field: int
    code: int
    take: str
    kind: Type
    measure: int


class Window(NamedTuple):
    """The columns of one window. `ahead` is a row of what one event adds: the same, but of `distinct` a tile's number."""

    hop: int
    number: int
    length: int
    cells: tuple[Cell, ...]
    row: struct.Struct
    ahead: str
    nothing: tuple[Any, ...]


class Payload:
    """Makes payloads of a view's entities, and reads them. Values are in the order of the view's columns; times in microseconds."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.columns = tuple(plan.view.columns)
        self.mark = FORMAT + plan.digest
        self.overflows = 0
        computed = plan.view.computed
        spans: dict[tuple[int, int], list[int]] = {}
        for slot, name in enumerate(computed):
            if plan.view.columns[name].take != "last":
                spans.setdefault((plan.places[name].hop, plan.windows[name][0]), []).append(slot)
        self._windows = [self._window(hop, length, slots) for (hop, length), slots in sorted(spans.items())]
        self._lasts = [
            (slot, plan.windows[name][0], plan.kinds[name], plan.places[name])
            for slot, name in enumerate(computed)
            if plan.view.columns[name].take == "last"
        ]
        last = "".join("qB" + _LAST[kind] for _, _, kind, _ in self._lasts)
        self._head = struct.Struct(f"<20sIqqII{'qI' * len(self._windows)}{last}")
        self._head_last = 6 + 2 * len(self._windows)
        ahead = "".join(window.ahead for window in self._windows)
        self._ahead = struct.Struct(f"<q{ahead}{''.join('B' + _LAST[kind] for _, _, kind, _ in self._lasts)}")
        self._nothing = [plan.view.columns[name].empty for name in computed]
        at = {name: slot for slot, name in enumerate(computed)}
        self._order = [at.get(name, -1) for name in self.columns]
        self._ratios = [
            (slot, at[str(column.of)], at[str(column.over)])
            for slot, column in enumerate(plan.view.columns.values())
            if column.take == "ratio"
        ]
        self.nothing: tuple[Any, ...] = self._ordered(self._nothing)

    def _window(self, hop: int, length: int, slots: Sequence[int]) -> Window:
        cells: list[Cell] = []
        nothing: list[Any] = []
        fields = ahead = ""
        for slot in slots:
            name = self.plan.view.computed[slot]
            take, kind, measure = (
                self.plan.view.columns[name].take,
                self.plan.kinds[name],
                self.plan.places[name].measure,
            )
            adds_floats = self.plan.measures[hop][measure].kind == "float_sum"
            code = _code(take, kind, adds_floats=adds_floats)
            shown = _fields(take, code, adds_floats=adds_floats)
            cells.append(Cell(slot, len(nothing), code, take, kind, measure))
            fields += shown
            ahead += "q" if take == "distinct" else shown
            nothing += _NULL[code]
        hop_us = self.plan.hops[hop]
        return Window(hop_us, hop, length, tuple(cells), struct.Struct(f"<{fields}"), ahead, tuple(nothing))

    def encode(self, tiles: Tiles) -> bytes:
        """The payload of an entity: the same bytes for the same events, in whatever order they came."""
        texts = _Texts()
        rows = self._rows(tiles, texts)
        numbers = [(found[-1][0], len(found)) if found else (0, 0) for found in rows]
        lasts: list[Any] = []
        for _, length, kind, place in self._lasts:
            partial = self._newest(tiles, place.hop, place.measure)
            if partial is None or partial[0] < tiles.known - length:
                lasts += [0, _ABSENT, *texts.fields(kind, None)]
            else:
                lasts += [partial[0], *self._stated(kind, partial[3], texts)]
        ahead = self._ahead_rows(tiles, texts)
        body = bytearray()
        for found in rows:
            found.reverse()
            first = found[0][0] if found else 0
            body += struct.pack(f"<{len(found)}I", *[number - first for number, _ in found])
            for _, row in found:
                body += row
        body += b"".join(ahead)
        start = self._head.size + len(body)
        length = start + len(texts.heap)
        flat = [each for pair in numbers for each in pair]
        head = self._head.pack(self.mark, length, tiles.passed, tiles.known, len(ahead), start, *flat, *lasts)
        return head + bytes(body) + bytes(texts.heap)

    def _rows(self, tiles: Tiles, texts: _Texts) -> list[list[tuple[int, bytes]]]:
        """Of each window its tiles, newest first, each with the aggregates from it on."""
        plan = self.plan
        found: list[list[tuple[int, bytes]]] = [[] for _ in self._windows]
        for hop, size in enumerate(plan.hops):
            wanted = [
                (at, each, (tiles.known - each.length) // size)
                for at, each in enumerate(self._windows)
                if each.number == hop
            ]
            if not wanted:
                continue
            begin = min(least for _, _, least in wanted)
            running = plan.empty(hop)
            for number in sorted(tiles.by_hop[hop], reverse=True):
                if number < begin:
                    break
                running = plan.merge(running, tiles.by_hop[hop][number], hop)
                for at, window, least in wanted:
                    if number >= least:
                        fields = self._fields(window, running, texts)
                        found[at].append((number, window.row.pack(*fields)))
        return found

    def _fields(self, window: Window, partials: Sequence[Partial], texts: _Texts) -> list[Any]:
        fields: list[Any] = []
        for _, _, code, take, kind, measure in window.cells:
            partial = partials[measure]
            if take == "count":
                fields.append(partial)
            elif take == "distinct":
                fields.append(len(partial))
            elif take in ("sum", "mean"):
                summed = total(self.plan.measures[window.number][measure].kind, partial)
                if not LEAST < summed <= MOST and isinstance(summed, int):
                    self.overflows += 1
                    summed = LEAST
                fields += [summed] if take == "sum" else [partial[0], summed]
            elif code == _NAN:
                fields.append(nan if partial is None else partial)
            elif code == _TEXT:
                fields += texts.fields(kind, partial)
            else:
                fields += (0, 0) if partial is None else (1, int(partial))
        return fields

    def _newest(self, tiles: Tiles, hop: int, measure: int) -> Partial:
        for number in sorted(tiles.by_hop[hop], reverse=True):
            partial = tiles.by_hop[hop][number][measure]
            if partial is not None:
                return partial
        return None

    def _stated(self, kind: Type, value: Any, texts: _Texts) -> list[Any]:
        return [_IS_NULL if value is None else _IS_VALUE, *texts.fields(kind, value)]

    def _ahead_rows(self, tiles: Tiles, texts: _Texts) -> list[bytes]:
        plan, found = self.plan, []
        occurred: dict[tuple[int, int, Any], int] = {}
        for event in sorted(tiles.ahead, key=plan.order):
            row: list[Any] = [event[plan.when]]
            fulfilled = plan.fulfilled(event)
            for window in self._windows:
                alone = plan.fold([event], window.number)
                fields = self._fields(window, alone, texts)
                for cell in window.cells:
                    if cell.take == "distinct":
                        fields[cell.field] = (
                            self._before(tiles, event, window, cell.measure, occurred) if alone[cell.measure] else MOST
                        )
                row += fields
            for _, _, kind, place in self._lasts:
                measure = plan.measures[place.hop][place.measure]
                if fulfilled[measure.condition]:
                    row += self._stated(kind, event[measure.of], texts)
                else:
                    row += [_ABSENT, *texts.fields(kind, None)]
            found.append(self._ahead.pack(*row))
            for hop, measures in enumerate(plan.measures):
                for number, measure in enumerate(measures):
                    if measure.kind == "distinct" and fulfilled[measure.condition]:
                        occurred[hop, number, event[measure.of]] = event[plan.when] // plan.hops[hop]
        return found

    def _before(
        self, tiles: Tiles, event: Event, window: Window, measure: int, occurred: dict[tuple[int, int, Any], int]
    ) -> int:
        """Number of the newest tile in which the event's value occurred before; `LEAST` where there is none."""
        value = event[self.plan.measures[window.number][measure].of]
        if (window.number, measure, value) in occurred:
            return occurred[window.number, measure, value]
        there = tiles.by_hop[window.number]
        return max((number for number, partials in there.items() if value in partials[measure]), default=LEAST)

    # Reading

    def known(self, payload: bytes) -> tuple[int, int]:
        """Newest event time and newest known-at time of what the payload holds."""
        head = self._read_head(payload)
        newest = head[2]
        if head[4]:
            newest = max(newest, *(row[0] for row in self._read_ahead(payload, head)))
        return newest, head[3]

    def values(self, payload: bytes | None, at: int) -> tuple[Any, ...]:
        """Every column at time `at`, in the view's order; of an entity that the store does not have, those of no event.

        Exact where the payload holds what was known before `at`; `Refused` where it is no payload of this version of the view.
        """
        return self.dated(payload, at)[0]

    def dated(self, payload: bytes | None, at: int) -> tuple[tuple[Any, ...], int]:
        """`values`, and when the newest event happened that the payload holds; 0 where there is none."""
        if payload is None:
            return self.nothing, 0
        head = self._read_head(payload)
        newest = max(0, head[2])
        if head[4]:
            return self._values_with_ahead(payload, head, at), max(0, self.known(payload)[0])
        if newest < at - self.plan.ttl:
            return self.nothing, newest
        found = self._nothing.copy()
        position, number = self._head.size, 6
        for hop, _, length, cells, row, _, _ in self._windows:
            first, count = head[number], head[number + 1]
            number += 2
            if not count:
                continue
            begin = (at - length) // hop - first
            index = 0
            if begin > 0:
                index = bisect_left(memoryview(payload)[position : position + 4 * count].cast("I"), begin)
            if index < count:
                fields = row.unpack_from(payload, position + 4 * count + index * row.size)
                for slot, field, code, _, _, _ in cells:
                    value = fields[field]
                    if code == _PLAIN:
                        found[slot] = value
                    else:
                        found[slot] = self._value(code, fields, field, payload, head[5])
            position += count * (4 + row.size)
        if self._lasts:
            self._read_lasts(head, payload, at, found)
        return self._ordered(found), newest

    def table(self, payloads: Sequence[bytes | None], at: int) -> dict[str, tuple[Any, Any]]:
        """`values` of many entities at once: each column's values as an array, and where they are not null.

        Texts are objects. A null's value is 0, nan or None.
        """
        import numpy as np

        heads = [None if payload is None else self._read_head(payload) for payload in payloads]
        heads = [None if head is None or (head[2] < at - self.plan.ttl and not head[4]) else head for head in heads]
        found: dict[str, tuple[Any, Any]] = {}
        computed = self.plan.view.computed
        positions = [self._head.size] * len(heads)
        for number, window in enumerate(self._windows):
            rows = self._rows_at(window, 6 + 2 * number, payloads, heads, positions, at)
            for cell in window.cells:
                found[computed[cell.slot]] = self._column(cell, rows, payloads, heads)
        for at_last, (slot, length, kind, _) in enumerate(self._lasts):
            number = self._head_last + sum(4 if each[2] == "text" else 3 for each in self._lasts[:at_last])
            values = [
                _stated_value(kind, head, number + 2, payload, head[5])
                if head is not None
                and payload is not None
                and head[number + 1] == _IS_VALUE
                and head[number] >= at - length
                else None
                for head, payload in zip(heads, payloads, strict=True)
            ]
            found[computed[slot]] = _array(kind, values)
        for slot, above, below in self._ratios:
            (over, over_valid), (under, under_valid) = found[computed[above]], found[computed[below]]
            valid = over_valid & under_valid & (under != 0)
            value = np.divide(over, under, out=np.full(len(heads), nan), where=valid, casting="unsafe")
            found[self.columns[slot]] = value, valid
        for index, head in enumerate(heads):
            if head is not None and head[4]:
                exact = self._values_with_ahead(payloads[index] or b"", head, at)
                for name, value in zip(self.columns, exact, strict=True):
                    column, valid = found[name]
                    valid[index] = value is not None
                    column[index] = value if value is not None else None if column.dtype == object else 0
        return {name: found[name] for name in self.columns}

    def _rows_at(
        self,
        window: Window,
        number: int,
        payloads: Sequence[bytes | None],
        heads: Sequence[tuple[Any, ...] | None],
        positions: list[int],
        at: int,
    ) -> Any:
        """The window's row of each payload as one array; `positions` move on to the next window."""
        import numpy as np

        size, nothing = window.row.size, window.row.pack(*window.nothing)
        least = (at - window.length) // window.hop
        rows = []
        for index, head in enumerate(heads):
            row = nothing
            if head is not None:
                payload, position, count = payloads[index] or b"", positions[index], head[number + 1]
                begin = least - head[number]
                offsets = memoryview(payload)[position : position + 4 * count].cast("I")
                place = bisect_left(offsets, begin) if begin > 0 else 0
                if place < count:
                    start = position + 4 * count + place * size
                    row = payload[start : start + size]
                positions[index] = position + count * (4 + size)
            rows.append(row)
        formats = [_NUMPY[each] for each in window.row.format[1:]]
        return np.frombuffer(
            b"".join(rows), dtype=np.dtype([(f"f{place}", each) for place, each in enumerate(formats)])
        )

    def _column(
        self, cell: Cell, rows: Any, payloads: Sequence[bytes | None], heads: Sequence[tuple[Any, ...] | None]
    ) -> Any:
        import numpy as np

        value, valid = rows[f"f{cell.field}"], np.ones(len(rows), dtype=bool)
        if cell.code == _TEXT:
            starts = rows[f"f{cell.field + 1}"]
            texts = [
                None if head is None else _text(payload or b"", int(length), head[5] + int(start))
                for head, payload, length, start in zip(heads, payloads, value, starts, strict=True)
            ]
            return _array("text", texts)
        if cell.code == _SUM:
            valid = value != LEAST
            value = np.where(valid, value, 0)
        elif cell.code == _NAN:
            valid = ~np.isnan(value)
        elif cell.code == _MEAN:
            summed = rows[f"f{cell.field + 1}"]
            valid = value > 0
            if summed.dtype.kind == "i":
                valid &= summed != LEAST
            value = np.divide(summed, value, out=np.full(len(rows), nan), where=valid)
        elif cell.code in (_FLAG, _BOOL):
            valid, value = value > 0, rows[f"f{cell.field + 1}"]
        kind = {"int64": "int64", "time": "int64", "bool": "bool"}.get(cell.kind, "float64")
        return value.astype(kind), valid

    def _read_head(self, payload: bytes) -> tuple[Any, ...]:
        if len(payload) >= self._head.size:
            head = self._head.unpack_from(payload)
            if head[0] == self.mark and head[1] == len(payload):
                return head
        raise Refused(
            "the online store holds what is no payload of this version of the view",
            expected=f"{self.plan.view.reference}, {self.mark.hex()}, all its bytes",
            got=f"{bytes(payload[:20]).hex()}, {len(payload)} bytes",
            fix="write the view's payloads again with a backfill; a changed view is a new version",
        )

    def _value(self, code: int, fields: Sequence[Any], at: int, payload: bytes, texts: int) -> Any:
        value = fields[at]
        if code == _SUM:
            return value if LEAST < value <= MOST else None
        if code == _NAN:
            return value if value == value else None
        if code == _MEAN:
            summed = fields[at + 1]
            return summed / value if value and (isinstance(summed, float) or LEAST < summed <= MOST) else None
        if code == _FLAG:
            return fields[at + 1] if value else None
        if code == _BOOL:
            return bool(fields[at + 1]) if value else None
        if code == _TEXT:
            return _text(payload, value, texts + fields[at + 1])
        return value

    def _read_lasts(self, head: tuple[Any, ...], payload: bytes, at: int, found: list[Any]) -> None:
        number = self._head_last
        for slot, length, kind, _ in self._lasts:
            if head[number + 1] == _IS_VALUE and head[number] >= at - length:
                found[slot] = _stated_value(kind, head, number + 2, payload, head[5])
            number += 4 if kind == "text" else 3

    def _ordered(self, found: Sequence[Any]) -> tuple[Any, ...]:
        if not self._ratios:
            return tuple(found)
        ordered = [found[slot] for slot in self._order]
        for slot, above, below in self._ratios:
            divisor = found[below]
            ordered[slot] = found[above] / divisor if divisor and found[above] is not None else None
        return tuple(ordered)

    def _read_ahead(self, payload: bytes, head: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        position = self._head.size + sum(
            head[7 + 2 * number] * (4 + window.row.size) for number, window in enumerate(self._windows)
        )
        return [self._ahead.unpack_from(payload, position + number * self._ahead.size) for number in range(head[4])]

    def _values_with_ahead(self, payload: bytes, head: tuple[Any, ...], at: int) -> tuple[Any, ...]:
        ahead = [row for row in self._read_ahead(payload, head) if row[0] < at]
        newest = max([head[2], *(row[0] for row in ahead)])
        if newest < at - self.plan.ttl:
            return self.nothing
        found = self._nothing.copy()
        position, number, field = self._head.size, 6, 1
        for window in self._windows:
            first, count = head[number], head[number + 1]
            number += 2
            begin = (at - window.length) // window.hop
            offsets = memoryview(payload)[position : position + 4 * count].cast("I")
            index = bisect_left(offsets, max(0, begin - first))
            fields: Sequence[Any] = window.nothing
            if index < count:
                fields = window.row.unpack_from(payload, position + 4 * count + index * window.row.size)
            for row in ahead:
                if row[0] // window.hop >= begin:
                    fields = self._joined(
                        window, fields, row[field : field + len(window.nothing)], begin, payload, head[5]
                    )
            for cell in window.cells:
                found[cell.slot] = self._value(cell.code, fields, cell.field, payload, head[5])
            position += count * (4 + window.row.size)
            field += len(window.nothing)
        self._read_lasts(head, payload, at, found)
        for slot, length, kind, _ in self._lasts:
            for row in ahead:
                if row[field] != _ABSENT and row[0] >= at - length:
                    found[slot] = (
                        _stated_value(kind, row, field + 1, payload, head[5]) if row[field] == _IS_VALUE else None
                    )
            field += 3 if kind == "text" else 2
        return self._ordered(found)

    def _joined(
        self, window: Window, one: Sequence[Any], other: Sequence[Any], begin: int, payload: bytes, texts: int
    ) -> list[Any]:
        """The fields of a window with one event more. A sum that was not held stays null, though events ahead would bring it back."""
        fields = list(one)
        for _, at, code, take, _, _ in window.cells:
            if take == "distinct":
                fields[at] += other[at] < begin
            elif take in ("count", "sum", "mean"):
                if take == "mean":
                    fields[at] += other[at]
                    at += 1
                fields[at] = LEAST if LEAST in (fields[at], other[at]) else fields[at] + other[at]
            else:
                width = len(_EXTREMES[code])
                had, has = (self._value(code, each, at, payload, texts) for each in (one, other))
                if had is None or (has is not None and (has < had if take == "min" else has > had)):
                    fields[at : at + width] = other[at : at + width]
        return fields


class _Texts:
    """Texts of a payload, each once."""

    def __init__(self) -> None:
        self.heap = bytearray()
        self._places: dict[str, tuple[int, int]] = {}

    def fields(self, kind: Type, value: Any) -> tuple[Any, ...]:
        """The fields of a value; of a text its length and its place among the texts."""
        if kind != "text":
            return (0 if value is None else value,)
        if value is None:
            return (-1, 0)
        if value not in self._places:
            written = value.encode()
            self._places[value] = (len(written), len(self.heap))
            self.heap += written
        return self._places[value]


def _code(take: str, kind: Type, *, adds_floats: bool) -> int:
    """In which fields a column's aggregate stands."""
    if take in ("count", "distinct") or (take == "sum" and adds_floats):
        return _PLAIN
    if take in ("sum", "mean"):
        return _SUM if take == "sum" else _MEAN
    return {"float64": _NAN, "text": _TEXT, "bool": _BOOL}.get(kind, _FLAG)


def _fields(take: str, code: int, *, adds_floats: bool) -> str:
    """The same, as `struct` spells it."""
    number = "d" if adds_floats else "q"
    return {"count": "I", "distinct": "I", "sum": number, "mean": f"I{number}"}.get(take) or _EXTREMES[code]


def _text(payload: bytes, length: int, start: int) -> str | None:
    return str(payload[start : start + length], "utf-8") if length >= 0 else None


def _stated_value(kind: Type, fields: Sequence[Any], at: int, payload: bytes, texts: int) -> Any:
    if kind == "text":
        return _text(payload, fields[at], texts + fields[at + 1])
    return bool(fields[at]) if kind == "bool" else fields[at]


def _array(kind: Type, values: Sequence[Any]) -> tuple[Any, Any]:
    import numpy as np

    valid = np.array([value is not None for value in values], dtype=bool)
    if kind == "text":
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column, valid
    dtype = {"float64": "float64", "bool": "bool"}.get(kind, "int64")
    nothing = nan if kind == "float64" else 0
    return np.array([nothing if value is None else value for value in values], dtype=dtype), valid
