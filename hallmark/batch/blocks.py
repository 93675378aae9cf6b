"""Blocks of a file of records, Parquet or CSV, as Arrow: those from a row on, each of a size that memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.data import reading
from hallmark.data.exact import RULES, exact
from hallmark.data.reading import ReadingOptions
from hallmark.errors import ContractBroken, DeclarationError, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.features.fields import Field

ROWS = 65_536
SUFFIXES = (".parquet", ".csv", ".tsv")
_CSV_BYTES = 1 << 24


@dataclass(frozen=True)
class Blocks:
    """A file that is read in blocks.

    names: of its columns, as data.yaml beside it calls them.     rows: how many it has; 0 where only reading it says so.
    """

    path: Path
    names: tuple[str, ...]
    rows: int
    options: ReadingOptions

    @classmethod
    def of(cls, path: Path) -> Blocks:
        """The file at `path`; `DeclarationError` where it is of another kind."""
        import pyarrow as pa
        from pyarrow import parquet

        if not path.is_file():
            raise NotFound(f"there is no file {path}", expected="a file of records", got="none", fix="check --data")
        if path.suffix not in SUFFIXES:
            raise DeclarationError(
                "--data is not a file of a known kind",
                expected=" or ".join(SUFFIXES),
                got=path.name,
                fix="write it as Parquet",
            )
        options = reading.options(path)
        try:
            if path.suffix == ".parquet":
                with parquet.ParquetFile(path) as file:
                    written, rows = list(file.schema_arrow.names), int(file.metadata.num_rows)
            else:
                with _csv(path, options, {}, None) as stream:
                    written, rows = list(stream.schema.names), 0
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, error) from error
        return cls(path, tuple(options.names.get(name, name) for name in written), rows, options)

    def read(self, names: Sequence[str], *, kinds: Mapping[str, Field], start: int = 0) -> Iterator[pa.Table]:
        """Blocks of the named columns, from row `start` on. kinds: what a CSV's texts are to be."""
        import pyarrow as pa

        try:
            parts = self._parquet(names, start) if self.path.suffix == ".parquet" else self._text(names, kinds, start)
            yield from parts
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(self.path, error) from error

    @property
    def _written(self) -> dict[str, str]:
        return {declared: written for written, declared in self.options.names.items()}

    def _parquet(self, names: Sequence[str], start: int) -> Iterator[pa.Table]:
        import pyarrow as pa
        from pyarrow import parquet

        wanted = [self._written.get(name, name) for name in names]
        with parquet.ParquetFile(self.path) as file:
            groups: list[int] = []
            skipped = 0
            for at in range(file.metadata.num_row_groups):
                size = int(file.metadata.row_group(at).num_rows)
                if not groups and skipped + size <= start:
                    skipped += size
                else:
                    groups.append(at)
            late = start - skipped
            for batch in file.iter_batches(ROWS, row_groups=groups, columns=wanted, use_threads=False):
                if late >= len(batch):
                    late -= len(batch)
                    continue
                yield pa.table([batch.column(name) for name in wanted], names=list(names)).slice(late)
                late = 0

    def _text(self, names: Sequence[str], kinds: Mapping[str, Field], start: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        wanted = {self._written.get(name, name): name for name in names}
        types = {
            written: _TYPES[kinds[name].datatype] if name in kinds else "string" for written, name in wanted.items()
        }
        with _csv(
            self.path, self.options, {name: pa.type_for_alias(kind) for name, kind in types.items()}, list(wanted)
        ) as stream:
            late = first = start
            for batch in stream:
                if late >= len(batch):
                    late -= len(batch)
                    continue
                table = pa.table([batch.column(name) for name in wanted], names=list(wanted.values())).slice(late)
                late = 0
                for at, (written, name) in enumerate(wanted.items()):
                    if name in kinds and kinds[name].datatype in WHOLE:
                        column = self._whole(table.column(at), kinds[name], written, first=first)
                        table = table.set_column(at, name, column)
                first += len(table)
                for at in range(0, len(table), ROWS):
                    yield table.slice(at, ROWS)

    def _whole(self, texts: pa.ChunkedArray, field: Field, written: str, *, first: int) -> Any:
        """Texts as whole numbers: 39.0, as a table with gaps is written, is one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            return texts.cast(pa.type_for_alias(_WHOLE[field.datatype]))
        except pa.ArrowInvalid:
            found = exact(texts, field.datatype, self.options)
        if found.bad is not None:
            at = pc.index(found.bad, pa.scalar(True)).as_py()
            raise ContractBroken(
                f"{self.path.name} cannot be read: column {written} is not what the model reads in row {first + at + 1:,}",
                expected=RULES[field.datatype] + (" or nothing" if field.optional else ""),
                got=repr(texts[at].as_py()),
                fix="mend the file, or say in data.yaml beside it how it is written (docs/data.md)",
            )
        return found.values


_WHOLE = {"INT32": "int32", "INT64": "int64"}
WHOLE = frozenset(_WHOLE)
_TYPES = {"BOOL": "bool", "FP32": "float32", "FP64": "float64", "BYTES": "string"} | dict.fromkeys(WHOLE, "string")


def _csv(path: Path, options: ReadingOptions, types: Mapping[str, Any], names: list[str] | None) -> Any:
    from pyarrow import csv

    convert: dict[str, Any] = {
        "column_types": types,
        "null_values": [""] if options.nulls is None else list(options.nulls),
        "strings_can_be_null": True,
        "true_values": [*options.true_words, "1"],
        "false_values": [*options.false_words, "0"],
        "decimal_point": options.decimal,
    }
    if names is not None:
        convert["include_columns"] = names
    separator = options.separator or ("\t" if path.suffix == ".tsv" else ",")
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_CSV_BYTES, encoding=options.encoding, use_threads=False),
        parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=csv.ConvertOptions(**convert),
    )


def _unreadable(path: Path, error: Exception) -> ContractBroken:
    return ContractBroken(
        f"{path.name} cannot be read",
        expected="Parquet, or CSV whose values are of their columns' types",
        got=(str(error).splitlines() or [type(error).__name__])[0],
        fix="mend the file, or say in data.yaml beside it how it is written (docs/data.md)",
    )
