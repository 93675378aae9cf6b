"""Model files that a server publishes for the drift monitor beside it: a folder that both containers of a pod mount.

KServe gives the model to the container that serves it and to no other, so that one publishes what the other reads:

<hex of the digest>/   manifest.json and those files of it that a monitor reads (`bundle.WATCHED` and the assets)
current.json           {"digest": "sha256:…"}: which of them holds; written last

Everything comes by rename, so a reader finds a publication whole or not at all; and it checks every byte of it against the
manifest, and that against the digest, before any of it runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import uuid
from pathlib import Path

from hallmark.artifacts import bundle
from hallmark.artifacts.bundle import WATCHED, Bundle
from hallmark.artifacts.folder import MANIFEST
from hallmark.errors import ModelRefused
from hallmark.files import replace

POINTER = "current.json"
_DIGEST = re.compile(r"^sha256:([0-9a-f]{64})$")
_LARGEST_POINTER = 4096


def publish(model: Bundle, to: Path) -> Path:
    """Put what a monitor needs of a verified model into `to`, in the place of any before; gives its folder.

    model: read with `WATCHED` among what is kept. What lies in `to` and is not this publication goes: half-written ones, links.
    Raises OSError where `to` cannot be written.
    """
    if to.is_symlink() or to.is_file():
        to.unlink()
    to.mkdir(parents=True, exist_ok=True)
    final = to / _hex(model.digest)
    if not _holds(to, model.digest):
        _remove(final)
        _write(model, final)
    if (to / POINTER).is_dir() and not (to / POINTER).is_symlink():
        _remove(to / POINTER)
    replace(to / POINTER, json.dumps({"digest": model.digest}) + "\n")
    (to / POINTER).chmod(0o644)
    for other in to.iterdir():
        if other.name not in (final.name, POINTER):
            _remove(other)
    return final


def current(at: Path) -> str | None:
    """The digest of the model that is published in `at`; none where nothing is yet, `ModelRefused` where it cannot be read."""
    try:
        descriptor = os.open(at / POINTER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable("not a regular file")
        text = stream.read(_LARGEST_POINTER)
    try:
        digest = json.loads(text)["digest"]
        _hex(digest)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(type(error).__name__) from error
    return str(digest)


def read(at: Path, digest: str) -> Bundle:
    """The published files of model `digest`, every byte checked; or `ModelRefused`."""
    folder = at / _hex(digest)
    if folder.is_symlink():
        raise ModelRefused("the published model is a link", expected="a folder", got=f"a link to {folder.readlink()}")
    return bundle.read(folder, expected=digest, keep=WATCHED, whole=False)


def _hex(digest: str) -> str:
    found = _DIGEST.match(digest)
    if found is None:
        raise ValueError(f"{digest!r} is not a digest")
    return found[1]


def _holds(to: Path, digest: str) -> bool:
    try:
        read(to, digest)
    except ModelRefused:
        return False
    return True


def _write(model: Bundle, final: Path) -> None:
    draft = final.with_name(f".{uuid.uuid4().hex}")
    draft.mkdir()
    # The monitor may run as another user, whatever this one's umask is.
    draft.chmod(0o755)
    for name, data in {MANIFEST: model.manifest, **model.only(WATCHED).files}.items():
        (draft / name).write_bytes(data)
        (draft / name).chmod(0o644)
    draft.rename(final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unreadable(got: str) -> ModelRefused:
    return ModelRefused(
        f"the publication's {POINTER} cannot be read", expected='a file with {"digest": "sha256:…"}', got=got
    )
