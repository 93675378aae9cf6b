"""Versions shared without a cluster: models push, models pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import Format, Output, emit, say
from hallmark.cli.options import Why, declaration

if TYPE_CHECKING:
    from hallmark.training.sharing import Shared

app = typer.Typer(
    name="models", help="Share registered versions by a folder or a bucket, by digest.", no_args_is_help=True
)
Reference = Annotated[
    str, typer.Argument(metavar="DOMAIN[@VERSION]", help="Such as fraud, fraud@3 or fraud@sha256:…", show_default=False)
]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="A folder, or s3://bucket/prefix.", show_default=False)]


@app.command()
def push(reference: Reference, target: Target, output: Output = Format.table) -> None:
    """Have a version in a folder or a bucket, the champion by default; what is there already is not sent again.

    Example: hallmark models push fraud@3 s3://team-models/shared
    """
    from hallmark.cli.progress import TaskLines
    from hallmark.registry.store import Registry
    from hallmark.training import sharing

    name, version = sharing.parted(reference)
    registry = Registry(declaration(name)[1].prepared())
    with TaskLines() as lines:
        line = lines.start(f"push {name}")
        done = sharing.push(registry, name, version or "champion", target, progress=line.advance)
        line.end()
    emit([_row(done, output)], output)
    say(f"elsewhere: hallmark models pull {name}@{done.digest} {target}")


@app.command()
def pull(reference: Reference, target: Target, why: Why = "", output: Output = Format.table) -> None:
    """Register a version that was pushed to a folder or a bucket, the last one by default; it is refused where one byte is another.

    Example: hallmark models pull fraud@3 s3://team-models/shared
    """
    from hallmark.cli.progress import TaskLines
    from hallmark.registry.store import Registry
    from hallmark.rollout.history import History
    from hallmark.training import sharing

    name, version = sharing.parted(reference)
    settings = declaration(name)[1].prepared()
    with TaskLines() as lines, History(settings, name).act("pull", f"pulled from {target}", why=why) as notes:
        line = lines.start(f"pull {name}")
        done = sharing.pull(Registry(settings), name, version, target, progress=line.advance)
        line.end()
        notes.version, notes.text = done.version, f"{done.digest[:19]} pulled from {done.target}"
    emit([_row(done, output)], output)
    say(f"next: hallmark release {name} --candidate {done.version}")


def _row(done: Shared, output: Format) -> dict[str, Any]:
    """What was shared; in a table with its digest as short as every other table has it."""
    return done.model_dump(mode="json") | ({"digest": done.digest[:19]} if output is Format.table else {})
