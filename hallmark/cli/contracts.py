"""Data contracts of sources: `hallmark contracts list|check|diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import Format, Output, emit, say, show
from hallmark.errors import HallmarkError
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.declaration.source import Source

app = typer.Typer(
    name="contracts", help="Data contracts of sources: list them, check a batch, compare two.", no_args_is_help=True
)


class Breaking(HallmarkError):
    """A change that readers of the old contract cannot take."""


@app.command("list")
def list_(output: Output = Format.table) -> None:
    """List the declared sources."""
    from hallmark.declaration import source

    settings = Settings.load()
    rows = []
    for reference in source.references(settings):
        found = source.load(reference, settings)
        rows.append(
            {
                "source": reference,
                "version": found.version,
                "status": found.status,
                "team": found.team.name,
                "columns": len(found.columns),
                "personal": ", ".join(found.personal) if output is Format.table else list(found.personal),
            }
        )
    emit(rows, output, empty="no source is declared: see docs/features.md", wide=("personal", "team"))


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="SOURCE", help="A contract as NAME@N, such as orders@1, or its file.")],
    batch: Annotated[
        Path, typer.Argument(metavar="FILE", help="A Parquet, CSV or JSON lines file, or a folder of them.")
    ],
    output: Output = Format.table,
) -> None:
    """Read a batch of a source as an ingest would; exit 3 where it breaks the contract, with columns, rows and lines."""
    from hallmark.feature_store import source_batch

    source = _source(name, Settings.load())
    frame = source_batch.read(source, batch)
    if output is not Format.table:
        show({"source": source.reference, "version": source.version, "rows": len(frame)}, output)
    say(f"{batch}: {len(frame)} {'row keeps' if len(frame) == 1 else 'rows keep'} {source.reference} {source.version}")


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A contract as NAME@N, or its file.")],
    new: Annotated[str, typer.Argument(help="The contract to compare with it.")],
    output: Output = Format.table,
) -> None:
    """Compare two contracts as readers of the old one meet the new; exit 1 where that breaks them."""
    from hallmark.declaration import source_change

    settings = Settings.load()
    before, after = _source(old, settings), _source(new, settings)
    found = source_change.changes(before, after)
    worst, least = source_change.worst(found), source_change.misnumbered(before, after)
    if output is Format.table:
        rows = [
            {
                "change": each.path,
                "before": each.before,
                "after": each.after,
                "class": each.kind,
                "writers": "refused" if each.refuses_writers else "as before",
                "reason": each.reason,
            }
            for each in found
        ]
        emit(rows, output, empty="nothing has changed", wide=("reason", "writers"))
    else:
        changes = [{**each.model_dump(mode="json", exclude={"kind"}), "class": each.kind} for each in found]
        show({"class": worst, "least_version": least, "changes": changes}, output)
    if least:
        say(f"{new} says {after.version}; by what has changed it is {least} at least")
    if worst == "breaking":
        first = next(each for each in found if each.kind == worst)
        raise Breaking(
            f"{new} breaks readers of {old}",
            expected="whatever the new contract allows to be readable under the old one",
            got=f"{first.path}: {first.reason}",
            fix=f"write it as version {before.major + 1}.0.0 into contracts/{before.name}/v{before.major + 1}.yaml",
        )


def _source(name: str, settings: Settings) -> Source:
    """A contract by name@version, or from a file."""
    from hallmark.declaration import source, versioned

    path = Path(name)
    if "@" in name and not path.is_file():
        return source.load(name, settings)
    return versioned.read(source.Source, path, name)
