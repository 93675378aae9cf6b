"""The monitor's part of a model folder: signature, profile and the code that names what to watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hallmark.artifacts import bundle
from hallmark.artifacts.bundle import Bundle
from hallmark.artifacts.signature import Signature
from hallmark.drift import embedding
from hallmark.drift.profile import Profile
from hallmark.errors import ModelRefused
from hallmark.features.fields import Columns


@dataclass(frozen=True)
class Reference:
    """A verified model's signature, profile and `observe`; `embed` and the reference's sample (n, d) where it has both."""

    digest: str
    signature: Signature
    profile: Profile
    observe: Callable[[Columns], Columns]
    embed: Callable[[Columns], NDArray[np.float32]] | None = None
    sample: NDArray[np.float32] | None = None


def read(folder: Path, *, expected: str | None = None) -> Reference:
    """The reference in a model folder, checked against its manifest and `expected` before any of it runs; or `ModelRefused`."""
    return of(bundle.read(folder, expected=expected, keep=bundle.WATCHED))


def of(found: Bundle) -> Reference:
    """The reference in verified files; or `ModelRefused`."""
    features = found.features
    try:
        profile = Profile.model_validate_json(found.file("profile.json"))
    except ValidationError as error:
        raise ModelRefused(
            "the model's profile.json cannot be read", expected="a Profile", got=str(error).splitlines()[0]
        ) from error
    if features.observe is None:
        raise ModelRefused(
            "the model's features.py does not declare what to watch", expected="observe(columns)", got="none"
        )
    embed, sample = features.embed, None
    if embedding.FILE in found.files:
        sample = embedding.read(found.file(embedding.FILE))
        if embed is None:
            raise ModelRefused(
                "the model has embeddings and no way to make more",
                expected="embed(columns) in features.py",
                got="none",
                fix="train it again",
            )
    return Reference(
        found.digest, found.signature, profile, features.observe, embed if sample is not None else None, sample
    )
