"""Reference profile of a model at its release: for each watched column, counts of reference rows by bin."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hallmark.drift import sketch, strata
from hallmark.drift.concept import OutputError
from hallmark.drift.season import Season
from hallmark.drift.sketch import BUCKETS, Tail
from hallmark.drift.strata import Strata
from hallmark.errors import HallmarkError
from hallmark.features.arrays import objects
from hallmark.features.fields import Columns
from hallmark.section import Frozen

HEAVY = 0.05
"""A value with this share of a column is a bin of its own."""
MOST_ATOMS = 12
MOST_CATEGORIES = 24
LONGEST_WORD = sketch.LONGEST
_DIGEST = 16
_DECILES = 10
_CLOSE = 1e-6


class Column(Frozen):
    """One column's bins, and how many reference rows fell into each.

    counts of a number: one for each of `atoms`, one for each interval between `edges` (one more than edges; the first and
        the last have no end), then `outside`, then `missing`. An interval holds its upper edge.
    counts of a category: one for each of `categories`, then those never seen, then `missing`. Where it has a `tail`, one for each of
        its buckets before the never seen, and these as a later window would have them (`Tail.expected`).
    outside: farther out of `low`..`high` than these are apart, so a broken record rather than a new world, while rare.
    missing: nothing there, not finite, or of another type.
    digested: a long word ends in a digest of all of it; before version 3 it was cut.
    """

    name: str
    kind: Literal["number", "category"]
    source: Literal["input", "output"] = "input"
    low: float = 0.0
    high: float = 0.0
    atoms: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    digested: bool = False
    tail: Tail | None = None
    counts: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Reference rows behind the counts."""
        return sum(self.counts)

    @property
    def missing(self) -> float:
        """Share of reference rows without a value."""
        return self.counts[-1] / max(1, self.rows)

    @property
    def order(self) -> NDArray[np.int64]:
        """The bins of a number in the order of their values, so that ranks can be had of the counts; none of a category.

        What is far outside may be so on either side, and is left out with what is missing.
        """
        if self.kind == "category" or not self.atoms + self.edges:
            return np.empty(0, dtype=np.int64)
        ends = [self.low, *self.edges, self.high]
        middles = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
        return np.argsort([*self.atoms, *middles], kind="stable")

    def coarse(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """(..., bins) counts with the buckets of a tail as one bin, the third from the end."""
        if self.tail is None:
            return counts
        first, last = len(self.categories), len(self.categories) + BUCKETS
        whole = counts[..., first:last].sum(axis=-1, keepdims=True)
        return np.concatenate([counts[..., :first], whole, counts[..., last:]], axis=-1)

    def labels(self) -> list[str]:
        """Description of each bin in words, in the order of the `coarse` counts."""
        if self.kind == "category":
            rest = ["other values"] if self.tail is None else ["other known values", "values never seen"]
            return [*(repr(value) for value in self.categories), *rest, "missing"]
        spans = ["any other value"]
        if self.edges:
            inner = [f"{low:.4g} to {high:.4g}" for low, high in zip(self.edges, self.edges[1:], strict=False)]
            spans = [f"up to {self.edges[0]:.4g}", *inner, f"above {self.edges[-1]:.4g}"]
        return [*(f"exactly {value:.4g}" for value in self.atoms), *spans, "far outside", "missing"]

    def tally(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Count of `values` in each bin, in the order of the counts; accepts values that no model would."""
        return np.bincount(self.codes(values), minlength=len(self._bins())).astype(np.int64)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """(n,) the bin that each of `values` falls into."""
        found = self.read(values)
        return self._codes_of_words(found) if self.kind == "category" else self._codes_of_numbers(found)

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        """(n,) `values` as the column counts them: `numbers` or `words`."""
        return words(values, digested=self.digested) if self.kind == "category" else numbers(values)

    def reference_codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """(n,) the bin of each of the reference's own `values`; one of the tail that came once counts as never seen by all others."""
        found = self.codes(values)
        if self.tail is not None:
            at = np.flatnonzero((found >= len(self.categories)) & (found < len(self.categories) + BUCKETS))
            rest = self.read(values)[at].tolist()
            often = Counter(rest)
            found[at[[often[value] == 1 for value in rest]]] = self._bins()[-2]
        return found

    def expected(self, codes: NDArray[np.int64]) -> tuple[int, ...]:
        """Counts of the reference's own rows as a later window of as many would show them, given their `reference_codes`."""
        counts = np.bincount(codes, minlength=len(self._bins())).astype(np.int64)
        if self.tail is not None:
            counts[len(self.categories) : -1] = self.tail.expected(counts[len(self.categories) : -1])
        return tuple(counts.tolist())

    def _bins(self) -> range:
        if self.kind == "category":
            return range(len(self.categories) + (BUCKETS if self.tail else 0) + 2)
        return range(len(self.atoms) + len(self.edges) + 3)

    def _codes_of_words(self, values: NDArray[Any]) -> NDArray[np.int64]:
        never, missing = self._bins()[-2:]
        known: dict[str | None, int] = {value: at for at, value in enumerate(self.categories)}
        known[None] = missing
        if self.tail is not None and (
            rest := [value for value in dict.fromkeys(values.tolist()) if value not in known]
        ):
            known.update(zip(rest, (len(self.categories) + self.tail.codes(rest)).tolist(), strict=True))
        return np.array([known.get(value, never) for value in values.tolist()], dtype=np.int64)

    def _codes_of_numbers(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Atoms first, then the spans between edges, then what lies far outside, then what is missing."""
        outside, missing = self._bins()[-2:]
        found = np.full(len(values), missing, dtype=np.int64)
        reach = max(self.high - self.low, _CLOSE * abs(self.high))
        there = ~np.isnan(values)
        found[there] = outside
        inside = there & (values >= self.low - reach) & (values <= self.high + reach)
        atom = _nearest(values[inside], self.atoms)
        span = len(self.atoms) + np.searchsorted(np.array(self.edges), values[inside], side="left")
        found[inside] = np.where(atom >= 0, atom, span)
        return found


class Profile(Frozen):
    """The reference of one model version, as `profile.json` in its folder.

    seasons: the same columns by part of the year, where there was history; version 1 had none.
    strata:  the same rows by the field that the reference is matched by; version 1 had none.
    error:   how wrong the model was on reference rows with final labels; version 1 had none.
    Versions 1 and 2 have no tails.
    """

    version: Literal[1, 2, 3] = 3
    rows: int = Field(ge=1)
    columns: tuple[Column, ...]
    seasons: tuple[Season, ...] = ()
    strata: Strata | None = None
    error: OutputError | None = None

    @model_validator(mode="after")
    def _alike(self) -> Profile:
        lengths = [len(column.counts) for column in self.columns]
        for season in self.seasons:
            if [len(counts) for counts in season.counts] != lengths:
                raise ValueError(f"expected season {season.name} to count the bins of every column")
        for counted in self.strata.counts if self.strata else ():
            if [len(counts) for counts in counted] != lengths:
                raise ValueError("expected strata to count the bins of every column")
        return self

    def season(self, columns: Columns, *, first: date, last: date) -> Season:
        """Profile of rows from another time, inputs and outputs together as in `build`, in this profile's bins."""
        rows = len(next(iter(columns.values())))
        return Season(first=f"{first:%m-%d}", last=f"{last:%m-%d}", rows=rows, counts=self._counts(columns))

    def stratified(self, columns: Columns, *, by: str, values: Sequence[Any]) -> Profile:
        """This profile with its rows, `columns` as in `season`, also counted by the (rows,) `values` of the field `by`."""
        found = np.array(strata.keys(values), dtype=object)
        groups = strata.choose(found.tolist())
        codes = [column.reference_codes(np.asarray(columns[column.name])) for column in self.columns]
        counts = tuple(
            tuple(
                column.expected(each[np.isin(found, group)]) for column, each in zip(self.columns, codes, strict=True)
            )
            for group in groups
        )
        return self.model_copy(update={"strata": Strata(column=by, values=tuple(groups), counts=counts)})

    def _counts(self, columns: Columns) -> tuple[tuple[int, ...], ...]:
        tallies = [column.tally(np.asarray(columns[column.name])) for column in self.columns]
        return tuple(tuple(int(count) for count in tally) for tally in tallies)


def build(columns: Columns, *, scores: Columns | None = None) -> Profile:
    """The profile of reference rows: `columns` as `features.observe` gives them, `scores` as the model answers them.

    columns, scores: (rows,) arrays of numbers, booleans or strings; all of one length, at least one row.
    """
    parts: list[tuple[Literal["input", "output"], Columns]] = [("input", columns), ("output", scores or {})]
    lengths = {name: len(values) for _, part in parts for name, values in part.items()}
    rows = max(lengths.values(), default=0)
    if rows < 1 or set(lengths.values()) != {rows}:
        got = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "no columns"
        raise HallmarkError("no profile of these rows", expected="columns of one length, at least a row", got=got)
    if both := sorted(set(columns) & set(scores or {})):
        raise HallmarkError(
            f"{both[0]} is both watched and answered", expected="one column a name", fix="rename it in observe"
        )
    made = tuple(_column(name, np.asarray(part[name]), source) for source, part in parts for name in part)
    return Profile(rows=rows, columns=made)


def numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) float64, NaN for what is no finite number."""
    if values.dtype.kind in "iuf":
        found = values.astype(np.float64)
    elif values.dtype.kind == "O":
        found = np.array([_number(value) for value in values], dtype=np.float64)
    else:
        found = np.full(len(values), np.nan)
    found[~np.isfinite(found)] = np.nan
    return found


def words(values: NDArray[Any], *, digested: bool = True) -> NDArray[Any]:
    """(n,) strings of at most `LONGEST_WORD` characters, None for what is neither string nor truth value.

    A longer one ends in a digest of all of it, or is cut: what browsers and links say of themselves begins alike for long.
    """
    # Most of what comes is a short word, and that is itself.
    return objects(
        [
            value if type(value) is str and len(value) <= LONGEST_WORD else _word(value, digested=digested)
            for value in values.tolist()
        ]
    )


def _column(name: str, values: NDArray[Any], source: Literal["input", "output"]) -> Column:
    if values.ndim != 1:
        raise HallmarkError(f"{name} has no profile", expected="one value a row", got=f"shape {values.shape}")
    bare = _words(name, values, source) if _is_category(values) else _numbers(name, values, source)
    return bare.model_copy(update={"counts": bare.expected(bare.reference_codes(values))})


def _is_category(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "O":
        return values.dtype.kind not in "iuf"
    return any(_word(value) is not None for value in values)


def _words(name: str, values: NDArray[Any], source: Literal["input", "output"]) -> Column:
    read = words(values).tolist()
    found = Counter(value for value in read if value is not None)
    ordered, made = sorted(found, key=lambda value: (-found[value], value)), None
    if len(ordered) > MOST_CATEGORIES:
        # A value that came once is no more common than others that did not come.
        ordered = [value for value in ordered[:MOST_CATEGORIES] if found[value] > 1]
        alone = {None, *ordered}
        places = np.array([at for at, value in enumerate(read) if value not in alone], dtype=np.int64)
        made = sketch.tail([read[at] for at in places.tolist()], places, len(read))
    return Column(
        name=name,
        kind="category",
        source=source,
        categories=tuple(ordered),
        digested=True,
        tail=made,
        counts=(len(values),),
    )


def _numbers(name: str, values: NDArray[Any], source: Literal["input", "output"]) -> Column:
    found = numbers(values)
    found = np.sort(found[~np.isnan(found)])
    if not len(found):
        return Column(name=name, kind="number", source=source, counts=(len(values),))
    distinct, counts = np.unique(found, return_counts=True)
    heaviest = np.argsort(-counts, kind="stable")[:MOST_ATOMS]
    atoms = np.sort(distinct[heaviest[counts[heaviest] >= HEAVY * len(found)]])
    return Column(
        name=name,
        kind="number",
        source=source,
        low=float(found[0]),
        high=float(found[-1]),
        atoms=tuple(atoms.tolist()),
        edges=_edges(found[~np.isin(found, atoms)], total=len(found)),
        counts=(len(values),),
    )


def _edges(ordered: NDArray[np.float64], *, total: int) -> tuple[float, ...]:
    """Inner edges that split sorted values evenly, each bin about a tenth of `total`, between distinct values."""
    bins = min(_DECILES, round(_DECILES * len(ordered) / total), len(ordered))
    edges = []
    for part in range(1, bins):
        value = ordered[math.ceil(part * len(ordered) / bins) - 1]
        above = np.searchsorted(ordered, value, side="right")
        if above < len(ordered):
            # Half-way to the next value: a float32 written in decimals stays on its side.
            edges.append(float((value + ordered[above]) / 2))
    return tuple(sorted(set(edges)))


def _nearest(values: NDArray[np.float64], atoms: tuple[float, ...]) -> NDArray[np.int64]:
    """The index of the atom that each value is, up to float32's precision; -1 for none."""
    if not atoms:
        return np.full(len(values), -1)
    known = np.array(atoms)
    right = np.searchsorted(known, values).clip(0, len(known) - 1)
    left = (right - 1).clip(0)
    nearest = np.where(np.abs(values - known[left]) < np.abs(values - known[right]), left, right)
    return np.where(np.isclose(values, known[nearest], rtol=_CLOSE, atol=1e-12), nearest, -1)


def _number(value: object) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _word(value: object, *, digested: bool = True) -> str | None:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        return None
    if len(value) <= LONGEST_WORD or not digested:
        return str(value[:LONGEST_WORD])
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_DIGEST // 2).hexdigest()
    return f"{value[: LONGEST_WORD - _DIGEST - 1]}~{digest}"
