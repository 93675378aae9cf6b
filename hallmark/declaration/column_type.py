"""Types of sources' columns and views' features: one row a type, with its name in everything that reads or writes such values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import pyarrow

Datatype = Literal["BOOL", "INT64", "FP64", "BYTES", "TIME"]
"""Hallmark's names of the types of columns and features. TIME: a time in UTC, to the microsecond."""
LogicalType = Literal["string", "integer", "number", "boolean", "timestamp"]
"""What a data contract calls them."""
StreamType = Literal["int64", "float64", "bool", "text", "time"]
"""What streams, tiles and payloads call them."""
SqlKind = Literal["bool", "int", "float", "decimal", "text", "time", "null", "other"]
"""What the SQL of a view calls them, and what else a Parquet file may hold: decimals, columns without a value, anything that is none."""


class ColumnType(NamedTuple):
    """One type.

    is_number: features that add up or divide take it.   words: it in a sentence about a column.   noun: it on a page.
    pandas:    the dtype of a column that is filled in every row, and `nullable` of one that need not be.
    duckdb, flink, feast: its name there. Flink reads a time as the text that its log has.
    """

    datatype: Datatype
    logical: LogicalType
    stream: StreamType
    kind: SqlKind
    is_number: bool
    words: str
    noun: str
    pandas: str
    nullable: str
    duckdb: str
    flink: str
    feast: str

    @property
    def arrow(self) -> pyarrow.DataType:
        """The type of a column in Parquet."""
        import pyarrow

        made: Mapping[Datatype, pyarrow.DataType] = {
            "BOOL": pyarrow.bool_(),
            "INT64": pyarrow.int64(),
            "FP64": pyarrow.float64(),
            "BYTES": pyarrow.string(),
            "TIME": pyarrow.timestamp("us", "UTC"),
        }
        return made[self.datatype]


_TIMES = "datetime64[us, UTC]"
COLUMN_TYPES: Mapping[Datatype, ColumnType] = {
    each.datatype: each
    for each in (
        ColumnType(
            *("BOOL", "boolean", "bool", "bool", False, "a boolean", "truth"),
            *("bool", "boolean", "BOOLEAN", "BOOLEAN", "Bool"),
        ),
        ColumnType(
            *("INT64", "integer", "int64", "int", True, "an integer", "whole number"),
            *("int64", "Int64", "BIGINT", "BIGINT", "Int64"),
        ),
        ColumnType(
            *("FP64", "number", "float64", "float", True, "a number", "number"),
            *("float64", "float64", "DOUBLE", "DOUBLE", "Float64"),
        ),
        ColumnType(
            *("BYTES", "string", "text", "text", False, "a string", "text"),
            *("object", "object", "VARCHAR", "STRING", "String"),
        ),
        ColumnType(
            *("TIME", "timestamp", "time", "time", False, "a timestamp", "time"),
            *(_TIMES, _TIMES, "TIMESTAMPTZ", "STRING", "UnixTimestamp"),
        ),
    )
}
