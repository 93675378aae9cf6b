"""Trainings beside each other: experiments, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.registry.comparison import MetricRow, Row, SliceRow


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(experiments)
    app.command()(compare)


def experiments(
    name: DomainName,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="Only the trials of this experiment.", show_default=False)
    ] = "",
    output: Output = Format.table,
) -> None:
    """The trainings of a domain that became no version, newest first: trials of experiments, and refusals with their reasons.

    `hallmark train DOMAIN --experiment NAME` makes trials; the same training without it makes a version of one, and reuses its steps.
    """
    from hallmark.registry.store import Registry

    found = [each for each in Registry(Settings.load()).trials(name) if not experiment or each.experiment == experiment]
    rows = [
        {
            "run": each.run if output is not Format.table else each.run[:8],
            "experiment": each.experiment,
            "outcome": each.outcome if each.passed or each.outcome == "refused" else "experiment, below the gate",
            each.metric: each.value,
            "error": each.error,
            "options": each.options,
            "data": each.data if output is not Format.table else each.data[:19],
            "created": f"{each.created:%Y-%m-%d %H:%M}",
            "fit s": round(each.seconds, 1),
            "reason": each.reason,
        }
        for each in found
    ]
    empty = f"no trial of {name} yet: `hallmark train {name} --experiment NAME`"
    emit(rows, output, empty=empty, wide=("data", "fit s", "created", "reason"))


def compare(
    name: DomainName,
    a: Annotated[str, typer.Argument(metavar="A", help="A version, an alias, or the run of a trial.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write it to this file as one page that needs no network.", show_default=False),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Compare two trainings: metrics and whether their difference is told from chance, slices, options, data, code, importance."""
    from hallmark.declaration import folders
    from hallmark.registry import comparison
    from hallmark.registry.comparison_page import verdict, write
    from hallmark.registry.store import Registry

    settings = Settings.load()
    found = comparison.compare(name, a, b, Registry(settings), folders.task(name, settings).metrics())
    if out is not None:
        write(out, found)
        say(f"comparison of {found.a.name} and {found.b.name}: {out}")
    if output is not Format.table:
        show(found.model_dump(mode="json"), output)
        return
    one, two = f"a: {found.a.name}", f"b: {found.b.name}"
    emit([_metric(row, one, two) for row in found.metrics], output)
    if found.slices:
        say("")
        emit([_slice(row, one, two) for row in found.slices], output)
    differs = [row for row in (*found.options, *found.data, *found.code) if not row.same]
    say("")
    emit([_row(row, one, two) for row in differs], output, empty="the same options, data and code")
    if found.importance:
        say("")
        emit(
            [{"field, shuffled": row.field, one: row.a, two: row.b} for row in found.importance],
            output,
        )
    for side, letter in ((found.a, "a"), (found.b, "b")):
        if not side.passed:
            say(f"{letter}, {side.name}, was refused by its gate: {side.reasons[0]}")
    say(verdict(found))


def _metric(row: MetricRow, one: str, two: str) -> dict[str, Any]:
    told = {True: "yes", False: "no", None: ""}[row.told]
    return {
        "metric": row.metric,
        one: row.a,
        "a error": row.a_error,
        two: row.b,
        "b error": row.b_error,
        "b - a": row.difference,
        "its error": row.error,
        "told from chance": told,
    }


def _slice(row: SliceRow, one: str, two: str) -> dict[str, Any]:
    told = {True: "yes", False: "no", None: ""}[row.told]
    return {
        "slice": row.slice,
        "rows": row.rows,
        one: row.a,
        two: row.b,
        "b - a": row.difference,
        "its error": row.error,
        "told from chance": told,
    }


def _row(row: Row, one: str, two: str) -> dict[str, Any]:
    return {"differs": row.what, one: row.a, two: row.b}
