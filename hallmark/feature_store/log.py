"""Event logs: records in partitions, each with a number that grows, read again from any number on. Files here, Kafka and Kinesis beside it.

A segment is a file of records, named by the number of its first. A record is its length, a checksum of length and bytes, its bytes. A writer
that is killed leaves at most one record that is not whole: nobody reads it, and the next writer cuts it off. A record that is
not whole before others is damage, and is told instead of skipped. A record that was erased is blanks (`erased`), as many as it had bytes, so
that every other one keeps its number and its place.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from hallmark.errors import Conflict, HallmarkError, NotFound
from hallmark.files import locked

SEGMENT_BYTES = 64 << 20
FIRST = "0"
"""The partition that records go to where none is named."""
LARGEST_RECORD = 16 << 20
_HEAD = struct.Struct("<II")
_CHUNK = 1 << 20
_DRAFT = ".draft"


class Record(NamedTuple):
    """One record of a partition."""

    offset: int
    value: bytes

    @property
    def erased(self) -> bool:
        """True of a record whose content was taken away: blanks, and Kafka's records without a value."""
        return not self.value.strip(b" ")


class Log(Protocol):
    """A log that one job reads."""

    def partitions(self) -> Sequence[str]:
        """Its partitions, by name."""
        ...

    def begin(self, partition: str) -> int:
        """The offset of the oldest record that is still there, or of the next one where there is none."""
        ...

    def read(self, partition: str, offset: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records from `offset` on, in order; none where nobody has written more. `NotFound` where they are gone."""
        ...


class FileLog:
    """A log of files in a folder, one folder a partition; many may read while one writes.

    sync:     how long what is appended may be lost with the machine, in seconds; 0: never. The end of a process loses nothing.
    patience: how long a writer waits for another to end, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        partitions: int = 1,
        sync: float = 0.0,
        segment_bytes: int = SEGMENT_BYTES,
        patience: float = 0.0,
    ) -> None:
        self._folder = folder
        self._sync = sync
        self._patience = patience
        self._segment_bytes = segment_bytes
        for number in range(partitions):
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
        self._writers: dict[str, _Writer] = {}
        self._readers: dict[str, _Reader] = {}

    def partitions(self) -> list[str]:
        """Its partitions, by number."""
        return sorted((path.name for path in self._folder.iterdir() if path.name.isdigit()), key=int)

    def begin(self, partition: str) -> int:
        """The oldest record's offset."""
        found = _segments(self._folder / partition)
        return found[0][0] if found else 0

    def read(self, partition: str, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset` on."""
        reader = self._readers.setdefault(partition, _Reader(self._folder / partition))
        return reader.read(offset, limit)

    def append(self, partition: str | None, values: Sequence[bytes]) -> int:
        """Write records at the end, all in one go; gives the offset of the next. `Conflict` where another process writes.

        Nobody else writes from then on until this log is closed, also where there was nothing to write.
        partition: the first where none is named.
        """
        return self._writer(partition or FIRST).append(values)

    def erase(self, partition: str, gone: Callable[[Record], bool]) -> int:
        """Put blanks in the place of records; gives how many. A segment is changed whole or not at all, and twice is once."""
        return self._writer(partition).erase(gone)

    def _writer(self, partition: str) -> _Writer:
        if partition not in self._writers:
            folder = self._folder / partition
            self._writers[partition] = _Writer(folder, self._sync, self._segment_bytes, self._patience)
        return self._writers[partition]

    def trim(self, partition: str, before: int) -> None:
        """Drop the segments all of whose records have a lower offset."""
        found = _segments(self._folder / partition)
        for (_, path), (following, _) in itertools.pairwise(found):
            if following <= before:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give up files and locks."""
        for writer in self._writers.values():
            writer.close()
        self._writers, self._readers = {}, {}

    def __enter__(self) -> FileLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Writer:
    def __init__(self, folder: Path, sync: float, segment_bytes: int, patience: float) -> None:
        self._folder, self._sync, self._segment_bytes = folder, sync, segment_bytes
        self._holds = contextlib.ExitStack()
        self._holds.enter_context(_alone(folder, patience))
        try:
            self._open()
        except BaseException:
            self._holds.close()
            raise

    def _open(self) -> None:
        """Go to the end of what is whole."""
        found = _segments(self._folder)
        self.next, path = found[-1] if found else (0, _segment(self._folder, 0))
        self._size = 0
        for self._size, _ in _scanned(path):
            self.next += 1
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        self._synced = time.monotonic()
        _sync_folder(self._folder)

    def append(self, values: Sequence[bytes]) -> int:
        if not values:
            return self.next
        for value in values:
            if len(value) > LARGEST_RECORD:
                raise HallmarkError(
                    "a record is too large for the log", expected=f"{LARGEST_RECORD} bytes at most", got=f"{len(value)}"
                )
        if self._size > self._segment_bytes:
            self._roll()
        data = memoryview(b"".join(_framed(value) for value in values))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self.next += len(values)
        if time.monotonic() - self._synced >= self._sync:
            os.fdatasync(self._descriptor)
            self._synced = time.monotonic()
        return self.next

    def erase(self, gone: Callable[[Record], bool]) -> int:
        for draft in self._folder.glob(f".*{_DRAFT}"):
            draft.unlink()
        found = 0
        for first, path in _segments(self._folder):
            kept = list(enumerate((value for _, value in _scanned(path)), first))
            erased = {at for at, value in kept if value.strip(b" ") and gone(Record(at, value))}
            if erased:
                self._rewrite(path, [b" " * len(value) if at in erased else value for at, value in kept])
            found += len(erased)
        return found

    def _rewrite(self, path: Path, values: Sequence[bytes]) -> None:
        """Change a segment by rename. Who reads it goes on at the same byte."""
        draft = path.with_name(f".{path.name}{_DRAFT}")
        with draft.open("wb") as stream:
            stream.writelines(map(_framed, values))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        _sync_folder(self._folder)
        if path == _segments(self._folder)[-1][1]:
            os.close(self._descriptor)
            self._descriptor = os.open(path, os.O_RDWR)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def _roll(self) -> None:
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = os.open(_segment(self._folder, self.next), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._size = 0
        _sync_folder(self._folder)

    def close(self) -> None:
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._holds.close()


@contextlib.contextmanager
def _alone(folder: Path, patience: float) -> Iterator[None]:
    """The right to write to a partition."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "writer.lock", patience=patience))
        except TimeoutError as error:
            raise Conflict(
                f"another process writes to the log {folder}", expected="one writer a partition", got="a held lock",
                fix="end the other writer, or write to another partition",
            ) from error  # fmt: skip
        yield


class _Reader:
    """Remembers where the next record begins, since that is what is mostly asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next = -1
        self._path = folder
        self._position = 0

    def read(self, offset: int, limit: int) -> list[Record]:
        if offset != self._next and not self._found(offset):
            return []
        records: list[Record] = []
        while len(records) < limit:
            had = len(records)
            for end, value in _scanned(self._path, self._position):
                records.append(Record(self._next, value))
                self._next, self._position = self._next + 1, end
                if len(records) == limit:
                    break
            following = _segment(self._folder, self._next)
            if len(records) == had and (following == self._path or not following.exists()):
                break
            if len(records) < limit and following != self._path and following.exists():
                self._path, self._position = following, 0
        return records

    def _found(self, offset: int) -> bool:
        """Go to the record; False where nobody has written it yet."""
        segments = [each for each in _segments(self._folder) if each[0] <= offset]
        if not segments:
            if offset == 0:
                return False
            raise NotFound(
                f"the log {self._folder} no longer has record {offset}", expected="records that the job has not read yet",
                got=f"records from {_segments(self._folder)[0][0] if _segments(self._folder) else 0} on",
                fix="fill the state again with a backfill, and keep the log for longer",
            )  # fmt: skip
        first, self._path = segments[-1]
        self._next, self._position = first, 0
        for end, _ in _scanned(self._path) if first < offset else ():
            self._next, self._position = self._next + 1, end
            if self._next == offset:
                break
        if self._next != offset:
            reached, self._next = self._next, -1
            if reached < offset:
                return False
        return True


def _scanned(path: Path, position: int = 0) -> Iterator[tuple[int, bytes]]:
    """The whole records of a segment from a position on, each with the position after it."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        stream.seek(position)
        while len(head := stream.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            value = stream.read(length) if length <= LARGEST_RECORD else b""
            if len(value) < length or checksum != zlib.crc32(value, length ^ 0xFFFFFFFF):
                if length <= LARGEST_RECORD and len(value) == length and stream.read(_CHUNK).strip(b"\0"):
                    raise HallmarkError(
                        f"{path} is damaged at byte {position}", expected="a record with the checksum of its bytes",
                        got="another", fix="take the file from a backup, or fill the state with a backfill",
                    )  # fmt: skip
                return
            position += _HEAD.size + length
            yield position, value


def _framed(value: bytes) -> bytes:
    return _HEAD.pack(len(value), zlib.crc32(value, len(value) ^ 0xFFFFFFFF)) + value


def _segment(folder: Path, first: int) -> Path:
    return folder / f"{first:020}.log"


def _segments(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob("*.log"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
