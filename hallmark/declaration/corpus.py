"""The items of a domain with retrieval, by their contract: the id that is answered, the columns that filter, and those that are read by words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from hallmark.declaration import source as sources
from hallmark.declaration.retrieval import Retrieval
from hallmark.declaration.source import Datatype, Source
from hallmark.errors import DeclarationError
from hallmark.section import Frozen
from hallmark.settings import Settings


class CorpusFault(NamedTuple):
    """Something that the contract does not give: the key of `retrieval` that asks for it, the reason, and the fix."""

    fault: Literal["id", "column", "words"]
    path: tuple[str | int, ...]
    text: str
    fix: str


class Filter(Frozen):
    """A column that a request may filter by.

    by: value for texts and truths, range for numbers and times.   values: the closed set, where the contract has one.
    """

    column: str
    datatype: Datatype
    by: Literal["value", "range"]
    values: tuple[str | int | float, ...] = ()


class Corpus(Frozen):
    """A corpus as an index is built of it.

    id: the primary key, and whether it is BYTES or INT64.   filters, words: in the declaration's order.
    """

    reference: str
    id: str
    datatype: Datatype
    filters: tuple[Filter, ...] = ()
    words: tuple[str, ...] = ()


def faults(retrieval: Retrieval, source: Source) -> Iterator[CorpusFault]:
    """Everything that `retrieval` asks of the contract and does not get."""
    declared = source.columns
    key = source.key
    if key is None or declared[key].logical_type not in ("string", "integer"):
        why = f"the primary key {key} is a {declared[key].logical_type}" if key else "there is no primary key"
        yield CorpusFault(
            "id", ("corpus",), f"{source.reference}: {why}, so no item has an id", "declare a string or an integer"
        )
    for part in ("words", "filters"):
        for place, name in enumerate(getattr(retrieval, part)):
            column = declared.get(name)
            if column is None:
                yield CorpusFault(
                    "column",
                    (part, place),
                    f"{source.reference} has no column {name}",
                    f"name one of {', '.join(declared)}",
                )
            elif part == "words" and column.logical_type != "string":
                yield CorpusFault(
                    "words",
                    (part, place),
                    f"{name} is a {column.logical_type} and has no words",
                    "name columns of texts, and filter by this one",
                )


def of(retrieval: Retrieval, source: Source) -> Corpus:
    """The corpus that a declaration and its contract make together; `DeclarationError` names the first fault."""
    for each in faults(retrieval, source):
        raise DeclarationError(
            f"retrieval.{'.'.join(map(str, each.path))}: {each.text}", expected=each.fix, got=source.reference
        )
    columns = source.columns
    return Corpus(
        reference=source.reference,
        id=str(source.key),
        datatype=columns[str(source.key)].datatype,
        filters=tuple(
            Filter(
                column=name,
                datatype=columns[name].datatype,
                by="value" if columns[name].logical_type in ("string", "boolean") else "range",
                values=tuple(columns[name].values or ()),
            )
            for name in retrieval.filters
        ),
        words=retrieval.words,
    )


def load(retrieval: Retrieval, settings: Settings | None = None) -> Corpus:
    """The corpus of a declaration, by the contract in this checkout."""
    return of(retrieval, sources.load(retrieval.corpus, settings))
