"""Has the world moved away from what the model learned? Three answers: OK, DRIFT, INSUFFICIENT, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hallmark.domain import Drift
from hallmark.drift import statistics
from hallmark.drift.profile import Column, Profile
from hallmark.features.fields import Columns

State = Literal["OK", "DRIFT", "INSUFFICIENT"]

ALPHA = 0.001
"""Over all columns together, how often chance alone may look significant; the index must be high besides."""
FORGIVEN = 0.01
"""This share of a column's rows may be broken (no value, wrong type, far outside, never seen) and is set aside."""
COMPLETE = 0.95
"""With less of the served traffic captured, the window is not the traffic, so it proves nothing."""


class ColumnVerdict(BaseModel):
    """One column: psi is corrected for chance, p is adjusted for the number of columns (Holm), missing is a share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["number", "category"]
    source: Literal["input", "output"]
    psi: float
    p: float
    missing: float
    missing_in_reference: float
    drifted: bool
    note: str = ""


class Verdict(BaseModel):
    """What a window says; `rows` are the records it was judged on, `captured` the share of served requests seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    rows: int
    minimum: int
    threshold: float
    captured: float | None = None
    columns: tuple[ColumnVerdict, ...] = ()
    reasons: tuple[str, ...] = ()


def judge(
    profile: Profile, window: Columns, drift: Drift, *, captured: float | None = None, doubts: Sequence[str] = ()
) -> Verdict:
    """The verdict on `window`, columns as `observe` gives them and scores as the model answers them.

    window:   (rows,) arrays by name; one that the profile has and the window lacks is all missing; others are ignored.
    captured: share of served requests that were captured, where it is known.
    doubts:   other reasons why the window is not the traffic; with one it proves nothing.
    DRIFT needs a column with psi over the threshold, and p below `ALPHA`.
    """
    rows = max((len(values) for values in window.values()), default=0)
    watched = [column for column in profile.columns if not drift.columns or column.name in drift.columns]
    unknown = sorted(set(drift.columns) - {column.name for column in watched})
    lacking = [*doubts, *_lacking(rows, captured, drift, unknown)]
    columns = _columns(watched, window, rows, drift.threshold) if rows else ()
    drifted = sorted((column for column in columns if column.drifted), key=lambda column: -column.psi)
    state: State = "OK"
    if rows < drift.minimum or doubts or (captured is not None and captured < COMPLETE):
        state, reasons = "INSUFFICIENT", lacking
    elif drifted:
        state, reasons = "DRIFT", [*(f"{column.name}: {column.note}" for column in drifted), *lacking]
    elif lacking:
        state, reasons = "INSUFFICIENT", lacking
    else:
        reasons = [f"{len(columns)} columns over {rows} rows look like the reference"]
    return Verdict(
        state=state,
        rows=rows,
        minimum=drift.minimum,
        threshold=drift.threshold,
        captured=None if captured is None else round(captured, 4),
        columns=tuple(columns),
        reasons=tuple(reasons),
    )


def _lacking(rows: int, captured: float | None, drift: Drift, unknown: list[str]) -> list[str]:
    reasons = []
    if rows < drift.minimum:
        reasons.append(f"{rows} rows in the window, {drift.minimum} are needed")
    if captured is not None and captured < COMPLETE:
        reasons.append(f"{captured:.0%} of the served requests were captured, {COMPLETE:.0%} are needed")
    if unknown:
        reasons.append(f"{', '.join(unknown)}: to be watched, and not in the reference profile")
    return reasons


def _columns(watched: list[Column], window: Columns, rows: int, threshold: float) -> list[ColumnVerdict]:
    gone = np.full(rows, None, dtype=object)
    tallies = [column.tally(np.asarray(window.get(column.name, gone))) for column in watched]
    kept = [_forgiven(column, tally) for column, tally in zip(watched, tallies, strict=True)]
    tests = [statistics.homogeneity(column.counts, tally)[2] for column, tally in zip(watched, kept, strict=True)]
    found = []
    for column, tally, judged, p in zip(watched, tallies, kept, statistics.holm(tests), strict=True):
        psi = statistics.stability_index(column.counts, judged)
        drifted = psi > threshold and p < ALPHA
        found.append(
            ColumnVerdict(
                name=column.name,
                kind=column.kind,
                source=column.source,
                psi=round(psi, 4),
                p=float(f"{p:.3g}"),
                missing=round(float(tally[-1]) / max(1, rows), 4),
                missing_in_reference=round(column.missing, 4),
                drifted=drifted,
                note=_note(column, judged) if drifted else "",
            )
        )
    return found


def _forgiven(column: Column, tally: NDArray[Any]) -> NDArray[np.int64]:
    """The tally without up to `FORGIVEN` of its rows that are broken, beyond what the reference has of the kind.

    So a few poisoned records change no verdict, and what comes in numbers counts in full but for those.
    """
    kept = tally.astype(np.int64).copy()
    total, allowed = int(kept.sum()), int(FORGIVEN * kept.sum())
    # Missing, and beside it what lies far outside or was never seen.
    for at in (-1, -2):
        usual = round(column.counts[at] / max(1, column.rows) * total)
        taken = min(allowed, max(0, int(kept[at]) - usual))
        kept[at] -= taken
        allowed -= taken
    return kept


def _note(column: Column, tally: NDArray[np.int64]) -> str:
    """The bin that moved most, in words."""
    if tally[-1] == tally.sum():
        return "the column is missing"
    before, now = statistics.shares(column.counts), statistics.shares(tally)
    most = int(statistics.index_parts(before, now).argmax())
    was, came = (int(counts[most]) / max(1, int(np.sum(counts))) for counts in (column.counts, tally))
    return f"{column.labels()[most]} in {came:.0%} of rows, {was:.0%} in the reference"
