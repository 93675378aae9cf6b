"""The newest answers beside what was asked, a bounded ring of columns, and the labels that come for them later.

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
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from hallmark.tasks.answers import Label, Value
from hallmark.tasks.task import BaseTask
from inference_services.drift_monitor.table import LONGEST_WORD, Table, Words

Ints = NDArray[np.int64]

ROWS = 20_000
BYTES = 48 * 1024 * 1024
MOST_LABELS = 10_000
"""Labels in one call."""
_LIST = 100
"""Entries kept of an answer that is a list, such as ids."""
_SAME = 8
"""Answers to one client's id that a label of it goes to: the newest."""
_LABELS = 8
"""Labels that one record may have one after the other; later ones change nothing."""
_ROW_BYTES = 900
_VALUE_BYTES = 40
_STRETCH = 64
_REQUEST = re.compile(r"^[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class CapturedRecord:
    """One answered record, as GET /answers gives it.

    exchange: the gateway's own id of the request, "" where there was none;  row: which record of the request it is.
    request:  the first 32 hex digits of the SHA-256 of the client's id;  at, label_at: seconds of the epoch.
    records, kept: how many records the request had, and how many of them are here.
    """

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
    label: Label | None
    label_at: float | None

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "records"}


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


_TOLD: dict[str, type] = {
    **dict.fromkeys(("number", "answered", "row", "records", "kept", "cost"), np.int64),
    **dict.fromkeys(("at", "label_at"), np.float64),
    **dict.fromkeys(("live", "shadow"), np.bool_),
    **dict.fromkeys(("variant", "exchange", "request", "trace", "labels"), object),
}
"""Columns that every row has, besides what was observed and answered."""


class CapturedResponses:
    """The newest `rows` answers within `size` bytes, over all variants. Not for several threads at once.

    A row has a number, its place in the ring, and `answered`, the number that it came with: a label gives it a new one, at the end.
    """

    def __init__(self, *, rows: int = ROWS, size: int = BYTES, began: float | None = None) -> None:
        self.epoch = secrets.token_hex(4)
        """Of this ring; another one's places say nothing about it."""
        self._most = rows
        self._size = size
        # Numbers of a later process are larger: a cursor never points past what it has not seen.
        self._next = int((time.time() if began is None else began) * 1000) * 1000
        self._rows, self._outputs, self._columns = Table(), Table(), Table()
        self._rows.append({name: np.empty(0, dtype=kind) for name, kind in _TOLD.items()}, 0)
        self._first = 0
        self._live = 0
        self._gone: deque[int] = deque(maxlen=rows)
        self._asked: dict[str, list[tuple[int, int, int]]] = {}
        self._moved: dict[int, int] = {}
        self._words = Words(rows)
        self._bytes = 0
        self.variant = ""
        """The one that answered last."""

    def __len__(self) -> int:
        return self._live

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
        kept = np.array([len(next(iter(outputs.values()), next(iter(columns.values()), ())))])
        self.extend(
            variant,
            columns=columns,
            outputs=outputs,
            records=np.array([records]),
            kept=kept,
            at=at,
            requests=[request],
            exchanges=[exchange],
            traces=[trace],
            shadows=[shadow],
        )

    def extend(
        self,
        variant: str,
        *,
        columns: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, NDArray[Any]],
        records: Ints,
        kept: Ints,
        at: float,
        requests: Sequence[str],
        exchanges: Sequence[str],
        traces: Sequence[str],
        shadows: Sequence[bool],
    ) -> None:
        """Keep the records of several exchanges, one of each list an exchange (n,), their records (kept,) behind each other."""
        self.variant = variant
        if not (count := int(kept.sum())):
            return
        firsts = np.cumsum(kept) - kept
        asked = [request if _REQUEST.match(request) else "" for request in requests]
        numbers = np.arange(self._next, self._next + count)
        self._next += count

        def spread(values: Sequence[Any]) -> NDArray[Any]:
            return np.repeat(objects(values), kept)

        of, row = np.repeat(np.arange(len(kept)), kept), np.arange(count) - np.repeat(firsts, kept)
        listed = np.zeros(count, dtype=np.int64)
        plain = {name: self._plain(values, listed) for name, values in outputs.items()}
        seen = {name: self._plain(values, listed) for name, values in columns.items()}
        cost = _ROW_BYTES + _VALUE_BYTES * (len(plain) + len(seen) + listed)
        told = {
            "number": numbers,
            "answered": numbers,
            "at": np.full(count, at),
            "label_at": np.full(count, np.nan),
            "row": row * records[of] // kept[of],
            "records": records[of],
            "kept": kept[of],
            "cost": cost,
            "live": np.ones(count, dtype=np.bool_),
            "shadow": np.array(shadows, dtype=np.bool_)[of],
            "variant": spread([self._words[variant]] * len(kept)),
            "exchange": spread(exchanges),
            "request": spread(asked),
            "trace": spread(self._words.of(traces)),
            "labels": np.full(count, None, dtype=object),
        }
        self._append(told, plain, seen, count)
        self._live += count
        self._bytes += int(cost.sum())
        for request, number, many, whole in zip(
            asked, (numbers[0] + firsts).tolist(), kept.tolist(), records.tolist(), strict=True
        ):
            if request:
                same = self._asked.setdefault(request, [])
                same.append((number, many, whole))
                del same[:-_SAME]
        self._shrink()

    def erase(self, name: str, value: str) -> int:
        """Forget a word of a watched column; in how many rows it stood."""
        values = self._columns[name] if name in self._columns.names else np.empty(0)
        if values.dtype != object:
            return 0
        same = values == value[:LONGEST_WORD]
        values[same] = None
        self._words.pop(value[:LONGEST_WORD], None)
        return int(same.sum())

    def label(self, labels: Sequence[SentLabel]) -> tuple[int, int]:
        """Join labels with the answers to their requests: how many found any, and how many found none.

        A later label replaces an earlier one, seven times at most. Without `row`, a label is of a request of one record.
        """
        joined = 0
        moved: dict[int, int] = {}
        rows = self._rows
        for known in labels:
            hashed = hashlib.sha256(known.request.encode("utf-8", "replace")).hexdigest()[:32]
            found = self._places(hashed, known.row)
            joined += bool(found)
            for place in found:
                had = rows["labels"][place] or ()
                if not known.at <= rows["label_at"][place] and len(had) < _LABELS:  # NaN is no label yet
                    rows["labels"][place] = (*had, (self._next, known.label))
                    rows["label_at"][place] = known.at
                    moved.pop(place, None)
                    moved[place] = self._next
                    self._next += 1
        if moved:
            self._move(np.array(list(moved)), np.array(list(moved.values())))
        return joined, len(labels) - joined

    def after(self, cursor: int, *, limit: int, variant: str) -> tuple[list[CapturedRecord], int, int]:
        """At most `limit` rows of a variant after `cursor`, the next cursor, and how many rows left the ring unseen since."""
        places = self.places(variant, after=cursor)
        if len(places) >= limit:
            places = places[:limit]
            return self._records(places), int(self._rows["number"][places[-1]]), self.lost(cursor)
        return self._records(places), max(cursor, self.newest), self.lost(cursor)

    @property
    def newest(self) -> int:
        """Number of the newest row; 0 where there is none."""
        return int(self._rows["number"][-1]) if self._live else 0

    def places(self, variant: str, *, after: int = 0) -> Ints:
        """Where a variant's rows after this number are, oldest first, for `told`, `answers` and `watched`, until the ring is changed."""
        if not self._live:
            return np.empty(0, dtype=np.int64)
        first = max(self._first, int(np.searchsorted(self._rows["number"], after, side="right")))
        mine = self._rows["live"][first:] & (self._rows["variant"][first:] == variant)
        return first + np.flatnonzero(mine)

    def told(self, name: str, places: Ints) -> NDArray[Any]:
        """(n,) number, answered, at, label_at, row, records, kept, shadow, exchange, request, trace or labels of the rows there."""
        return self._rows[name][places]

    def outputs(self, places: Ints) -> dict[str, NDArray[Any]]:
        """(n,) what was answered in the rows there, by output: numbers, or objects; NaN and None are missing."""
        return {name: self._outputs[name][places] for name in self._outputs.names}

    def watched(self, name: str, places: Ints) -> NDArray[Any]:
        """(n,) a watched column of the rows there, all None for one that never came."""
        return self._columns[name][places] if name in self._columns.names else np.full(len(places), None, dtype=object)

    def answers(self, name: str, places: Ints) -> list[Value]:
        """(n,) the answers of an output as they came, None for none."""
        return _values(self._outputs[name][places]) if name in self._outputs.names else [None] * len(places)

    def lost(self, number: int) -> int:
        """How many rows after this number left the ring."""
        return sum(1 for _ in itertools.takewhile(lambda gone: gone > number, reversed(self._gone)))

    def of(self, variant: str) -> Iterator[CapturedRecord]:
        """A variant's rows."""
        return iter(self._records(self.places(variant)))

    def labelled(self, variant: str, output: str) -> LabelledRecords:
        """Times of a variant's rows, their values of `output`, their labels and their requests."""
        places = self.places(variant)
        exchange, request = self.told("exchange", places), self.told("request", places)
        return LabelledRecords(
            at=self.told("at", places),
            answers=self.answers(output, places),
            labels=[labels[-1][1] if labels else None for labels in self.told("labels", places)],
            requests=np.where(exchange != "", exchange, request).tolist(),
        )

    def _records(self, places: Ints) -> list[CapturedRecord]:
        outputs, columns = (
            [
                dict(zip(table.names, row, strict=True))
                for row in zip(*(_values(table[name][places]) for name in table.names), strict=True)
            ]
            or [{} for _ in range(len(places))]
            for table in (self._outputs, self._columns)
        )
        names = ("exchange", "row", "records", "kept", "at", "request", "trace", "shadow", "labels", "label_at")
        found = zip(*(self.told(name, places).tolist() for name in names), strict=True)
        return [
            CapturedRecord(  # type: ignore[call-arg]  # told: those of `names` before
                *told, answered, asked, labels[-1][1] if labels else None, label_at if labels else None
            )
            for (*told, labels, label_at), answered, asked in zip(found, outputs, columns, strict=True)
        ]

    def _places(self, request: str, row: int | None) -> list[int]:
        """Where the records are that a label of this request is of."""
        found, rows = [], self._rows
        for first, kept, records in self._asked.get(request, ()):
            if row is None and records != 1:
                continue
            at = -(-(row or 0) * kept // records)
            if at >= kept or at * records // kept != (row or 0):
                continue
            number = self._moved.get(first + at, first + at)
            place = int(np.searchsorted(rows["number"], number))
            if self._first <= place < rows.rows and rows["number"][place] == number and rows["live"][place]:
                found.append(place)
        return found

    def _move(self, places: Ints, numbers: Ints) -> None:
        """Put these rows at the end of the ring."""
        told = {name: self._rows[name][places] for name in self._rows.names}
        outputs = {name: self._outputs[name][places] for name in self._outputs.names}
        columns = {name: self._columns[name][places] for name in self._columns.names}
        self._rows["live"][places] = False
        self._moved.update(zip(told["answered"].tolist(), numbers.tolist(), strict=True))
        self._append({**told, "number": numbers}, outputs, columns, len(places))
        self._shrink()

    def _append(
        self,
        told: Mapping[str, NDArray[Any]],
        outputs: Mapping[str, NDArray[Any]],
        columns: Mapping[str, NDArray[Any]],
        count: int,
    ) -> None:
        for table, values in ((self._rows, told), (self._outputs, outputs), (self._columns, columns)):
            table.append(values, count)

    def _shrink(self) -> None:
        """Let the oldest rows go that are too many, and the room of those that have gone once it is as much as that of the others."""
        rows = self._rows
        while self._live and (self._live > self._most or self._bytes > self._size):
            stretch = slice(self._first, self._first + max(_STRETCH, self._live - self._most))
            live = rows["live"][stretch]
            spent = np.cumsum(np.where(live, rows["cost"][stretch], 0))
            many, large = np.cumsum(live) >= self._live - self._most, spent >= self._bytes - self._size
            enough = int(np.argmax(many & large)) + 1 if (many & large).any() else len(live)
            gone = self._first + np.flatnonzero(live[:enough])
            self._gone.extend(rows["number"][gone].tolist())
            for answered in rows["answered"][gone[~np.isnan(rows["label_at"][gone])]].tolist():
                self._moved.pop(answered, None)
            rows["live"][gone] = False
            self._first += enough
            self._live -= len(gone)
            self._bytes -= int(rows["cost"][gone].sum())
        if rows.rows - self._live > max(_STRETCH, self._live):
            live = np.flatnonzero(rows["live"])
            for table in (rows, self._outputs, self._columns):
                table.keep(live)
            self._first = 0
            asked = set(rows["request"].tolist())
            self._asked = {request: same for request, same in self._asked.items() if request in asked}

    def _plain(self, values: NDArray[Any], listed: Ints) -> NDArray[Any]:
        """Values as they are kept: numbers, truth values, words cut short, lists of such; None for anything else."""
        if values.ndim == 1 and values.dtype.kind in "biuf":
            return values
        if (whole := self._words.known(values)) is not None:
            return whole
        found = values.tolist()
        kinds = set(map(type, found))
        if kinds <= {str, type(None)}:
            return objects(self._words.of(found))
        plain = objects([self._kept(value) for value in found])
        if list in kinds:
            listed += [len(value) if isinstance(value, list) else 0 for value in plain]
        return plain

    def _kept(self, value: Any) -> Value:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, str):
            return str(self._words[value])
        if isinstance(value, list):
            return [self._kept(each) for each in value[:_LIST]]
        return value if isinstance(value, bool | int) else None


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


def _values(values: NDArray[Any]) -> list[Value]:
    """As Python's own, None for a number that is not finite."""
    found: list[Value] = values.tolist()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        found = [value if math.isfinite(value) else None for value in values.tolist()]
    return found


def _known(item: object, task: BaseTask) -> SentLabel:
    if not isinstance(item, dict) or not isinstance(item.get("request"), str) or not item["request"]:
        raise ValueError("expected request: the client's id as it was sent")
    label, row = item.get("label"), item.get("row")
    if problem := task.label_problem(label):
        raise ValueError(problem)
    if len(json.dumps(label)) > _LIST * LONGEST_WORD or (isinstance(label, str) and len(label) > LONGEST_WORD):
        raise ValueError(f"expected label: words of at most {LONGEST_WORD} characters, at most {_LIST} in a list")
    if row is not None and (type(row) is not int or row < 0):
        raise ValueError("expected row: a whole number")
    try:
        at = datetime.fromisoformat(item.get("at", ""))
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("expected at: an RFC 3339 time with its zone")
    return SentLabel(item["request"], label, at.timestamp(), row)
