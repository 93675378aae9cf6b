"""What the monitor reads of a model folder: signature, profile and the code that says what to watch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from hallmark.drift.profile import Profile
from hallmark.errors import ModelRefused
from hallmark.features.fields import Columns
from hallmark.registry import folder as folders
from hallmark.registry.folder import Signature


@dataclass(frozen=True)
class Reference:
    """A verified model's signature, profile and `observe`."""

    digest: str
    signature: Signature
    profile: Profile
    observe: Callable[[Columns], Columns]


def read(folder: Path, *, expected: str | None = None) -> Reference:
    """The reference in a model folder, checked against its manifest and `expected` before any of it runs; or `ModelRefused`."""
    digest = folders.verify(folder, expected=expected)
    recorded = json.loads((folder / folders.MANIFEST).read_bytes())["files"]
    code = _module(_bytes(folder, "features.py", recorded.get("features.py")))
    text = _bytes(folder, "profile.json", recorded.get("profile.json"))
    try:
        profile = Profile.model_validate_json(text)
    except ValidationError as error:
        raise ModelRefused(
            "the model's profile.json cannot be read", expected="a Profile", came=str(error).splitlines()[0]
        ) from error
    if not callable(getattr(code, "observe", None)):
        raise ModelRefused(
            "the model's features.py does not say what to watch", expected="observe(columns)", came="none"
        )
    return Reference(digest, folders.signature(folder), profile, code.observe)


def _bytes(folder: Path, name: str, recorded: str | None) -> bytes:
    """A file's bytes, hashed again: what runs is what was verified, whatever happened in between."""
    path = folder / name
    data = path.read_bytes() if path.is_file() else b""
    if recorded is None or f"sha256:{hashlib.sha256(data).hexdigest()}" != recorded:
        raise ModelRefused(
            f"{name} of the model is missing or was changed",
            expected=recorded or name,
            came="no such file" if not data else "other bytes",
            do="restore the folder from the registry",
        )
    return data


def _module(source: bytes) -> ModuleType:
    module = ModuleType("hallmark_model_features")
    try:
        exec(compile(source, "<model>/features.py", "exec"), module.__dict__)  # noqa: S102  these bytes were hashed
    except Exception as error:  # whatever the model's own code raises while it loads
        raise ModelRefused(
            "the model's features.py cannot be run", expected="a module", came=f"{type(error).__name__}: {error}"
        ) from error
    return module
