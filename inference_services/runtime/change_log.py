"""The log of a domain's item changes: what every server of the domain follows, whichever version of the model it serves.

A change is on the disk before it is acknowledged. It holds the item as it came, not its vector: each version makes its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from hallmark.errors import Conflict, DeclarationError, HallmarkError, Unavailable
from hallmark.feature_store.log import FIRST, FileLog
from hallmark.settings import CHANGES

_SEGMENT = 1 << 20
"""Bytes of a segment: a writer reads the last one when it begins."""
_PATIENCE = 2.0
_COMPACTED = 4 * _SEGMENT
"""Bytes of whole segments that are worth it."""


class ItemChange(msgspec.Struct, frozen=True):
    """A change of one item.

    item: its fields as they came; None where it is deleted.   at: when it was taken, in seconds since 1970.
    """

    id: str
    at: float
    item: dict[str, Any] | None = None


class _Named(msgspec.Struct, frozen=True):
    id: str


class Logged(NamedTuple):
    """A change and its place in the log."""

    offset: int
    change: ItemChange


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ItemChange).decode
_read_id = msgspec.json.Decoder(_Named).decode


class Changes(Protocol):
    """A log of item changes.

    lag: seconds by which what a server answers from may be older than the log; 0 where it reads the log's end before each search.
    """

    @property
    def lag(self) -> float: ...

    def append(self, changes: Sequence[ItemChange]) -> int:
        """Write changes, all or none, and give the number of the first once they are kept; `Unavailable` where they are not."""
        ...

    def read(self, offset: int, limit: int) -> list[Logged]:
        """Changes from `offset` on, in order; of those that were taken out the last one stands for all, with no id."""
        ...

    def compact(self) -> int:
        """Keep the last change of each item alone where that pays; gives how many were taken out."""
        ...


class ChangeLog:
    """The log in a folder that all servers of a domain share; each may write, one at a time."""

    lag = 0.0

    def __init__(self, folder: Path) -> None:
        self._lock, self._writing = threading.Lock(), threading.Lock()
        try:
            self._reader = FileLog(folder, partitions=1)
            self._writer = FileLog(folder, partitions=1, segment_bytes=_SEGMENT, patience=_PATIENCE)
        except OSError as error:
            raise Unavailable(
                "the log of item changes cannot be used", expected="a folder", got=error.strerror or str(error)
            ) from error

    def append(self, changes: Sequence[ItemChange]) -> int:
        """Write changes, all or none, and give the offset of the first once they are on the disk; `Unavailable` where they are not."""
        try:
            with self._writing, self._writer as log:
                return log.append(FIRST, [_encode(each) for each in changes]) - len(changes)
        except (Conflict, OSError) as error:
            raise Unavailable("the log of item changes takes nothing now", got=str(error).splitlines()[0]) from error

    def read(self, offset: int, limit: int) -> list[Logged]:
        """Up to `limit` changes from `offset` on, in order; those that were erased are left out, but for the last one read."""
        with self._lock:
            records = self._reader.read(FIRST, offset, limit)
        return [
            Logged(each.offset, ItemChange("", 0.0) if each.erased else _read(each.offset, each.value))
            for each in records
        ]

    def compact(self) -> int:
        """Keep the last change of each item alone where that pays; gives how many were taken out. Others go on meanwhile."""
        return self._writer.compact(FIRST, _id, least=_COMPACTED)


def _id(value: bytes) -> str:
    return _read_id(value).id


def _read(offset: int, value: bytes) -> ItemChange:
    try:
        return _decode(value)
    except msgspec.MsgspecError as error:
        raise HallmarkError(
            f"record {offset} of the log of item changes is none", expected="an item or its id", got=str(error)
        ) from error


def connect(address: str) -> Changes:
    """The log at file:///folder or s3://bucket/prefix; `DeclarationError` where the address is another."""
    found = urlsplit(address)
    if found.scheme == "s3":
        from hallmark.feature_store.bucket import Bucket
        from inference_services.runtime.change_bucket import BucketLog

        return BucketLog(Bucket.at(address))
    if found.scheme != "file" or found.netloc or not found.path.startswith("/") or found.query:
        raise DeclarationError(
            f"{CHANGES} names no log of changes",
            expected="file:///folder that all servers of the domain share, or s3://bucket/prefix",
            got=address,
        )
    return ChangeLog(Path(unquote(found.path)))


def told(item: Mapping[str, Any], key: str, at: float) -> ItemChange:
    """The change that puts an item in; key: the name of its id."""
    return ItemChange(str(item[key]), at, dict(item))
