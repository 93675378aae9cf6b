"""Captured responses of both variants from their drift monitors: pairs by request, scores, and their cost once labels mature."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.domain import Domain
from hallmark.declaration.rollout import PredictionCosts, RolloutLabels, Shadow
from hallmark.rollout import sequential
from hallmark.rollout.decision import LARGE, OVERALL, TESTS
from hallmark.rollout.evidence import AgreementSlice, PredictionCost, ScoreCounts
from hallmark.rollout.ring import MISSING, NUMBER, Ring
from hallmark.tasks.task import BaseTask

Row = dict[str, Any]
MOST = 40_000
"""Answers kept of each variant, and pairs; the newest."""
_BINS = 50
_PLACES = 8
"""Numbers of a list whose distribution is compared."""
_DECILES = 10
_CHANGED = " changed"
"""A column of the pairs beside the watched ones, whose names have no blank."""


class CapturedResponses:
    """Answers of a rollout's two revisions since it began; `take` accepts rows as a monitor's GET /answers gives them."""

    def __init__(self, *, since: float, shadow: Shadow | None, task: BaseTask) -> None:
        self.lost = 0
        self._since = since
        self._shadow = shadow
        self._task = task
        self._whole = task.compared_by == "request"
        ordered = task.rule == "overlap"
        self._sides = {"stable": _Side(ordered=ordered), "canary": _Side(ordered=ordered)}
        self._pairs = Ring(MOST)
        self._unnamed = 0

    def take(self, variant: str, rows: Iterable[Row], *, lost: int = 0) -> None:
        """Take in rows of `variant`, stable or canary; one that came before is replaced, since its label may be new."""
        mine = self._sides[variant]
        self.lost += lost
        for row in rows:
            if float(row["at"]) < self._since:
                continue
            key: tuple[str, int]
            if row.get("exchange"):
                key = (str(row["exchange"]), int(row["row"]))
            else:
                self._unnamed += 1
                key = ("", self._unnamed)
            mine.put(key, row)
            if self._shadow is not None and key[0]:
                self._pair(key, self._sides["stable"], self._sides["canary"], self._shadow)

    def _pair(self, key: tuple[str, int], stable: _Side, candidate: _Side, shadow: Shadow) -> None:
        """Compare both answers to a record, or to a whole request, once both are there."""
        if self._whole:
            key = (key[0], 0)
        if self._pairs.place(key) is not None:
            return
        ours, theirs = (side.unit(key, whole=self._whole) for side in (stable, candidate))
        if not ours or not theirs:
            return
        said = [[row["outputs"].get(shadow.output) for row in rows] for rows in (ours, theirs)]
        watched = ours[0].get("columns") or {}
        columns = {name: watched.get(name) for name in shadow.slices}
        agreed = self._task.agrees(said[0], said[1], shadow.agreement)
        self._pairs.put(key, {**columns, _CHANGED: float(not agreed)})

    def slices(self) -> tuple[AgreementSlice, ...]:
        """Pairs that disagree overall, and by value or decile of each declared column; small slices of a column together."""
        if self._shadow is None or not len(self._pairs):
            return ()
        changed = self._pairs.numbers(_CHANGED) > 0
        found = [AgreementSlice(name=OVERALL, pairs=len(changed), changed=int(changed.sum()))]
        for column in self._shadow.slices:
            found += _sliced(column, self._pairs, changed, fewest=self._shadow.slice_minimum)
        return tuple(found)

    def scores(self) -> tuple[ScoreCounts, ...]:
        """The distribution of each output that both variants gave, over bins that hold equally many of both together."""
        stable, canary = (self._sides[variant].ring for variant in ("stable", "canary"))
        found = []
        for name in sorted({*stable.names(), *canary.names()}):
            first, second = _binned(name, stable, canary)
            if sum(first) and sum(second):
                found.append(ScoreCounts(output=name, stable=first, canary=second))
        return tuple(found)

    def means(self, shadow: Shadow | None) -> dict[str, float]:
        """The mean of the compared output by variant, where it is a number; for the timeline."""
        found = {}
        for variant, side in self._sides.items():
            values = side.ring.numbers(shadow.output) if shadow else np.empty(0)
            numbers = values[~np.isnan(values)]
            if len(numbers):
                found[variant] = float(numbers.mean())
        return found

    def cost(self, domain: Domain, *, now: datetime) -> PredictionCost | None:
        """Cost of each variant's wrong answers; none where the domain names no output to judge.

        A label is final `data.label_delay` after its answer, also one that is known earlier: those that come early are not like
        the others.
        """
        if self._shadow is None:
            return None
        labels, before = domain.rollout.labels, now.timestamp() - domain.data.label_delay.total_seconds()
        stable, canary = (
            self._sides[variant].costs(self._task, self._shadow, labels.costs, before=before)
            for variant in ("stable", "canary")
        )
        return judged(stable, canary, labels, alpha=domain.rollout.false_alarm / TESTS)


class _Side:
    """One variant's newest answers: whole, and their outputs, times and costs as columns.

    ordered: an answer that is a list is one of ids, best first.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.ring = Ring(MOST)
        self._ordered = ordered
        self._rows: list[Row] = []
        self._at = np.zeros(MOST)
        self._costs = np.full(MOST, math.nan)
        self._unpriced: set[int] = set()
        self._requests: OrderedDict[str, dict[int, int]] = OrderedDict()

    def put(self, key: tuple[str, int], row: Row) -> None:
        place = self.ring.put(key, dict(_told(row["outputs"], ordered=self._ordered)))
        if place == len(self._rows):
            self._rows.append(row)
        self._rows[place] = row
        if key[0]:
            self._requests.setdefault(key[0], {})[key[1]] = place
            while len(self._requests) > MOST:
                self._requests.popitem(last=False)
        self._at[place] = float(row["at"])
        self._costs[place] = math.nan
        self._unpriced.discard(place)
        if row.get("label") is not None:
            self._unpriced.add(place)

    def row(self, key: tuple[str, int]) -> Row | None:
        place = self.ring.place(key)
        return None if place is None else self._rows[place]

    def unit(self, key: tuple[str, int], *, whole: bool) -> list[Row]:
        """The answer to one record, or the answers to all records of its request; empty where one is not there."""
        if not whole:
            return [found] if (found := self.row(key)) is not None else []
        places = sorted(self._requests.get(key[0], {}).items())
        rows = [self._rows[place] for row, place in places if self.ring.place((key[0], row)) == place]
        return rows if rows and len(rows) == int(rows[0].get("kept") or 1) else []

    def costs(self, task: BaseTask, shadow: Shadow, declared: PredictionCosts, *, before: float) -> NDArray[np.float64]:
        """Cost of each answer from `before` or earlier whose labels are known: per record, or per whole request."""
        whole = task.compared_by == "request"
        for place in self._unpriced:
            row = self._rows[place]
            rows = self.unit((str(row.get("exchange") or ""), int(row["row"])), whole=True) if whole else [row]
            first = (
                self.ring.place((str(rows[0].get("exchange") or ""), int(rows[0]["row"]))) if whole and rows else place
            )
            if first is not None and rows:
                self._costs[first] = spent(rows, task, shadow, declared)
        self._unpriced.clear()
        count = len(self.ring)
        costs = self._costs[:count]
        final: NDArray[np.float64] = costs[~np.isnan(costs) & (self._at[:count] <= before)]
        return final


def _told(outputs: dict[str, Any], *, ordered: bool) -> Iterator[tuple[str, Any]]:
    """Outputs as one number or word each: of a list the first numbers one by one (quantiles, uplifts), of ids the first as a word."""
    for name, value in outputs.items():
        if not isinstance(value, list):
            yield name, value
        elif ordered:
            yield f"{name}[0]", str(value[0]) if value else None
        else:
            yield from ((f"{name}[{place}]", each) for place, each in enumerate(value[:_PLACES]))


def spent(rows: list[Row], task: BaseTask, shadow: Shadow, declared: PredictionCosts) -> float:
    """What the answer to one record, or to one request, cost; 0 where it was right, NaN where a label is missing."""
    price = 1.0
    if declared.times is not None:
        value = (rows[0].get("columns") or {}).get(declared.times)
        price = float(value) if isinstance(value, int | float) else 1.0
    cost = task.cost(
        [row["outputs"].get(shadow.output) for row in rows],
        [row["label"] for row in rows],
        threshold=shadow.threshold,
        false_negative=declared.false_negative,
        false_positive=declared.false_positive,
    )
    return cost * price


def judged(
    stable: NDArray[np.float64], canary: NDArray[np.float64], labels: RolloutLabels, *, alpha: float
) -> PredictionCost:
    """Both variants' mean cost and how sure their difference is; NOT_ENOUGH_LABELS under `labels.minimum`."""
    counts = (len(stable), len(canary))
    if min(counts) < labels.minimum:
        return PredictionCost(state="NOT_ENOUGH_LABELS", labels=counts)
    doubt = sum(sequential.mean_radius(each, alpha=alpha / 2, tuned=labels.minimum) for each in (stable, canary))
    return PredictionCost(
        state="JUDGED", labels=counts, stable=float(stable.mean()), canary=float(canary.mean()), radius=float(doubt)
    )


def parsed(body: bytes) -> tuple[list[Row], int, int]:
    """The rows, the next cursor and the number of rows lost of an answer of GET /answers; `ValueError` where it is none."""
    try:
        whole = json.loads(body)
        return list(whole["rows"]), int(whole["cursor"]), int(whole.get("lost") or 0)
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected rows and a cursor: {error}") from error


def _sliced(column: str, pairs: Ring, changed: NDArray[np.bool_], *, fewest: int) -> list[AgreementSlice]:
    numbers = pairs.numbers(column)
    known = ~np.isnan(numbers)
    if known.sum() > len(numbers) / 2:
        edges = np.unique(np.quantile(numbers[known], np.arange(1, _DECILES) / _DECILES))
        names = [f"{column} up to {edges[0]:.4g}"]
        names += [f"{column} {low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        names += [f"{column} over {edges[-1]:.4g}", f"{column} is no number"]
        groups = np.where(known, np.searchsorted(edges, numbers, side="left"), len(edges) + 1)
    else:
        groups, words = pairs.words(column)
        names = [f"{column} is {word}" for word in words]
    sizes = np.bincount(groups, minlength=len(names))
    wrong = np.bincount(groups[changed], minlength=len(names))
    # A slice that is small for now only, as each tenth of the first few hundred pairs is, has to be shown on its own all the same.
    rare = (sizes < fewest) & (sizes < LARGE * sizes.sum())
    found = [
        AgreementSlice(name=name, pairs=int(size), changed=int(bad))
        for name, size, bad, few in zip(names, sizes, wrong, rare, strict=True)
        if size and not few
    ]
    if sizes[rare].sum():
        found.append(
            AgreementSlice(name=f"{column} is rare", pairs=int(sizes[rare].sum()), changed=int(wrong[rare].sum()))
        )
    return found


def _binned(name: str, stable: Ring, canary: Ring) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Counts over the same bins: of numbers where both sides give only numbers, else of words."""
    numbers = [side.numbers(name) for side in (stable, canary)]
    words = [side.words(name) for side in (stable, canary)]
    tallies = [dict(zip(names, np.bincount(codes, minlength=len(names)), strict=True)) for codes, names in words]
    every = sorted({word for tally in tallies for word, count in tally.items() if count and word != MISSING})
    if every in ([], [NUMBER]):
        given = [side[~np.isnan(side)] for side in numbers]
        if not all(map(len, given)):
            return (), ()
        edges = np.unique(np.quantile(np.concatenate(given), np.arange(1, _BINS) / _BINS))
        first, second = (np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) for side in given)
    else:
        first, second = (np.array([tally.get(word, 0) for word in every]) for tally in tallies)
    return tuple(first.tolist()), tuple(second.tolist())
