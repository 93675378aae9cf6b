"""The application: global options, exit codes, and the commands of the other modules.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import typer

from hallmark import __version__
from hallmark.cli import check, console, labels, lint, model, new, pipeline, serve, tco, timeline, watch
from hallmark.errors import foreseen
from hallmark.libraries import additions

app = typer.Typer(
    name="hallmark",
    help="Train, serve, watch and renew the models of a second-hand fashion marketplace.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hallmark {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Global options; `main` looks at --debug itself, since an error may come before this runs."""


check.add_to(app)
model.add_to(app)
serve.add_to(app)
app.command()(watch.watch)
app.command()(timeline.timeline)
app.command()(labels.labels)
app.command()(lint.lint)
app.command()(new.new)
app.command()(tco.tco)
app.add_typer(pipeline.app)
for command in additions("hallmark.commands"):  # of the local cluster and of tools
    app.command(command.name)(command.load())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    try:
        app(given, prog_name="hallmark")
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets a sentence and not a traceback
        if debug:
            traceback.print_exc()
        told = foreseen(error)
        console.fail(told)
        return told.exit_code
    return 0
