"""Compaction of an event log's closed segments: of each key the last record stays, and every record keeps its number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

from hallmark.errors import HallmarkError
from hallmark.feature_store import segments
from hallmark.feature_store.segments import framed, run, scanned


def compacted(folder: Path, key: Callable[[bytes], Hashable], *, least: int) -> int:
    """Have one segment in the place of all but the last, as `FileLog.compact` says; gives how many records were taken out.

    Those that it replaces go after it is there, so that a reader, and one that compacts after a kill, finds each record at least once.
    """
    segments.without_drafts(folder)
    *closed, (end, _) = segments.found(folder) or [(0, folder)]
    sizes = [path.stat().st_size for _, path in closed]
    if sum(sizes[1:]) < max([least, *sizes[:1]]):
        return 0
    newest: dict[Hashable, int] = {}
    for at, entry in _everything(closed, end):
        if entry.value.strip(b" "):
            newest[key(entry.value)] = at
    taken_out = 0

    def kept() -> Iterator[bytes]:
        nonlocal taken_out
        gap = 0
        for at, entry in _everything(closed, end):
            if entry.value.strip(b" ") and newest[key(entry.value)] == at:
                if gap:
                    yield run(gap)
                yield framed(entry.value)
                gap = 0
            else:
                taken_out += entry.records == 1
                gap += entry.records
        if gap:
            yield run(gap)

    segments.replaced(closed[0][1], kept())
    for _, path in closed[1:]:
        path.unlink()
    segments.sync(folder)
    return taken_out


def _everything(closed: Sequence[tuple[int, Path]], end: int) -> Iterator[tuple[int, segments.Entry]]:
    """Each record or run with the number of its first; what a killed compaction left twice comes once."""
    at = closed[0][0] if closed else 0
    for (first, path), upto in zip(closed, [*(first for first, _ in closed[1:]), end], strict=True):
        here = first
        for entry in scanned(path):
            if here >= at:
                yield here, entry
                at = here + entry.records
            here += entry.records
        if at < upto:
            raise HallmarkError(
                f"{path} is not whole", expected=f"records up to {upto}", got=f"up to {at}",
                fix="take the file from a backup",
            )  # fmt: skip
