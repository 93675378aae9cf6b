"""The application: global options, exit codes, and the commands of the other modules.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out; 130, 143, 129 ended by ctrl-c, SIGTERM, a closed
terminal.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from functools import partial

import typer

from hallmark import __version__
from hallmark.cli import (
    Failed,
    check,
    clear,
    console,
    contracts,
    erase,
    evaluate,
    experiments,
    explain,
    features,
    guide,
    labels,
    lint,
    look,
    model,
    models,
    new,
    pipeline,
    predict,
    reviews,
    search,
    serve,
    tco,
    timeline,
    tune,
    ui,
    watch,
)
from hallmark.errors import foreseen
from hallmark.libraries import additions, hush

app = typer.Typer(
    name="hallmark",
    help="Train, serve, watch and renew the models of a second-hand fashion marketplace.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out; 130 ended by ctrl-c, 143 by SIGTERM, 129 by a closed terminal.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hallmark {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error, and warnings of libraries."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Global options; `run` looks at --debug itself, since an error may come before this runs."""


check.add_to(app)
model.add_to(app)
app.command()(tune.tune)
experiments.add_to(app)
clear.add_to(app)
look.add_to(app)
serve.add_to(app)
app.command()(watch.watch)
app.command()(timeline.timeline)
app.command()(labels.labels)
app.command()(ui.ui)
app.command()(explain.explain)
app.command()(search.search)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.command()(lint.lint)
app.command()(new.new)
app.command()(tco.tco)
app.add_typer(pipeline.app)
app.add_typer(contracts.app)
app.add_typer(models.app)
app.add_typer(reviews.app)
erase.add_to(features.app)
app.add_typer(features.app)
for command in additions("hallmark.commands"):  # of the local cluster and of tools
    app.command(command.name)(command.load())
guide.arrange(app)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command; ends with `Failed` where it failed, and with what click raises where that has told all."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    console.escape()
    if not debug:
        hush(console.say)
    try:
        app(given, prog_name="hallmark")
    except Exception as error:
        raise Failed(partial(_tell, error, debug=debug)) from error


def _tell(error: Exception, *, debug: bool) -> int:
    """Say an error; gives the exit code."""
    if debug:
        traceback.print_exception(error)
    told = foreseen(error)
    console.fail(told)
    return told.exit_code
