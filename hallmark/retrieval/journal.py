"""A journal: records that are on the disk before they are acknowledged, and read again whole or not at all after a kill."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from hallmark.errors import HallmarkError, ModelRefused

_MAGIC = b"HMJ1"
_HEAD = struct.Struct("<4sQQI")  # magic, position, length, checksum of the payload
_CHECK = struct.Struct("<I")  # checksum of the head
_FRAME = _HEAD.size + _CHECK.size
_SEARCH = 1 << 20


class Journal:
    """Records by ever higher positions, from 1, in one file that one process appends to.

    dropped: bytes of a record at the end that was not written whole, and so never acknowledged, which opening took away.
    broken:  a write or fsync failed, and it takes nothing more.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        new = not path.exists()
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.position, self.dropped, self.broken = 0, 0, False
        self._end = 0
        try:
            for position, _, end in self._scan():
                self.position, self._end = position, end
            size = os.fstat(self._file).st_size
            if size > self._end:
                self.dropped = size - self._end
                os.ftruncate(self._file, self._end)
                os.fsync(self._file)
            if new:
                _sync(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, payload: bytes) -> int:
        """Write a record and give its position, once it is on the disk; what fails half-way leaves nothing."""
        if self.broken:
            raise HallmarkError(
                "the journal of the index takes nothing more",
                expected="a disk that keeps what it is given",
                got="an earlier write or fsync that failed",
                fix="see to the disk, and start the server again: it reads what is there",
            )
        position = self.position + 1
        record = memoryview(framed(position, payload))
        try:
            at = self._end
            while record:
                done = os.pwrite(self._file, record, at)
                record, at = record[done:], at + done
            os.fdatasync(self._file)
        except OSError:
            self.broken = True  # a page that fsync gave up on may look written: only the disk's content tells
            raise
        self.position, self._end = position, at
        return position

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Position and payload of each record, oldest first."""
        for position, payload, _ in self._scan():
            yield position, payload

    def replace(self, records: Iterable[tuple[int, bytes]]) -> None:
        """Have these records, the last of which is at the same position, in the place of those that are here; all or nothing."""
        draft = self.path.with_name(f".{self.path.name}.new")
        with draft.open("wb") as stream:
            for position, payload in records:
                stream.write(framed(position, payload))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.path)
        _sync(self.path.parent)
        before, self._file = self._file, os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        os.close(before)
        self._end = os.fstat(self._file).st_size

    def close(self) -> None:
        """Close the file; what was acknowledged is on the disk already."""
        os.close(self._file)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._end

    def _scan(self) -> Iterator[tuple[int, bytes, int]]:
        at, before = 0, 0
        while (found := self._record(at)) is not None:
            position, payload = found
            if position <= before:
                raise self._corrupt(at)
            before, at = position, at + _FRAME + len(payload)
            yield position, payload, at
        if self._follows(at):
            raise self._corrupt(at)

    def _record(self, at: int) -> tuple[int, bytes] | None:
        frame = os.pread(self._file, _FRAME, at)
        if len(frame) < _FRAME:
            return None
        magic, position, length, checksum = _HEAD.unpack_from(frame)
        if magic != _MAGIC or _CHECK.unpack_from(frame, _HEAD.size)[0] != zlib.crc32(frame[: _HEAD.size]):
            return None
        if at + _FRAME + length > os.fstat(self._file).st_size:
            return None
        payload = b""
        while len(payload) < length:
            payload += os.pread(self._file, length - len(payload), at + _FRAME + len(payload))
        return (position, payload) if zlib.crc32(payload) == checksum else None

    def _follows(self, at: int) -> bool:
        """Is there a whole record behind one that cannot be read? Then it was not the last, and was acknowledged."""
        size = os.fstat(self._file).st_size
        start = at + 1
        while start < size:
            part = os.pread(self._file, _SEARCH, start)
            found = part.find(_MAGIC)
            while found >= 0:
                if self._record(start + found) is not None:
                    return True
                found = part.find(_MAGIC, found + 1)
            start += max(1, len(part) - len(_MAGIC) + 1)
        return False

    def _corrupt(self, at: int) -> ModelRefused:
        return ModelRefused(
            f"{self.path} has a record that was changed",
            expected="records as they were acknowledged",
            got=f"other bytes from {at} on, and whole records after them",
            fix="restore the file from a copy, or move it away and build the index anew",
        )


def framed(position: int, payload: bytes) -> bytes:
    """A record as it lies in the file."""
    head = _HEAD.pack(_MAGIC, position, len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(zlib.crc32(head)) + payload


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
