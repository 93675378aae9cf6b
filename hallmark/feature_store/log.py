"""Event logs: records in partitions, each with a number that grows, read again from any number on. Files here, Kafka and Kinesis beside it.

A writer that is killed leaves at most one record that is not whole: nobody reads it, and the next writer cuts it off. A record that is
not whole before others is damage, and is told instead of skipped. A record that was erased is blanks (`erased`), as many as it had bytes;
of many that compaction took out one after another, a reader gets the last one, erased. Every other record keeps its number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from hallmark.errors import Conflict, HallmarkError, NotFound
from hallmark.feature_store import compaction, segments
from hallmark.feature_store.segments import LARGEST_RECORD, framed, run, scanned
from hallmark.files import locked

SEGMENT_BYTES = 64 << 20
FIRST = "0"
"""The partition that records go to where none is named."""
_REWRITING = "rewriting.lock"
_LAST = 64
_REWRITTEN = 60.0
"""Seconds that an erasure waits for a compaction."""


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
        self._ends: dict[str, _End] = {}
        self._readers: dict[str, _Reader] = {}

    def partitions(self) -> list[str]:
        """Its partitions, by number."""
        return sorted((path.name for path in self._folder.iterdir() if path.name.isdigit()), key=int)

    def begin(self, partition: str) -> int:
        """The oldest record's offset."""
        found = segments.found(self._folder / partition)
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
            end = self._ends.get(partition)
            self._writers[partition] = _Writer(folder, self._sync, self._segment_bytes, self._patience, end)
        return self._writers[partition]

    def trim(self, partition: str, before: int) -> None:
        """Drop the segments all of whose records have a lower offset."""
        found = segments.found(self._folder / partition)
        for (_, path), (following, _) in itertools.pairwise(found):
            if following <= before:
                path.unlink(missing_ok=True)

    def compact(self, partition: str, key: Callable[[bytes], Hashable], *, least: int) -> int:
        """Of the records of each key keep the last one alone; gives how many were taken out. Others may read and write meanwhile.

        Only segments that nobody writes to any more are looked at, and only where those that came since the last time have `least` bytes,
        and as many as what was left of the older ones: so all compactions together read a record a few times. A kill at any moment
        leaves all that is to be kept. 0 where another process does it.
        """
        folder = self._folder / partition
        try:
            with locked(folder / _REWRITING, patience=0.0):
                return compaction.compacted(folder, key, least=least)
        except TimeoutError:
            return 0

    def close(self) -> None:
        """Give up files and locks."""
        for partition, writer in self._writers.items():
            self._ends[partition] = writer.close()
        self._writers, self._readers = {}, {}

    def __enter__(self) -> FileLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _End(NamedTuple):
    """Where a writer ended: the file by its inode, the bytes in it, the last of them, and the next record's number."""

    inode: int
    size: int
    last: bytes
    next: int

    @classmethod
    def of(cls, descriptor: int, size: int, following: int) -> _End:
        """The end of an open file."""
        begin = max(0, size - _LAST)
        return cls(os.fstat(descriptor).st_ino, size, os.pread(descriptor, size - begin, begin), following)


class _Writer:
    def __init__(
        self, folder: Path, sync: float, segment_bytes: int, patience: float, known: _End | None = None
    ) -> None:
        self._known = known
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
        found = segments.found(self._folder)
        self.next, path = found[-1] if found else (0, segments.named(self._folder, 0))
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._size, known = 0, self._known
        if known is not None and known == _End.of(self._descriptor, known.size, known.next):
            self._size, self.next = known.size, known.next  # what was whole then is whole
        for entry in scanned(path, self._size):
            self._size = entry.end
            self.next += entry.records
        os.ftruncate(self._descriptor, self._size)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        self._synced = time.monotonic()
        segments.sync(self._folder)

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
        data = memoryview(b"".join(framed(value) for value in values))
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
        with locked(self._folder / _REWRITING, patience=_REWRITTEN):
            segments.without_drafts(self._folder)
            return sum(self._erased(first, path, gone) for first, path in segments.found(self._folder))

    def _erased(self, first: int, path: Path, gone: Callable[[Record], bool]) -> int:
        parts, erased, at = [], 0, first
        for _, value, count in scanned(path):
            away = bool(value.strip(b" ")) and gone(Record(at, value))
            parts.append(run(count) if count > 1 else framed(b" " * len(value) if away else value))
            erased += away
            at += count
        if erased:
            self._rewrite(path, parts)
        return erased

    def _rewrite(self, path: Path, parts: Sequence[bytes]) -> None:
        """Change a segment by rename. Who reads it finds its place again."""
        segments.replaced(path, parts)
        if path == segments.found(self._folder)[-1][1]:
            os.close(self._descriptor)
            self._descriptor = os.open(path, os.O_RDWR)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)

    def _roll(self) -> None:
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = os.open(segments.named(self._folder, self.next), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._size = 0
        segments.sync(self._folder)

    def close(self) -> _End:
        os.fdatasync(self._descriptor)
        end = _End.of(self._descriptor, self._size, self.next)
        os.close(self._descriptor)
        self._holds.close()
        return end


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
        self._position, self._inode = 0, 0

    def read(self, offset: int, limit: int) -> list[Record]:
        if offset != self._next and not self._found(offset):
            return []
        records: list[Record] = []
        while len(records) < limit:
            had = self._next
            try:
                stream = self._path.open("rb")
            except FileNotFoundError:  # compacted into one before it
                if not self._found(self._next):
                    break
                continue
            with stream:
                inode = os.fstat(stream.fileno()).st_ino
                if self._position and inode != self._inode:  # rewritten: the bytes are others
                    self._inode = inode
                    if not self._found(self._next):
                        break
                    continue
                self._inode = inode
                for end, value, count in segments.entries(stream, self._position):
                    last = self._next + count - 1
                    if last >= offset:
                        records.append(Record(last, value))
                    self._next, self._position = last + 1, end
                    if len(records) == limit:
                        break
            following = segments.named(self._folder, self._next)
            if self._next == had and (following == self._path or not following.exists()):
                break
            if len(records) < limit and following != self._path and following.exists():
                self._path, self._position = following, 0
        return records

    def _found(self, offset: int) -> bool:
        """Go to the record, or to the run that it is in; False where nobody has written it yet."""
        found = [each for each in segments.found(self._folder) if each[0] <= offset]
        if not found:
            if offset == 0:
                return False
            begin = segments.found(self._folder)[:1]
            raise NotFound(
                f"the log {self._folder} no longer has record {offset}", expected="records that the job has not read yet",
                got=f"records from {begin[0][0] if begin else 0} on",
                fix="fill the state again with a backfill, and keep the log for longer",
            )  # fmt: skip
        self._next, self._path = found[-1]
        self._position = self._inode = 0
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as stream:
            self._inode = os.fstat(stream.fileno()).st_ino
            if self._next < offset:
                for end, _, count in segments.entries(stream, 0):
                    if self._next + count > offset:
                        break
                    self._next, self._position = self._next + count, end
                    if self._next == offset:
                        break
                else:
                    reached, self._next = self._next, -1
                    return reached >= offset
        return True
