"""Segments of an event log: files of records one after another, each named by the number of its first record.

A record is its length, a checksum of length and bytes, its bytes. A run stands for records that compaction took out: it has a length that no
record has, how many they were, and a checksum of both.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hallmark.errors import HallmarkError

LARGEST_RECORD = 16 << 20
_HEAD = struct.Struct("<II")
_RUN = struct.Struct("<III")
_TAKEN_OUT = 0xFFFFFFFF
_CHUNK = 1 << 20
_DRAFT = ".draft"


class Entry(NamedTuple):
    """A record, or a run of so many `records` that were taken out, and the byte after it."""

    end: int
    value: bytes
    records: int = 1


def scanned(path: Path, position: int = 0) -> Iterator[Entry]:
    """The whole records and runs of a segment from a byte on; none where there is no such file."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        yield from entries(stream, position)


def entries(stream: BinaryIO, position: int) -> Iterator[Entry]:
    """The same, of an open file; `HallmarkError` for damage before whole records."""
    stream.seek(position)
    while len(head := stream.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        if length == _TAKEN_OUT and (count := _run(head, stream.read(_RUN.size - _HEAD.size))):
            position += _RUN.size
            yield Entry(position, b"", count)
            continue
        value = stream.read(length) if length <= LARGEST_RECORD else b""
        if len(value) < length or checksum != zlib.crc32(value, length ^ 0xFFFFFFFF):
            if length <= LARGEST_RECORD and len(value) == length and stream.read(_CHUNK).strip(b"\0"):
                raise HallmarkError(
                    f"{stream.name} is damaged at byte {position}", expected="a record with the checksum of its bytes",
                    got="another", fix="take the file from a backup, or fill the state with a backfill",
                )  # fmt: skip
            return
        position += _HEAD.size + length
        yield Entry(position, value)


def framed(value: bytes) -> bytes:
    """A record as it lies in a segment."""
    return _HEAD.pack(len(value), zlib.crc32(value, len(value) ^ 0xFFFFFFFF)) + value


def run(count: int) -> bytes:
    """So many records that were taken out, as they lie in a segment."""
    head = _HEAD.pack(_TAKEN_OUT, count)
    return head + zlib.crc32(head).to_bytes(4, "little")


def _run(head: bytes, rest: bytes) -> int:
    return _HEAD.unpack(head)[1] if int.from_bytes(rest, "little") == zlib.crc32(head) and len(rest) == 4 else 0


def named(folder: Path, first: int) -> Path:
    """The segment whose first record has this number."""
    return folder / f"{first:020}.log"


def found(folder: Path) -> list[tuple[int, Path]]:
    """All segments, each after the number of its first record, oldest first."""
    return sorted((int(path.stem), path) for path in folder.glob("*.log"))


def sync(folder: Path) -> None:
    """Have the folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replaced(path: Path, parts: Iterable[bytes]) -> None:
    """Have a segment of these parts at `path`, whole or not at all."""
    draft = path.with_name(f".{path.name}{_DRAFT}")
    with draft.open("wb") as stream:
        stream.writelines(parts)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync(path.parent)


def without_drafts(folder: Path) -> None:
    """Take away what a process that was killed left half-written."""
    for draft in folder.glob(f".*{_DRAFT}"):
        draft.unlink()
