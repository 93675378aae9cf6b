"""An online store as its readers and writers see it: rows, the order between them, and what every store does."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from hallmark.errors import DeclarationError, Unavailable
from hallmark.feature_store.online.keys import EntityKey, Key

READ_SECONDS = 0.05
"""How long a request waits for its features."""
WRITE_SECONDS = 5.0
"""How long a writer waits, and whoever erases or looks through a view."""
SLACK = timedelta(days=1)
"""How long after it is of no more use a row stays at least, so that a store whose clock is fast drops none that is."""
RIGHTS = "a domain reads the views that its domain.yaml names, once terraform/domains is applied"
_STAMP = struct.Struct(">QQ")
_SIGN = 2**63


class Row(NamedTuple):
    """What is known of a key; event_time and known_at: microseconds since 1970, signed, 64 bits."""

    key: Key
    event_time: int
    known_at: int
    payload: bytes


class OnlineStore(Protocol):
    """The newest row of each key.

    Newer is the row with the later event_time, of these the one with the later known_at, of these the one whose payload is greater byte
    by byte. So the same writes end in the same state in whatever order, however often and from however many processes they come, and a
    write that failed is simply made again. Future times are refused by who writes, not here.

    `Unavailable` where the store does not answer: in `read_seconds` for reads, in `write_seconds` for all else. The next call tries again.
    Threads may share a store. A process that was forked off has its own connections; after `close` a call opens them anew.
    """

    def read(self, keys: Sequence[Key]) -> list[Row | None]:
        """The rows in the order of the keys, None where there is none; a key may come twice."""

    async def aread(self, keys: Sequence[Key]) -> list[Row | None]:
        """`read` for an event loop, which it does not hold up; `read_seconds` is for all of it."""

    def write(self, rows: Iterable[Row], *, keep: Mapping[str, timedelta] | None = None) -> int:
        """Take the rows that are newer than what the store has, one key at a time; how many keys have another row now.

        keep: by view, how long after its event_time a row is of use. The store may drop it a day (`SLACK`) later, and need not: whoever
        reads judges a row's age.
        """

    def erase(self, entity: EntityKey, views: Iterable[str]) -> int:
        """Remove an entity from these views; how many rows that were. A row that is written later stands again."""

    def scrub(self) -> None:
        """Leave nothing in the files that the store keeps here of rows that were erased or replaced; nothing to do for one that is elsewhere."""

    def scan(self, view: str) -> Iterator[list[Row]]:
        """All rows of a view in pages, in no order; those that are written or erased meanwhile may be missing."""

    def close(self) -> None:
        """Close every connection but those of `aread`."""

    async def aclose(self) -> None:
        """Close every connection of this event loop, and the others."""


def packed(row: Row) -> bytes:
    """A row's stamp and payload as bytes, of two rows the newer one's greater; `DeclarationError` where a time has no 64 bits."""
    try:
        return _STAMP.pack(row.event_time + _SIGN, row.known_at + _SIGN) + row.payload
    except struct.error as error:
        raise DeclarationError(
            f"a row of {row.key.view} has a time that no store holds",
            expected="microseconds since 1970 in 64 bits",
            got=f"event_time {row.event_time}, known_at {row.known_at}",
            fix="see whether they are nanoseconds",
        ) from error


def unpacked(key: Key, value: bytes) -> Row:
    """The row of a key; `Unavailable` where the bytes are none that `packed` gave."""
    try:
        event, known = _STAMP.unpack_from(value)
    except struct.error as error:
        raise Unavailable(
            f"a row of {key.view} in the online store is none",
            expected="a row that Hallmark wrote",
            got=f"{len(value)} bytes at {bytes(key.entity)!r}",
            fix="erase the entity from the view, and see who else writes below the domain's name",
        ) from error
    return Row(key, event - _SIGN, known - _SIGN, value[_STAMP.size :])


def newest(rows: Iterable[Row]) -> dict[Key, bytes]:
    """The newest of the rows of each key, packed."""
    found: dict[Key, bytes] = {}
    for row in rows:
        value = packed(row)
        if (had := found.get(row.key)) is None or value > had:
            found[row.key] = value
    return found


def droppable(key: Key, value: bytes, keep: Mapping[str, timedelta] | None) -> int | None:
    """Milliseconds since 1970 from which on a store may drop a row; None: never."""
    if not keep or (kept := keep.get(key.view)) is None:
        return None
    return (unpacked(key, value).event_time + (kept + SLACK) // timedelta(microseconds=1)) // 1000


def down(what: str, seconds: float, error: BaseException, *, fix: str = "") -> Unavailable:
    """Error to raise where a store does not answer as it should; writes and reads can be made again as they are."""
    said = " ".join(str(error).split())[:300]
    return Unavailable(
        f"the online store {what} does not answer",
        expected=f"an answer within {seconds * 1000:g} ms",
        got=f"{type(error).__name__}: {said}" if said else type(error).__name__,
        fix=fix or "see whether it runs and is reachable from here; the next call tries again",
    )
