"""Weeks of the synthetic marketplace as the drift monitor sees them, and a reference that training built."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hallmark.declaration import domain as domains
from hallmark.drift.analysis import ANALYSES, forgiven
from hallmark.drift.profile import Profile
from hallmark.drift.statistics import rank_shifts, stability_indices
from hallmark.drift.strata import keys
from hallmark.learners.model import columns, examples
from hallmark.training import source
from hallmark.training.export import export, score_folder
from hallmark.training.split import split

FRAUD = domains.load("fraud")
DRIFT = FRAUD.drift
AS_OF = datetime(2026, 9, 1, tzinfo=UTC)
STRIDE = DRIFT.window // ANALYSES
MATCH = "hour"
Frame = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Released:
    """A fraud model trained small on `days` of orders, and its profile."""

    profile: Profile
    folder: Path

    def sees(self, orders: pd.DataFrame) -> Frame:
        """What the monitor observes of orders, and the scores that they get, in order of time."""
        features = domains.module("fraud", "features")
        raw = columns(orders, features.FIELDS)
        return {**features.observe(raw), "score": score_folder(self.folder, orders), MATCH: raw["hour"]}


def release(folder: Path, *, days: int = 40, rounds: int = 25) -> Released:
    """Train and export as the pipeline does; the reference is the test part, which the model has not seen."""
    model = domains.module("fraud", "model")
    end = AS_OF - FRAUD.data.label_delay
    parts = split(FRAUD, draw(end - timedelta(days=days), days=days, seed=7), as_of=AS_OF)
    trained = model.fit(examples("fraud", parts.train), examples("fraud", parts.validation), seed=7, rounds=rounds)
    export(FRAUD, trained, folder, test=parts.test, reference=parts.test)
    return Released(Profile.model_validate_json((folder / "profile.json").read_bytes()), folder)


def draw(start: datetime, *, days: int, seed: int, shift: str | None = None) -> pd.DataFrame:
    end = start + timedelta(days=days)
    return source.load("fraud", source=source.SYNTHETIC, start=start, end=end, seed=seed, shift=shift)


def by_week(orders: pd.DataFrame, start: datetime, weeks: int) -> Iterator[slice]:
    """The rows of each week."""
    times = pd.DatetimeIndex(orders["ordered_at"])
    bounds = [times.searchsorted(start + timedelta(days=7 * week)) for week in range(weeks + 1)]
    for first, last in itertools.pairwise(bounds):
        yield slice(int(first), int(last))


def looks(rows: int) -> list[slice]:
    """The rows of each look at traffic that begins with an empty window: every `STRIDE` rows, once there are enough."""
    ends = range(-(-DRIFT.minimum // STRIDE) * STRIDE, rows + 1, STRIDE)
    return [slice(max(0, end - DRIFT.window), end) for end in ends]


def effects(profile: Profile, week: Frame) -> NDArray[np.float64]:
    """(looks, columns) the effect that each look sees, by the monitor's own arithmetic on all looks at once."""
    rows = len(week["score"]) // STRIDE * STRIDE
    spans = looks(rows)
    first, last = (np.array([getattr(span, end) for span in spans]) // STRIDE for end in ("start", "stop"))

    def windows(codes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
        blocks = np.repeat(np.arange(rows // STRIDE), STRIDE)
        counts = np.bincount(blocks * bins + codes[:rows], minlength=rows // STRIDE * bins).reshape(-1, bins)
        total = np.concatenate([np.zeros((1, bins), dtype=np.int64), counts.cumsum(axis=0)])
        found: NDArray[np.int64] = total[last] - total[first]
        return found

    assert profile.strata is not None
    groups = len(profile.strata.values)
    known = {value: at for at, group in enumerate(profile.strata.values) for value in group}
    distinct, places = np.unique(week[MATCH], return_inverse=True)
    codes = np.array([known.get(key, groups) for key in keys(distinct.tolist())])[places]
    hours = windows(codes, groups + 1)
    shares = hours[:, :-1] / hours.sum(axis=1, keepdims=True)
    found = np.zeros((len(spans), len(profile.columns)))
    for at, column in enumerate(profile.columns):
        before = profile.strata.matched(at, column.counts, shares).round()
        kept = forgiven(before, windows(column.codes(week[column.name]), len(column.counts)))
        psi = stability_indices(before, kept) / DRIFT.threshold
        shift = np.abs(rank_shifts(before[:, column.order], kept[:, column.order])) / DRIFT.shift
        found[:, at] = np.maximum(psi, shift)
    return found
