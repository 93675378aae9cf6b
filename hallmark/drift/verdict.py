"""Has the world moved away from what the model learned? Three answers: OK, DRIFT, INSUFFICIENT, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.drift import Drift
from hallmark.drift.analysis import FORGIVEN, ColumnVerdict, WindowMeasurement, measure
from hallmark.drift.concept import Concept
from hallmark.drift.profile import Profile
from hallmark.features.fields import Columns
from hallmark.section import Frozen

State = Literal["OK", "DRIFT", "INSUFFICIENT"]

COMPLETE = 0.95
"""With less of the served traffic captured, the window is not the traffic, so it proves nothing."""


class Lag(Frozen):
    """Age of inputs when they were scored, in seconds; shares are of the window's rows.

    unknown: rows whose event time is not there, not a time, or in the future by more than the limit.
    """

    limit: float
    median: float | None = None
    p99: float | None = None
    stale: float = 0.0
    unknown: float = 0.0


class Verdict(Frozen):
    """Drift verdict on a window; `rows` are the records it was judged on, `captured` the share of served requests seen.

    trace: the trace id that most records of the window share, "" for none.
    """

    state: State
    rows: int
    minimum: int
    threshold: float
    captured: float | None = None
    columns: tuple[ColumnVerdict, ...] = ()
    reasons: tuple[str, ...] = ()
    shift: float | None = None
    lag: Lag | None = None
    labels: Concept | None = None
    trace: str = ""


def judge(
    profile: Profile,
    window: Columns,
    drift: Drift,
    *,
    captured: float | None = None,
    doubts: Sequence[str] = (),
    at: datetime | None = None,
) -> Verdict:
    """One interim analysis of `window` and what follows from it: `measure`, then `conclude`."""
    return conclude(measure(profile, window, drift, at=at), drift, captured=captured, doubts=doubts)


def conclude(
    measured: WindowMeasurement,
    drift: Drift,
    *,
    captured: float | None = None,
    doubts: Sequence[str] = (),
    lag: Lag | None = None,
    labels: Concept | None = None,
    trace: str = "",
) -> Verdict:
    """The verdict on what was measured.

    captured: share of served requests that were captured, where it is known.
    doubts:   other reasons why the window is not the traffic; with one, or with stale inputs, it proves nothing.
    DRIFT needs an effect over its threshold and a p below `PER_LOOK`.
    """
    stale = _stale(lag)
    lacking = [*doubts, *_lacking(measured, captured, drift), *stale]
    columns = [*measured.columns, *_of_labels(labels, drift)]
    drifted = sorted((column for column in columns if column.drifted), key=lambda column: -column.effect)
    state: State = "OK"
    if measured.rows < drift.minimum or doubts or stale or (captured is not None and captured < COMPLETE):
        state, reasons = "INSUFFICIENT", lacking
    elif drifted:
        state, reasons = "DRIFT", [*(f"{column.name}: {column.note}" for column in drifted), *lacking]
    elif lacking:
        state, reasons = "INSUFFICIENT", lacking
    else:
        reasons = [f"{len(columns)} columns over {measured.rows} rows look like the reference"]
        reasons += [f"{column.name}: as from {column.season} of last year" for column in columns if column.season]
    return Verdict(
        state=state,
        rows=measured.rows,
        minimum=drift.minimum,
        threshold=drift.threshold,
        shift=drift.shift,
        captured=None if captured is None else round(captured, 4),
        columns=tuple(columns),
        reasons=tuple(reasons),
        lag=lag,
        labels=labels,
        trace=trace,
    )


def lag_of(seconds: NDArray[np.float64], limit: float) -> Lag:
    """The lag of a window's rows: (rows,) seconds from event to scoring, NaN where that is not known."""
    known = seconds[seconds >= -limit]
    rows = max(1, len(seconds))
    low, high = np.percentile(known, (50, 99)).round(3).tolist() if len(known) else (None, None)
    return Lag(
        limit=limit,
        median=low,
        p99=high,
        stale=round(float((known > limit).sum()) / rows, 4),
        unknown=round((len(seconds) - len(known)) / rows, 4),
    )


def _lacking(measured: WindowMeasurement, captured: float | None, drift: Drift) -> list[str]:
    reasons = []
    if measured.rows < drift.minimum:
        reasons.append(f"{measured.rows} rows in the window, {drift.minimum} are needed")
    if captured is not None and captured < COMPLETE:
        reasons.append(f"{captured:.0%} of the served requests were captured, {COMPLETE:.0%} are needed")
    if measured.unknown:
        reasons.append(f"{', '.join(measured.unknown)}: to be watched, and not in the reference profile")
    return reasons


def _stale(lag: Lag | None) -> list[str]:
    reasons = []
    if lag is not None and lag.stale > FORGIVEN:
        reasons.append(
            f"stale inputs: {lag.stale:.0%} of rows are older than {lag.limit:g} s, half over {lag.median:g} s"
        )
    if lag is not None and lag.unknown > FORGIVEN:
        reasons.append(f"inputs of unknown age: {lag.unknown:.0%} of rows do not say when they happened")
    return reasons


def _of_labels(labels: Concept | None, drift: Drift) -> list[ColumnVerdict]:
    if labels is None or labels.worse is None:
        return []
    return [
        ColumnVerdict(
            name=f"error of {labels.output}",
            kind="number",
            source="label",
            psi=0.0,
            p=1.0,
            shift=labels.worse,
            shift_p=labels.p,
            effect=round(max(0.0, labels.worse / drift.labels.margin, labels.tilt, _broken(labels, drift)), 4),
            missing=0.0,
            missing_in_reference=0.0,
            drifted=labels.state == "DRIFT",
            note=labels.reason,
        )
    ]


def _broken(labels: Concept, drift: Drift) -> float:
    """How much more labels lie outside of what was answered than may: drift begins somewhat beyond 1, by chance's share."""
    promise = drift.labels.promise
    return 0.0 if promise is None or labels.kept is None else (1 - labels.kept) / (1 - promise)
