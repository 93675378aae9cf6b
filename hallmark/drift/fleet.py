"""One verdict on all pods that serve a variant: each tells its window as counts, these add up, and their sum is judged once.

The rows judged are the newest `drift.window` of the fleet, up to an end that is counted in rows of the fleet. So one pod with all rows and
twelve with a part each are judged alike, and as often: the bound of hallmark.drift.analysis holds for the fleet, whoever asks.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.drift import Drift
from hallmark.drift import concept, embedding
from hallmark.drift.analysis import ALPHA_PER_ANALYSIS, ANALYSES, WindowMeasurement, compare
from hallmark.drift.concept import Concept, LabelSums
from hallmark.drift.profile import Profile
from hallmark.drift.verdict import Lag, Verdict, conclude, lag_of
from hallmark.section import Frozen

FORMAT = 1
"""Of a pod's answers; a change of them is another number."""
FEWEST = 20
"""With fewer served requests the share that was captured is not known."""
SHARED = 0.1
"""This share of the rows in one trace is no chance; ordinary requests have each their own."""
_TRACES = 32
_SECOND = 1_000_000
Ints = NDArray[np.int64]


class Cut(Frozen):
    """The rows to judge: those that came after `since` and until `until`, in microseconds of the epoch."""

    since: int
    until: int

    @classmethod
    def of(cls, times: Ints, added: int, drift: Drift) -> Cut:
        """Of (n,) rising arrivals, the newest of `added`: the newest `drift.window` up to the last interim analysis.

        Analyses are where `added` is a multiple of a fiftieth of the window, and where it is the minimum. Below that nothing can alarm, and
        all rows are taken. Rows that came in one microsecond are taken or left together, the oldest taken and the newest left.
        """
        if not len(times):
            return cls(since=-1, until=-1)
        behind = 0
        if added >= drift.minimum:
            step = max(1, drift.window // ANALYSES)
            behind = min(len(times) - 1, added - max(drift.minimum, added // step * step))
        first = len(times) - behind - drift.window
        until = int(times[-1 - behind])
        if behind and until == times[-behind] and until > times[0]:
            until -= 1
        return cls(since=int(times[first]) - 1 if first >= 0 and times[first] <= until else -1, until=until)

    def holds(self, times: Ints) -> NDArray[np.bool_]:
        """(n,) True for those within."""
        return (times > self.since) & (times <= self.until)


def kept(drift: Drift, *, largest: int) -> int:
    """Rows that one pod keeps, so that all of a `Cut` are there whatever the other pods have; largest: rows of one request."""
    return drift.window + max(1, drift.window // ANALYSES) + largest


def shared_trace(traces: Counter[str], rows: int) -> str:
    """The trace id that most of so many rows share, where it is at least a tenth of all; "" for none."""
    best, count = max(traces.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return best if count > 1 and count >= rows * SHARED else ""


@dataclass
class WindowSketch:
    """Rows of a variant's window in one pod or several: what adds up, and what is put in the order of its time.

    added, requests: ever, and not of the window alone.
    times:   (n,) arrivals of all rows there are, rising, in microseconds of the epoch; all else is of those within `cut`, all of them for none.
    counts:  by column, in the bins of the profile.   strata: (groups,) by what the reference is matched by.
    lags:    seconds from event to scoring, NaN where not known; (rows,), or none where nobody asks.
    vectors: (rows, d) embeddings in the order of the times.   traces: the most frequent trace ids.
    """

    added: int
    requests: int
    times: Ints
    counts: dict[str, Ints]
    cut: Cut | None = None
    strata: Ints | None = None
    lags: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    vectors: NDArray[np.float32] | None = None
    traces: Counter[str] = field(default_factory=Counter)

    @property
    def judged(self) -> Ints:
        """(rows,) arrivals of the rows that are counted."""
        return self.times if self.cut is None else self.times[self.cut.holds(self.times)]

    def __add__(self, other: WindowSketch) -> WindowSketch:
        """Both together: the same in any order, and in any grouping."""
        if self.cut != other.cut or self.counts.keys() != other.counts.keys():
            raise ValueError("expected sketches of the same columns and the same time")
        vectors = None
        if self.vectors is not None and other.vectors is not None:
            rows, at = np.concatenate([self.vectors, other.vectors]), np.concatenate([self.judged, other.judged])
            vectors = rows[np.lexsort((*rows.T[::-1], at))]
        return WindowSketch(
            added=self.added + other.added,
            requests=self.requests + other.requests,
            times=np.sort(np.concatenate([self.times, other.times])),
            counts={name: counts + other.counts[name] for name, counts in self.counts.items()},
            cut=self.cut,
            strata=None if self.strata is None or other.strata is None else self.strata + other.strata,
            lags=np.sort(np.concatenate([self.lags, other.lags])),
            vectors=vectors,
            traces=self.traces + other.traces,
        )

    def trace(self) -> str:
        """The trace id that most rows share, where it is at least a tenth of all; "" for none."""
        return shared_trace(self.traces, len(self.judged))

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "added": self.added,
            "requests": self.requests,
            "times": np.diff(self.times, prepend=0).tolist(),
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "cut": None if self.cut is None else self.cut.model_dump(),
            "strata": None if self.strata is None else self.strata.tolist(),
            "lags": [None if math.isnan(lag) else lag for lag in self.lags.tolist()],
            "vectors": None if self.vectors is None else [self.vectors.shape[1], _text(self.vectors)],
            "traces": dict(self.traces.most_common(_TRACES)),
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> WindowSketch:
        """What `told` gave; `ValueError` or such where it is something else."""
        vectors = None
        if told["vectors"] is not None:
            width, text = told["vectors"]
            vectors = np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(-1, width)
        found = cls(
            added=int(told["added"]),
            requests=int(told["requests"]),
            times=np.cumsum(np.array(told["times"], dtype=np.int64)),
            counts={str(name): np.array(counts, dtype=np.int64) for name, counts in told["counts"].items()},
            cut=None if told["cut"] is None else Cut.model_validate(told["cut"]),
            strata=None if told["strata"] is None else np.array(told["strata"], dtype=np.int64),
            lags=np.array([math.nan if lag is None else lag for lag in told["lags"]], dtype=np.float64),
            vectors=vectors,
            traces=Counter({str(name): int(count) for name, count in told["traces"].items()}),
        )
        rows = len(found.judged)
        if any(counts.sum() != rows for counts in found.counts.values()):
            raise ValueError(f"expected counts of {rows} rows")
        return found


@dataclass(frozen=True)
class PodWindow:
    """Answer of one pod's monitor about a variant.

    digest:  of the model it watches, "" while it waits for one, and `waiting` says for what.
    sketch:  None where no request of the variant was captured.   labels: None where the model has no error to compare with.
    served:  captured and served requests over the time of the window, where that is known; else `doubts` may say why not.
    """

    digest: str = ""
    waiting: str = ""
    sketch: WindowSketch | None = None
    served: tuple[int, int] | None = None
    doubts: tuple[str, ...] = ()
    labels: LabelSums | None = None

    def encoded(self) -> bytes:
        """As JSON."""
        whole = {
            "format": FORMAT,
            "digest": self.digest,
            "waiting": self.waiting,
            "sketch": None if self.sketch is None else self.sketch.told(),
            "served": self.served,
            "doubts": self.doubts,
            "labels": None if self.labels is None else self.labels.model_dump(),
        }
        return json.dumps(whole, separators=(",", ":")).encode()

    @classmethod
    def read(cls, body: bytes) -> PodWindow:
        """What `encoded` made; `ValueError` where it is something else, or of another format."""
        try:
            whole = json.loads(body)
            if whole["format"] != FORMAT:
                raise ValueError(f"format {whole['format']}")
            captured, served = whole["served"] or (0, 0)
            return cls(
                digest=str(whole["digest"]),
                waiting=str(whole["waiting"]),
                sketch=None if whole["sketch"] is None else WindowSketch.read(whole["sketch"]),
                served=None if whole["served"] is None else (int(captured), int(served)),
                doubts=tuple(map(str, whole["doubts"])),
                labels=None if whole["labels"] is None else LabelSums.model_validate(whole["labels"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"expected a window of format {FORMAT}, got {type(error).__name__}: {error}") from error


class FleetReference(Frozen):
    """The reference of a served model with the limits it is judged by: the same in all pods of a revision.

    embeddings: (n, d) float32 in base64 with d before it, where the model has them.
    """

    format: Literal[1] = 1
    digest: str
    drift: Drift
    profile: Profile
    embeddings: tuple[int, str] | None = None

    @classmethod
    def of(cls, digest: str, drift: Drift, profile: Profile, sample: NDArray[np.float32] | None) -> FleetReference:
        """Of a model's parts."""
        embeddings = None if sample is None else (sample.shape[1], _text(sample))
        return cls(digest=digest, drift=drift, profile=profile, embeddings=embeddings)

    @property
    def sample(self) -> NDArray[np.float32] | None:
        """(n, d) the reference's embeddings."""
        if self.embeddings is None:
            return None
        return np.frombuffer(base64.b64decode(self.embeddings[1]), dtype="<f4").reshape(-1, self.embeddings[0])


def measure(
    profile: Profile, sample: NDArray[np.float32] | None, window: WindowSketch, drift: Drift
) -> WindowMeasurement:
    """One interim analysis of a window that is told as a sketch; sample: (n, d) embeddings of the reference."""
    arrivals = window.judged
    rows, separation = len(arrivals), None
    if sample is not None and window.vectors is not None and rows >= drift.minimum:
        separation = embedding.separate(sample, window.vectors)
    at = datetime.fromtimestamp(float(np.median(arrivals)) / _SECOND, UTC) if rows else None
    shares = None if window.strata is None else window.strata / max(1, rows)
    return compare(profile, window.counts, rows, drift, at=at, separation=separation, shares=shares)


def lag(window: WindowSketch, drift: Drift) -> Lag | None:
    """Age of the rows' inputs, where the domain asks for it."""
    return lag_of(window.lags, drift.freshness.limit.total_seconds()) if drift.freshness else None


def judge(
    parts: Sequence[PodWindow], measured: WindowMeasurement, window: WindowSketch, reference: FleetReference
) -> Verdict:
    """The verdict on a variant, given what all of its pods told, and the measurements of their sum."""
    captured, doubts = share(parts)
    return conclude(
        measured,
        reference.drift,
        captured=captured,
        doubts=doubts,
        lag=lag(window, reference.drift),
        labels=_labels([each.labels for each in parts if each.labels is not None], reference),
        trace=window.trace(),
    )


def share(parts: Sequence[PodWindow]) -> tuple[float | None, tuple[str, ...]]:
    """Captured over served requests of all pods, None where they are few or it is not known, and why it is not known."""
    counted = [each.served for each in parts if each.served is not None]
    captured, served = (sum(each) for each in zip(*counted, strict=True)) if counted else (0, 0)
    doubts = tuple(dict.fromkeys(doubt for each in parts for doubt in each.doubts))
    return (round(min(1.0, captured / served), 3) if served >= FEWEST else None), doubts


def merged(parts: Sequence[PodWindow]) -> WindowSketch | None:
    """The windows of all pods as one; None where no pod has one."""
    found = [each.sketch for each in parts if each.sketch is not None]
    return reduce(add, found) if found else None


def _labels(parts: Sequence[LabelSums], reference: FleetReference) -> Concept | None:
    error, rules = reference.profile.error, reference.drift.labels
    if error is None or not parts:
        return None
    return concept.conclude(
        reduce(add, parts),
        error,
        minimum=rules.minimum,
        margin=rules.margin,
        alpha=ALPHA_PER_ANALYSIS,
        promise=rules.promise,
    )


def _text(rows: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(rows, dtype="<f4").tobytes()).decode()
