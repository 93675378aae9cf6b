"""Batches of a source: read exactly, and kept whole or refused whole, with everything that breaks the source's contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.source import Property, Source

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa
    import pyarrow


def read(source: Source, path: Path) -> pd.DataFrame:
    """The batch at `path`, a file or a folder of them, as `checked` gives it; docs/data.md says what is read.

    `ContractBroken` names every column that breaks the contract, the number of rows, and the first three with file and line.
    """
    from hallmark.data import table

    kinds = {name: _kind(column) for name, column in source.columns.items()}
    frame, place = table.located(path, kinds)
    return checked(source, frame, shown=str(path), place=place)


def checked(
    source: Source, frame: pd.DataFrame, *, shown: str, place: Callable[[int], str] | None = None
) -> pd.DataFrame:
    """The columns of the contract, in its order and types, of a batch that keeps it; `ContractBroken` where a row or column does not.

    A column that nobody declared is left out; one that was declared is there, if only with nulls, or a source that stops sending it would look
    like one that has nothing to say. Missing values are NA of boolean and Int64, NaN of float64, NaT, and None of text.

    place: where a row of the frame, from 0, is written; else rows are numbered from 1.
    """
    from hallmark.data import contract

    frame = frame.reset_index(drop=True)
    contract_of = schema(source)
    found = contract.breaches(contract_of, frame) if frame.columns.has_duplicates else ()
    if not found:
        frame = _conformed(source, frame)
        found = (
            contract.breaches(contract_of, frame, place=place or _numbered) if len(frame) else _absent(source, frame)
        )
    if found:
        raise contract.breach_error(
            found,
            shown=f"{shown}, a batch of {source.reference} {source.version},",
            rows=len(frame),
            fix=f"mend it where it is written; where the source has changed, change contracts/{source.name} (docs/features.md)",
        )
    return frame[list(source.columns)]


def table(source: Source, frame: pd.DataFrame) -> pyarrow.Table:
    """A checked batch in the contract's types, also where a column holds nothing, of which its values would say none."""
    import pyarrow

    fields = pyarrow.schema([(name, COLUMN_TYPES[each.datatype].arrow) for name, each in source.columns.items()])
    return pyarrow.Table.from_pandas(frame, schema=fields, preserve_index=False).replace_schema_metadata(None)


def schema(source: Source) -> pa.DataFrameSchema:
    """The contract of a batch."""
    import pandera.pandas as pa

    return pa.DataFrameSchema({name: _column(each) for name, each in source.columns.items()}, name=source.reference)


def _numbered(row: int) -> str:
    return f"row {row + 1}"


def _kind(column: Property) -> str:
    """The kind in which the reader reads a column."""
    return "UTC" if column.datatype == "TIME" and not column.logical_type_options.timezone else column.datatype


def _conformed(source: Source, frame: pd.DataFrame) -> pd.DataFrame:
    """The declared columns in their types, where they are so; as they came where not."""
    import pandas as pd

    from hallmark.data import table

    made = {
        name: _typed(table.conformed(frame[name], _kind(column)), column)
        for name, column in source.columns.items()
        if name in frame
    }
    undeclared = {name: frame[name] for name in frame.columns if name not in source.columns}
    return pd.DataFrame(
        made | undeclared, index=frame.index
    )  # undeclared ones let a breach name what a column was renamed to


def _typed(values: pd.Series, column: Property) -> pd.Series:
    """Missing values of an optional column as its type has them."""
    if column.required:
        return values
    try:
        return values.astype(_dtype(column))
    except (TypeError, ValueError):
        return values


def _absent(source: Source, frame: pd.DataFrame) -> tuple[Any, ...]:
    """What a batch without rows lacks all the same."""
    from hallmark.data.contract import Breach

    return tuple(Breach(column=name, rule="there", rows=0) for name in source.columns if name not in frame)


def _dtype(column: Property) -> Any:
    import pandas as pd

    kind = COLUMN_TYPES[column.datatype]
    return pd.api.types.pandas_dtype(kind.pandas if column.required else kind.nullable)


def _column(column: Property) -> pa.Column:
    import pandera.pandas as pa

    from hallmark.data import contract

    checks: list[Any] = [contract.text()] if column.datatype == "BYTES" else []
    if column.datatype in ("FP64", "INT64"):
        checks.append(_addable(column.datatype))
    options = column.logical_type_options
    if column.low[0] is not None or column.high[0] is not None:
        checks.append(_range(column))
    if options.min_length is not None or options.max_length is not None:
        checks.append(_lengths(options.min_length or 0, options.max_length))
    if options.pattern is not None:
        checks.append(_matching(options.pattern))
    if column.values is not None:
        checks.append(contract.one_of(column.values))
    return pa.Column(_dtype(column), checks, nullable=not column.required, unique=column.unique)


def _addable(kind: str) -> pa.Check:
    """Numbers that the stream takes, so that no row is in one store and not in the other."""
    import pandera.pandas as pa

    from hallmark.feature_store.tiles import LARGEST, LEAST

    if kind == "INT64":
        return pa.Check(lambda values: values > LEAST, name="addable", error="a whole number above -2^63")
    return pa.Check(lambda values: values.abs() <= LARGEST, name="addable", error=f"a number of at most {LARGEST:g}")


def _range(column: Property) -> pa.Check:
    import pandas as pd
    import pandera.pandas as pa

    (low, low_open), (high, high_open) = column.low, column.high
    words = [
        *([f"{'above' if low_open else 'at least'} {low}"] if low is not None else []),
        *([f"{'below' if high_open else 'at most'} {high}"] if high is not None else []),
    ]

    def inside(values: pd.Series) -> pd.Series:
        found = pd.Series(True, index=values.index)
        if low is not None:
            found &= (values > low) if low_open else (values >= low)
        if high is not None:
            found &= (values < high) if high_open else (values <= high)
        return found

    statistics = {"low": str(low), "low_open": low_open, "high": str(high), "high_open": high_open}
    return pa.Check(inside, name="range", error=" and ".join(words), statistics=statistics)


def _lengths(least: int, most: int | None) -> pa.Check:
    import pandera.pandas as pa

    rule = f"of {least} characters or more" if most is None else f"of {least} to {most} characters"

    def fits(values: pd.Series) -> pd.Series:
        lengths = values.str.len()
        return (lengths >= least) & (lengths <= (float("inf") if most is None else most))

    return pa.Check(fits, name="lengths", error=rule, statistics={"least": least, "most": most})


def _matching(pattern: str) -> pa.Check:
    """Text in which the pattern is found, by a matcher that takes time in proportion to the text."""
    import pandas as pd
    import pandera.pandas as pa
    import pyarrow
    import pyarrow.compute as pc

    def matches(values: pd.Series) -> pd.Series:
        texts = pyarrow.array(values.tolist(), pyarrow.large_string())
        return pd.Series(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False), index=values.index)

    return pa.Check(matches, name="matching", error=f"text that matches {pattern}", statistics={"pattern": pattern})
