"""Captured lookups: what a model's server read of its views for one record, as the drift monitors of its pods keep it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hallmark.artifacts.signature import ViewUse
from hallmark.section import Frozen

AT = "features_at"
"""The column of a captured exchange with the time at which its features were read: microseconds since 1970."""
AGE = "features_of "
"""What the column is called by whose view it says when the newest event of a record's entity happened; 0 where there is none."""
UNREAD = -1
"""Stands there where the store was not read: it did not answer, and the model got defaults."""


class Lookup(Frozen):
    """One record's features as they were served.

    number:   its place among those that the monitor kept.   row: its place in its request.
    request:  the first 32 hex digits of the SHA-256 of the client's id.   trace, exchange: the trace's id and the gateway's, "" for none.
    read_at:  when the store was read, in microseconds since 1970.
    entities: by view, whose features they are; None where the request named nobody.
    newest:   by view, when the entity's newest event happened, in microseconds; 0 for none, `UNREAD` where the store was not read.
    values:   the fields that views give, None for none.   sent: the others, those that are one number, word or truth value.
    """

    number: int
    row: int
    request: str
    trace: str
    exchange: str
    read_at: int
    entities: dict[str, int | str | None]
    newest: dict[str, int]
    values: dict[str, Any]
    sent: dict[str, Any]
    outputs: dict[str, Any]

    @property
    def at(self) -> datetime:
        """When the store was read."""
        return datetime.fromtimestamp(self.read_at / 1e6, UTC)

    @property
    def was_read(self) -> bool:
        """Whether the store answered."""
        return UNREAD not in self.newest.values()


class CapturedLookups(Frozen):
    """What a monitor has: GET /lookups.

    variant: the revision.   digest: the model's.   views: those that it reads, whole.
    cursor:  to go on from; of another `epoch` (a restart) it says nothing.   held: how many there are in all.   oldest: when the oldest was read.
    """

    variant: str
    digest: str
    views: tuple[ViewUse, ...]
    epoch: str
    cursor: int
    held: int
    oldest: datetime | None
    lookups: tuple[Lookup, ...]
