"""`hallmark predict`: a file of records scored by a version."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.options import declaration
from hallmark.errors import NotFound


def predict(
    name: DomainName,
    data: Annotated[Path, typer.Option("--data", help="File of records: Parquet or CSV.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Write the answers here: .parquet or .csv.", show_default=False)],
    version: Annotated[
        str, typer.Option("--version", help="A version, or an alias such as champion or latest.")
    ] = "champion",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            help="Column of the file to write beside the answers; repeatable.",
            metavar="COLUMN",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str,
        typer.Option(
            "--run",
            help="Name of this batch, by which a policy draws lots; default: the output's name.",
            show_default=False,
        ),
    ] = "",
    threads: Annotated[int | None, typer.Option(min=1, help="Default: a thread a core.", show_default=False)] = None,
    output: Output = Format.table,
) -> None:
    """Score a whole file by a version, block by block; of a domain with a policy, choose whom to treat.

    For example: hallmark predict marketing --data members.parquet --out targets.parquet. A run that was stopped goes on where it was.
    """
    from hallmark.batch.predict import predict as scored
    from hallmark.cli.progress import TaskLines
    from hallmark.registry.store import Registry

    domain, settings = declaration(name)
    try:
        found = Registry(settings).resolve(name, int(version) if version.isdigit() else version)
    except NotFound as error:
        raise NotFound(
            error.message, expected=error.expected, got=error.got,
            fix=f"name one that is there: --version latest (`hallmark versions {name}`), or train one: `hallmark train {name}`",
        ) from error  # fmt: skip
    began = time.monotonic()
    with TaskLines() as lines:
        title = f"{name} version {found.version}"
        with lines.task(title) as line:
            made = scored(
                domain, found, data=data, out=out, keep=keep or (), run=run, threads=threads, progress=line.advance
            )
            rate = (made.rows - made.resumed) / max(1e-9, time.monotonic() - began)
            line.result = f"{made.rows:,} rows, {rate:,.0f} a second" + (
                f", {made.resumed:,} from before" if made.resumed else ""
            )
    if output is not Format.table:
        show(made.model_dump(mode="json", exclude_none=True), output)
        return
    if made.reasons is not None:
        emit([{"why": why, "rows": rows} for why, rows in made.reasons.items()], output)
        say("")
        say(f"{made.treated:,} treated for {made.spent:,.2f}, expected to bring {made.worth:,.2f} beyond that")
    if made.learnt:
        say(
            f"warning: version {made.version} has learnt from {made.learnt:,} of these rows, so its answers to them look better than they are"
        )
    beside = "" if keep else "; --keep COLUMN writes a column of the data beside them"
    say(f"wrote {out}: {', '.join(made.columns)}{beside}")
