"""The step that scores a file by a version, as a plain function: what its component calls."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training.signature import Reads, Writes
from hallmark.training.step import progress, step


@step(kept=False, summary=True)
def score_batch(
    domain: str,
    *,
    version: str,
    run: str,
    scheduled: str = "",
    records: Annotated[Path, Reads("Dataset")],
    scored: Annotated[Path, Writes("Dataset")],
    summary: Annotated[Path, Writes("Markdown")],
) -> str:
    """Score a Parquet file of records by a version of the domain, or its alias; say in a line what came of it.

    Where the domain declares a policy, `scored` says whom to treat, why and what for. run: names the batch, by which lots are drawn; none:
    the time that it was scheduled for.
    """
    from hallmark.batch.predict import predict
    from hallmark.registry.store import Registry

    if not (run or scheduled):
        raise DeclarationError("the batch has no name", expected="run: lots are drawn by it", got="none", fix="name it")
    settings = Settings.load()
    found = Registry(settings).resolve(domain, int(version) if version.isdigit() else version)
    # Artifacts have no suffix, and what a file is goes by its own.
    scored.parent.mkdir(parents=True, exist_ok=True)
    out = scored.with_name(f"{scored.name}.parquet")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "records.parquet"
        data.symlink_to(records.resolve())
        made = predict(
            domains.load(domain, settings),
            found,
            data=data,
            out=out,
            run=run or scheduled,
            progress=progress("score_batch"),
        )
    out.replace(scored)
    lines = [f"{made.rows:,} rows by version {made.version}, {made.digest}"]
    if made.reasons is not None:
        lines.append(f"{made.treated:,} treated for {made.spent:,.2f}, expected to bring {made.worth:,.2f} beyond that")
        lines += [f"{rows:,} {reason}" for reason, rows in made.reasons.items()]
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(f"# {domain}: a batch\n\n" + "".join(f"- {line}\n" for line in lines), encoding="utf-8")
    return lines[0] if len(lines) == 1 else f"{lines[0]}; {lines[1]}"
