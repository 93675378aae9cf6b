"""Ranking: in which order do the rows of a query come? One score a record, against its relevance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hallmark.tasks import answers as late
from hallmark.tasks import by_query, queries
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.by_query import SWAPPED, ByQuery
from hallmark.tasks.charts import Chart, Confusion
from hallmark.tasks.metric import Metric
from hallmark.tasks.queries import QueryPlaces
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import ModelGap, both

if TYPE_CHECKING:
    import pandas as pd

MOST = 10.0
"""The most that a click counts: what hardly anybody looks at would else drown the rest (clipped, as is usual)."""
_EQUAL = 1e-5


class Ranking(ByQuery):
    """One score a record, compared only within its query; its size says nothing.

    propensity is the chance that the row was looked at where it stood. Where a column is declared for it, what is relevant counts 1 by
    that, 10 at most: clicks then tell of items and not of places (inverse propensity; Joachims et al., 2017). A query
    weighs as much as all of its relevant rows do, in learning and in every metric, and gains are weighed in ndcg.
    """

    reads: ClassVar[tuple[str, ...]] = ("propensity", "judged")
    kind: Literal["ranking"] = "ranking"
    k: int = Field(default=10, ge=1, description="Places that count.")

    @property
    def shape(self) -> tuple[int, ...]:
        """(): one score a record."""
        return ()

    @property
    def gated(self) -> str:
        """Discounted gain over the first k places."""
        return f"ndcg@{self.k}"

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels are relevances of 0 or more; groups are queries; propensity is above 0, up to 1."""
        found = super().targets(frame, columns)
        if columns.propensity is None:
            return found
        propensity = columns_of.numbers(frame, columns.propensity, role="propensity")
        wrong = (propensity <= 0) | (propensity > 1)
        expected = "a chance above 0, up to 1"
        columns_of.refuse_where(wrong, frame[columns.propensity], role="propensity", expected=expected)
        group, count = found.grouped()
        whole = np.bincount(group, weights=_gains(found.labels, propensity) * (found.labels > 0), minlength=count)[
            group
        ]
        weights = found.weighed() * np.where(whole > 0, whole, 1.0)
        return dataclasses.replace(found, propensity=propensity, weights=weights)

    def metrics(self) -> Mapping[str, Metric]:
        """Figures of the first k places, and of the first relevant one."""
        names = (f"ndcg@{self.k}", "mrr", f"recall@{self.k}", f"precision@{self.k}")
        return by_query.metrics(_placed, self.k, names)

    def enough(self, targets: Targets) -> str | None:
        """Some query in which one row is more relevant than another."""
        group, count = targets.grouped()
        lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(lowest, group, targets.labels)
        np.maximum.at(highest, group, targets.labels)
        return None if (highest > lowest).any() else f"none of {count} queries has rows of two relevances"

    def parity(self, expected: NDArray[Any], exported: NDArray[Any], targets: Targets | None = None) -> ModelGap:
        """Share of neighbours within a query whose order is turned; ties of the trained model, up to rounding, are set aside."""
        first, second = both(expected, exported)
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            return ModelGap(value=math.nan, tolerance=SWAPPED, kind="rank")
        group = np.zeros(len(first), dtype=np.int64) if targets is None else targets.grouped()[0]
        order = np.lexsort((-first, group))
        drop, kept, same = (np.diff(each[order]) for each in (first, second, group))
        told = (same == 0) & (-drop > _EQUAL * np.maximum(1e-9, np.abs(first[order][1:])))
        turned = told & (kept > 0)
        return ModelGap(value=float(turned.sum() / max(1, told.sum())), tolerance=SWAPPED, kind="rank")

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The number of records, those without a score, and the first k in order; equal scores stand in the order of the records.

        Of answers that are lists of ids, the first k of each.
        """
        listed = [late.ids(value) for value in answers]
        if listed and all(each is not None for each in listed):
            return [[None, [], [list(each or ())[: self.k] for each in listed]]]
        scores = by_query.as_numbers(answers)
        order = np.argsort(-scores, kind="stable")[: self.k]
        return [[len(scores), np.flatnonzero(np.isnan(scores)).tolist(), order.tolist()]]

    def same(self, stable: Any, candidate: Any, rule: Agreement) -> bool:
        """The same records have scores, and their orders overlap; of lists of ids each overlaps."""
        if stable[0] is None or candidate[0] is None:
            alike = stable[0] is candidate[0] and len(stable[2]) == len(candidate[2])
            return alike and all(self.overlaps(a, b, rule) for a, b in zip(stable[2], candidate[2], strict=True))
        return stable[:2] == candidate[:2] and self.overlaps(stable[2], candidate[2], rule)

    def disagreement_problem(self, rule: Agreement, *, words: bool = False) -> str | None:
        """Only scores can be put in order."""
        if words:
            return "the output holds words; name the output that holds the score"
        return super().disagreement_problem(rule, words=words)

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """1 - ndcg@k of each request; NaN where a record has no label, or nothing is relevant."""
        codes, first = late.units(requests)
        scores, truth = by_query.as_numbers(answers), by_query.as_numbers(labels)
        unknown = ~np.isfinite(scores) | ~(truth >= 0)
        targets = Targets(labels=np.where(unknown, 0.0, truth), groups=codes)
        gain = queries.scored(targets, np.where(unknown, 0.0, scores)).ndcg(self.k)
        loss = np.where(np.bincount(codes, weights=unknown, minlength=len(first)) > 0, np.nan, 1 - gain)
        return Losses(loss=loss, bias=np.zeros(len(first)), rows=first)

    def label_problem(self, label: object) -> str | None:
        """A relevance."""
        return None if late.number(label) >= 0 else "expected label: a relevance of 0 or more, such as 1 for a click"

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Discounted gain by how many places count."""
        return (
            by_query.by_depth(
                _placed,
                targets,
                predictions,
                what="ndcg",
                metric=self.gated,
                figure=lambda places, k: places.ndcg(k),
            ),
        )


def _placed(targets: Targets, scores: Floats) -> QueryPlaces:
    """Places by score, with the labels as they would be were every place looked at."""
    if targets.propensity is None:
        return queries.scored(targets, scores)
    gains = _gains(targets.labels, targets.propensity)
    return queries.scored(dataclasses.replace(targets, labels=gains), scores)


def _gains(labels: NDArray[Any], propensity: Floats) -> Floats:
    return np.asarray(labels * np.minimum(MOST, 1 / propensity))
