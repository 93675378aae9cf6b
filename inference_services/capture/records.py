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

Columns = Mapping[str, NDArray[Any]]
NUMBERS = "biuf"
"""Kinds of numbers, as numpy has them."""
_SMALL = 8
"""Records of a call that are copied at once: to keep its arrays until they are sent, so that the next requests need memory that the processor
does not have at hand, costs more."""
_dtype = operator.attrgetter("dtype")
_item = np.ndarray.item


class Call(msgspec.Struct, gc=False, eq=False):
    """One call of the model: columns and outputs (rows, …)."""

    columns: Columns
    outputs: Columns
    rows: int

    def part(self, first: int, end: int) -> Call:
        """Its records from one place to before another."""
        if not first and end == self.rows:
            return self
        return self.taken(slice(first, end), end - first)

    def taken(self, places: slice | NDArray[np.int64], rows: int) -> Call:
        """So many of its records."""
        columns, outputs = (
            {name: values[places] for name, values in each.items()} for each in (self.columns, self.outputs)
        )
        return Call(columns, outputs, rows)


class Records:
    """The records of calls of one model in the order in which they are added, until they are taken."""

    def __init__(self) -> None:
        self._parts: list[Call] = []
        self._rows = _Rows()

    def add(self, call: Call) -> bool:
        """Copy a small call, or keep the arrays of a large one; are they kept?"""
        if call.rows <= _SMALL:
            if self._rows.add(call):
                return False
            self._end_rows()
            if self._rows.add(call):
                return False
        self._end_rows()
        self._parts.append(call)
        return True

    def take(self) -> list[Call]:
        """All that were added since the last time, many small calls as one."""
        self._end_rows()
        parts, self._parts = self._parts, []
        return parts if len(parts) * _SMALL < sum([each.rows for each in parts]) else [together(parts)]

    def _end_rows(self) -> None:
        if self._rows.count:
            self._parts.append(self._rows.take())


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
