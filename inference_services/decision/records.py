"""Records of decisions and cases in files of lines: a line is whole or not there, and what cannot be written is not told."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from hallmark.decision.case import Case
from hallmark.decision.record import DecisionRecord


class RecordLog:
    """Appends each record to `decisions-YYYYMMDD.jsonl`, by the day of the decision in UTC."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def write(self, record: DecisionRecord) -> None:
        """Append it; OSError where that cannot be, so that nobody is told a verdict that has no record."""
        day = datetime.fromtimestamp(record.at, UTC).strftime("%Y%m%d")
        _append(self._folder / f"decisions-{day}.jsonl", record.text)


class CaseFile:
    """Takes cases into a file of lines, where no queue is set up; each id once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def submit(self, case: Case) -> str:
        """Append the case; its id there."""
        found = f"{case.node}-{case.id}"
        with self._lock:
            if found not in self._known:
                _append(self._path, case.model_dump_json())
                self._known.add(found)
        return found


def _append(path: Path, line: str) -> None:
    data = line.encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, before)
            raise OSError("the disk took a part of a line only")
    finally:
        os.close(descriptor)
