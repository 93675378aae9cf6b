"""What every place of an index does, and how a collection elsewhere is held by the digest of the unit that it was filled from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hallmark.errors import ContractBroken, ModelRefused
from hallmark.retrieval import vectors
from hallmark.retrieval.columns import Columns
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.search import Hits, Retriever, asked_vectors, whole
from hallmark.retrieval.unit import Unit

_BLOCK = 1000


class Backend(Protocol):
    """An index wherever it lies; what is applied is found by the next search."""

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items to each of queries (n, d) that meet the filter; `Refused` where that is no search."""

    def apply(self, changes: Sequence[Upsert | Delete]) -> None:
        """Make the changes; returns once a search finds them."""

    def count(self, where: Filter | None = None) -> int:
        """Items that match now."""


@dataclass(frozen=True)
class Folder:
    """The index in the model folder, searched in process."""

    retriever: Retriever
    deltas: Deltas

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items; never fewer than min(k, items that match)."""
        return self.retriever.search(queries, k, where)

    def apply(self, changes: Sequence[Upsert | Delete]) -> None:
        """Make the changes; they are on the disk when it returns."""
        self.deltas.apply(changes)

    def count(self, where: Filter | None = None) -> int:
        """Items that match now."""
        return self.retriever.count(where)


@dataclass(frozen=True)
class Row:
    """An item as a collection holds it: values without those that are missing."""

    id: str
    vector: list[float]
    values: dict[str, Any]
    text: str


class Collection:
    """A name and a unit: what a collection must have been filled from, and what its requests must look like."""

    def __init__(self, name: str, unit: Unit) -> None:
        self.unit, self.card = unit, unit.card
        self.name = f"{name}-{unit.digest.removeprefix('sha256:')[:16]}"

    @property
    def marks(self) -> dict[str, Any]:
        """What is written to a collection once it is whole."""
        card = self.card
        return {
            "unit": self.unit.digest,
            "encoder": card.encoder,
            "preprocessing": card.preprocessing,
            "dimension": card.dimension,
        }

    def whole(self, found: Mapping[str, Any] | None) -> bool:
        """Do a collection's marks say that it was filled from this unit? `ModelRefused` where they are another's."""
        if found:
            self.verify(found)
        return bool(found)

    def verify(self, found: Mapping[str, Any] | None) -> None:
        """`ModelRefused` where a collection's marks are not those of the unit: it is another's, or was not filled whole."""
        if dict(found or {}) != self.marks:
            raise ModelRefused(
                f"the collection {self.name} is not the one of this model",
                expected=", ".join(f"{name} {value}" for name, value in self.marks.items()),
                got=", ".join(f"{name} {value}" for name, value in (found or {}).items())
                or "no marks: it was not filled",
                fix="delete that collection: a server of this version fills it anew when it starts",
            )

    def rows(self) -> Iterator[list[Row]]:
        """All items of the unit, in blocks."""
        texts = self.unit.texts()
        for first in range(0, len(self.unit), _BLOCK):
            rows = list(range(first, min(len(self.unit), first + _BLOCK)))
            near, values = self.unit.vectors(np.array(rows)), self.unit.columns.taken(rows)
            yield [
                Row(
                    self.unit.ids[row],
                    near[at].tolist(),
                    present({name: column[at] for name, column in values.items()}),
                    texts[row] if texts else "",
                )
                for at, row in enumerate(rows)
            ]

    def changed(self, changes: Sequence[Upsert | Delete]) -> list[Row | str]:
        """Rows that are upserted and ids that are deleted, the last change of each id; `ContractBroken` where one is no item."""
        ready: dict[str, Row | str] = {}
        for change in changes:
            ready.pop(change.id, None)
            if isinstance(change, Delete):
                ready[change.id] = change.id
                continue
            near = vectors.checked(change.vector, self.card.dimension, normalised=self.card.normalised)
            if len(near) != 1:
                raise ContractBroken(f"{change.id} has not one vector", expected="one", got=str(len(near)))
            one = Columns(self.card.columns)
            one.append({name: [value] for name, value in change.values.items()}, 1)
            ready[change.id] = Row(change.id, near[0].tolist(), present(one.row(0)), change.text)
        return list(ready.values())

    def asked(self, queries: ArrayLike, k: int, where: Filter | None) -> NDArray[np.float32]:
        """Queries (n, d) as the collection compares them; `Refused` where that is no search of this index."""
        whole(k)
        self.check(where)
        return asked_vectors(queries, self.card.dimension, normalised=self.card.normalised)

    def check(self, where: Filter | None) -> None:
        """`Refused` where the filter does not fit the columns."""
        if where is not None:
            self.unit.columns.check(where)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are there."""
    return {name: value for name, value in values.items() if value is not None and value != []}


def hits(found: Sequence[Sequence[tuple[str, float]]], k: int) -> Hits:
    """Answers to queries, best first, as `Hits`."""
    ids = np.full((len(found), k), "", dtype=object)
    scores = np.full((len(found), k), -np.inf, dtype=np.float32)
    for query, pairs in enumerate(found):
        for at, (item, score) in enumerate(pairs[:k]):
            ids[query, at], scores[query, at] = item, score
    return Hits(ids, scores)
