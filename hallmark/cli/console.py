"""Output of commands: results on stdout as table, JSON or YAML; everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import IO, Annotated, Any, NamedTuple

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hallmark.errors import HallmarkError

_WIDE = 200
"""Columns of a table that is piped: a line a row, for grep."""
_NARROWEST = 20
_READABLE = (24, 19, 12)
"""Columns that a text keeps beside others, what is best first: a few words, a time, a schedule."""
_GAP = 2
_Cells = dict[str, list[Text]]
"""Cells of a table by key, a row an item."""


class Format(StrEnum):
    """Format of a printed result."""

    table = "table"
    json = "json"
    yaml = "yaml"


def _declared(given: str | list[str] | None) -> str | list[str] | None:
    """What was given, if it names declared domains: a declaration that cannot be read hides nothing that is live."""
    from hallmark.declaration import folders
    from hallmark.settings import Settings

    if given:
        settings = Settings.load()
        for name in [given] if isinstance(given, str) else given:
            folders.path(name, settings)
    return given


def _names(incomplete: str) -> list[str]:
    """Domains that a shell completes; nothing where this is no checkout."""
    from hallmark.declaration import folders
    from hallmark.settings import Settings

    try:
        return [name for name in folders.names(Settings.load()) if name.startswith(incomplete)]
    except HallmarkError:
        return []


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
DomainName = Annotated[
    str,
    typer.Argument(
        metavar="DOMAIN",
        help="A folder of domains/, such as fraud.",
        show_default=False,
        callback=_declared,
        autocompletion=_names,
    ),
]
DomainNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DOMAIN",
        help="Only these domains; default: all.",
        show_default=False,
        callback=_declared,
        autocompletion=_names,
    ),
]
Seconds = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait before giving up (exit 4).")]


def width(stream: IO[str] | None = None) -> int | None:
    """Columns of the terminal, or those of $COLUMNS; none where neither is known, as in a pipe."""
    if (stream or sys.stdout).isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(_NARROWEST, Console(file=stream).width)
    return None


def escape() -> None:
    """Have stdout escape what its encoding lacks, as stderr does: no sign in a result may end a command."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def out() -> Console:
    """The console of results."""
    known = width()
    return Console(width=known or _WIDE, soft_wrap=known is None, highlight=False)


def wrapped(text: str, *, columns: int | None, hang: int = 2) -> str:
    """Lines of at most `columns`, broken between words alone: a path or a digest stays whole, for a terminal to fold and a person to copy.

    hang: blanks before what a line continues with, beside its own; fewer where a word needs the room.
    """
    if columns is None:
        return text
    lines = []
    for line in text.split("\n"):
        own = len(line) - len(line.lstrip(" "))
        longest = _longest(line.split())
        room = columns - longest if longest <= columns else columns
        indent = " " * min(own + hang, columns // 2, room)
        made = textwrap.wrap(
            line,
            columns,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += made or [""]
    return "\n".join(lines)


def say(text: str) -> None:
    """A line of progress or advice, on stderr, so that stdout stays a result."""
    _told(Text(wrapped(text, columns=width(sys.stderr))))


def _told(text: Text) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


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
        show([machine(row) for row in rows], output)
        return
    if not rows:
        say(empty)
        return
    console, keys = out(), list(rows[0])
    cells = {key: [_cell(row.get(key)) for row in rows] for key in keys}
    sizes = {key: _sizes(key, column) for key, column in cells.items()}
    left_out = []
    for key in wide:
        if _widths(sizes.values(), console.width, readable=_READABLE[0]) is None:
            left_out.append(key)
            del cells[key], sizes[key]
    fitted = next(filter(None, (_widths(sizes.values(), console.width, readable=each) for each in _READABLE)), None)
    if fitted is None:
        _records(console, cells, title)
    elif not console.is_terminal and not title and _flat(cells, fitted):
        _write_lines(rows, cells, fitted)
    else:
        console.print(_table(rows, cells, fitted, title))
    if left_out:
        say(f"{console.width} columns have no room for {', '.join(left_out)}: widen the terminal, or -o json")


def machine(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for programs: no spaces in its keys."""
    return {key.replace(" ", "_"): value for key, value in row.items()}


def _table(rows: Sequence[Mapping[str, Any]], cells: _Cells, widths: Sequence[int], title: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for key, columns in zip(cells, widths, strict=True):
        right = all(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(_heading(key), justify="right" if right else "left", overflow="fold", width=columns)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _flat(cells: _Cells, widths: Sequence[int]) -> bool:
    """Is every cell, and every heading, one line that its column has room for?"""
    columns = zip(cells.items(), widths, strict=True)
    return all(
        "\n" not in text and cell_len(text) <= width
        for (key, column), width in columns
        for text in (_heading(key), *(cell.plain for cell in column))
    )


def _write_lines(rows: Sequence[Mapping[str, Any]], cells: _Cells, widths: Sequence[int]) -> None:
    """What `_table` prints where nothing is coloured and nothing wraps, in a tenth of the time that 500 rows take there."""
    padded = []
    for (key, column), width in zip(cells.items(), widths, strict=True):
        right = all(isinstance(row.get(key), int | float) for row in rows)
        texts = [_heading(key), *(cell.plain for cell in column)]
        padded.append(
            [
                " " * (width - cell_len(text)) + text if right else text + " " * (width - cell_len(text))
                for text in texts
            ]
        )
    sys.stdout.write("".join((" " * _GAP).join(line) + "\n" for line in zip(*padded, strict=True)))


def _heading(key: str) -> str:
    return key.replace("_", " ").upper()


class _Sizes(NamedTuple):
    """Sizes of a column.   word, line: the longest of its cells.   heading: of its heading, and the longest word of that."""

    word: int
    line: int
    heading: int
    heading_word: int


def _sizes(key: str, column: Iterable[Text]) -> _Sizes:
    texts, heading = {cell.plain for cell in column}, _heading(key)
    return _Sizes(
        word=_longest({word for text in texts for word in text.split()}),
        line=_longest({line for text in texts for line in text.split("\n")}),
        heading=cell_len(heading),
        heading_word=_longest(heading.split()),
    )


def _widths(sizes: Collection[_Sizes], columns: int, *, readable: int) -> list[int] | None:
    """The width of each column, the widest narrowed so that no word is broken; none where that takes less than what is readable."""
    found = [max(each.line, each.heading) for each in sizes]
    least = [max(each.heading_word, each.word, min(each.line, readable)) for each in sizes]
    room = columns - _GAP * (len(found) - 1)
    if sum(least) > room:
        return None
    while sum(found) > room:
        place = max((each for each in range(len(found)) if found[each] > least[each]), key=found.__getitem__)
        found[place] -= 1
    return found


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _records(console: Console, cells: _Cells, title: str) -> None:
    """Rows one below the other, a line a value, where a table has no room; a value with a long word has lines of its own below its key."""
    if title:
        console.print(Text(title, style="italic"), soft_wrap=True)
    label = min(_longest(map(_heading, cells)), console.width // 2) + _GAP
    for number, row in enumerate(zip(*cells.values(), strict=True)):
        if number:
            console.print()
        for key, cell in zip(cells, row, strict=True):
            longest = _longest(cell.plain.split())
            beside = longest <= console.width - label
            indent = " " * (label if beside else min(_GAP, max(0, console.width - longest)))
            text = wrapped(cell.plain, columns=console.width - len(indent), hang=0).replace("\n", "\n" + indent)
            head = f"{_heading(key):<{label}}" if beside else f"{_heading(key)}\n{indent}"
            console.print(Text.assemble((head, "bold"), (text, cell.style)), soft_wrap=True)


def show(value: Any, output: Format) -> None:
    """One value as JSON, or as YAML where a table was asked for too."""
    if output is Format.json:
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
        return
    import yaml

    plain = json.loads(json.dumps(value, default=str))
    columns = (width() or 136) - 16  # PyYAML breaks after the word that crosses the line
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(yaml.safe_dump(plain, sort_keys=False, width=max(columns, 20), allow_unicode=unicode))


def fail(error: HallmarkError) -> None:
    """An error in full, on stderr."""
    columns = width(sys.stderr)
    kind = {2: "usage", 3: "refused", 4: "timed out"}.get(error.exit_code, "failed")
    head = wrapped(f"{kind}: {error.message}", columns=columns)
    _told(Text.assemble((head[: len(kind) + 1], "bold red"), head[len(kind) + 1 :]))
    for word, text in (("expected", error.expected), ("got", error.got), ("fix", error.fix)):
        if text:
            line = wrapped(f"  {word + ':':<10}{text}", columns=columns, hang=10)
            _told(Text.assemble((line[:12], "bold"), line[12:]))


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
