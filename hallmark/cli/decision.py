"""Release units of decisions: `hallmark decision`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.cli.options import declaration
from hallmark.errors import DeclarationError, HallmarkError

if TYPE_CHECKING:
    from hallmark.decision.unit import Unit
    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

app = typer.Typer(
    name="decision",
    help="Release units of decisions: the graph, the thresholds and the version of each node, sealed under one digest.",
    no_args_is_help=True,
)


@app.command(epilog="Example: hallmark decision seal authentication --version 2")
def seal(
    domain: DomainName,
    version: Annotated[
        str, typer.Option("--version", help="Version of the domain's model, or an alias: its card has the thresholds.")
    ] = "champion",
    prompt: Annotated[
        str, typer.Option("--prompt", help="Version of the prompt that a reviewer is asked by, or an alias.")
    ] = "champion",
    pin: Annotated[
        list[str] | None,
        typer.Option(
            "--pin",
            metavar="NODE=VERSION",
            help="Version of a node that is no domain of this checkout; without it any version's answers count. Repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to write; default: unit/ beside the domain's release.yaml.", show_default=False
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Seal the release unit of a registered version, as `hallmark render` and `python -m inference_services.decision` look for it."""
    from hallmark.decision import unit
    from hallmark.registry import units

    declared, settings = declaration(domain)
    to = out if out is not None else unit.place(domain, settings)
    made = units.seal(declared, settings, to, version=version, prompt=prompt, pins=_pins(pin))
    emit([{"domain": domain, "unit": made.digest, "folder": settings.shown(to), **_held(made)}], output)
    _tell(made)
    for line in units.behind(made, declared, settings):
        say(line)
    if out is None:
        say(f"next: hallmark render, and commit {settings.shown(to)} with what that writes")
    else:
        nodes = " ".join(f"--node {name}=http://…" for name in made.parts)
        say(f"next: python -m inference_services.decision --unit {out} --records records {nodes}")


@app.command(epilog="Example: hallmark decision show authentication")
def show(
    unit_: Annotated[
        str,
        typer.Argument(metavar="UNIT", help="A domain, or the folder of a sealed unit.", show_default=False),
    ],
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="A row for each slice and not for each node.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Check every byte of a sealed unit, and show what it is and where the checkout says something else by now."""
    from hallmark.artifacts.thresholds import NO_THRESHOLD
    from hallmark.decision import unit
    from hallmark.declaration import domain as domains
    from hallmark.declaration import folders
    from hallmark.registry import units
    from hallmark.settings import Settings

    settings = Settings.load()
    declared = unit_ in folders.names(settings)
    place = unit.place(unit_, settings) if declared else Path(unit_)
    if not (place / unit.MANIFEST).is_file():
        named = unit_ if declared else "DOMAIN"
        raise DeclarationError(
            "no sealed unit is there",
            expected="a domain with one beside its release.yaml, or its folder",
            got=settings.shown(place),
            fix=f"hallmark decision seal {named}",
        )
    found = unit.read(place, expected=None)
    if thresholds:
        fields = found.thresholds.fields
        rows = [
            {
                **dict(zip(fields, each.values, strict=True)),
                "threshold": NO_THRESHOLD if each.threshold is None else each.threshold,
                **{key: getattr(each, key) for key in ("examples", "accepted", "counterfeits")},
            }
            for each in found.thresholds.slices
        ]
        emit(rows, output, empty=found.thresholds.line)
    else:
        emit(
            [
                {"node": name, "service": part.service, "version": part.version or "any", "digest": part.digest}
                for name, part in found.parts.items()
            ],
            output,
        )
    say(f"{found.digest} of {found.domain}")
    _tell(found)
    if found.domain in folders.names(settings):
        for line in units.behind(found, domains.load(found.domain, settings), settings):
            say(line)


def _held(made: Unit) -> dict[str, int]:
    """Slices, and those among them that accept anything."""
    held = sum(each.threshold is not None for each in made.thresholds.slices)
    return {"slices": len(made.thresholds.slices), "with_threshold": held}


def _tell(made: Unit) -> None:
    from hallmark.registry import units

    say(made.thresholds.line)
    for line in units.elsewhere(made):
        say(line)


def remind(domain: Domain, settings: Settings) -> None:
    """Say what is to be sealed once another version of a domain that decides is stable."""
    from hallmark.decision import unit
    from hallmark.registry import units

    if domain.decision is None:
        return
    place = unit.place(domain.name, settings)
    try:
        told = (
            units.behind(unit.read(place, expected=None), domain, settings) if place.exists() else ["no unit is sealed"]
        )
    except HallmarkError as error:
        told = [f"{settings.shown(place)}: {error.message}"]
    for line in told:
        say(line)
    if told:
        say(f"next: hallmark decision seal {domain.name}")


def _pins(given: list[str] | None) -> dict[str, str]:
    found = {}
    for each in given or []:
        name, equals, version = each.partition("=")
        if not equals or not name or not version:
            raise DeclarationError(
                "--pin is not NODE=VERSION",
                expected="a node of the decision and the version that its answers name",
                got=repr(each),
                fix="write it as in --pin nearest=3",
            )
        found[name] = version
    return found
