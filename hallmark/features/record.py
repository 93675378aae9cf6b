"""A request on one record of single values, as its bytes and its words: what arrays of one value each are made from, and joined by."""

from __future__ import annotations

import itertools
import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from hallmark.features.arrays import objects
from hallmark.features.fields import Columns, Field

_CODES = {"FP64": "d", "INT64": "q", "FP32": "f", "INT32": "i", "BOOL": "?"}
"""Of struct, by datatype; the widest first, so that every number of a record is aligned."""


class Record(msgspec.Struct, gc=False, eq=False):
    """One record, or several behind each other: the numbers, and the words, of each as a layout orders them."""

    numbers: bytes | bytearray
    words: Sequence[str]


class RecordLayout:
    """Places of a model's fields in a record, for a model all of whose fields are single values that no record lacks."""

    def __init__(self, fields: Sequence[Field]) -> None:
        numbers = [each for datatype in _CODES for each in fields if each.datatype == datatype]
        self.numbers = tuple(each.name for each in numbers)
        self.words = tuple(each.name for each in fields if each.datatype == "BYTES")
        self.row = np.dtype([(each.name, each.dtype) for each in numbers])
        self._pack = struct.Struct("=" + "".join(_CODES[each.datatype] for each in numbers)).pack
        self._values = operator.itemgetter(*self.numbers, *self.words)
        places = {name: at for at, name in enumerate(self.words)}
        self._sources = [(each.name, places.get(each.name)) for each in fields]

    @classmethod
    def of(cls, fields: Sequence[Field]) -> RecordLayout | None:
        """The layout of these fields, None where a record of theirs is anything else than two or more single values, one a number at least."""
        single = all(each.plain and not each.shape and each.media != "image" for each in fields)
        numbers = sum(each.datatype in _CODES for each in fields)
        return cls(fields) if single and numbers and len(fields) > 1 else None

    def record(self, values: Mapping[str, Any]) -> Record:
        """The record of values that were checked, one for every field."""
        ordered, count = self._values(values), len(self.numbers)
        return Record(bytearray(self._pack(*ordered[:count])), ordered[count:])

    def columns(self, record: Record) -> Columns:
        """Columns (n,) of the records; those of one alone read and write its bytes."""
        rows, count = np.frombuffer(record.numbers, self.row), len(self.words)
        if len(rows) == 1:
            words = objects(record.words)
            return {name: rows[name] if at is None else words[at : at + 1] for name, at in self._sources}
        return {
            name: rows[name].copy() if at is None else objects(record.words[at::count]) for name, at in self._sources
        }

    def joined(self, records: Sequence[Record]) -> Record:
        """The records behind each other."""
        numbers = b"".join([each.numbers for each in records])
        return Record(numbers, [*itertools.chain.from_iterable([each.words for each in records])])

    def part(self, record: Record, first: int, end: int) -> Record:
        """Those of several from one place to before another."""
        size, count = self.row.itemsize, len(self.words)
        return Record(record.numbers[first * size : end * size], record.words[first * count : end * count])
