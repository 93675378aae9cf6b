"""Room on this machine, and a fresh start: reset, gc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import DomainName, DomainNames, Format, Output, emit, say
from hallmark.cli.options import Why, declaration
from hallmark.errors import Refused
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.registry.clearing import Clearing

DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; list what would go, and what would stay.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(reset)
    app.command()(gc)


def reset(
    name: DomainName,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    why: Why = "",
    output: Output = Format.table,
) -> None:
    """Begin a domain anew: delete its versions, trials, plots and workspaces, for ever; what is released stays.

    A version that release.yaml names, or the local cluster serves or goes back to, is kept with its alias; so is the cache of finished
    steps, by which the same training is made again in seconds.
    """
    from hallmark.registry import clearing
    from hallmark.registry.store import Registry
    from hallmark.rollout.history import History

    settings = declaration(name)[1]
    registry = Registry(settings)
    found = clearing.reset(name, registry)
    if _agreed(found, dry_run=dry_run, yes=yes, output=output, what=f"all of {name}"):
        text = f"{len(found.goes)} versions, trials and folders removed, {len(found.stays)} stay"
        with History(settings, name).act("reset", text, why=why):
            clearing.carry_out(found, registry)
        say(text)


def gc(
    names: DomainNames = None,
    days: Annotated[float, typer.Option(min=0, help="What was asked for within so many days stays.")] = 30,
    keep: Annotated[int, typer.Option(min=1, help="Versions of a domain that stay in any case, the newest.")] = 20,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.table,
) -> None:
    """Make room: old versions without an alias, folders that no version names, old plots, workspaces and finished steps.

    What is released stays, and so does every version with an alias.
    """
    from hallmark.declaration import domain as declared
    from hallmark.registry import clearing
    from hallmark.registry.store import Registry

    settings = Settings.load()
    registry = Registry(settings)
    found = clearing.collect(tuple(names or declared.names(settings)), registry, days=days, keep=keep)
    if _agreed(found, dry_run=dry_run, yes=yes, output=output, what=f"what is older than {days:g} days"):
        clearing.carry_out(found, registry)
        say(f"removed {_freed(found)}")


def _agreed(found: Clearing, *, dry_run: bool, yes: bool, output: Format, what: str) -> bool:
    """Show what goes and what stays, and ask; False where nothing is to be done."""
    from hallmark.registry import clearing

    emit(clearing.rows(found.goes), output, empty="nothing to remove")
    for piece in found.stays:
        say(f"stays: {piece.kind} {piece.name} of {piece.domain}: {piece.why}")
    if dry_run and found.goes:
        say(f"nothing was changed; {_freed(found)} would go")
    if dry_run or not found.goes:
        return False
    if not yes and not typer.confirm(f"Remove {what}: {_freed(found)}? This cannot be undone", err=True):
        raise Refused("nothing was removed", expected="yes, or --yes", got="no")
    return True


def _freed(found: Clearing) -> str:
    return f"{len(found.goes)} thing{'s' if len(found.goes) != 1 else ''}, {found.size / 1e6:.1f} MB"
