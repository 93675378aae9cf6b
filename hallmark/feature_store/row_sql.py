"""Values of a view's SQL for many rows at once, by the engine that training frames are computed by (hallmark/declaration/expression.py)."""
# ruff: noqa: S608 (names are quoted, and expressions are written anew from their parts)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hallmark.declaration.expression import Expression, Unsuited, engine, meaning
from hallmark.declaration.source import Datatype
from hallmark.errors import DeclarationError
from hallmark.feature_store.plan import quoted

if TYPE_CHECKING:
    import duckdb


class RowSql:
    """Expressions over columns of these types. For one caller at a time."""

    def __init__(self, expressions: Sequence[Expression], types: Mapping[str, Datatype]) -> None:
        self._columns = {name: types[name] for each in expressions for name in each.columns}
        try:
            found = [meaning(each, types, quoted)[0] for each in expressions]
        except Unsuited as error:
            raise DeclarationError(
                "SQL of a view has no meaning over its source", expected="what docs/features.md lists", got=str(error)
            ) from error
        self._query = f"SELECT {', '.join(f'{sql} AS d{place}' for place, sql in enumerate(found))} FROM rows_given"
        self._count = len(found)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return engine()

    def values(self, columns: Mapping[str, Any]) -> list[list[Any]]:
        """Of each expression its value in every row. columns: lists or Arrow arrays by name, times in microseconds, times come out so too."""
        import pyarrow as pa

        kinds = {
            "BOOL": pa.bool_(),
            "INT64": pa.int64(),
            "FP64": pa.float64(),
            "BYTES": pa.large_string(),
            "TIME": pa.int64(),
        }
        arrays = {
            name: each if isinstance(each := columns[name], pa.Array) else pa.array(each, type=kinds[kind])
            for name, kind in self._columns.items()
        }
        self._connection.register("rows_given", pa.table(arrays))
        try:
            found = self._connection.sql(self._query).to_arrow_table()
        finally:
            self._connection.unregister("rows_given")
        return [found.column(place).to_pylist() for place in range(self._count)]
