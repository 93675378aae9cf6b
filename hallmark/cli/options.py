"""Options that several commands have, each written once, and the declaration that a DOMAIN argument names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.errors import DeclarationError
from hallmark.section import EXACT, LARGEST_SEED, duration
from hallmark.settings import SYNTHETIC as SYNTHETIC
from hallmark.settings import Settings

if TYPE_CHECKING:
    from datetime import timedelta

    from hallmark.declaration.domain import Domain

MOST_TRIES = 1000

DataSource = Annotated[
    str, typer.Option("--data", help="A file or folder of your own, or `synthetic`: the marketplace.", metavar="PATH")
]
Until = Annotated[
    str, typer.Option(help="Train as of this day (UTC), such as 2026-10-01; default: today.", show_default=False)
]
Window = Annotated[
    str,
    typer.Option(help="Learn from this long before that, such as 30d; default: domain.yaml's.", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=LARGEST_SEED, help="Default: the one in domain.yaml.", show_default=False),
]
Shift = Annotated[str | None, typer.Option(help="A named shift in synthetic data: see --shifts.", show_default=False)]
FitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="KEY=VALUE for the domain's own `fit`, such as epochs=3; repeatable.", show_default=False
    ),
]


Searched = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="What is searched, KEY=LOW..HIGH or KEY=\\[one, another]; KEY=VALUE is the same in every try. Repeatable.",
        show_default=False,
    ),
]
Tries = Annotated[int, typer.Option(min=1, max=MOST_TRIES, help="How many tries of a search in all.")]
Jobs = Annotated[
    int, typer.Option(min=1, max=64, help="Tries of a search that are made at once: processes here, pods on a cluster.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0: any that is free.")]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Print the address, and open no browser.")]
Why = Annotated[
    str, typer.Option("--why", help="The reason, in your words: `hallmark timeline` shows it.", show_default=False)
]


def fit_options(given: list[str] | None) -> dict[str, Any]:
    """`--option KEY=VALUE` as keywords for `fit`."""
    from hallmark import key_value

    found: dict[str, Any] = {}
    for item in given or []:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise DeclarationError(
                "--option is not KEY=VALUE",
                expected="a keyword of the domain's fit and its value",
                got=repr(item),
                fix="write it as in --option epochs=3",
            )
        found[key] = key_value.read("--option", key, value)
        if not _plain(found[key]):
            raise DeclarationError(
                f"--option {key} has a value that no pipeline hands on",
                expected="a text, a number (a whole one within 2**53), true or false, or a list of them",
                got=repr(value),
                fix="leave the option out where its default is meant",
            )
    return found


def _plain(value: Any) -> bool:
    """JSON without null and with numbers that a float holds: what Kubeflow hands from step to step unchanged."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, int):
        return abs(value) <= EXACT
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def since_of(text: str) -> timedelta | None:
    """What `--since` says; none where it says nothing."""
    if not text:
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise DeclarationError("--since", expected=str(error).removeprefix("expected "), got=repr(text)) from error


def declaration(name: str) -> tuple[Domain, Settings]:
    """The domain of this name, and the settings of this process."""
    from hallmark.declaration import domain as declared

    settings = Settings.load()
    return declared.load(name, settings), settings
