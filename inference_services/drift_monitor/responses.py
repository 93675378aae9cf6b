"""The newest answers beside what was asked, a bounded ring, and the labels that come for them later.

It is what a rollout compares two revisions by (evidence.py). It is kept in memory only: after a restart it begins anew, and a cursor from
before then finds everything that came since. A row that gets a label goes to the ring's end, so that who reads on sees it again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.tasks.answers import Label, Value
from hallmark.tasks.task import BaseTask

ROWS = 20_000
BYTES = 48 * 1024 * 1024
MOST_LABELS = 10_000
"""Labels in one call."""
_WORD = 64
_LIST = 100
"""Entries kept of an answer that is a list, such as ids."""
_SAME = 8
"""Answers to one client's id that a label of it goes to: the newest."""
_LABELS = 8
"""Labels that one record may have one after the other; later ones change nothing."""
_ROW_BYTES = 900
_VALUE_BYTES = 40
_REQUEST = re.compile(r"^[0-9a-f]{32}$")


@dataclass(slots=True)
class CapturedRecord:
    """One answered record.

    exchange: the gateway's own id of the request, "" where there was none;  row: which record of the request it is.
    request:  the first 32 hex digits of the SHA-256 of the client's id;  at, label_at: seconds of the epoch.
    records, kept: how many records the request had, and how many of them are here.
    number, answered: its place in the ring, and that at which it came;  labels: each with its place, the last one holds.
    """

    variant: str
    exchange: str
    row: int
    records: int
    kept: int
    at: float
    request: str
    trace: str
    shadow: bool
    outputs: dict[str, Value]
    columns: dict[str, Value]
    label_at: float | None = None
    number: int = 0
    answered: int = 0
    labels: list[tuple[int, Label]] = field(default_factory=list)

    @property
    def label(self) -> Label | None:
        """The label that holds."""
        return self.labels[-1][1] if self.labels else None

    def label_by(self, number: int) -> Label | None:
        """The label that held at this place of the ring."""
        return next((label for at, label in reversed(self.labels) if at <= number), None)

    def shown(self) -> dict[str, Any]:
        """As GET /answers gives it."""
        return {
            "exchange": self.exchange,
            "row": self.row,
            "kept": self.kept,
            "at": self.at,
            "request": self.request,
            "trace": self.trace,
            "shadow": self.shadow,
            "outputs": self.outputs,
            "columns": self.columns,
            "label": self.label,
            "label_at": self.label_at,
        }


@dataclass(frozen=True)
class SentLabel:
    """A label as it was sent: of the request with this id of the client's, and of one of its records where that is said."""

    request: str
    label: Label
    at: float
    row: int | None = None


@dataclass(frozen=True)
class LabelledRecords:
    """Rows of one variant: when they were answered, the answers, their labels (None: not known yet), and their requests."""

    at: NDArray[np.float64]
    answers: Sequence[Value]
    labels: Sequence[Label | None]
    requests: Sequence[str]

    def take(self, rows: Sequence[int]) -> LabelledRecords:
        """These rows."""
        return LabelledRecords(
            at=self.at[rows],
            answers=[self.answers[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            requests=[self.requests[row] for row in rows],
        )


class CapturedResponses:
    """The newest `rows` answers within `size` bytes, over all variants. Not for several threads at once."""

    def __init__(self, *, rows: int = ROWS, size: int = BYTES, began: float | None = None) -> None:
        self.epoch = secrets.token_hex(4)
        """Of this ring; another one's places say nothing about it."""
        self._most = rows
        self._size = size
        # Numbers of a later process are larger: a cursor never points past what it has not seen.
        self._numbers = itertools.count(int((time.time() if began is None else began) * 1000) * 1000)
        self._ring: OrderedDict[int, CapturedRecord] = OrderedDict()
        self._gone: deque[int] = deque(maxlen=rows)
        self._asked: dict[tuple[str, int], list[CapturedRecord]] = {}
        self._words: dict[str, str] = {}
        self._bytes = 0
        self.variant = ""
        """The one that answered last."""

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def size(self) -> int:
        """Bytes held, about."""
        return self._bytes

    def add(
        self,
        variant: str,
        *,
        columns: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, NDArray[Any]],
        records: int,
        at: float,
        request: str = "",
        exchange: str = "",
        trace: str = "",
        shadow: bool = False,
    ) -> None:
        """Keep the records of one exchange: of `records`, those that the columns and outputs (kept,) hold, evenly spread."""
        self.variant = variant
        kept = len(next(iter(outputs.values()), next(iter(columns.values()), ())))
        asked = {name: [self._plain(value) for value in values.tolist()] for name, values in columns.items()}
        answered = {name: [self._plain(value) for value in values.tolist()] for name, values in outputs.items()}
        for place in range(kept):
            row = CapturedRecord(
                variant=self._word(variant),
                exchange=exchange,
                row=place * records // kept,
                records=records,
                kept=kept,
                at=at,
                request=request if _REQUEST.match(request) else "",
                trace=self._word(trace),
                shadow=shadow,
                outputs={name: values[place] for name, values in answered.items()},
                columns={name: values[place] for name, values in asked.items()},
            )
            if row.request:
                same = self._asked.setdefault((row.request, row.row), [])
                same.append(row)
                del same[:-_SAME]
            self._append(row)
            row.answered = row.number
            self._bytes += _cost(row)
        while self._ring and (len(self._ring) > self._most or self._bytes > self._size):
            self._drop()

    def label(self, labels: Sequence[SentLabel]) -> tuple[int, int]:
        """Join labels with the answers to their requests: how many found any, and how many found none.

        A later label replaces an earlier one, seven times at most. Without `row`, a label is of a request of one record.
        """
        joined = 0
        for known in labels:
            hashed = hashlib.sha256(known.request.encode("utf-8", "replace")).hexdigest()[:32]
            found = [
                row
                for row in self._asked.get((hashed, known.row or 0), ())
                if known.row is not None or row.records == 1
            ]
            joined += bool(found)
            for row in found:
                if (row.label_at is None or known.at > row.label_at) and len(row.labels) < _LABELS:
                    row.label_at = known.at
                    del self._ring[row.number]
                    self._append(row)
                    row.labels.append((row.number, known.label))
        return joined, len(labels) - joined

    def after(self, cursor: int, *, limit: int, variant: str) -> tuple[list[CapturedRecord], int, int]:
        """At most `limit` rows of a variant after `cursor`, the next cursor, and how many rows left the ring unseen since."""
        found = [row for row in self.since(cursor) if row.variant == variant]
        if len(found) >= limit:
            return found[:limit], found[limit - 1].number, self.lost(cursor)
        return found, max(cursor, self.newest), self.lost(cursor)

    @property
    def newest(self) -> int:
        """Place of the newest row; 0 where there is none."""
        return next(reversed(self._ring), 0)

    def since(self, number: int) -> list[CapturedRecord]:
        """The rows after this place, oldest first."""
        found = []
        for place, row in reversed(self._ring.items()):
            if place <= number:
                break
            found.append(row)
        return found[::-1]

    def lost(self, number: int) -> int:
        """How many rows after this place left the ring."""
        return sum(1 for _ in itertools.takewhile(lambda gone: gone > number, reversed(self._gone)))

    def of(self, variant: str) -> Iterator[CapturedRecord]:
        """A variant's rows."""
        return (row for row in self._ring.values() if row.variant == variant)

    def _append(self, row: CapturedRecord) -> None:
        row.number = next(self._numbers)
        self._ring[row.number] = row

    def _drop(self) -> None:
        number, row = self._ring.popitem(last=False)
        self._gone.append(number)
        self._bytes -= _cost(row)
        same = [each for each in self._asked.pop((row.request, row.row), ()) if each is not row]
        if same:
            self._asked[row.request, row.row] = same

    def _plain(self, value: Any) -> Value:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, str):
            return self._word(value[:_WORD])
        if isinstance(value, list):
            return [self._plain(each) for each in value[:_LIST]]
        return value if isinstance(value, bool | int) else None

    def _word(self, word: str) -> str:
        if len(self._words) > self._most:
            self._words.clear()
        return self._words.setdefault(word, word)


def known(items: object, task: BaseTask) -> tuple[list[SentLabel], list[str]]:
    """The labels of one call, and what is wrong with those that are none of `task`."""
    if not isinstance(items, list) or len(items) > MOST_LABELS:
        return [], [f"expected a JSON array of at most {MOST_LABELS} labels"]
    good, wrong = [], []
    for item in items:
        try:
            good.append(_known(item, task))
        except ValueError as error:
            wrong.append(str(error))
    return good, wrong


def labels(rows: Iterator[CapturedRecord], output: str) -> LabelledRecords:
    """Times of a variant's rows, their values of `output`, their labels and their requests."""
    found = list(rows)
    return LabelledRecords(
        at=np.array([row.at for row in found], dtype=np.float64),
        answers=[row.outputs.get(output) for row in found],
        labels=[row.label for row in found],
        requests=[row.exchange or row.request for row in found],
    )


def _known(item: object, task: BaseTask) -> SentLabel:
    if not isinstance(item, dict) or not isinstance(item.get("request"), str) or not item["request"]:
        raise ValueError("expected request: the client's id as it was sent")
    label, row = item.get("label"), item.get("row")
    if problem := task.label_problem(label):
        raise ValueError(problem)
    if len(json.dumps(label)) > _LIST * _WORD or (isinstance(label, str) and len(label) > _WORD):
        raise ValueError(f"expected label: words of at most {_WORD} characters, at most {_LIST} in a list")
    if row is not None and (type(row) is not int or row < 0):
        raise ValueError("expected row: a whole number")
    try:
        at = datetime.fromisoformat(item.get("at", ""))
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("expected at: an RFC 3339 time with its zone")
    return SentLabel(item["request"], label, at.timestamp(), row)


def _cost(row: CapturedRecord) -> int:
    listed = sum(len(value) for value in row.outputs.values() if isinstance(value, list))
    return _ROW_BYTES + _VALUE_BYTES * (len(row.outputs) + len(row.columns) + listed)
