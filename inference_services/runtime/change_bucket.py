"""The log of item changes in a bucket, for servers that share no folder: each batch an object that is written only where none is.

log/<number of its first change> holds a batch, a line a change; of two writers of one number S3 lets one through, and the other goes on behind it.
snapshot/<number> holds what stands of the changes before that number; batches that it holds are removed an hour later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.feature_store.bucket import Bucket
from inference_services.runtime.change_log import ItemChange, Logged

_PATIENCE = 5.0
_MANY = 500
"""Batches that a snapshot is worth: a server that starts reads so many one by one."""
_KEPT = 3600.0
"""Seconds for which a batch stays that a snapshot holds; nobody who reads or writes is so far behind."""
_SURE = 600.0
"""Seconds after which a place in the log is looked up again, since what was there may be in a snapshot by now."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    offset: int
    change: ItemChange


class _Batch(NamedTuple):
    first: int
    changes: list[ItemChange]

    @property
    def end(self) -> int:
        return self.first + len(self.changes)


_encode = msgspec.json.Encoder().encode
_change = msgspec.json.Decoder(ItemChange).decode
_line = msgspec.json.Decoder(_Line).decode


class BucketLog:
    """The log below a prefix of a bucket; each server may write.

    lag: seconds by which what a server answers from may be older than the log: asking before each search, as of a file, would take too long.
    """

    lag = 0.5

    def __init__(self, bucket: Bucket) -> None:
        self._batches, self._snapshots = bucket.below("log"), bucket.below("snapshot")
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._read, self._looked = _Batch(0, []), -_SURE
        self._end, self._known = 0, -_SURE

    def append(self, changes: Sequence[ItemChange]) -> int:
        """Write changes, all or none, and give the number of the first once S3 has them; `Unavailable` where it does not take them."""
        body, until = b"\n".join(map(_encode, changes)), time.monotonic() + _PATIENCE
        with self._writing:
            while time.monotonic() < until:
                began = time.monotonic()
                if began - self._known > _SURE:
                    self._end = self._last()
                first = self._end
                if self._batches.write(_named(first), body, tag=None):
                    self._end, self._known = first + len(changes), began
                    return first
                other = self._batch(first)
                self._end, self._known = (other.end, began) if other is not None else (0, -_SURE)
        raise Unavailable("the log of item changes takes nothing now", got="others write all the time")

    def read(self, offset: int, limit: int) -> list[Logged]:
        """Up to `limit` changes from `offset` on, in order; of those that later ones replaced the last may stand for all, with no id."""
        with self._lock:
            if not self._read.first <= offset < self._read.end:
                found = self._batch(offset)
                if found is None:
                    if offset == self._read.end and time.monotonic() - self._looked < _SURE:
                        return []
                    return self._elsewhere(offset, limit)
                self._read, self._looked = found, time.monotonic()
            first = self._read.first
            return [
                Logged(at, self._read.changes[at - first]) for at in range(offset, min(self._read.end, offset + limit))
            ]

    def compact(self) -> int:
        """Write a snapshot where there are many batches, and remove those of an earlier one; gives how many changes it leaves out."""
        batches, kept = self._batches.listed(), self._snapshots.listed()
        upto = max((int(name) for name in kept), default=0)
        for name, age in batches.items():
            if int(name) < upto and age > _KEPT:
                self._batches.remove(name)
        for name, age in kept.items():
            if int(name) < upto and age > _KEPT:
                self._snapshots.remove(name)
        new = sorted(int(name) for name in batches if int(name) >= upto)
        if len(new) < _MANY:
            return 0
        standing = {line.change.id: line for line in self._snapshot(upto)} if upto else {}
        before, at = len(standing), upto
        for first in new:
            batch = self._batch(first)
            if batch is None or first != at:
                raise HallmarkError(
                    "the log of item changes has a gap", expected=f"a batch at {at}", got=f"one at {first}"
                )
            standing |= {each.id: _Line(number, each) for number, each in enumerate(batch.changes, first)}
            at = batch.end
        lines = sorted(standing.values(), key=lambda line: line.offset)
        if not self._snapshots.write(_named(at), b"\n".join(map(_encode, lines)), tag=None):
            return 0
        return before + at - upto - len(lines)

    def _batch(self, first: int) -> _Batch | None:
        found = self._batches.read(_named(first))
        return None if found is None else _Batch(first, [_change(line) for line in found[0].split(b"\n")])

    def _snapshot(self, upto: int) -> list[_Line]:
        found = self._snapshots.read(_named(upto))
        if found is None:
            raise NotFound(f"snapshot {upto} of the log of item changes is gone", fix="bring it back from a copy")
        return [_line(line) for line in found[0].split(b"\n")]

    def _last(self) -> int:
        """The number behind the last change."""
        batches = self._batches.listed()
        if batches and (last := self._batch(max(map(int, batches)))) is not None:
            return last.end
        return max((int(name) for name in self._snapshots.listed()), default=0)

    def _elsewhere(self, offset: int, limit: int) -> list[Logged]:
        """What is at or behind an offset that no batch begins at: within one, in a snapshot, or not written yet."""
        upto = max((int(name) for name in self._snapshots.listed()), default=0)
        firsts = [int(name) for name in self._batches.listed() if int(name) <= offset]
        if firsts and (batch := self._batch(max(firsts))) is not None and offset <= batch.end:
            self._read, self._looked = batch, time.monotonic()
            changes = batch.changes[offset - batch.first :][:limit]
            return [Logged(number, change) for number, change in enumerate(changes, offset)]
        if offset >= upto:
            self._read, self._looked = _Batch(offset, []), time.monotonic()
            return []
        lines = [Logged(line.offset, line.change) for line in self._snapshot(upto) if line.offset >= offset]
        if not lines or lines[-1].offset < upto - 1:
            lines.append(Logged(upto - 1, ItemChange("", 0.0)))
        return lines


def _named(number: int) -> str:
    return f"{number:020}"
