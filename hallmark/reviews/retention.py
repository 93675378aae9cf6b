"""Photos that no case needs any more: `hallmark reviews gc`. What a decision's service keeps for people has to end some day.

A photo stays while an open case names it, or one that was decided within so many days; while nobody has written or used its file for as long
it goes. The second rule is what makes the first safe beside a service that writes: it keeps a photo before it files the case, and a photo that
is there already it touches. A file is moved aside before it is deleted, so that a touch which comes between look and deletion is seen: on the
file that was moved, or by the service, which then finds none and writes it anew. No lock is needed, and a run that was killed is finished by the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hallmark.errors import DeclarationError, NotFound, Refused
from hallmark.reviews import photos
from hallmark.reviews.case import Case
from hallmark.reviews.queue import ReviewQueue

DAYS = 90.0
"""What was decided within so many days keeps its photos: exports and disputes look at them."""
LEAST = 1.0
"""Days that a file is left alone in any case: a case is filed within seconds of its photos, and clocks of machines differ by less."""
_DAY = 86_400.0
_PHOTO = re.compile(r"[0-9a-f]{64}")
_DRAFT = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}")
_ASIDE = re.compile(r"\.([0-9a-f]{64})\.gone")


class File(NamedTuple):
    """A file that may go, and its bytes."""

    name: str
    size: int


class Retention(NamedTuple):
    """What a folder has, and what of it goes.

    kept, kept_size: photos that stay.   others: things there that are none of the service's, which nobody touches.   before: no file used since goes.
    """

    folder: Path
    goes: tuple[File, ...]
    kept: int
    kept_size: int
    others: int
    before: float

    @property
    def size(self) -> int:
        """Bytes that it frees."""
        return sum(each.size for each in self.goes)


def look(
    folder: Path, queue: ReviewQueue, *, days: float = DAYS, where: str = "", now: float | None = None
) -> Retention:
    """What goes by the cases as they are now; nothing is changed, but what a killed run had moved aside and is still used is put back.

    where: the queue's address, for errors.   `NotFound` where there is no folder, `DeclarationError` where it is none of photos, `Refused`
    where the queue knows none of its photos.
    """
    if not days >= LEAST:
        raise DeclarationError("--days", expected=f"at least {LEAST:g}", got=f"{days:g}", fix="keep them longer")
    if not folder.is_dir():
        raise NotFound(
            "the folder of photos is not there", expected="a folder", got=str(folder), fix="name it with --photos"
        )
    before = (time.time() if now is None else now) - days * _DAY
    needed = _named(queue.kept(since=before))
    goes: list[File] = []
    kept: list[int] = []
    found = others = 0
    known = False
    for name, seen in _entries(folder):
        if (aside := _ASIDE.fullmatch(name)) and (aside[1] in needed or seen.st_mtime > before):
            _back(folder / name, folder / aside[1])
            name, aside = aside[1], None
        photo = bool(_PHOTO.fullmatch(name))
        found, known = found + photo, known or name in needed
        if not photo and not aside and not _DRAFT.fullmatch(name):
            others += 1
        elif name in needed or seen.st_mtime > before:
            kept.append(seen.st_size)
        else:
            goes.append(File(name, seen.st_size))
    if others and not found:
        raise DeclarationError(
            f"{folder} is no folder of photos of cases",
            expected="files that are named by the digests of their bytes, as a decision's service with --photos writes them",
            got=f"{others} other thing{'s' if others != 1 else ''}",
            fix="name the folder of --photos",
        )
    if goes and found and not known and not _any(queue, folder):
        raise Refused(
            f"no case names any photo in {folder}",
            expected="the queue that its service files cases in",
            got=where or "another, or an empty one",
            fix="set HALLMARK_REVIEWS to the address that the decision's service has; nothing was removed",
        )
    return Retention(folder, tuple(goes), len(kept), sum(kept), others, before)


def carry_out(found: Retention) -> tuple[int, int]:
    """Delete what goes, but what somebody has used since; how many files and bytes went."""
    files = size = 0
    for each in found.goes:
        if _gone(found.folder / each.name, found.before):
            files, size = files + 1, size + each.size
    return files, size


def _gone(path: Path, before: float) -> bool:
    """Delete one file unless it was used since."""
    photo = _PHOTO.fullmatch(path.name)
    aside = path.with_name(f".{path.name}.gone") if photo else path
    with contextlib.suppress(FileNotFoundError):  # another run was first
        if photo:
            path.rename(aside)
        if aside.stat().st_mtime > before:
            if photo:
                _back(aside, path)
            return False
        aside.unlink()
        return True
    return False


def _back(aside: Path, path: Path) -> None:
    """Put back what was moved aside; where the service has written it anew meanwhile, the bytes are the same."""
    with contextlib.suppress(FileNotFoundError):  # another run was first
        os.utime(aside)
        aside.replace(path)


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Names of a folder's plain files; anything else has none."""
    with os.scandir(folder) as entries:
        for each in entries:
            with contextlib.suppress(FileNotFoundError):
                seen = each.stat(follow_symlinks=False)
                yield each.name if stat.S_ISREG(seen.st_mode) else "", seen


def _named(cases: Iterable[Case]) -> set[str]:
    """Names of files that cases show."""
    return {
        photos.name(photo)
        for each in cases
        for photo in (*each.evidence.photos, *(reference.photo for reference in each.evidence.references))
    }


def _any(queue: ReviewQueue, folder: Path) -> bool:
    """Does any case, however old, name a photo that is there?"""
    return any((folder / name).is_file() for each in queue.kept(since=0.0) for name in _named((each,)))
