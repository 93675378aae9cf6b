"""Dead letters: the rows that a stream refused, with the reason, a line of JSON each, for a person to read and mend.

How many bytes of which file count is part of the stream's state, so a row that is read again after a kill stands there once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hallmark import files

LARGEST = 16 << 20
KEPT = 4
"""Files of `LARGEST` bytes, the newest."""


class DeadLetters:
    """Files `dead_letters-<number>.jsonl` in a folder. counted: number and bytes, as `flush` gave them."""

    def __init__(self, folder: Path, counted: str) -> None:
        self._folder = folder
        self._number, self._bytes = map(int, counted.split())
        self._waiting: list[str] = []
        path = self._path(self._number)
        self._stream = path.open("ab")
        self._bytes = min(self._bytes, path.stat().st_size)
        self._stream.truncate(self._bytes)
        self._stream.seek(self._bytes)
        self._opened = self._number

    def add(self, letter: Mapping[str, Any]) -> None:
        """Keep one for the next `flush`."""
        self._waiting.append(json.dumps(dict(letter), ensure_ascii=False) + "\n")

    def flush(self) -> str:
        """Write those that wait; gives what counts once the state says so."""
        if self._waiting:
            self._stream.write("".join(self._waiting).encode("utf-8", "replace"))
            self._stream.flush()
        self._waiting = []
        self._bytes = self._stream.tell()
        if self._bytes >= LARGEST:
            self._number, self._bytes = self._number + 1, 0
        return f"{self._number} {self._bytes}"

    def erase(self, gone: Callable[[Mapping[str, Any]], bool]) -> int:
        """Take letters out of all files, each of which is changed whole; gives how many. The next `flush` says what counts then."""
        self._stream.close()
        found = 0
        for path, lines in _lines(self._folder):
            kept = [line for line in lines if not gone(json.loads(line))]
            if len(kept) < len(lines):
                files.replace(path, "".join(f"{line}\n" for line in kept))
                found += len(lines) - len(kept)
        self._stream = self._path(self._opened).open("ab")
        return found

    def count(self, wanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """How many letters this is true of."""
        return count(self._folder, wanted)

    def committed(self) -> None:
        """What was flushed counts."""
        if self._number != self._opened:
            self._stream.close()
            self._path(self._number - KEPT).unlink(missing_ok=True)
            self._stream = self._path(self._number).open("wb")
            self._opened = self._number

    def close(self) -> None:
        """Give up the file."""
        self._stream.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"dead_letters-{number}.jsonl"


def count(folder: Path, wanted: Callable[[Mapping[str, Any]], bool]) -> int:
    """How many letters in a folder this is true of; a job may write more meanwhile."""
    return sum(wanted(json.loads(line)) for _, lines in _lines(folder) for line in lines)


def _lines(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for path in sorted(folder.glob("dead_letters-*.jsonl")):
        yield path, [line for line in path.read_bytes().decode("utf-8").split("\n") if line]
