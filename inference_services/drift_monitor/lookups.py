"""The newest lookups of features, a bounded ring: what parity is judged on, and what one answer is explained from.

Kept as the columns that came, so that taking a thousand exchanges in costs no more than taking one; rows are made when they are asked for.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.signature import Signature
from hallmark.feature_store.lookups import AGE, AT, CapturedLookups, Lookup
from inference_services.capture.exchanges import Exchanges

ROWS = 20_000
BYTES = 24 * 1024 * 1024
_NUMBER_BYTES, _OBJECT_BYTES = 8, 90
_LONGEST = 256
"""Characters of a word that is kept."""
_RECENT = 1000
"""Lookups that ages are told of: the newest."""


@dataclass(frozen=True)
class _Batch:
    """The records of some exchanges: `of` (rows,) says which exchange each is of, `row` (rows,) which of its records."""

    first: int
    of: NDArray[np.int64]
    row: NDArray[np.int64]
    requests: list[str]
    traces: list[str]
    exchanges: list[str]
    columns: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    size: int

    @property
    def end(self) -> int:
        return self.first + len(self.of)


class LookupRing:
    """The newest lookups of one model within `rows` and `size`; of a model without views none. Not for several threads at once."""

    def __init__(self, signature: Signature, *, digest: str, rows: int = ROWS, size: int = BYTES) -> None:
        self._views, self._digest = signature.request_views, digest
        self._given = [name for use in self._views for name in use.fields]
        given = set(self._given)
        self._sent = [field.name for field in signature.asked if field.name not in given and not field.shape]
        self._most, self._size = rows, size
        self._batches: deque[_Batch] = deque()
        self._held = self._bytes = 0
        self._epoch = secrets.token_hex(4)
        self._next = 1
        self._variant = ""

    def extend(self, variant: str, found: Exchanges, new: NDArray[np.bool_]) -> None:
        """Keep the lookups of those exchanges that are `new` (n,)."""
        if not self._views or AT not in found.columns:
            return
        self._variant = variant
        of = np.repeat(np.arange(len(found.records)), found.records)
        row = np.arange(len(of)) - np.repeat(np.cumsum(found.records) - found.records, found.records)
        wanted = [AT, *self._given, *self._sent, *(use.entity.name for use in self._views)]
        wanted += [f"{AGE}{use.view.reference}" for use in self._views]
        chosen = slice(None) if new.all() else np.repeat(new, found.records)
        columns = {
            name: found.columns[name][chosen]
            for name in dict.fromkeys(wanted)
            if name in found.columns and found.columns[name].ndim == 1
        }
        outputs = {name: values[chosen] for name, values in found.outputs.items() if values.ndim == 1}
        rows = len(columns[AT])
        if not rows:
            return
        width = sum(
            _OBJECT_BYTES if values.dtype == object else _NUMBER_BYTES
            for values in (*columns.values(), *outputs.values())
        )
        ids = (found.requests, found.traces, found.exchanges)
        batch = _Batch(
            self._next, of[chosen], row[chosen], *ids, columns, outputs, rows * width + 3 * 80 * len(found.records)
        )
        self._batches.append(batch)
        self._next, self._held, self._bytes = batch.end, self._held + rows, self._bytes + batch.size
        while len(self._batches) > 1 and (self._held > self._most or self._bytes > self._size):
            gone = self._batches.popleft()
            self._held, self._bytes = self._held - len(gone.of), self._bytes - gone.size

    def after(self, cursor: int, *, limit: int) -> CapturedLookups:
        """At most `limit` of those after `cursor`, oldest first."""
        found: list[Lookup] = []
        for batch in self._batches:
            if batch.end - 1 > cursor and len(found) < limit:
                begin = max(0, cursor + 1 - batch.first)
                places = begin + np.flatnonzero(batch.columns[AT][begin:])
                found += self._rows(batch, places[: limit - len(found)].tolist())
        return self._told(found, cursor=found[-1].number if found else max(cursor, self._next - 1))

    def of(self, ident: str) -> CapturedLookups:
        """Those of one request, by its client's id as it is kept, its trace's id or the gateway's."""
        found: list[Lookup] = []
        for batch in self._batches:
            for ids in (batch.requests, batch.traces, batch.exchanges):
                if ident in ids:
                    mine = [place for place, each in enumerate(ids) if each == ident]
                    here = np.isin(batch.of, mine) & (batch.columns[AT] != 0)
                    found += self._rows(batch, np.flatnonzero(here).tolist())
                    break
        return self._told(found, cursor=self._next - 1)

    def erase(self, person: Mapping[str, str]) -> int:
        """Empty the lookups of who has one of these values in its column; how many. Nobody is told of them any more, the others keep their numbers."""
        count = 0
        for at, batch in enumerate(self._batches):
            gone = np.zeros(len(batch.of), dtype=np.bool_)
            for name in person.keys() & batch.columns.keys():
                gone |= [str(value) == person[name] for value in batch.columns[name].tolist()]
            if gone.any():
                columns, outputs = (
                    {name: _emptied(values, gone) for name, values in each.items()}
                    for each in (batch.columns, batch.outputs)
                )
                count += int((batch.columns[AT][gone] != 0).sum())
                self._batches[at] = replace(batch, columns=columns, outputs=outputs)
        return count

    def ages(self) -> dict[str, NDArray[np.float64]]:
        """By view, seconds from the newest event that each of the newest lookups knew of its entity to its read; none of entities without."""
        found: dict[str, list[NDArray[np.float64]]] = {use.view.reference: [] for use in self._views}
        count = 0
        for batch in reversed(self._batches):
            for reference, parts in found.items():
                newest = batch.columns[f"{AGE}{reference}"]
                known = newest > 0
                parts.append((batch.columns[AT][known] - newest[known]) / 1e6)
            count += len(batch.of)
            if count >= _RECENT:
                break
        return {reference: np.concatenate([*parts, np.empty(0)]) for reference, parts in found.items()}

    @property
    def variant(self) -> str:
        """The revision whose lookups came last."""
        return self._variant

    def __len__(self) -> int:
        return self._held

    def _rows(self, batch: _Batch, places: Any) -> Iterator[Lookup]:
        columns, outputs = batch.columns, batch.outputs
        for place in places:
            exchange = int(batch.of[place])
            yield Lookup(
                number=batch.first + place,
                row=int(batch.row[place]),
                request=batch.requests[exchange],
                trace=batch.traces[exchange],
                exchange=batch.exchanges[exchange],
                read_at=int(columns[AT][place]),
                entities={use.view.reference: _plain(columns[use.entity.name][place]) for use in self._views},
                newest={use.view.reference: int(columns[f"{AGE}{use.view.reference}"][place]) for use in self._views},
                values={name: _plain(columns[name][place]) for name in self._given if name in columns},
                sent={name: _plain(columns[name][place]) for name in self._sent if name in columns},
                outputs={name: _plain(values[place]) for name, values in outputs.items()},
            )

    def _told(self, found: list[Lookup], *, cursor: int) -> CapturedLookups:
        read_at = self._batches[0].columns[AT] if self._batches else np.empty(0)
        oldest = int(read_at[read_at != 0].min()) if read_at.any() else None
        return CapturedLookups(
            variant=self._variant,
            digest=self._digest,
            views=self._views,
            epoch=self._epoch,
            cursor=cursor,
            held=self._held,
            oldest=None if oldest is None else datetime.fromtimestamp(oldest / 1e6, UTC),
            lookups=tuple(found),
        )


def _emptied(values: NDArray[Any], gone: NDArray[np.bool_]) -> NDArray[Any]:
    """A column without what stands in some rows; a time of reading of 0 says that there is none."""
    left = values.copy()
    left[gone] = None if values.dtype == object else 0
    return left


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for what is missing, too long, or none of it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else None
    return value if isinstance(value, bool | int) else None
