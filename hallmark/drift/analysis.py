"""Interim analysis of a window: every column compared with the reference, and how far each has moved.

Rate of false alarms. An alarm needs two things at once: a shift that matters (the population stability index of the column, or of its
tail, over `threshold`, or the shift of a number's ranks over `shift`, or embeddings told apart over `separation`), and a test that says
chance did not do it. Over columns, all tests of one analysis are one family (Holm). Over time, analyses are counted in rows, not in
questions: a window is judged anew when a fiftieth of it is new (`ANALYSES`), requests in between get the same verdict, and each
analysis may spend a fiftieth of `ALPHA`. So while one window's worth of traffic passes, chance alone alarms with a probability of
at most `ALPHA` = 0.001, however the analyses overlap and however often somebody asks (a union bound, no independence needed).
Simulated on 200 weeks of the marketplace, analysed every 40 rows: tests/hallmark/drift/test_false_alarms.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.drift import Drift
from hallmark.drift import embedding, statistics
from hallmark.drift.embedding import Separation
from hallmark.drift.profile import Column, Profile
from hallmark.drift.season import Season
from hallmark.features.fields import Columns
from hallmark.section import Frozen

ALPHA = 0.001
"""Over all columns and all interim analyses of one window's worth of traffic, how often chance alone may look significant."""
ANALYSES = 50
"""A window is judged anew when this part of it is new; each analysis spends as little of `ALPHA`."""
ALPHA_PER_ANALYSIS = ALPHA / ANALYSES
FORGIVEN = 0.01
"""This share of a column's rows may be broken (no value, wrong type, far outside, never seen) and is set aside."""


class ColumnVerdict(Frozen):
    """One column, or one line of the verdict that is judged as one.

    psi:     population stability index, corrected for chance.
    tail:    the same of the buckets of a column's tail among each other, times the tail's share of the rows.
    unseen:  share of rows whose value the reference never had, corrected for what its filter takes for known, and what is expected of
             clean traffic; for a column with a tail.
    shift:   Cliff's delta of a number's ranks, above 0 where values grew; of embeddings 2 AUC - 1; of labels the part
             by which the error grew.
    effect:  the largest of the three over its threshold: 1 is where drift begins.
    p:       of the psi's test and, `shift_p`, of the shift's or the tail's, each adjusted for all tests of the analysis (Holm).
    missing: share of rows without a value.
    season:  the part of last year that looked like this, where that is why it is no drift.
    """

    name: str
    kind: Literal["number", "category", "vector"]
    source: Literal["input", "output", "embedding", "label"]
    psi: float
    p: float
    missing: float
    missing_in_reference: float
    drifted: bool
    note: str = ""
    shift: float = 0.0
    shift_p: float = 1.0
    effect: float = 0.0
    season: str = ""
    tail: float = 0.0
    unseen: float | None = None
    unseen_in_reference: float | None = None


@dataclass(frozen=True)
class WindowMeasurement:
    """Measurements of one window; `unknown` are columns to watch that the profile does not have."""

    rows: int
    columns: tuple[ColumnVerdict, ...] = ()
    unknown: tuple[str, ...] = ()


def measure(
    profile: Profile,
    window: Columns,
    drift: Drift,
    *,
    at: datetime | None = None,
    separation: Separation | None = None,
    strata: Sequence[str] | NDArray[Any] = (),
) -> WindowMeasurement:
    """Every watched column of `window`, columns as `observe` gives them and scores as the model answers them.

    window:     (rows,) arrays by name; one that the profile has and the window lacks is all missing; others are ignored.
    at:         when the records came; a column that drifted, and looks as it did in that part of last year, did not.
    strata:     (rows,) what `strata.keys` calls the rows' values of the field that the reference is matched by.
    separation: how well the window's embeddings are told from the reference's, where there are any.
    """
    rows = max((len(values) for values in window.values()), default=0)
    tallies = tally(profile, window, rows)
    shares = profile.strata.shares(strata) if profile.strata is not None and len(strata) else None
    return compare(profile, tallies, rows, drift, at=at, separation=separation, shares=shares)


def tally(profile: Profile, window: Columns, rows: int) -> dict[str, NDArray[np.int64]]:
    """Counts of a window's rows in the bins of each column of the profile: those of parts of a window add up to those of the whole."""
    gone = np.full(rows, None, dtype=object)
    return {column.name: column.tally(np.asarray(window.get(column.name, gone))) for column in profile.columns}


def compare(
    profile: Profile,
    counts: Mapping[str, NDArray[np.int64]],
    rows: int,
    drift: Drift,
    *,
    at: datetime | None = None,
    separation: Separation | None = None,
    shares: NDArray[np.float64] | None = None,
) -> WindowMeasurement:
    """`measure` of a window of which there are only `counts`, as `tally` gives them.

    shares: (groups,) of the rows by what the reference is matched by (`Strata.shares`).
    """
    places = [at for at, column in enumerate(profile.columns) if not drift.columns or column.name in drift.columns]
    watched = [profile.columns[place] for place in places]
    unknown = tuple(sorted(set(drift.columns) - {column.name for column in watched}))
    if not rows:
        return WindowMeasurement(rows, (), unknown)
    tallies = [counts[column.name] for column in watched]
    columns = _compared(_matched(profile, places, shares), tallies, drift, separation)
    for season in [each for each in profile.seasons if at is not None and each.holds(at)]:
        if not any(column.drifted for column in columns):
            break
        then = [_then(column, season, place) for column, place in zip(watched, places, strict=True)]
        columns = [
            _excused(now, last, season) for now, last in zip(columns, _of_columns(then, tallies, drift), strict=False)
        ] + columns[len(watched) :]
    return WindowMeasurement(rows, tuple(columns), unknown)


def forgiven(reference: statistics.Counts, tally: NDArray[Any]) -> NDArray[np.int64]:
    """(..., bins) tallies without up to `FORGIVEN` of their rows that are broken, beyond what the reference has of the kind.

    So a few poisoned records change no verdict, and what comes in numbers counts in full but for those.
    """
    kept, before = tally.astype(np.int64).copy(), np.asarray(reference)
    total = kept.sum(axis=-1)
    allowed = (FORGIVEN * total).astype(np.int64)
    # Missing, and beside it what lies far outside or was never seen.
    for at in (-1, -2):
        usual = np.round(before[..., at] / np.maximum(1, before.sum(axis=-1)) * total).astype(np.int64)
        taken = np.minimum(allowed, np.maximum(0, kept[..., at] - usual))
        kept[..., at] -= taken
        allowed = allowed - taken
    return kept


def _compared(
    watched: Sequence[Column], tallies: Sequence[NDArray[np.int64]], drift: Drift, separation: Separation | None
) -> list[ColumnVerdict]:
    more = [] if separation is None else [separation.p]
    found = _of_columns(watched, tallies, drift, more=more)
    if separation is not None:
        tests = 2 * len(watched) + 1
        found.append(_of_embeddings(separation, min(1.0, separation.p * tests), drift))
    return found


def _of_columns(
    watched: Sequence[Column], tallies: Sequence[NDArray[np.int64]], drift: Drift, *, more: Sequence[float] = ()
) -> list[ColumnVerdict]:
    """Each column's line; `more` are p-values of other tests of the same analysis."""
    kept = [forgiven(column.counts, tally) for column, tally in zip(watched, tallies, strict=True)]
    tests = [_tests(column, tally) for column, tally in zip(watched, kept, strict=True)]
    adjusted = statistics.holm([p for each in tests for p in (each.p, each.other_p)] + list(more))
    found = []
    for at, (column, tally, judged, each) in enumerate(zip(watched, tallies, kept, tests, strict=True)):
        p, other_p = adjusted[2 * at : 2 * at + 2]
        by_index = each.psi > drift.threshold and p < ALPHA_PER_ANALYSIS
        by_rank = abs(each.shift) > drift.shift and other_p < ALPHA_PER_ANALYSIS
        by_tail = each.tail > drift.threshold and other_p < ALPHA_PER_ANALYSIS
        why = ""
        if by_index:
            why = _note(column, judged)
        elif by_tail:
            why = _note_of_tail(column, judged)
        elif by_rank:
            why = _note_of_ranks(each.shift)
        rows = max(1, int(tally.sum()))
        found.append(
            ColumnVerdict(
                name=column.name,
                kind=column.kind,
                source=column.source,
                psi=round(each.psi, 4),
                p=float(f"{p:.3g}"),
                shift=round(each.shift, 4),
                shift_p=float(f"{other_p:.3g}"),
                tail=round(each.tail, 4),
                unseen=None if column.tail is None else round(column.tail.share(float(tally[-2]) / rows), 4),
                unseen_in_reference=None if column.tail is None else round(column.tail.unseen, 4),
                effect=round(
                    max(each.psi / drift.threshold, abs(each.shift) / drift.shift, each.tail / drift.threshold), 4
                ),
                missing=round(float(tally[-1]) / rows, 4),
                missing_in_reference=round(column.missing, 4),
                drifted=by_index or by_rank or by_tail,
                note=why,
            )
        )
    return found


@dataclass(frozen=True)
class _Tests:
    """Distances of one column with the p of two tests: of the index, and of ranks or of the tail, which no column has both of."""

    psi: float
    p: float
    shift: float
    tail: float
    other_p: float


def _tests(column: Column, judged: NDArray[np.int64]) -> _Tests:
    before, now = _coarse(column, judged)
    psi, p = statistics.stability_index(before, now), statistics.homogeneity(before, now)[2]
    if column.tail is None:
        ranked = _ranked(column, judged)
        return _Tests(psi, p, float(statistics.rank_shifts(*ranked)), 0.0, statistics.rank_test(*ranked))
    first, last = len(column.categories), len(column.counts) - 2
    tails = np.array(column.counts)[first:last], judged[first:last]
    tail, tail_p = column.tail.compare(*tails)
    share = sum(part.sum() / max(1, whole.sum()) for part, whole in zip(tails, (before, now), strict=True)) / 2
    return _Tests(psi, p, 0.0, tail * float(share), tail_p)


def _ranked(column: Column, tally: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both sides of a number by the order of values; nothing of a category."""
    return np.array(column.counts)[column.order], tally[column.order]


def _coarse(column: Column, judged: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both sides with a tail as one bin. Fewer new values than a reference lets expect are no drift, and count as known on both."""
    before, now = column.coarse(np.array(column.counts)), column.coarse(judged)
    if column.tail is not None and now[-2] * before.sum() <= before[-2] * now.sum():
        for each in (before, now):
            each[-3] += each[-2]
            each[-2] = 0
    return before, now


def _matched(profile: Profile, places: Sequence[int], shares: NDArray[np.float64] | None) -> list[Column]:
    """The columns at `places`, their reference weighted as the window's rows are where the profile can."""
    columns = [profile.columns[place] for place in places]
    if profile.strata is None or shares is None:
        return columns
    counts = [profile.strata.matched(place, profile.columns[place].counts, shares) for place in places]
    return [
        column.model_copy(update={"counts": tuple(int(count) for count in matched.round())})
        for column, matched in zip(columns, counts, strict=True)
    ]


def _of_embeddings(separation: Separation, p: float, drift: Drift) -> ColumnVerdict:
    drifted = separation.auc > drift.separation and p < ALPHA_PER_ANALYSIS
    return ColumnVerdict(
        name=embedding.NAME,
        kind="vector",
        source="embedding",
        psi=0.0,
        p=1.0,
        shift=round(2 * separation.auc - 1, 4),
        shift_p=float(f"{p:.3g}"),
        effect=round(max(0.0, (2 * separation.auc - 1) / (2 * drift.separation - 1)), 4),
        missing=0.0,
        missing_in_reference=0.0,
        drifted=drifted,
        note=f"a classifier tells new from reference with AUC {separation.auc:.2f}" if drifted else "",
    )


def _then(column: Column, season: Season, place: int) -> Column:
    """The column as it was in a part of last year."""
    return column.model_copy(update={"counts": season.counts[place]})


def _excused(now: ColumnVerdict, then: ColumnVerdict, season: Season) -> ColumnVerdict:
    if not now.drifted or then.drifted:
        return now
    return now.model_copy(update={"drifted": False, "note": "", "season": season.name})


def _note(column: Column, judged: NDArray[np.int64]) -> str:
    """The bin that moved most, in words."""
    if judged[-1] == judged.sum():
        return "the column is missing"
    counts = _coarse(column, judged)
    most = int(statistics.index_parts(*(statistics.shares(each) for each in counts)).argmax())
    was, got = (int(each[most]) / max(1, int(each.sum())) for each in counts)
    return f"{column.labels()[most]} in {got:.0%} of rows, {was:.0%} in the reference"


def _note_of_ranks(shift: float) -> str:
    larger = (1 + shift) / 2
    return f"values {'grew' if shift > 0 else 'fell'}: {larger:.0%} of pairs have the new one above the reference's"


def _note_of_tail(column: Column, judged: NDArray[np.int64]) -> str:
    share = int(column.coarse(judged)[-3]) / max(1, int(judged.sum()))
    return f"other known values, {share:.0%} of rows, are not as common among each other as in the reference"
