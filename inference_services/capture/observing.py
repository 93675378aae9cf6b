"""What is watched of records, as the model's own `observe` and `embed` make it: in the server where records have photos, else in the drift monitor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.arrays import objects
from hallmark.features.fields import Columns

OBSERVED = "observed "
"""Begins the name of a captured column that `observe` gave; no field's name has a space."""
EMBEDDED = "embedded "
"""The captured column that `embed` gave, (rows, d)."""
_log = logging.getLogger(__name__)


class Observing:
    """Watched columns of records, one value each, and their embeddings; what the model's code fails on is missing.

    names: columns to give.   width: numbers of an embedding.   unreadable: records that could not be observed so far.
    """

    def __init__(
        self,
        observe: Callable[[Columns], Columns],
        *,
        names: Sequence[str],
        embed: Callable[[Columns], NDArray[np.float32]] | None = None,
        width: int = 0,
    ) -> None:
        self.names, self.width, self.unreadable = tuple(names), width, 0
        self._observe, self._embed = observe, embed

    def observed(self, columns: Columns, rows: int) -> dict[str, NDArray[Any]]:
        """Columns that `observe` makes of the records; where it fails, of halves of them, and what is broken in the end is missing."""
        try:
            return self.shaped(self._observe(columns), rows)
        except Exception as error:  # noqa: BLE001  the domain's own code, on records that may be broken in any way
            if rows == 1:
                self.unreadable += 1
                _log.debug("a record cannot be observed: %s", error)
                return {name: objects([None]) for name in self.names}
        halves = [self.observed(part, size) for part, size in _halves(columns, rows)]
        return {name: np.concatenate([part[name] for part in halves]) for name in self.names}

    def embedded(self, columns: Columns, rows: int) -> NDArray[np.float32] | None:
        """(rows, d) what `embed` makes of the records, NaN for those it fails on; None for a model without."""
        if self._embed is None:
            return None
        try:
            found = np.asarray(self._embed(columns), dtype=np.float32)
            if found.shape != (rows, self.width):
                raise ValueError(f"embed gives {found.shape}")
            return found
        except Exception as error:  # noqa: BLE001  the domain's own code, as above
            if rows == 1:
                _log.debug("a record cannot be embedded: %s", error)
                return np.full((1, self.width), np.nan, dtype=np.float32)
        halves = [self.embedded(part, size) for part, size in _halves(columns, rows)]
        return np.concatenate([each for each in halves if each is not None])

    def shaped(self, observed: Columns, rows: int) -> dict[str, NDArray[Any]]:
        """Those of the columns that are wanted, missing where there is none; ValueError where one is not one value a record."""
        found = {name: np.asarray(observed[name]) for name in self.names if name in observed}
        if wrong := [name for name, values in found.items() if values.shape != (rows,)]:
            raise ValueError(f"{wrong[0]} is not one value per record")
        return {name: found[name] if name in found else objects([None] * rows) for name in self.names}

    def received(
        self, captured: Columns, rows: int
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32] | None] | None:
        """The same as a server made and sent it; None where it sent the records themselves. What is not of the form is missing."""
        sent = {name.removeprefix(OBSERVED): values for name, values in captured.items() if name.startswith(OBSERVED)}
        if not sent:
            return None
        try:
            columns = self.shaped(sent, rows)
        except ValueError:
            columns = {name: objects([None] * rows) for name in self.names}
        if all(values.dtype == object for values in columns.values()):
            self.unreadable += sum(set(each) == {None} for each in zip(*columns.values(), strict=True))
        if self._embed is None:
            return columns, None
        embedded = captured.get(EMBEDDED)
        if embedded is None or embedded.dtype != np.float32 or embedded.shape != (rows, self.width):
            embedded = np.full((rows, self.width), np.nan, dtype=np.float32)
        return columns, embedded


def _halves(columns: Columns, rows: int) -> list[tuple[Columns, int]]:
    parts = (slice(0, rows // 2), slice(rows // 2, rows))
    return [({name: values[part] for name, values in columns.items()}, part.stop - part.start) for part in parts]
