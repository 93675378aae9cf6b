"""Draws by lot that nobody who names items can foretell: keyed by a secret that lies with the records and is made once."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hallmark.errors import DeclarationError
from hallmark.policy import lot

_FILE = "draws.secret"
_DIGITS = 64


class Draws(NamedTuple):
    """The same item is drawn alike by every process that keeps its records in the same folder, and after every restart."""

    secret: str

    @classmethod
    def of(cls, records: Path) -> Draws:
        """By the secret in this folder, which is made where there is none; `DeclarationError` where the file is not whole."""
        path = records / _FILE
        if not path.exists():
            _make(path)
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if len(found) != _DIGITS:
            raise DeclarationError(
                f"{path} is no secret that draws could be made by",
                expected=f"{_DIGITS} digits, as the service writes them",
                got=f"{len(found)} characters",
                fix="take the file away: the service makes another, and draws anew",
            )
        return cls(found)

    def lot(self, domain: str) -> Callable[[str], float]:
        """What is drawn of an item by its id or fingerprint, 0 to 1: whether an accepted one is looked at by a person."""
        topic = f"{self.secret}/{domain}/explore"
        return lambda item: float(lot.drawn([item], topic)[0])


def _make(path: Path) -> None:
    """Write it whole; of two processes at once one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{_FILE}-{secrets.token_hex(8)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_DIGITS // 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink()
