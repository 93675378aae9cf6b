"""A training that was killed goes on where it was: its state after each epoch, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hallmark.learners.model import Examples

FILE = "state.pt"
"""Tensors and plain numbers (torch.load with weights_only): no code is read from it."""


class Checkpoint:
    """The last state of one training, in a folder; that of another training is as good as none."""

    def __init__(self, folder: Path, *, of: str) -> None:
        self.folder, self.of = folder, of

    def write(self, state: dict[str, Any]) -> None:
        """Put `state` in the place of the last one by one rename, after its bytes are on the disk."""
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{FILE}.draft"
        with draft.open("wb") as stream:
            torch.save({"of": self.of, "state": state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.folder / FILE)

    def read(self) -> dict[str, Any] | None:
        """The last state; none where there is none, it is of another training, or it cannot be read."""
        import pickle

        import torch

        try:
            found = torch.load(self.folder / FILE, map_location="cpu", weights_only=True)
            state: dict[str, Any] = found["state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
            return None
        return state if found["of"] == self.of else None


def fingerprint(train: Examples, validation: Examples, **parts: Any) -> str:
    """Digest by which two trainings are the same: the examples, `parts`, and the version of torch."""
    import torch

    sha = hashlib.sha256(repr((sorted(parts.items()), torch.__version__)).encode())
    for examples in (train, validation):
        for name in ("inputs", "labels", "weights", "groups"):
            array = getattr(examples, name, None)
            if array is None:
                continue
            values = np.ascontiguousarray(array)
            sha.update(f"{name} {values.shape} {values.dtype}".encode())
            sha.update(values.tobytes() if values.dtype != object else repr(values.tolist()).encode())
    return sha.hexdigest()
