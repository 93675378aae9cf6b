"""One declaration of types: every row whole, and every name one that its reader takes."""

from __future__ import annotations

from typing import get_args

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from hallmark.declaration import column_type
from hallmark.declaration.column_type import COLUMN_TYPES, ColumnType
from hallmark.feature_store.offline import _kind

ROWS = pytest.mark.parametrize("row", COLUMN_TYPES.values(), ids=COLUMN_TYPES)


def test_each_vocabulary_has_each_type_once() -> None:
    rows = COLUMN_TYPES.values()
    assert tuple(COLUMN_TYPES) == get_args(column_type.Datatype)
    assert {each.logical for each in rows} == {*get_args(column_type.LogicalType)}
    assert {each.stream for each in rows} == {*get_args(column_type.StreamType)}
    assert {each.kind for each in rows} == {*get_args(column_type.SqlKind)} - {"decimal", "null", "other"}
    for name in ("logical", "stream", "kind", "words", "noun", "duckdb", "feast"):
        assert len({getattr(each, name) for each in rows}) == len(COLUMN_TYPES), name


@ROWS
def test_what_is_written_in_a_type_is_read_in_it(row: ColumnType) -> None:
    values = {"BOOL": True, "INT64": 2**62 + 1, "FP64": 0.1, "BYTES": "ü", "TIME": pd.Timestamp("2026-03-29T01:30Z")}
    column = pd.Series([values[row.datatype]], dtype=row.pandas)
    table = pa.table({"c": pa.Array.from_pandas(column, type=row.arrow)})
    assert _kind(table.schema.field("c").type) == row.kind, "the SQL's name of what Parquet holds"
    empty = duckdb.sql(f"SELECT CAST(NULL AS {row.duckdb}) AS c").to_arrow_table()
    assert _kind(empty.schema.field("c").type) == row.kind
    assert pd.Series([values[row.datatype], None], dtype=row.nullable).isna().tolist() == [False, True]
