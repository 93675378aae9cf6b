"""Training sets, each a snapshot by digest: a folder of Parquet files and a manifest that says from what they were computed.

The folder's name is the digest of the manifest, and the manifest has the digest of every file; so one name stands for one content, for
ever. The same content gives the same name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hallmark import files
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import ContractBroken, DeclarationError, NotFound
from hallmark.section import Frozen

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from hallmark.declaration.source import Source

MANIFEST = "manifest.json"
_ROWS = 1 << 17
_GONE = ".gone-"
"""What the folder of a training set is called from the moment when it is none any more."""


class Part(Frozen):
    """A file of a training set."""

    file: str
    digest: str
    rows: int


class Statistics(Frozen):
    """A column in figures. least, greatest: as text, of what is not NaN; none where there is no value or no order."""

    kind: str
    nulls: int
    nans: int
    least: str | None = None
    greatest: str | None = None


class Training(Frozen):
    """What a training set is and from what it was computed.

    views, sources: the digest of each view's declaration, and of each source's snapshot, by name@version.
    time: the questions' column of times; earliest, latest: its span, none where there are no rows.
    """

    rows: int
    time: str
    earliest: datetime | None
    latest: datetime | None
    views: Mapping[str, str]
    sources: Mapping[str, str]
    columns: Mapping[str, Statistics]
    parts: tuple[Part, ...]

    def digest(self) -> str:
        """`sha256:` and the digest of all this, every byte of the files with it."""
        return f"sha256:{hashlib.sha256(self.text().encode()).hexdigest()}"

    def text(self) -> str:
        """The manifest as it is written."""
        return self.model_dump_json(indent=1) + "\n"


def declared(declaration: FeatureView | Source) -> str:
    """`sha256:` and the digest of what a view or a contract declares, whatever the file's order of keys and comments."""
    whole = yaml.safe_dump(declaration.model_dump(mode="json"), sort_keys=True)
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def write(
    parts: Sequence[Path], root: Path, *, time: str, views: Sequence[FeatureView], sources: Mapping[str, str]
) -> str:
    """Keep a training frame's files under `root`; the digest under which `read` finds them.

    sources: the digest of each source's snapshot. What is there already is left as it is.
    """
    if missing := sorted({view.source for view in views} - set(sources)):
        raise DeclarationError(
            f"a training set names the snapshot of {missing[0]}",
            expected="its digest",
            got=", ".join(sources) or "none",
        )
    root.mkdir(parents=True, exist_ok=True)
    digest_of = {view.reference: declared(view) for view in sorted(views, key=lambda each: each.reference)}
    return _written(parts, root, time=time, views=digest_of, sources={name: sources[name] for name in sorted(sources)})


def digests(root: Path) -> list[str]:
    """The digests of all training sets under `root`, sorted; none where it is not there."""
    return sorted(f"sha256:{path.parent.name}" for path in root.glob(f"*/{MANIFEST}") if _is_name(path.parent.name))


def files_in(root: Path) -> list[Path]:
    """Parquet files that lie in `root` itself and are of no snapshot, as `hallmark features join` writes them, sorted."""
    return sorted(path for path in root.glob("*.parquet") if not path.name.startswith("."))


def demand(root: Path) -> None:
    """`DeclarationError` where there is nothing below `root` that rows could be erased from."""
    if (root / MANIFEST).is_file():
        raise DeclarationError(
            f"{root} is one training set, whose files nobody may change",
            expected="the folder that it lies in, where what is left of it gets a digest of its own",
            got=str(root),
            fix=f"--training {root.absolute().parent}",
        )
    if not (digests(root) or files_in(root)):
        raise DeclarationError(
            f"{root} holds no training set",
            expected="a folder with training sets by digest, or with Parquet files that `hallmark features join` wrote",
            got="none of these" if root.is_dir() else "a file" if root.is_file() else "no folder",
        )


def erase_file(path: Path, kept: Callable[[pa.Table], pa.Table]) -> None:
    """Erase rows of a Parquet file that is of no snapshot: `kept` as in `erase`. Killed anywhere, the old file is there or the new one."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    left = kept(table)
    if left is not table:
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as stream:
            pq.write_table(left, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)


def erase(
    root: Path,
    digest: str,
    kept: Callable[[pa.Table], pa.Table],
    *,
    sources: Mapping[str, str],
    noted: Callable[[str], None],
) -> int:
    """Erase rows of a training set, which then has another digest; how many. Killed anywhere, the old set is there or the new one.

    kept:    the rows of a part that stay, in their order, with what stays of their values; the same table where all of it does.
    sources: the digests by which snapshots of sources go that are called otherwise by now.   noted: is told the new digest.
    """
    import pyarrow.parquet as pq

    for left in root.glob(f"{_GONE}*"):
        shutil.rmtree(left)
    training, paths = read(root, digest)
    with tempfile.TemporaryDirectory(dir=root, prefix=_GONE) as folder:
        parts, rows, changed = [], 0, False
        for path in paths:
            table = pq.read_table(path)
            left_over = kept(table)
            parts.append(Path(folder) / path.name)
            pq.write_table(left_over, parts[-1])
            rows += table.num_rows - left_over.num_rows
            changed = changed or left_over is not table
        if changed:
            after = {name: sources.get(each, each) for name, each in training.sources.items()}
            made = _written(parts, root, time=training.time, views=training.views, sources=after, noted=noted)
            if made != digest:
                _place(root, digest).rename(root / f"{_GONE}{digest.partition(':')[2]}")
                shutil.rmtree(root / f"{_GONE}{digest.partition(':')[2]}")
    return rows


def _written(
    parts: Sequence[Path],
    root: Path,
    *,
    time: str,
    views: Mapping[str, str],
    sources: Mapping[str, str],
    noted: Callable[[str], None] = lambda _: None,
) -> str:
    draft = root / f".{uuid.uuid4().hex}"
    try:
        draft.mkdir()
        kept = tuple(_keep(path, draft / f"part-{place:05}.parquet") for place, path in enumerate(parts))
        columns, span = _columns([draft / part.file for part in kept], time)
        training = Training(
            rows=sum(part.rows for part in kept),
            time=time,
            earliest=span[0],
            latest=span[1],
            views=views,
            sources=sources,
            columns=columns,
            parts=kept,
        )
        files.replace(draft / MANIFEST, training.text())
        digest = training.digest()
        noted(digest)
        _publish(draft, _place(root, digest), digest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


def read(root: Path, digest: str) -> tuple[Training, list[Path]]:
    """A training set's manifest and files, every byte checked; `ContractBroken` names the file that is not what was written."""
    folder = _place(root, digest)
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(f"there is no training set {digest}", expected=f"a folder with {MANIFEST}", got=str(folder))
    _demand(MANIFEST, digest, files.digest_file(path), folder)
    training = Training.model_validate_json(path.read_text(encoding="utf-8"))
    for part in training.parts:
        held = folder / part.file
        _demand(part.file, part.digest, files.digest_file(held) if held.is_file() else "no file", folder)
    return training, [folder / part.file for part in training.parts]


def frame(root: Path, digest: str) -> pd.DataFrame:
    """A training set's rows; where a value is null it is `pd.NA`, and NaN where it is NaN."""
    from hallmark.feature_store import offline

    return offline.read(read(root, digest)[1])


def _demand(name: str, expected: str, got: str, folder: Path) -> None:
    if got != expected:
        raise ContractBroken(
            f"{name} of a training set is not what was written",
            expected=expected,
            got=got,
            fix=f"remove {folder} and make it again, or bring it back from a copy",
        )


def _place(root: Path, digest: str) -> Path:
    kind, _, value = digest.partition(":")
    if kind != "sha256" or not _is_name(value):
        raise DeclarationError("a training set is named by its digest", expected="sha256: and 64 digits", got=digest)
    return root / value


def _is_name(value: str) -> bool:
    return len(value) == 64 and not set(value) - set("0123456789abcdef")


def _keep(path: Path, place: Path) -> Part:
    """Copy a file's rows in one form, whatever wrote it."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    with place.open("wb") as stream:
        with pq.ParquetWriter(
            stream, file.schema_arrow.remove_metadata(), compression="zstd", compression_level=3, version="2.6"
        ) as writer:
            for group in _groups(file):
                writer.write_table(group, row_group_size=_ROWS)
        stream.flush()
        os.fsync(stream.fileno())
    return Part(file=place.name, digest=files.digest_file(place), rows=file.metadata.num_rows)


def _groups(file: Any) -> Any:
    """A file's rows, `_ROWS` at a time, wherever its own groups end."""
    import pyarrow as pa

    held: list[Any] = []
    size = 0
    for batch in file.iter_batches(_ROWS):
        held.append(batch)
        size += len(batch)
        while size >= _ROWS:
            whole = pa.Table.from_batches(held)
            yield whole.slice(0, _ROWS).combine_chunks()
            rest = whole.slice(_ROWS)
            held, size = rest.to_batches(), rest.num_rows
    if size:
        yield pa.Table.from_batches(held).combine_chunks()


def _columns(paths: Sequence[Path], time: str) -> tuple[dict[str, Statistics], tuple[datetime | None, datetime | None]]:
    """Figures of each column, read one column at a time, and the span of the times."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[str, Statistics] = {}
    span: tuple[datetime | None, datetime | None] = (None, None)
    for field in pq.read_schema(paths[0]):
        values = pa.chunked_array(
            [chunk for path in paths for chunk in pq.read_table(path, columns=[field.name]).column(0).chunks],
            type=field.type,
        )
        nans = 0
        if pa.types.is_floating(field.type):
            mask = pc.is_nan(values)
            nans = pc.sum(mask).as_py() or 0
            values = values.filter(pc.fill_null(pc.invert(mask), True))
        ends = {"min": None, "max": None}
        if not (pa.types.is_nested(field.type) or pa.types.is_null(field.type)):
            ends = pc.min_max(values).as_py()
        if field.name == time:
            span = (ends["min"], ends["max"])
        least, greatest = (None if end is None else str(end) for end in (ends["min"], ends["max"]))
        found[field.name] = Statistics(
            kind=str(field.type), nulls=values.null_count, nans=nans, least=least, greatest=greatest
        )
    return found, span


def _publish(draft: Path, place: Path, digest: str) -> None:
    """Give a whole folder its name; where that is there already, it must be the same."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not place.exists():
        try:
            draft.rename(place)
        except OSError:
            if not place.exists():
                raise
    read(place.parent, digest)
