"""A file of records scored by a version, block by block: what `hallmark predict` and the component `score_batch` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.batch.blocks import Blocks
from hallmark.batch.parts import Parts, write
from hallmark.batch.scorer import Scorer, demand
from hallmark.cores import cores
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.section import Frozen

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.declaration.domain import Domain
    from hallmark.registry.store import ServableVersion

Progress = Callable[[int, int, str], None]
SUFFIXES = (".parquet", ".csv")
VERSION, DIGEST = "model_version", "model_digest"
CHOSEN = ("treatment", "reason", "expected_value", "cost", "propensity")
"""Columns that a policy adds."""


class Predicted(Frozen):
    """Result of a batch.

    rows:    scored, of which `resumed` by a run that was stopped.     columns: of the output.
    treated, spent, worth, bound: of a domain with a policy: how many are treated, for how much money, what that is expected to bring, and what no
        choice beside the same lots and within the limits could exceed.
    reasons: how many rows were decided for which reason.
    learnt:  rows that the version has learnt from, as far as the file says when they were; 0 where it does not.
    """

    domain: str
    version: int
    digest: str
    out: str
    rows: int
    resumed: int = 0
    learnt: int = 0
    columns: tuple[str, ...] = ()
    treated: int | None = None
    spent: float | None = None
    worth: float | None = None
    bound: float | None = None
    reasons: dict[str, int] | None = None


def predict(
    domain: Domain,
    version: ServableVersion,
    *,
    data: Path,
    out: Path,
    keep: Sequence[str] = (),
    run: str = "",
    threads: int | None = None,
    progress: Progress = lambda done, total, note: None,
) -> Predicted:
    """Score the file `data` into the file `out`, which appears whole or not at all; a run that was stopped goes on where it was.

    The output holds who each row is about (`data.entity`, query, item and event_time, where the file has them, and the columns of `keep`), the model's outputs,
    and the version with its digest. Of a domain with a policy it holds who is treated, why, and what for (`hallmark.policy`).
    run: names a policy's lots; default: the output's name.
    """
    from hallmark.artifacts import bundle

    if out.suffix not in SUFFIXES:
        raise DeclarationError("--out is not a Parquet or CSV file", expected=" or ".join(SUFFIXES), got=out.name)
    if out.resolve() == data.resolve():
        raise DeclarationError("--out is the file that is read", expected="another file", got=str(out))
    source = Blocks.of(data)
    scorer = Scorer(bundle.read(version.fetch(), expected=version.digest), threads=threads or cores())
    kept = _kept(domain, source, keep)
    demand(domain.name, source.path.name, source.names, scorer)
    stat = data.stat()
    plan = {
        "data": [str(data.resolve()), stat.st_size, stat.st_mtime_ns],
        "digest": version.digest,
        "version": version.version,
        "columns": [*kept],
        "read": source.options.model_dump(mode="json"),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with Parts.alone(out):
        parts = Parts.beside(out, plan)
        resumed = done = parts.rows
        blocks = _scored(source, scorer, kept, start=done, version=version)
        progress(done, source.rows, "")
        while rows := parts.add(_told(blocks, done, source.rows, progress)):
            done += rows
        note = {
            "hallmark.domain": domain.name,
            "hallmark.version": str(version.version),
            "hallmark.digest": version.digest,
        }
        made = {
            "domain": domain.name,
            "version": version.version,
            "digest": version.digest,
            "out": str(out),
            "resumed": resumed,
        }
        if not done:
            raise ContractBroken(
                f"{data.name} holds no records", expected="at least one row", got="none", fix="check --data"
            )
        made["learnt"] = _learnt(domain, version, parts)
        if domain.policy is None:
            rows, told = write(out, parts.blocks(), note=note), {}
        else:
            from hallmark.batch import targets

            progress(done, source.rows, "choosing")
            chosen = targets.of(domain, parts, output=_answered(scorer.outputs[0].name, kept), run=run or out.stem)
            rows, told = write(out, targets.columns(domain, parts, chosen), note=note), targets.told(chosen)
        from pyarrow import csv, parquet

        if out.suffix == ".parquet":
            columns = tuple(parquet.read_schema(out).names)
        else:
            with csv.open_csv(out) as stream:
                columns = tuple(stream.schema.names)
        parts.remove()
        return Predicted.model_validate({**made, "rows": rows, "columns": columns, **told})


def _learnt(domain: Domain, version: ServableVersion, parts: Parts) -> int:
    """Rows of `parts` that the version has learnt from; 0 where the file does not say which examples they are."""
    from hallmark.batch import served_log
    from hallmark.training import rows_seen

    return sum(served_log.learnt(domain, version, frame) for frame in parts.selected(rows_seen.identity(domain)))


def _answered(name: str, kept: Sequence[str]) -> str:
    """The column of an output, beside those of the file."""
    return f"predicted_{name}" if name in kept else name


def _kept(domain: Domain, source: Blocks, keep: Sequence[str]) -> list[str]:
    unknown = [name for name in keep if name not in source.names]
    if unknown:
        raise DeclarationError(
            f"--keep {unknown[0]} is no column of {source.path.name}", expected=", ".join(source.names), got=unknown[0]
        )
    data, policy = domain.data, domain.policy
    own = (VERSION, DIGEST, *(CHOSEN if policy else ()))
    twice = [name for name in keep if name in own]
    if twice:
        raise DeclarationError(
            f"--keep {twice[0]}: the output has a column of that name already",
            expected=f"another name than {', '.join(own)}",
            got=twice[0],
            fix="give it another name, in the file or by `names` of data.yaml beside it (docs/data.md)",
        )
    named = [data.entity, data.query, data.item, data.event_time, policy.messages if policy else None, *keep]
    found = list(dict.fromkeys(name for name in named if name and name in source.names))
    if policy is not None and data.entity not in found:
        raise ContractBroken(
            f"{source.path.name} does not say whom its rows are about",
            expected=f"a column {data.entity}: hold-out, caps and lots go by it",
            got=", ".join(source.names),
            fix="add it",
        )
    return found


def _scored(
    source: Blocks, scorer: Scorer, kept: Sequence[str], *, start: int, version: ServableVersion
) -> Iterator[pa.Table]:
    import pyarrow as pa

    wanted, first = [*dict.fromkeys((*kept, *scorer.fields))], start
    for block in source.read(wanted, kinds=scorer.fields, start=start):
        made = {name: block.column(name) for name in kept}
        for name, values in scorer.score(block, first=first).items():
            made[_answered(name, kept)] = arrow(values)
        rows = len(block)
        made[VERSION] = pa.array(np.full(rows, version.version, dtype=np.int64))
        made[DIGEST] = pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), [version.digest])
        first += rows
        yield pa.table(made)


def arrow(values: NDArray[Any]) -> Any:
    """An output as a column: plain, or a list a row."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype.kind in "OU" else values)
    flat = values.reshape(len(values), -1)
    inner = pa.array(flat.ravel().tolist() if flat.dtype.kind in "OU" else flat.ravel())
    return pa.FixedSizeListArray.from_arrays(inner, flat.shape[1])


def _told(blocks: Iterator[pa.Table], done: int, total: int, progress: Progress) -> Iterator[pa.Table]:
    for block in blocks:
        done += len(block)
        progress(done, total, f"{done:,} rows")
        yield block
