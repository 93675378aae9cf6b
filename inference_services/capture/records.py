"""The records of answered requests: parts of calls of the model, and many of these as one."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from hallmark.features.record import Record, RecordLayout

Columns = Mapping[str, NDArray[Any]]
NUMBERS = "biuf"
"""Kinds of numbers, as numpy has them."""
_SMALL = 8
"""Records of a call that is copied when it is queued, so that its arrays' memory is free again while the processor has it at hand."""
_dtype = operator.attrgetter("dtype")
_item = np.ndarray.item


class Call(msgspec.Struct, gc=False, eq=False):
    """One call of the model: columns and outputs (rows, …).

    layout, record: instead of columns, what they were made from, where that is so many records of one layout. Arrays that are kept until they
    are sent are memory that the next requests cannot use again, which costs more than all else here.
    """

    columns: Columns
    outputs: Columns
    rows: int
    layout: RecordLayout | None = None
    record: Record | None = None

    def part(self, first: int, end: int) -> Call:
        """Its records from one place to before another."""
        if not first and end == self.rows:
            return self
        found = self.taken(slice(first, end), end - first)
        if self.layout is not None and self.record is not None:
            found.layout, found.record = self.layout, self.layout.part(self.record, first, end)
        return found

    def taken(self, places: slice | NDArray[np.int64], rows: int) -> Call:
        """So many of its records."""
        columns, outputs = (
            {name: values[places] for name, values in each.items()} for each in (self.columns, self.outputs)
        )
        return Call(columns, outputs, rows)


class Records:
    """Makes one call of a model of many, or few where they are large, with the records in their order."""

    def __init__(self) -> None:
        self._parts: list[Call] = []
        self._packed = _Packed()
        self._rows = _Rows()

    def of(
        self, calls: Sequence[Call], requests: Sequence[int], firsts: Sequence[int], rows: Sequence[int]
    ) -> list[Call]:
        """The records of so many requests of each call, of which each has so many of the call's, from a place on."""
        at = 0
        for call, count in zip(calls, requests, strict=True):
            last = at + count
            if sum(rows[at:last]) == call.rows:
                self._add(call)
                at = last
            while at < last:
                first, end = firsts[at], firsts[at] + rows[at]
                at += 1
                while at < last and firsts[at] == end:
                    end += rows[at]
                    at += 1
                self._add(call.part(first, end))
        self._end()
        parts, self._parts = self._parts, []
        return parts if len(parts) * _SMALL < sum(rows) else [together(parts)]

    def _add(self, call: Call) -> None:
        if call.layout is not None and call.record is not None:
            if self._rows.count:
                self._end()
            self._packed.count += call.rows
            self._packed.layout = call.layout
            self._packed.records.append(call.record)
            self._packed.outputs.append(call.outputs)
            return
        if self._packed.count:
            self._end()
        if call.rows <= _SMALL and self._rows.add(call):
            return
        self._end()
        if call.rows > _SMALL or not self._rows.add(call):
            self._parts.append(call)

    def _end(self) -> None:
        if self._rows.count:
            self._parts.append(self._rows.take())
        if self._packed.count:
            self._parts.append(self._packed.take())


class _Packed:
    """Records of the layout that their model has, as they came with requests, and the outputs of their calls."""

    def __init__(self) -> None:
        self.count = 0
        self.layout: RecordLayout | None = None
        self.records: list[Record] = []
        self.outputs: list[Columns] = []

    def take(self) -> Call:
        """All of them as one call."""
        assert self.layout is not None  # noqa: S101  that of what was added
        outputs = {name: joined([each[name] for each in self.outputs]) for name in self.outputs[0]}
        found = Call(self.layout.columns(self.layout.joined(self.records)), outputs, self.count)
        self.records, self.outputs, self.count = [], [], 0
        return found


class _Side:
    """Columns or outputs of a call: which have numbers, and which have words or other objects."""

    def __init__(self, columns: Columns) -> None:
        self.names = [*columns]
        self.words = [name for name, values in columns.items() if values.dtype.kind in "OU" and values.ndim == 1]
        self.numbers = [name for name, values in columns.items() if values.dtype.kind in NUMBERS]
        self.kinds = [(columns[name].dtype, columns[name].shape[1:]) for name in self.numbers]

    @property
    def odd(self) -> bool:
        """Is there one that is neither?"""
        return len(self.words) + len(self.numbers) < len(self.names) or not all(
            kind.isnative and 0 not in rest for kind, rest in self.kinds
        )

    def made(self, numbers: Iterator[NDArray[Any]], words: Iterator[NDArray[Any]]) -> Columns:
        """The columns of these, in their order."""
        found = dict(zip(self.numbers, numbers, strict=False)) | dict(zip(self.words, words, strict=False))
        return {name: found[name] for name in self.names}


class _Form:
    """Names, types and shapes that a call has, and the row of bytes that the numbers of one of its records are."""

    def __init__(self, call: Call) -> None:
        self.asked, self.answered = _Side(call.columns), _Side(call.outputs)
        kinds = [*self.asked.kinds, *self.answered.kinds]
        self.row = np.dtype([(f"{at}", kind, rest) for at, (kind, rest) in enumerate(kinds)])
        self.odd = self.asked.odd or self.answered.odd or not kinds
        self.first, self.end = len(self.asked.words), len(self.asked.words) + len(kinds)
        """Of the numbers among `values`, which begin with the words of what was asked and end with those of the answer."""
        self.words = len(self.asked.words) + len(self.answered.words)
        self._columns = _getter([*self.asked.words, *self.asked.numbers])
        self._outputs = _getter([*self.answered.numbers, *self.answered.words])
        self._types = [*map(_dtype, self._values(call))]

    def values(self, call: Call) -> tuple[NDArray[Any], ...] | None:
        """The arrays of a call that has this form, None of another."""
        if len(call.columns) != len(self.asked.names) or len(call.outputs) != len(self.answered.names):
            return None
        try:
            found = self._values(call)
        except KeyError:
            return None
        return found if [*map(_dtype, found)] == self._types else None

    def _values(self, call: Call) -> tuple[NDArray[Any], ...]:
        return self._columns(call.columns) + self._outputs(call.outputs)


class _Rows:
    """Records of small calls of one form: the numbers of each as a row of bytes, its words in a list with those of the others."""

    def __init__(self) -> None:
        self.count = 0
        self._form: _Form | None = None
        self._numbers: list[bytes] = []
        self._words: list[Any] = []

    def add(self, call: Call) -> bool:
        """Copy a call; not where it has another form than those before."""
        form = self._form
        if form is None or (not self.count and form.values(call) is None):
            form = self._form = _Form(call)
        if form.odd or (values := form.values(call)) is None:
            return False
        numbers, words = values[form.first : form.end], values[: form.first] + values[form.end :]
        if call.rows == 1:
            try:
                data = b"".join(numbers)  # type: ignore[arg-type]
            except TypeError:  # one is not in one piece
                return False
            if len(data) != form.row.itemsize:
                return False
            self._words += map(_item, words)
        else:
            rows = np.empty(call.rows, form.row)
            for name, each in zip(form.row.names or (), numbers, strict=True):
                if rows[name].shape != each.shape:
                    return False
                rows[name] = each
            data = rows.tobytes()
            self._words += itertools.chain.from_iterable(zip(*[each.tolist() for each in words], strict=True))
        self._numbers.append(data)
        self.count += call.rows
        return True

    def take(self) -> Call:
        """All of them as one call."""
        assert self._form is not None  # noqa: S101  that of what was added
        form, rows = self._form, np.frombuffer(b"".join(self._numbers), self._form.row)
        numbers = iter([np.ascontiguousarray(rows[name]) for name in form.row.names or ()])
        words = iter([objects(self._words[at :: form.words]) for at in range(form.words)])
        columns = form.asked.made(
            itertools.islice(numbers, len(form.asked.numbers)), itertools.islice(words, form.first)
        )
        found = Call(columns, form.answered.made(numbers, words), self.count)
        self._numbers, self._words, self.count = [], [], 0
        return found


def _getter(names: Sequence[str]) -> Callable[[Columns], tuple[NDArray[Any], ...]]:
    """The arrays of these names."""
    if len(names) == 1:
        (name,) = names
        return lambda columns: (columns[name],)
    return operator.itemgetter(*names)


def together(calls: Sequence[Call]) -> Call:
    """Calls of one model behind each other."""
    if len(calls) == 1:
        return calls[0]
    columns, outputs = (
        {name: joined([each[name] for each in side]) for name in side[0]}
        for side in ([each.columns for each in calls], [each.outputs for each in calls])
    )
    return Call(columns, outputs, sum([each.rows for each in calls]))


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays behind each other. Joining the bytes of numbers takes a third of the time of joining their arrays."""
    kind, rest = parts[0].dtype, parts[0].shape[1:]
    if len(parts) == 1:
        return parts[0]
    if (
        kind.kind in NUMBERS
        and kind.isnative
        and [*map(_dtype, parts)].count(kind) == len(parts)
        and not (rest and (0 in rest or any(part.shape[1:] != rest for part in parts)))
    ):
        try:
            data = b"".join(parts)  # type: ignore[arg-type]
        except TypeError:  # one is not in one piece
            pass
        else:
            return np.frombuffer(data, dtype=kind).reshape(-1, *rest)
    return np.concatenate(parts)
