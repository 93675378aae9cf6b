"""A data set on disk: one Parquet file, photos and all, so that its content has one digest. Same frame, same bytes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.errors import ContractBroken, HallmarkError, NotFound
from hallmark.files import digest_file

if TYPE_CHECKING:
    import pandas as pd

_NOTE = b"hallmark.note"


def write(frame: pd.DataFrame, path: Path, *, note: str = "") -> None:
    """Write `frame` to `path`, whole or not at all; nothing of when, where or by whom goes in, and the index stays out.

    note: on where the rows come from, which `noted` gives back.
    """
    import pyarrow.parquet as pq

    table = _table(frame)
    if note:
        table = table.replace_schema_metadata({_NOTE: note})
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            pq.write_table(
                table, stream, compression="zstd", compression_level=3, version="2.6", row_group_size=1 << 17
            )
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def read(path: Path, *, rows: int | None = None) -> pd.DataFrame:
    """The frame that `write` wrote, or the first `rows` of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise NotFound(f"there is no data set {path.name}", expected="a Parquet file", got=_got(path))
    try:
        file = pq.ParquetFile(path)
        table = file.read() if rows is None else pa.Table.from_batches(_first(file, rows), file.schema_arrow)
        frame: pd.DataFrame = table.to_pandas(date_as_object=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise HallmarkError(
            f"{path.name} cannot be read", expected="a whole Parquet file", got=str(error).splitlines()[0][:200]
        ) from error
    return frame


def noted(path: Path) -> str:
    """The note that `write` left with a data set; empty where there is none."""
    import pyarrow.parquet as pq

    return str((pq.read_schema(path).metadata or {}).get(_NOTE, b"").decode())


def digest(path: Path) -> str:
    """`sha256:` and the digest of a data set's bytes."""
    return digest_file(path)


def _first(file: Any, rows: int) -> list[Any]:
    batch = next(file.iter_batches(batch_size=rows), None)
    return [] if batch is None else [batch]


def _table(frame: pd.DataFrame) -> Any:
    import pyarrow as pa

    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise ContractBroken(
            f"column {repeated[0]} is there more than once",
            expected="every column once",
            got=", ".join(map(str, frame.columns)),
        )
    arrays = []
    for name in frame.columns:
        try:
            arrays.append(pa.array(_listed(frame[name]), from_pandas=True))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            kinds = sorted({type(value).__name__ for value in frame[name]})
            raise ContractBroken(
                f"column {name} holds several kinds of values",
                expected="one kind in one column",
                got=", ".join(kinds),
                fix="mend the data",
            ) from error
    # From arrays, not from the frame: pandas would write its own version into the file.
    return pa.table(arrays, names=[str(name) for name in frame.columns])


def _listed(values: pd.Series) -> pd.Series:
    """The values, with those that are arrays of several dimensions as lists of lists, which is how Parquet has them."""
    if values.dtype != object:
        return values
    deep = [getattr(value, "ndim", 0) > 1 for value in values]
    return values.map(lambda value: value.tolist() if getattr(value, "ndim", 0) > 1 else value) if any(deep) else values


def _got(path: Path) -> str:
    return "a folder" if path.is_dir() else f"nothing at {path}"
