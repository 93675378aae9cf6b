"""The application: global options, exit codes, and the commands of the other modules.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out; 130, 143, 129 ended by ctrl-c, SIGTERM, a closed
terminal.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from hallmark import __version__
from hallmark.cli import Failed, console, guide
from hallmark.errors import foreseen
from hallmark.libraries import additions, hush

if TYPE_CHECKING:
    app: typer.Typer

PARTS: dict[str, tuple[str, ...]] = {
    "check": ("doctor", "domains", "check"),
    "model": ("data", "train", "versions", "model-card"),
    "tune": ("tune",),
    "experiments": ("experiments", "compare"),
    "clear": ("reset", "gc"),
    "look": ("logs", "open"),
    "serve": ("render", "apply", "status", "release", "promote", "rollback", "settle", "drift"),
    "watch": ("watch",),
    "timeline": ("timeline",),
    "labels": ("labels",),
    "captures": ("captures",),
    "ui": ("ui",),
    "explain": ("explain",),
    "search": ("search",),
    "predict": ("predict",),
    "evaluate": ("evaluate",),
    "lint": ("lint",),
    "new": ("new",),
    "tco": ("tco",),
    "pipeline": ("pipeline",),
    "contracts": ("contracts",),
    "models": ("models",),
    "reviews": ("reviews",),
    "prompts": ("prompts",),
    "decision": ("decision",),
    "features": ("features",),
}
"""Commands of each module. A command that is asked for by its name imports its own module alone."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hallmark {__version__}")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error, and warnings of libraries."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Global options; `run` looks at --debug itself, since an error may come before this runs."""


@functools.cache
def made(command: str) -> typer.Typer:
    """The application, whole where `command` is empty; else, of a command of ours, with what its module has and no other."""
    found = typer.Typer(
        name="hallmark",
        help="Train, serve, watch and renew the models of a second-hand fashion marketplace.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a gate or contract, 4 timed out; 130 ended by ctrl-c, 143 by SIGTERM, 129 by a closed terminal.",
    )
    found.callback()(_options)
    mine = [name for name, commands in PARTS.items() if command in commands]
    for name in mine or PARTS:
        _add(found, name)
    if not mine:
        for each in additions("hallmark.commands"):  # of the local cluster and of tools
            found.command(each.name)(each.load())
    guide.arrange(found)
    return found


def _add(application: typer.Typer, name: str) -> None:
    """Add the commands of a module: one by its name, several by its `add_to`, or a group of them by its `app`."""
    module = import_module(f"hallmark.cli.{name}")
    if name == "features":
        import_module("hallmark.cli.erase").add_to(module.app)
    if hasattr(module, "add_to"):
        module.add_to(application)
    elif hasattr(module, "app"):
        application.add_typer(module.app)
    else:
        application.command()(getattr(module, name))


def __getattr__(name: str) -> Any:
    if name == "app":
        return made("")
    raise AttributeError(name)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command; ends with `Failed` where it failed, and with what click raises where that has told all."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    console.escape()
    if not debug:
        hush(console.say)
    try:
        made(_asked(given))(given, prog_name="hallmark")
    except Exception as error:
        raise Failed(partial(_tell, error, debug=debug)) from error


def _asked(given: Sequence[str]) -> str:
    """The command that is asked for by its name; empty where that is another or none, such as for help of all."""
    first = given[0] if given else ""
    return first if any(first in commands for commands in PARTS.values()) else ""


def _tell(error: Exception, *, debug: bool) -> int:
    """Say an error; gives the exit code."""
    if debug:
        traceback.print_exception(error)
    told = foreseen(error)
    console.fail(told)
    return told.exit_code
