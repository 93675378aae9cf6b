"""Photos of cases: files below one folder, by their path or by the digest of their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from hallmark.errors import Conflict, NotFound
from hallmark.reviews.case import Photo

LARGEST = 32 * 1024 * 1024
"""Bytes of a photo that is shown."""
_KINDS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


class PhotoBytes(NamedTuple):
    """A photo's bytes, and what they are."""

    content: bytes
    kind: str


def name(photo: Photo) -> str:
    """Its file below the folder of photos."""
    return photo.path or photo.digest.removeprefix("sha256:")


def read(photo: Photo, folder: Path) -> PhotoBytes:
    """The photo; one with a digest is the very one that was judged. `NotFound` where there is none, `Conflict` where it is another."""
    root = folder.resolve()
    path = (root / name(photo)).resolve()
    try:
        if not path.is_relative_to(root) or not path.is_file() or path.stat().st_size > LARGEST:
            raise FileNotFoundError
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(
            "this photo cannot be shown",
            expected=f"a file of at most {LARGEST // 1024**2} MB below the folder of photos",
            got=photo.path or photo.digest,
            fix="name the folder with --photos",
        ) from error
    if photo.digest and f"sha256:{hashlib.sha256(content).hexdigest()}" != photo.digest:
        raise Conflict(
            "this photo is not the one that the case was opened with", expected=photo.digest[:19], got="another file"
        )
    return PhotoBytes(content, _kind(content, photo))


def _kind(content: bytes, photo: Photo) -> str:
    """What the bytes are, whatever the file is called: nothing that a browser would run."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    found = next((kind for begin, kind in _KINDS if content.startswith(begin)), "")
    if not found:
        raise NotFound("this file is no photo", expected="JPEG, PNG or WebP", got=photo.path or photo.digest)
    return found
