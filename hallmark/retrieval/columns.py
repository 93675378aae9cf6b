"""Filter columns of an index: typed values, a row each, compared all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken, Refused
from hallmark.retrieval.filters import Between, Condition, Filter, OneOf

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["keyword", "keywords", "integer", "number", "boolean", "time"]
"""keyword: a text compared whole. keywords: several of them a row. time: ISO 8601, with an offset or in UTC."""
KINDS: tuple[Kind, ...] = get_args(Kind)
Rows = Sequence[int] | NDArray[np.int64]
_NONE = np.iinfo(np.int64).min
_EXAMPLES = {
    "keyword": "a text",
    "keywords": "a list of texts",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time such as 2026-09-01T12:00:00Z",
}
_RANGED = ("integer", "number", "time")


class Column:
    """Values of one column, which rows are only ever added to; one thread adds, any number compare.

    A missing value meets no condition.
    """

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self.size = 0
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []  # of each code: a list of all of them is not to be made for each answer
        self._values = np.empty(0, dtype=np.float64 if kind == "number" else np.int64 if kind in _RANGED else np.int32)
        self._rows = np.empty(0, dtype=np.int32)
        self._filled = 0

    def append(self, values: Sequence[Any]) -> None:
        """Add rows; `ContractBroken` where a value is not of the column's kind, and nothing is added."""
        if self.kind == "keywords":
            lists = [self._checked(each) for each in values]
            flat = [code for each in lists for code in each]
            rows = np.repeat(np.arange(self.size, self.size + len(lists)), [len(each) for each in lists])
            self._rows = _grown(self._rows, self._filled, rows)
        else:
            flat = [self._checked(each) for each in values]
        self._values = _grown(self._values, self._filled, np.asarray(flat, dtype=self._values.dtype))
        self._filled += len(flat)
        self.size += len(values)

    def check(self, values: Sequence[Any]) -> None:
        """`ContractBroken` where a value is not of the column's kind."""
        for value in values:
            self._checked(value)

    def extend(self, values: pa.ChunkedArray) -> None:
        """Add rows of an Arrow column of the type that `arrow_type` gives."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.kind in ("keyword", "keywords"):
            flat = values
            if self.kind == "keywords":
                lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
                rows = np.repeat(np.arange(self.size, self.size + len(values)), lengths)
                self._rows = _grown(self._rows, self._filled, rows)
                flat = pc.list_flatten(values)
            coded = pa.chunked_array(flat, type=flat.type).combine_chunks().dictionary_encode()
            local = [self._code(text) for text in coded.dictionary.to_pylist()]
            known = np.asarray([*local, -1], dtype=np.int32)
            added: NDArray[Any] = known[pc.fill_null(coded.indices, len(local)).to_numpy(zero_copy_only=False)]
        elif self.kind == "number":
            added = pc.fill_null(values, np.nan).to_numpy().astype(np.float64)
        elif self.kind == "boolean":
            added = pc.fill_null(values.cast(pa.int8()), -1).to_numpy().astype(np.int32)
        else:
            added = pc.fill_null(values.cast(pa.int64()), int(_NONE)).to_numpy()
        self._values = _grown(self._values, self._filled, added)
        self._filled += len(added)
        self.size += len(values)

    def mask(self, condition: Condition, size: int) -> NDArray[np.bool_]:
        """(size,) which of the first rows meet the condition; `Refused` where it asks for what the column is not."""
        asked = self.asked(condition)
        if self.kind == "keywords":
            rows, values = self._rows, self._values
            filled = min(int(np.searchsorted(rows[: self._filled], size)), len(values))
            listed = np.zeros(size, dtype=np.bool_)
            listed[rows[:filled][_among(values[:filled], asked)]] = True
            return listed
        values = self._values[:size]
        if isinstance(condition, OneOf):
            return _among(values, asked)
        least, most = asked
        found: NDArray[np.bool_] = np.asarray(values != _NONE if values.dtype == np.int64 else values == values)
        if least is not None:
            found &= values >= least
        if most is not None:
            found &= values <= most
        return found

    def asked(self, condition: Condition) -> list[Any]:
        """The condition's values as the column keeps them: for `OneOf` those that it knows, for `Between` both bounds."""
        if isinstance(condition, Between):
            if self.kind not in _RANGED:
                raise Refused(
                    f"the filter's {self.name} has no order", expected=f"values of {self.name}", got="a range"
                )
            return [
                None if each is None else self._bound(each, up=at == 0)
                for at, each in enumerate((condition.least, condition.most))
            ]
        found = []
        for value in condition.values:
            if self.kind in ("keyword", "keywords"):
                if not isinstance(value, str):
                    raise self._refused(value)
                found.append(self._codes.get(value))
            else:
                found.append(self._scalar(value, self._refused))
        return [each for each in found if each is not None]

    def plain(self) -> list[Any]:
        """All values, as Arrow takes them: a time in microseconds."""
        if self.kind == "time":
            return [None if value == _NONE else value for value in self._values[: self.size].tolist()]
        return self.taken(range(self.size))

    def value(self, row: int) -> Any:
        """The row's value in the form in which `append` takes it."""
        return self.taken([row])[0]

    def taken(self, rows: Rows) -> list[Any]:
        """The values of rows in the form in which `append` takes them."""
        if self.kind == "keywords":
            held = self._rows[: self._filled]
            ends = zip(
                np.searchsorted(held, rows).tolist(), np.searchsorted(held, rows, side="right").tolist(), strict=True
            )
            return [[self._texts[code] for code in self._values[first:last].tolist()] for first, last in ends]
        values = self._values[np.asarray(rows, dtype=np.int64)].tolist()
        if self.kind == "keyword":
            return [self._texts[code] if code >= 0 else None for code in values]
        if self.kind == "boolean":
            return [None if value < 0 else bool(value) for value in values]
        if self.kind == "number":
            return [None if value != value else value for value in values]
        found = [None if value == _NONE else value for value in values]
        if self.kind == "integer":
            return found
        return [None if value is None else datetime.fromtimestamp(value / 1e6, tz=UTC).isoformat() for value in found]

    def numbers(self, rows: Rows) -> NDArray[np.float64]:
        """(m,) the values of rows as numbers, NaN where there is none: a time in seconds since 1970, true as 1. Not of texts."""
        values: NDArray[Any] = self._values[np.asarray(rows, dtype=np.int64)]
        if self.kind == "number":
            return values.astype(np.float64)
        none: NDArray[np.bool_] = values < 0 if self.kind == "boolean" else values == _NONE
        found: NDArray[np.float64] = np.where(none, np.nan, values / 1e6 if self.kind == "time" else values)
        return found

    def _code(self, text: str) -> int:
        found = self._codes.get(text)
        if found is None:
            found = len(self._texts)
            self._texts.append(text)
            self._codes[text] = found
        return found

    def _checked(self, value: Any) -> Any:
        if self.kind == "keywords":
            if value is not None and not isinstance(value, list | tuple):
                raise self._broken(value)
            return [self._keyword(each) for each in value or ()]
        if self.kind == "keyword":
            return -1 if value is None else self._keyword(value)
        if value is None:
            return np.nan if self.kind == "number" else -1 if self.kind == "boolean" else _NONE
        return self._scalar(value, self._broken)

    def _keyword(self, value: Any) -> int:
        if not isinstance(value, str):
            raise self._broken(value)
        return self._code(value)

    def _bound(self, value: Any, *, up: bool) -> Any:
        if self.kind == "integer" and isinstance(value, float) and np.isfinite(value):
            return int(np.ceil(value)) if up else int(np.floor(value))
        return self._scalar(value, self._refused)

    def _scalar(self, value: Any, refused: Any) -> Any:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if self.kind == "boolean":
            if isinstance(value, bool | np.bool_):
                return int(value)
        elif self.kind == "time":
            if isinstance(value, str | datetime):
                return _moment(value, refused)
        elif (whole or (isinstance(value, float) and (self.kind == "number" or value.is_integer()))) and (
            abs(value) < 2**63 or self.kind == "number"
        ):
            return float(value) if self.kind == "number" else int(value)
        raise refused(value)

    def _refused(self, value: Any) -> Refused:
        return Refused(
            f"the filter's {self.name} cannot be compared with that",
            expected=_EXAMPLES[self.kind],
            got=f"{value!r:.80}",
        )

    def _broken(self, value: Any) -> ContractBroken:
        return ContractBroken(
            f"column {self.name} of an item is not what the index declares",
            expected=f"{_EXAMPLES[self.kind]}, or nothing",
            got=f"{value!r:.80}",
        )


class Columns:
    """The columns of an index, by name; all have as many rows."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = dict(kinds)
        self.size = 0
        self._columns = {name: Column(name, kind) for name, kind in kinds.items()}

    def append(self, values: Mapping[str, Sequence[Any]], count: int) -> None:
        """Add `count` rows; a column that `values` does not name has nothing there. All or, with `ContractBroken`, none."""
        strangers = sorted(set(values) - set(self.kinds))
        if strangers:
            raise ContractBroken(
                f"an item has a column {strangers[0]} that the index does not declare",
                expected=", ".join(self.kinds) or "no columns",
                got=strangers[0],
            )
        for name, given in values.items():
            if len(given) != count:
                raise ContractBroken(
                    f"column {name} has not a value per item", expected=f"{count} values", got=str(len(given))
                )
            self._columns[name].check(given)
        for name, column in self._columns.items():
            column.append(values.get(name, [None] * count))
        self.size += count

    def extend(self, table: pa.Table) -> None:
        """Add the rows of an Arrow table that has each column in the type that `arrow_type` gives."""
        for name, column in self._columns.items():
            column.extend(table[name])
        self.size += table.num_rows

    def check(self, where: Filter) -> None:
        """`Refused` where the filter names a column that is not here, or compares it with what it is not."""
        for condition in where.conditions:
            self._named(condition).asked(condition)

    def mask(self, where: Filter, size: int | None = None) -> NDArray[np.bool_]:
        """(size,) which of the first `size` rows, or of all, meet the filter."""
        size = self.size if size is None else size
        found: NDArray[np.bool_] | None = None
        for condition in where.conditions:
            met = self._named(condition).mask(condition, size)
            found = met if found is None else found & met
        return np.ones(size, dtype=np.bool_) if found is None else found

    def lists(self) -> dict[str, list[Any]]:
        """All values of each column, as Arrow takes them: times in microseconds."""
        return {name: column.plain() for name, column in self._columns.items()}

    def taken(self, rows: Rows) -> dict[str, list[Any]]:
        """The values of rows, as `append` takes them."""
        return {name: column.taken(rows) for name, column in self._columns.items()}

    def numbers(self, name: str, rows: Rows) -> NDArray[np.float64]:
        """(m,) the values of rows of one column as numbers, as `Column.numbers` gives them."""
        return self._columns[name].numbers(rows)

    def texts(self, name: str, rows: Rows) -> list[Any]:
        """The values of rows of one column, as `append` takes them."""
        return self._columns[name].taken(rows)

    def row(self, row: int) -> dict[str, Any]:
        """The values of one row, as `append` takes them."""
        return {name: column.value(row) for name, column in self._columns.items()}

    def _named(self, condition: Condition) -> Column:
        if condition.column not in self._columns:
            raise Refused(
                f"the filter names {condition.column}, which is no column of the index",
                expected=", ".join(self.kinds) or "no filter: the index has no columns",
                got=condition.column,
            )
        return self._columns[condition.column]


def arrow_type(kind: Kind) -> pa.DataType:
    """The type in which a column of that kind lies in a file."""
    import pyarrow as pa

    return {
        "keyword": pa.string(),
        "keywords": pa.list_(pa.string()),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }[kind]


def _among(values: NDArray[Any], wanted: Sequence[Any]) -> NDArray[np.bool_]:
    if len(wanted) == 1:
        return np.asarray(values == wanted[0])
    return np.isin(values, np.asarray(wanted, dtype=values.dtype))


def _grown(array: NDArray[Any], filled: int, added: NDArray[Any]) -> NDArray[Any]:
    """`array` with `added` after its first `filled`; what a reader holds of it stays as it is."""
    needed = filled + len(added)
    if needed > len(array):
        larger = np.empty(max(needed, 2 * filled, 64), dtype=array.dtype)
        larger[:filled] = array[:filled]
        array = larger
    array[filled:needed] = added
    return array


def _moment(value: str | datetime, refused: Any) -> int:
    """Microseconds since 1970; a time without an offset is in UTC."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
        return round((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    except (ValueError, OverflowError) as error:
        raise refused(value) from error
