"""Evidence about the answers of a rollout's two variants, merged over their pods: pairs by request, scores, costs of final labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import compress, pairwise, repeat
from typing import Any

import numpy as np

from hallmark.declaration.domain import Domain
from hallmark.declaration.rollout import RolloutLabels, Shadow
from hallmark.rollout import columns, sequential
from hallmark.rollout.aggregates import CostSums, Distribution, PodEvidence
from hallmark.rollout.columns import Cell, Ints
from hallmark.rollout.decision import LARGE, OVERALL, TESTS
from hallmark.rollout.evidence import AgreementSlice, PredictionCost, ScoreCounts
from hallmark.tasks.task import BaseTask

MOST = 60_000
"""Answers of each variant that wait for their partner, and keys of pairs that are known; the newest."""
WORDS = 1000
"""Different words that one column tells apart; later ones are OTHER."""
OTHER, MISSING, NUMBER = "another value", "missing", "a number"
_BINS = 50
_DECILES = 10


class CapturedResponses:
    """Answers of a rollout's two variants since it began: all are counted, and of those that wait for a partner the newest kept."""

    def __init__(self, *, shadow: Shadow | None, task: BaseTask) -> None:
        self.lost = 0
        self._shadow = shadow
        self._task = task
        self._sides = {"stable": _Side(), "canary": _Side()}
        self._paired: dict[int, None] = {}
        self._pairs = self._changed = 0
        self._columns = {name: _Sliced() for name in (shadow.slices if shadow else ())}

    def take(self, variant: str, found: PodEvidence) -> None:
        """Take in what a pod of `variant`, stable or canary, told."""
        mine = self._sides[variant]
        self.lost += found.lost
        mine.costs += found.costs
        for name, told in found.outputs.items():
            mine.outputs[name] = mine.outputs[name] + told if name in mine.outputs else told
        if self._shadow is not None:
            self._pair(variant, found, self._shadow)

    def _pair(self, variant: str, found: PodEvidence, shadow: Shadow) -> None:
        """Compare both answers to a record, or to a whole request, once both are there; each pair counts once."""
        mine, other = self._sides[variant].waiting, self._sides["canary" if variant == "stable" else "stable"].waiting
        told, rule = found.paired, shadow.agreement
        watched = [told.columns[name].cells() for name in self._columns if name in told.columns]
        keys = told.keys.tolist()
        answers = list(zip(told.said, *watched, strict=True))
        if not self._paired.keys().isdisjoint(keys):
            new = [key not in self._paired for key in keys]
            keys, answers = list(compress(keys, new)), list(compress(answers, new))
        partners = list(map(other.pop, keys, repeat(None)))
        alone = [partner is None for partner in partners]
        mine.update(zip(compress(keys, alone), compress(answers, alone), strict=True))
        theirs = [partner for partner in partners if partner is not None]
        ours = answers if len(theirs) == len(answers) else list(compress(answers, partners))
        self._paired.update(dict.fromkeys(compress(keys, partners)))
        stable, candidate = (ours, theirs) if variant == "stable" else (theirs, ours)
        changed = self._task.differ([each[0] for each in stable], [each[0] for each in candidate], rule)
        self._pairs += len(changed)
        self._changed += sum(changed)
        for column, values in zip(self._columns.values(), list(zip(*stable, strict=True))[1:], strict=False):
            column.add(values, changed)
        for kept in (mine, self._paired):
            while len(kept) > MOST:
                del kept[next(iter(kept))]

    def slices(self) -> tuple[AgreementSlice, ...]:
        """Pairs that disagree overall, and by value or decile of each declared column; small slices of a column together."""
        if self._shadow is None or not self._pairs:
            return ()
        found = [AgreementSlice(name=OVERALL, pairs=self._pairs, changed=self._changed)]
        for column, sliced in self._columns.items():
            found += sliced.slices(column, fewest=self._shadow.slice_minimum)
        return tuple(found)

    def scores(self) -> tuple[ScoreCounts, ...]:
        """The distribution of each output that both variants gave, over bins that hold equally many of both together."""
        stable, canary = (self._sides[variant].outputs for variant in ("stable", "canary"))
        found = []
        for name in sorted(stable.keys() & canary.keys()):
            first, second = _binned(stable[name], canary[name])
            if sum(first) and sum(second):
                found.append(ScoreCounts(output=name, stable=first, canary=second))
        return tuple(found)

    def means(self) -> dict[str, float]:
        """The mean of the compared output by variant, to a thousandth, where it is a number; for the timeline."""
        found = {}
        for variant, side in self._sides.items():
            output = side.outputs.get(self._shadow.output) if self._shadow else None
            if output and output.numbers.total:
                middles = columns.numbers(output.numbers.bins, part=0.5)
                found[variant] = float(middles @ output.numbers.counts) / output.numbers.total
        return found

    def cost(self, domain: Domain) -> PredictionCost | None:
        """Cost of each variant's wrong answers; none where the domain names no output to judge.

        A label is final `data.label_delay` after its answer, also one that is known earlier: those that come early are not like
        the others.
        """
        if self._shadow is None:
            return None
        stable, canary = (self._sides[variant].costs for variant in ("stable", "canary"))
        return judged(stable, canary, domain.rollout.labels, alpha=domain.rollout.false_alarm / TESTS)


class _Side:
    """One variant: its outputs' values, its costs, and by key the answers whose partner has not come."""

    def __init__(self) -> None:
        self.outputs: dict[str, Distribution] = {}
        self.costs = CostSums()
        self.waiting: dict[int, tuple[Any, ...]] = {}


class _Sliced:
    """Pairs by the value of one column, and of these the changed ones."""

    def __init__(self) -> None:
        self._pairs: Counter[int | str] = Counter()
        self._changed: Counter[int | str] = Counter()
        self._words: set[str] = {MISSING}

    def add(self, values: Iterable[Cell], changed: Iterable[bool]) -> None:
        """Take in the pairs' values, and whether each changed."""
        told = list(values)
        for mine, some in ((self._pairs, told), (self._changed, compress(told, changed))):
            for each, count in Counter(some).items():
                mine[each if isinstance(each, int) else self._word(each)] += count

    def _word(self, word: str | None) -> str:
        if word is None or word in self._words:
            return MISSING if word is None else word
        if len(self._words) >= WORDS:
            return OTHER
        self._words.add(word)
        return word

    def slices(self, column: str, *, fewest: int) -> list[AgreementSlice]:
        """By tenths where most values are numbers, else by word."""
        numbers = sorted(each for each in self._pairs if isinstance(each, int))
        counts = np.array([self._pairs[each] for each in numbers], dtype=np.int64)
        if 2 * counts.sum() > self._pairs.total():
            edges = _quantiles(np.array(numbers), counts, _DECILES)
            told = [f"{each:.4g}" for each in columns.numbers(edges).tolist()]
            names = [f"{column} up to {told[0]}", *(f"{column} {low} to {high}" for low, high in pairwise(told))]
            names.append(f"{column} over {told[-1]}")
            places = np.searchsorted(edges, numbers, side="left").tolist()
            named: dict[int | str, str] = {each: names[place] for each, place in zip(numbers, places, strict=True)}
            other = f"{column} is no number"
        else:
            named = {each: f"{column} is {each}" for each in self._pairs if isinstance(each, str)}
            names, other = sorted(named.values()), f"{column} is {NUMBER}"
        sizes, wrong = Counter[str](), Counter[str]()
        for mine, all_of in ((sizes, self._pairs), (wrong, self._changed)):
            for each, count in all_of.items():
                mine[named.get(each, other)] += count
        # A slice that is small for now only, as each tenth of the first few hundred pairs is, has to be shown on its own all the same.
        rare = {name for name, size in sizes.items() if size < fewest and size < LARGE * sizes.total()}
        found = [
            AgreementSlice(name=name, pairs=sizes[name], changed=wrong[name])
            for name in dict.fromkeys([*names, other])
            if sizes[name] and name not in rare
        ]
        if rare:
            pairs, bad = (sum(each[name] for name in rare) for each in (sizes, wrong))
            found.append(AgreementSlice(name=f"{column} is rare", pairs=pairs, changed=bad))
        return found


def judged(stable: CostSums, canary: CostSums, labels: RolloutLabels, *, alpha: float) -> PredictionCost:
    """Both variants' mean cost and how sure their difference is; NOT_ENOUGH_LABELS under `labels.minimum`."""
    counts = (stable.count, canary.count)
    if min(counts) < labels.minimum:
        return PredictionCost(state="NOT_ENOUGH_LABELS", labels=counts)
    doubt = sum(
        sequential.mean_radius(each.count, each.deviation, alpha=alpha / 2, tuned=labels.minimum)
        for each in (stable, canary)
    )
    return PredictionCost(state="JUDGED", labels=counts, stable=stable.mean, canary=canary.mean, radius=doubt)


def _quantiles(bins: Ints, counts: Ints, parts: int) -> Ints:
    """The bins, rising, up to which lie 1, 2, … of so many equal parts of all values."""
    below = np.cumsum(counts)
    return np.unique(bins[np.searchsorted(below, np.arange(1, parts) / parts * below[-1], side="left")])


def _binned(stable: Distribution, canary: Distribution) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Counts over the same bins: of numbers where both sides give only numbers, else of words, with all numbers as one."""
    sides = [stable.numbers, canary.numbers]
    if not stable.words.total and not canary.words.total:
        bins = np.union1d(*(side.bins for side in sides))
        counts = [side.among(bins) for side in sides]
        if all(side.total for side in sides):
            groups = np.searchsorted(_quantiles(bins, counts[0] + counts[1], _BINS), bins, side="left")
            counts = [np.bincount(groups, weights=each).astype(np.int64) for each in counts]
    else:
        bins = np.union1d(stable.words.bins, canary.words.bins)
        counts = [each.words.among(bins) for each in (stable, canary)]
        if any(side.total for side in sides):
            counts = [np.append(words, side.total) for words, side in zip(counts, sides, strict=True)]
    return tuple(counts[0].tolist()), tuple(counts[1].tolist())
