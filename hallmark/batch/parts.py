"""What a batch has written so far, beside its output: finished parts, which a run that goes on after a kill does not score again."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark import files
from hallmark.errors import Conflict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PLAN = "plan.json"
BLOCKS = 8
"""Blocks in a part: what a kill may lose."""


@dataclass(frozen=True)
class Parts:
    """The folder of parts beside an output, all of one plan: what is scored, by what, into which columns."""

    folder: Path

    @classmethod
    def beside(cls, out: Path, plan: Mapping[str, Any]) -> Parts:
        """The parts of this very plan; those of another one are thrown away. Whoever writes them holds `alone`."""
        folder = out.with_name(f".{out.name}.parts")
        told = json.dumps(plan, sort_keys=True, indent=2)
        there = folder / PLAN
        if not there.is_file() or there.read_text(encoding="utf-8") != told:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            files.replace(there, told)
        return cls(folder)

    @staticmethod
    @contextlib.contextmanager
    def alone(out: Path) -> Iterator[None]:
        """Write to this output as the only one; `Conflict` where another process does."""
        lock = out.with_name(f".{out.name}.lock")
        busy = Conflict(
            f"another process writes {out.name}",
            expected="one at a time",
            got=str(out),
            fix="wait for it, or name another --out",
        )
        with files.locked(lock, patience=0, otherwise=busy):
            yield
            lock.unlink(missing_ok=True)

    @property
    def finished(self) -> list[Path]:
        """The parts in order."""
        found: list[Path] = []
        while (path := self.folder / f"{len(found):06d}.parquet").is_file():
            found.append(path)
        return found

    @property
    def rows(self) -> int:
        """Rows that are scored."""
        from pyarrow import parquet

        return sum(int(parquet.read_metadata(path).num_rows) for path in self.finished)

    def add(self, blocks: Iterator[pa.Table]) -> int:
        """Write the next part from up to `BLOCKS` of these, and give its rows: 0 where there are none left."""
        from pyarrow import parquet

        path = self.folder / f"{len(self.finished):06d}.parquet"
        draft, writer, rows = path.with_suffix(".draft"), None, 0
        try:
            for _, block in zip(range(BLOCKS), blocks, strict=False):
                writer = writer or parquet.ParquetWriter(draft, block.schema, compression="zstd", compression_level=1)
                writer.write_table(block)
                rows += len(block)
        finally:
            if writer is not None:
                writer.close()
        if writer is not None:
            draft.replace(path)
        return rows

    def blocks(self) -> Iterator[pa.Table]:
        """All rows, in order."""
        import pyarrow as pa
        from pyarrow import parquet

        for path in self.finished:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(1 << 16, use_threads=False):
                    yield pa.Table.from_batches([batch])

    def selected(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """All rows, with these columns alone; nothing where one of them is not there."""
        from pyarrow import parquet

        for path in self.finished:
            if not set(names) <= set(parquet.read_schema(path).names):
                return
            yield parquet.read_table(path, columns=list(names)).to_pandas()

    def remove(self) -> None:
        """Take the folder away: its output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write(out: Path, blocks: Iterator[pa.Table], *, note: Mapping[str, str]) -> int:
    """Write blocks to a Parquet or CSV file, which appears whole or not at all, and give its rows. note: kept in a Parquet's schema."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    draft = out.with_name(f".{out.name}.draft")
    rows, writer = 0, None
    try:
        for block in blocks:
            if out.suffix == ".csv":
                block = pa.table({name: _text(block.column(name)) for name in block.column_names})
                writer = writer or csv.CSVWriter(draft, block.schema)
            else:
                block = block.replace_schema_metadata({**(block.schema.metadata or {}), **note})
                writer = writer or parquet.ParquetWriter(draft, block.schema, compression="zstd", compression_level=1)
            writer.write_table(block)
            rows += len(block)
    except BaseException:
        if writer is not None:
            writer.close()
        draft.unlink(missing_ok=True)
        raise
    if writer is not None:
        writer.close()
        draft.replace(out)
    return rows


def _text(values: Any) -> Any:
    """A column that a CSV can hold: lists as JSON, codes as their words."""
    import pyarrow as pa

    if pa.types.is_nested(values.type):
        return pa.array([None if value is None else json.dumps(value) for value in values.to_pylist()], pa.string())
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
