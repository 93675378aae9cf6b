"""What the monitor reads of a model folder: signature, profile and the code that says what to watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from hallmark.drift.profile import Profile
from hallmark.errors import ModelRefused
from hallmark.features.fields import Columns
from hallmark.registry import bundle
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
    found = bundle.read(folder, expected=expected, keep=bundle.WATCHED)
    code = found.code("features.py")
    try:
        profile = Profile.model_validate_json(found.file("profile.json"))
    except ValidationError as error:
        raise ModelRefused(
            "the model's profile.json cannot be read", expected="a Profile", came=str(error).splitlines()[0]
        ) from error
    if not callable(getattr(code, "observe", None)):
        raise ModelRefused(
            "the model's features.py does not say what to watch", expected="observe(columns)", came="none"
        )
    return Reference(found.digest, found.signature, profile, code.observe)
