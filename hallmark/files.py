"""Files that are there whole or not at all, and locks on them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.01
_CHUNK = 1 << 20


def replace(path: Path, text: str) -> None:
    """Put `text` at `path` by rename, so that no reader sees half of it, and a full disk leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def in_the_way(folder: Path) -> Path | None:
    """What is where a folder would be, or where one above it would; None where it is there or can be made."""
    for each in (folder, *folder.parents):
        if each.is_dir():
            return None
        if each.exists() or each.is_symlink():
            return each
    return None


@contextlib.contextmanager
def locked(path: Path, *, patience: float, otherwise: Exception | None = None) -> Iterator[None]:
    """Hold the file at `path`, which is made, alone among all processes; `TimeoutError` where it is not free within `patience` seconds.

    otherwise: raised in place of that; what goes wrong while it is held is never taken for it.
    The kernel frees it when the holder ends, however that ends.
    """
    until = time.monotonic() + patience
    with path.open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    told = otherwise or TimeoutError(f"{path} is held by another process")
                    raise told from error
                time.sleep(_PAUSE)
        yield


def held(path: Path) -> bool:
    """Does a process hold this file now, as `locked` does? Asking holds up nobody."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log; none where there is no such file."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-count:]
    return []


def digest_file(path: Path) -> str:
    """`sha256:` and the hex digest of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def digest_text(text: str) -> str:
    """`sha256:` and the hex digest of a text in UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
