"""Records of erasures where all can read them: beside the offline store, each written once and never changed.

Each machine that erases has a key of its own, by which its records name whom they are about; it lies there too, for who compares answers
elsewhere. Who may read it may read the events, but for the erased ones, whose ids it lets them try out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hallmark import files
from hallmark.feature_store.bucket import Bucket

FOLDER = "erasures"
KEY = "key"


def own(folder: Path) -> str:
    """The name of this machine's key, empty where it has none yet."""
    path = folder / KEY
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def key_of(folder: Path, record: Path) -> Path:
    """The file with the key of a record: this machine's own, or that which came with it."""
    _, _, name = record.stem.partition("_")
    return folder / (f"{name}.{KEY}" if name else KEY)


def exchange(folder: Path, root: Path | Bucket) -> None:
    """Put this machine's finished records and its key there, and bring those of others to `folder`."""
    mine = own(folder)
    shared = _Folder(root / FOLDER) if isinstance(root, Path) else root.below(FOLDER)
    there = set(shared.names())
    ended = [path for path in sorted(folder.glob("2*.json")) if "_" not in path.stem]
    if ended and f"{mine}.{KEY}" not in there:
        shared.write(f"{mine}.{KEY}", (folder / KEY).read_bytes(), tag=None)
    for path in ended:
        if (name := f"{path.stem}_{mine}.json") not in there:
            shared.write(name, path.read_bytes(), tag=None)
    others = [name for name in there if mine not in name or not mine]
    for name in sorted(others, key=lambda each: not each.endswith(KEY)):  # a record is of use with its key alone
        path = folder / name
        if not path.is_file() and (found := shared.read(name)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"..{name}")
            draft.touch(mode=0o600)
            draft.write_bytes(found[0])
            draft.replace(path)


class _Folder:
    """A folder as a bucket has it: what is written is never written again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("[!.]*"))

    def read(self, name: str) -> tuple[bytes, str] | None:
        path = self._folder / name
        return (path.read_bytes(), "") if path.is_file() else None

    def write(self, name: str, content: bytes, *, tag: None) -> bool:
        del tag
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / name).exists():
            return False
        files.replace(self._folder / name, content.decode())
        return True
