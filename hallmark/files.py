"""Files that are there whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Put `text` at `path` by rename, so that no reader sees half of it, and a full disk leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
