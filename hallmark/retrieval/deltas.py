"""Changes to a sealed index while it serves: upserts and deletes that are on the disk, and found, before they are acknowledged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hallmark import files
from hallmark.errors import Conflict, ContractBroken
from hallmark.retrieval import vectors
from hallmark.retrieval.card import IndexOptions, UnitCard
from hallmark.retrieval.columns import Columns
from hallmark.retrieval.journal import Journal
from hallmark.retrieval.overlay import Growing, Overlay
from hallmark.retrieval.unit import Items, Unit, build, demand_id
from hallmark.retrieval.words import tokens

_JOURNAL, _LOCK = "journal", "lock"
_PATIENCE = 2.0
_IDLE = 4096
"""Added rows that may be replaced or deleted, beyond as many as live, before they are taken out."""


@dataclass(frozen=True, eq=False)
class Upsert:
    """An item that is new, or takes the place of the one of its id.

    vector: (d,).  values: of filter columns, by name.  text: its words.  source: the item as it came, from which another encoder
    can make another vector.
    """

    id: str
    vector: ArrayLike
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    source: bytes = b""


@dataclass(frozen=True)
class Delete:
    """An item that is gone; one that is not there may be deleted too."""

    id: str


class Change(NamedTuple):
    """A change, its position in the journal, and when it was acknowledged, in seconds since 1970."""

    position: int
    at: float
    change: Upsert | Delete


class Deltas:
    """The changes to one unit, of which `now` is the newest state; one process writes, any number of its threads read."""

    def __init__(self, unit: Unit, journal: Journal, held: contextlib.ExitStack) -> None:
        self._unit, self._journal, self._held = unit, journal, held
        self._lock = Lock()
        self._empty()
        self.now: Overlay = self._state()
        self._replay()

    @classmethod
    def open(cls, folder: Path, unit: Unit) -> Deltas:
        """The changes to `unit` that lie in `folder`, by the unit's digest; `Conflict` where another process has them open.

        `ModelRefused` where a record that was acknowledged cannot be read.
        """
        place = folder / unit.digest.removeprefix("sha256:")[:32]
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.locked(place / _LOCK, patience=_PATIENCE))
            except TimeoutError as error:
                raise Conflict(
                    "another process changes this index", expected="one writer of an index", got=str(error)
                ) from error
            journal = Journal(place / _JOURNAL)
            held.callback(journal.close)
            return cls(unit, journal, held.pop_all())

    @property
    def position(self) -> int:
        """Position of the last change."""
        return self._journal.position

    @property
    def dropped(self) -> int:
        """Bytes at the journal's end that opening took away: a change that was never acknowledged."""
        return self._journal.dropped

    @property
    def broken(self) -> bool:
        """Did a write or fsync of the journal fail? Then it takes nothing until it is opened again."""
        return self._journal.broken

    @property
    def count(self) -> int:
        """Items that were added and are not replaced or deleted since; each search compares with all of them."""
        return int(self.now.live.sum())

    def apply(self, changes: Sequence[Upsert | Delete]) -> int:
        """Write the changes, all or none, and give their position: from then on, and after a kill, every search sees them.

        `ContractBroken` where an item's vector, value, text or id is not what the index takes; nothing is changed then.
        """
        if not changes:
            return self.position
        ready = self._checked(changes)
        payload = _encoded(ready, time.time())
        with self._lock:
            position = self._journal.append(payload)
            self._take(ready)
            self.now = self._state()
            if len(self._added.ids) > 2 * len(self._added.latest) + _IDLE:
                self._compact()
        return position

    def check(self, changes: Sequence[Upsert | Delete]) -> None:
        """`ContractBroken` where `apply` would refuse these."""
        self._checked(changes)

    def compact(self) -> None:
        """Take out of the journal and of memory what later changes replaced; positions stay. It happens by itself too."""
        with self._lock:
            self._compact()

    def changes(self, since: int = 0) -> Iterator[Change]:
        """Changes after the position `since`, oldest first, as they were acknowledged."""
        with self._lock:
            records = [each for each in self._journal.records() if each[0] > since]
        for position, payload in records:
            at, changes = _decoded(payload, self._unit.card.dimension)
            for change in changes:
                yield Change(position, at, change)

    def close(self) -> None:
        """Let another process write; searches of what was found so far go on."""
        with self._lock:
            self._held.close()

    def _compact(self) -> None:
        newest: dict[str, int] = {}
        dimension = self._unit.card.dimension
        for position, payload in self._journal.records():
            newest.update((change.id, position) for change in _decoded(payload, dimension)[1])
        self._journal.replace(self._kept(newest))
        self._empty()
        self._replay()

    def _replay(self) -> None:
        dimension = self._unit.card.dimension
        self._take([change for _, payload in self._journal.records() for change in _decoded(payload, dimension)[1]])
        self.now = self._state()

    def _kept(self, newest: dict[str, int]) -> Iterator[tuple[int, bytes]]:
        """The journal's records with the newest change of each id alone."""
        for position, payload in self._journal.records():
            at, changes = _decoded(payload, self._unit.card.dimension)
            kept = {change.id: change for change in changes if newest[change.id] == position}
            if kept:
                yield position, _encoded(list(kept.values()), at)

    def _empty(self) -> None:
        unit = self._unit
        self._added = Growing(unit.card.dimension, Columns(unit.card.columns))
        self._dead = np.zeros(len(unit), dtype=np.bool_)
        self._gone = 0
        self._live = np.zeros(0, dtype=np.bool_)

    def _checked(self, changes: Sequence[Upsert | Delete]) -> list[Upsert | Delete]:
        card = self._unit.card
        ready: list[Upsert | Delete] = []
        for change in changes:
            demand_id(change.id)
            if isinstance(change, Delete):
                ready.append(change)
                continue
            (vector,) = _one(change, card.dimension, normalised=card.normalised)
            Columns(card.columns).append({name: [value] for name, value in change.values.items()}, 1)
            if not isinstance(change.text, str):
                raise ContractBroken("an item's text is no text", expected="a text", got=f"{change.text!r:.80}")
            ready.append(Upsert(change.id, vector, dict(change.values), change.text, change.source))
        return ready

    def _take(self, changes: Sequence[Upsert | Delete]) -> None:
        """Take changes into memory; readers see them with the next state."""
        dead, live = self._dead, np.zeros(len(self._live) + len(changes), dtype=np.bool_)
        live[: len(self._live)] = self._live
        for change in changes:
            before = self._added.latest.pop(change.id, None)
            if before is not None:
                live[before] = False
            row = self._unit.rows.get(change.id)
            if row is not None and not dead[row]:
                dead = dead.copy() if dead is self._dead else dead
                dead[row] = True
                self._gone += 1
            if isinstance(change, Upsert):
                words = tokens(change.text) if self._unit.words is not None else []
                vector = np.asarray(change.vector, dtype=np.float32)
                live[self._added.add(change.id, vector, dict(change.values), change.text, words)] = True
        self._dead, self._live = dead, live[: len(self._added.ids)]

    def _state(self) -> Overlay:
        added = self._added
        return Overlay(
            self._dead,
            self._gone,
            self._live,
            added.vectors,
            added.ids,
            added.words,
            added.texts,
            added.columns,
            added.latest,
        )


def folded(
    unit: Unit,
    deltas: Deltas,
    folder: Path,
    *,
    options: IndexOptions | None = None,
    queries: ArrayLike | None = None,
) -> tuple[UnitCard, int]:
    """Write a new index with the changes in it, and give its card and the position of the last of them.

    Changes after that position are the new index's own: carry them over with `changes(since)`.
    """
    with deltas._lock:
        now, position = deltas.now, deltas.position
    card = build(
        folder,
        _blocks(unit, now),
        encoder=unit.card.encoder,
        preprocessing=unit.card.preprocessing,
        dimension=unit.card.dimension,
        normalised=unit.card.normalised,
        columns=unit.card.columns,
        words=unit.card.words,
        options=options,
        queries=queries,
    )
    return card, position


def _blocks(unit: Unit, now: Overlay) -> Iterator[Items]:
    """The living items of an index and of its changes."""
    texts = unit.texts()
    for rows in np.array_split(np.flatnonzero(~now.dead), max(1, len(unit) // vectors.BLOCK)):
        listed = rows.tolist()
        yield Items(
            [unit.ids[row] for row in listed],
            unit.vectors(rows),
            unit.columns.taken(listed),
            [texts[row] for row in listed] if texts else None,
        )
    added = now.rows(None)
    listed = added.tolist()
    yield Items(
        [now.ids[row] for row in listed],
        now.vectors[added],
        now.columns.taken(listed),
        [now.texts[row] for row in listed],
    )


def _one(change: Upsert, dimension: int, *, normalised: bool) -> NDArray[np.float32]:
    try:
        found = vectors.checked(change.vector, dimension, normalised=normalised)
    except ContractBroken as error:
        raise ContractBroken(
            f"{change.id}: {error.message}", expected=error.expected, got=error.got, fix=error.fix
        ) from error
    if len(found) != 1:
        raise ContractBroken(f"{change.id} has not one vector", expected=f"({dimension},)", got=str(found.shape))
    return found


def _encoded(changes: Sequence[Upsert | Delete], at: float) -> bytes:
    import msgspec

    rows = [
        (change.id,)
        if isinstance(change, Delete)
        else (
            change.id,
            np.asarray(change.vector, dtype="<f4").tobytes(),
            change.values,
            change.text,
            change.source,
        )
        for change in changes
    ]
    return msgspec.msgpack.encode((at, rows), enc_hook=lambda value: value.item())  # a number of numpy's


def _decoded(payload: bytes, dimension: int) -> tuple[float, list[Upsert | Delete]]:
    import msgspec

    at, rows = msgspec.msgpack.decode(payload)
    return at, [
        Delete(row[0]) if len(row) == 1 else Upsert(row[0], np.frombuffer(row[1], dtype="<f4"), *row[2:])
        for row in rows
    ]
