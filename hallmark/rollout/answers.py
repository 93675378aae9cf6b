"""Answers of both variants as the drift monitors kept them: pairs by request, scores, and what they cost once labels are final."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from hallmark.domain import Domain
from hallmark.rollout import sequential
from hallmark.rollout.decision import OVERALL, TESTS
from hallmark.rollout.evidence import Cost, Scores, Slice
from hallmark.rollout.policy import Costs, Labels, Shadow

Row = dict[str, Any]
MOST = 40_000
"""Answers kept of each variant, and pairs; the newest."""
_BINS = 50
_DECILES = 10


class Answers:
    """What a rollout's two revisions answered since it began; `take` rows as a monitor's GET /answers gives them."""

    def __init__(self, *, since: float, shadow: Shadow | None) -> None:
        self.lost = 0
        self._since = since
        self._shadow = shadow
        self._rows: dict[str, OrderedDict[tuple[str, int], Row]] = {"stable": OrderedDict(), "canary": OrderedDict()}
        self._pairs: OrderedDict[tuple[str, int], tuple[bool, Mapping[str, Any]]] = OrderedDict()

    def take(self, variant: str, rows: Iterable[Row], *, lost: int = 0) -> None:
        """Take in rows of `variant`, stable or canary; one that came before is replaced, since its label may be new."""
        kept, others = self._rows[variant], self._rows["canary" if variant == "stable" else "stable"]
        self.lost += lost
        for row in rows:
            if float(row["at"]) < self._since:
                continue
            key = (str(row["exchange"]), int(row["row"])) if row.get("exchange") else (f"-{len(kept)}-{row['at']}", 0)
            kept[key] = row
            if self._shadow is not None and key in others and key not in self._pairs:
                stable, canary = (row, others[key]) if variant == "stable" else (others[key], row)
                self._pairs[key] = (
                    _verdict(stable, self._shadow) != _verdict(canary, self._shadow),
                    stable.get("columns") or {},
                )
        for memory in (kept, self._pairs):
            while len(memory) > MOST:
                memory.popitem(last=False)

    def slices(self) -> tuple[Slice, ...]:
        """Changed verdicts overall, and by value or decile of each declared column; small slices of a column together."""
        if self._shadow is None or not self._pairs:
            return ()
        changed = np.array([each for each, _ in self._pairs.values()])
        found = [Slice(name=OVERALL, pairs=len(changed), changed=int(changed.sum()))]
        for column in self._shadow.slices:
            values = [columns.get(column) for _, columns in self._pairs.values()]
            found += _sliced(column, values, changed, fewest=self._shadow.slice_minimum)
        return tuple(found)

    def scores(self) -> tuple[Scores, ...]:
        """The distribution of each output that both variants gave, over bins that hold equally many of both together."""
        outputs = {name for rows in self._rows.values() for row in rows.values() for name in row["outputs"]}
        found = []
        for name in sorted(outputs):
            sides = [
                [row["outputs"][name] for row in self._rows[variant].values() if row["outputs"].get(name) is not None]
                for variant in ("stable", "canary")
            ]
            if all(sides):
                found.append(Scores(output=name, stable=_binned(sides)[0], canary=_binned(sides)[1]))
        return tuple(found)

    def means(self, shadow: Shadow | None) -> dict[str, float]:
        """The mean of the verdict's output by variant, where it is a number; for the timeline."""
        found = {}
        for variant, rows in self._rows.items():
            values = [row["outputs"].get(shadow.output) for row in rows.values()] if shadow else []
            numbers = [value for value in values if isinstance(value, int | float)]
            if numbers:
                found[variant] = float(np.mean(numbers))
        return found

    def cost(self, domain: Domain, *, now: datetime) -> Cost | None:
        """What wrong verdicts cost each variant; none where the domain does not say what a verdict is."""
        if self._shadow is None:
            return None
        spent = [
            costs(rows.values(), self._shadow, domain.rollout.labels.costs, delay=domain.data.label_delay, now=now)
            for rows in (self._rows["stable"], self._rows["canary"])
        ]
        return judged(spent[0], spent[1], domain.rollout.labels, alpha=domain.rollout.false_alarm / TESTS)


def costs(rows: Iterable[Row], verdict: Shadow, declared: Costs, *, delay: timedelta, now: datetime) -> list[float]:
    """What each answer with a final label cost: 0 where the verdict was right.

    A label is final `delay` after its answer, also one that is known earlier: those that come early are not like the others.
    """
    found = []
    for row in rows:
        if row.get("label") is None or float(row["at"]) + delay.total_seconds() > now.timestamp():
            continue
        said, was = _verdict(row, verdict), row["label"]
        truth = bool(was) if verdict.threshold is not None else was
        if said == truth:
            found.append(0.0)
            continue
        missed = said is False or verdict.threshold is None
        price = 1.0
        if declared.times is not None:
            value = (row.get("columns") or {}).get(declared.times)
            price = float(value) if isinstance(value, int | float) else 1.0
        found.append((declared.false_negative if missed else declared.false_positive) * price)
    return found


def judged(stable: Sequence[float], canary: Sequence[float], labels: Labels, *, alpha: float) -> Cost:
    """Both variants' mean cost and how sure their difference is; NOT_ENOUGH_LABELS under `labels.minimum`."""
    counts = (len(stable), len(canary))
    if min(counts) < labels.minimum:
        return Cost(state="NOT_ENOUGH_LABELS", labels=counts)
    first, second = np.asarray(stable, dtype=np.float64), np.asarray(canary, dtype=np.float64)
    doubt = sum(sequential.mean_radius(each, alpha=alpha / 2, tuned=labels.minimum) for each in (first, second))
    return Cost(
        state="JUDGED", labels=counts, stable=float(first.mean()), canary=float(second.mean()), radius=float(doubt)
    )


def parsed(body: bytes) -> tuple[list[Row], int, int]:
    """The rows, the next cursor and the number of rows lost of an answer of GET /answers; `ValueError` where it is none."""
    try:
        whole = json.loads(body)
        return list(whole["rows"]), int(whole["cursor"]), int(whole.get("lost") or 0)
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected rows and a cursor: {error}") from error


def _verdict(row: Row, shadow: Shadow) -> object:
    value = row["outputs"].get(shadow.output)
    if shadow.threshold is None or value is None:
        return value
    return bool(value >= shadow.threshold) if isinstance(value, int | float) else None


def _sliced(column: str, values: Sequence[Any], changed: np.ndarray[Any, Any], *, fewest: int) -> list[Slice]:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) > len(values) / 2:
        edges = np.unique(np.quantile(numbers, np.arange(1, _DECILES) / _DECILES))
        names = [f"{column} up to {edges[0]:.4g}"]
        names += [f"{column} {low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        names.append(f"{column} over {edges[-1]:.4g}")
        at = [int(np.searchsorted(edges, v, side="left")) if isinstance(v, int | float) else -1 for v in values]
        groups = {name: np.array(at) == place for place, name in enumerate(names)}
    else:
        words = np.array([str(value) for value in values], dtype=object)
        groups = {f"{column} is {word}": words == word for word in sorted(set(words))}
    found, rest = [], np.zeros(len(values), dtype=bool)
    for name, members in groups.items():
        if members.sum() < fewest:
            rest |= members
        else:
            found.append(Slice(name=name, pairs=int(members.sum()), changed=int(changed[members].sum())))
    if rest.any():
        found.append(Slice(name=f"{column} is rare", pairs=int(rest.sum()), changed=int(changed[rest].sum())))
    return found


def _binned(sides: Sequence[Sequence[Any]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if all(isinstance(value, int | float) for side in sides for value in side):
        pooled = np.concatenate([np.asarray(side, dtype=np.float64) for side in sides])
        edges = np.unique(np.quantile(pooled, np.arange(1, _BINS) / _BINS))
        first, second = (
            np.bincount(np.searchsorted(edges, np.asarray(side, dtype=np.float64)), minlength=len(edges) + 1)
            for side in sides
        )
    else:
        words = sorted({str(value) for side in sides for value in side})
        places = {word: place for place, word in enumerate(words)}
        first, second = (np.bincount([places[str(value)] for value in side], minlength=len(words)) for side in sides)
    return tuple(first.tolist()), tuple(second.tolist())
