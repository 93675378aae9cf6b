"""Finished steps, kept by content: the same code on the same bytes is not run twice, and no half-written result is ever seen.

<root>/entries/<step>-<key>/entry.json + outputs/<name>   published by one rename
<root>/drafts/<step>-<key>/                               being written, by the holder of the lock
<root>/checkpoints/<step>-<key>/                          of a training that is on its way, or was killed
<root>/code/<content>.json                                what is known of source files and libraries (closure.py), found again by content
<root>/locks/<step>-<key>                                 flock: two runs of one step wait for each other; freed by the kernel on kill -9
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hallmark.data import reading
from hallmark.files import digest_file
from hallmark.section import Frozen

ENTRY = "entry.json"
OUTPUTS = "outputs"
CODE = "code"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CacheEntry(Frozen):
    """One finished step.

    inputs, outputs: content digest by name.
    value:           what the step returned besides files; plain JSON.
    """

    step: str
    key: str
    code: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    value: Any = None
    seconds: float


def key(step: str, *, code: str, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The name of a step's result: what it is, the code it runs, what it was told and the content it reads."""
    return _hash(json.dumps([step, code, dict(parameters), dict(inputs)], sort_keys=True, separators=(",", ":")))


def digest(path: Path) -> str:
    """The content digest of a file with the data.yaml beside it, or of a folder with all that lies in it (names and bytes)."""
    beside = reading.beside(path)
    if not path.is_dir():
        own = digest_file(path)
        return "sha256:" + _hash(own + digest_file(beside)) if beside.is_file() else own
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return "sha256:" + _hash(json.dumps([[file.relative_to(path).as_posix(), digest_file(file)] for file in files]))


def code_digest(files: Iterable[Path]) -> str:
    """The digest of source files, by name and bytes."""
    return _hash(json.dumps([[file.name, file.parent.name, digest_file(file)] for file in sorted(set(files))]))


def is_full(error: BaseException) -> bool:
    """True if this error, or its cause, is a disk that has no room."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class Cache:
    """The results under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, step: str, key: str) -> Path:
        """Folder of the finished result of `step` under `key`."""
        return self.root / "entries" / f"{step}-{key}"

    def output(self, entry: CacheEntry, name: str) -> Path:
        """One output of a finished step; read it, never write to it."""
        return self.folder(entry.step, entry.key) / OUTPUTS / name

    def find(self, step: str, key: str) -> CacheEntry | None:
        """The finished step with every byte of its outputs checked; none where there is none or it was damaged."""
        folder = self.folder(step, key)
        try:
            raw = json.loads((folder / ENTRY).read_bytes())
            entry = CacheEntry.model_validate(raw["entry"])
            whole = raw["sha256"] == _hash(entry.model_dump_json()) and (entry.step, entry.key) == (step, key)
            if whole and all(digest(self.output(entry, name)) == got for name, got in entry.outputs.items()):
                os.utime(folder / ENTRY)
                return entry
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None
        return None

    @contextlib.contextmanager
    def lock(self, step: str, key: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the right to write this result; calls `waiting` once where another run holds it."""
        path = self.root / "locks" / f"{step}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def write(
        self,
        step: str,
        key: str,
        *,
        code: str,
        parameters: Mapping[str, Any],
        inputs: Mapping[str, str],
        names: Iterable[str],
        work: Callable[[Mapping[str, Path]], Any],
    ) -> CacheEntry:
        """Run `work` on a draft of its outputs and publish them whole; call it with the lock held."""
        draft = self.root / "drafts" / f"{step}-{key}"
        shutil.rmtree(draft, ignore_errors=True)
        outputs = {name: draft / OUTPUTS / name for name in names}
        began = time.monotonic()
        try:
            (draft / OUTPUTS).mkdir(parents=True)
            value = work(outputs)
            entry = CacheEntry(
                step=step,
                key=key,
                code=code,
                parameters=dict(parameters),
                inputs=dict(inputs),
                outputs={name: digest(path) for name, path in outputs.items()},
                value=value,
                seconds=round(time.monotonic() - began, 3),
            )
            text = json.dumps({"entry": entry.model_dump(mode="json"), "sha256": _hash(entry.model_dump_json())})
            (draft / ENTRY).write_text(text, encoding="utf-8")
            _sync(draft)
            self._publish(draft, self.folder(step, key))
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return entry

    def _publish(self, draft: Path, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # what `find` did not accept
            shutil.rmtree(folder)
        draft.rename(folder)
        _sync_folder(folder.parent)

    def place(self, entry: CacheEntry, outputs: Mapping[str, Path]) -> None:
        """Put a finished step's outputs where this run wants them: hard links, or copies across file systems."""
        for name, target in outputs.items():
            source = self.output(entry, name)
            for file in [source] if source.is_file() else sorted(source.rglob("*")):
                there = target if source.is_file() else target / file.relative_to(source)
                if file.is_dir():
                    continue
                there.parent.mkdir(parents=True, exist_ok=True)
                there.unlink(missing_ok=True)
                try:
                    os.link(file, there)
                except OSError as error:
                    if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                        raise
                    shutil.copyfile(file, there)

    def prune(self, *, days: float = 30) -> None:
        """Drop drafts that a killed run left; results, checkpoints and what was read of code that nobody asked for in `days`."""
        oldest = time.time() - days * 86400
        stale = list((self.root / "drafts").glob("*"))
        stale += [folder for folder in (self.root / "checkpoints").glob("*") if _mtime(folder) < oldest]
        stale += [entry.parent for entry in (self.root / "entries").glob(f"*/{ENTRY}") if _mtime(entry) < oldest]
        for known in (self.root / CODE).glob("*"):
            if _mtime(known) < oldest:
                known.unlink(missing_ok=True)
        for folder in stale:
            step, _, name = folder.name.partition("-")
            lock = self.root / "locks" / f"{step}-{name}"
            with lock.open("w") as stream, contextlib.suppress(BlockingIOError):  # somebody is at it now
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(folder: Path) -> None:
    """Bring every byte under `folder` to the disk, so that the rename never comes before what it names."""
    for path in [*folder.rglob("*")]:
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
