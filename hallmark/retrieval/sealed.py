"""Files of an index by digest: what is used is what was checked."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from hallmark.errors import ModelRefused

FIX = "restore the folder from the registry"


def read(folder: Path, name: str, files: Mapping[str, str]) -> bytes:
    """The bytes of a file that `files` names; `ModelRefused` where they are not of that digest. No link is followed."""
    if name not in files:
        raise ModelRefused(f"the index has no {name}", expected=name, got=", ".join(sorted(files)), fix=FIX)
    data = regular(folder / name)
    got = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if got != files[name]:
        raise ModelRefused(f"{name} of the index was changed", expected=files[name], got=got, fix=FIX)
    return data


def regular(path: Path) -> bytes:
    """The bytes of a regular file, or `ModelRefused`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a regular file")
            return stream.read()
    except OSError as error:
        raise ModelRefused(
            f"{path.name} of the index is missing",
            expected="a regular file",
            got=error.strerror or str(error),
            fix=FIX,
        ) from error
