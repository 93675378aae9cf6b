"""What a run said, and pages to look at: logs, open."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import DomainName, say
from hallmark.cli.options import declaration
from hallmark.errors import NotFound

if TYPE_CHECKING:
    from hallmark.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(logs)
    app.command("open")(open_)


def logs(
    name: DomainName,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="Only what this step said, such as train.", show_default=False)
    ] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="The last so many of each.")] = 50,
    listed: Annotated[bool, typer.Option("--list", help="Only name the files.")] = False,
) -> None:
    """Print what the steps of a domain's last training on this machine said, and what its pods on the local cluster say."""
    from hallmark.files import last_lines

    settings = declaration(name)[1]
    found = [path for path in _logs(name, settings) if step in ("", path.stem)]
    if not found:
        raise NotFound(
            f"there is no log of {name}{f', step {step}' if step else ''} here",
            expected=", ".join(path.stem for path in _logs(name, settings)) or "a training, or a pod",
            got="none",
            fix=f"`hallmark train {name}`; on a cluster `kubectl logs -n {name} POD` has them",
        )
    for path in found:
        typer.echo(f"== {settings.shown(path)}")
        if not listed:
            for line in last_lines(path, lines):
                typer.echo(line)


def _logs(name: str, settings: Settings) -> list[Path]:
    """Logs of the newest training, in the order in which its steps began, then those of pods."""
    runs = sorted((settings.runs / "workspaces" / name).glob("*"))
    steps = sorted((runs[-1] / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime) if runs else []
    return [*steps, *sorted((settings.cluster / "pods" / name).glob("*/*.log"))]


def open_(
    name: DomainName,
    show: Annotated[bool, typer.Option("--print", help="Print the address, and open nothing.")] = False,
) -> None:
    """Open the page of a domain's last training in the browser: its metrics, slices and curves."""
    settings = declaration(name)[1]
    pages = sorted((settings.runs / "plots").glob(f"{name}-*.html"), key=lambda path: path.stat().st_mtime)
    if not pages:
        raise NotFound(
            f"there is no page of {name} yet", expected="a training", got="none", fix=f"hallmark train {name}"
        )
    address = pages[-1].as_uri()
    if show or not webbrowser.open(address):
        typer.echo(address)
        return
    say(f"opened {settings.shown(pages[-1])}")
