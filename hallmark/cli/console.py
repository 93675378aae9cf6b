"""Output of commands: results on stdout as table, JSON or YAML; everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hallmark.errors import HallmarkError

_WIDE = 200
"""Columns of a table that is piped: a line a row, for grep."""


class Format(StrEnum):
    """Format of a printed result."""

    table = "table"
    json = "json"
    yaml = "yaml"


def _declared(given: str | list[str] | None) -> str | list[str] | None:
    """What was given, if it names declared domains: a declaration that cannot be read hides nothing that is live."""
    from hallmark.declaration import domain
    from hallmark.settings import Settings

    if given:
        settings = Settings.load()
        for name in [given] if isinstance(given, str) else given:
            if name not in domain.names(settings):
                domain.load(name, settings)
    return given


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
DomainName = Annotated[
    str,
    typer.Argument(
        metavar="DOMAIN", help="A folder of domains/, such as fraud.", show_default=False, callback=_declared
    ),
]
DomainNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="DOMAIN", help="Only these domains; default: all.", show_default=False, callback=_declared),
]
Seconds = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait before giving up (exit 4).")]


def out() -> Console:
    """The console of results."""
    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _WIDE, soft_wrap=not terminal, highlight=False)


def say(text: str) -> None:
    """A line of progress or advice, on stderr, so that stdout stays a result."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text))


def emit(
    rows: Sequence[Mapping[str, Any]],
    output: Format,
    *,
    title: str = "",
    empty: str = "nothing yet",
    wide: Sequence[str] = (),
) -> None:
    """Rows as a table with their keys as columns, or as a JSON or YAML list, whose keys have no spaces.

    wide: the columns that a narrow terminal can do without, the first that go first; what was left out is said.
    """
    if output is not Format.table:
        show([{key.replace(" ", "_"): value for key, value in row.items()} for row in rows], output)
        return
    if not rows:
        say(empty)
        return
    console, keys, left_out = out(), list(rows[0]), []
    table = _table(rows, keys, title)
    for key in wide:
        if console.measure(table, options=console.options.update(max_width=10_000)).maximum <= console.width:
            break
        keys.remove(key)
        left_out.append(key)
        table = _table(rows, keys, title)
    console.print(table)
    if left_out:
        say(f"{console.width} columns have no room for {', '.join(left_out)}: widen the terminal, or -o json")


def _table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for key in keys:
        right = all(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(key.replace("_", " ").upper(), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in keys))
    return table


def show(value: Any, output: Format) -> None:
    """One value as JSON, or as YAML where a table was asked for too."""
    if output is Format.json:
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
        return
    import yaml

    plain = json.loads(json.dumps(value, default=str))
    sys.stdout.write(yaml.safe_dump(plain, sort_keys=False, width=120, allow_unicode=True))


def fail(error: HallmarkError) -> None:
    """An error in full, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    kind = {2: "usage", 3: "refused", 4: "timed out"}.get(error.exit_code, "failed")
    console.print(Text.assemble((f"{kind}: ", "bold red"), error.message))
    for word, text in (("expected", error.expected), ("got", error.got), ("fix", error.fix)):
        if text:
            console.print(Text.assemble((f"  {word + ':':<10}", "bold"), text))


def _cell(value: Any) -> Text:
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    text = str(value)
    style = {"True": "green", "OK": "green", "DRIFT": "bold red", "False": "red", "INSUFFICIENT": "yellow"}.get(
        text, ""
    )
    return Text(text, style=style)
