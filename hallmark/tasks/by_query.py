"""Tasks by query: what ranking and retrieval share: groups of rows, slices of whole queries, answers of whole requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.tasks import answers as late
from hallmark.tasks import metric as figures
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Value
from hallmark.tasks.charts import Chart, line
from hallmark.tasks.metric import Metric
from hallmark.tasks.queries import QueryPlaces
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import BaseTask, slices

if TYPE_CHECKING:
    import pandas as pd

OVERLAP = 0.8
SWAPPED = 1e-3
"""Share of neighbours, or of ids, that an exported model may have in another order."""
_DEEPEST = 20

Placed = Callable[[Targets, Floats], QueryPlaces]


class ByQuery(BaseTask):
    """The first k places of each query count; in a shadow, both rankings of a request overlap."""

    compared_by: ClassVar[Literal["request"]] = "request"
    rule: ClassVar[Literal["overlap"]] = "overlap"
    needs: ClassVar[tuple[str, ...]] = ("query",)
    k: int

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels are relevances of 0 or more; groups are queries."""
        groups = columns_of.codes(frame, columns.query, role="query")
        labels = columns_of.numbers(frame, columns.label, role="label")
        expected = "a relevance of 0 or more"
        columns_of.refuse_where(labels < 0, frame[columns.label], role="label", expected=expected)
        return Targets(labels=labels, groups=groups, weights=columns_of.weights(frame, columns))

    def overlaps(self, stable: Sequence[object], candidate: Sequence[object], rule: Agreement) -> bool:
        """Rank-biased overlap over the first k places reaches the rule's, 0.8 where none is declared."""
        return late.overlap(stable, candidate, depth=self.k) >= (OVERLAP if rule.overlap is None else rule.overlap)

    def groups(self, column: pd.Series[Any], targets: Targets) -> NDArray[Any]:
        """(n,) one name for all rows of a query, or its recall would lose what is relevant elsewhere.

        Where rows of a query differ (the category of an item), it is that of its most relevant row, the first of equals.
        """
        group, count = targets.grouped()
        order = np.lexsort((-targets.labels, group))  # stable: the first of equals stays first
        chosen = order[np.append(True, np.diff(group[order]) != 0)] if count else order
        return np.asarray(slices(column.iloc[chosen])[group])


def metrics(placed: Placed, k: int, names: Sequence[str]) -> dict[str, Metric]:
    """The named ones of ndcg, recall, precision (each at k) and mrr, in that order of names; a query weighs its rows' mean."""
    measured: dict[str, tuple[Callable[[QueryPlaces], Floats], str]] = {
        f"ndcg@{k}": (lambda places: places.ndcg(k), "Discounted gain of the first places by that of the best order"),
        f"recall@{k}": (lambda places: places.recall(k), "Share of what is relevant that stands in the first places"),
        f"precision@{k}": (
            lambda places: places.precision(k),
            "Share of the first places, also empty ones, that are relevant",
        ),
        "mrr": (lambda places: places.reciprocal_rank(), "1 by the place of the first relevant row"),
    }
    how = "mean over queries with something relevant; equal scores stand in any order, each as likely."

    def each(measure: Callable[[QueryPlaces], Floats]) -> Callable[[Targets, Floats], Floats]:
        return lambda targets, predictions: measure(placed(targets, predictions))

    return {
        name: Metric(
            name, "higher", figures.mean(each(measured[name][0])), f"{measured[name][1]}: {how}", resampled="group"
        )
        for name in names
    }


def by_depth(
    placed: Placed,
    targets: Targets,
    predictions: Floats,
    *,
    what: str,
    metric: str,
    figure: Callable[[QueryPlaces, int], Floats],
    deepest: int = _DEEPEST,
) -> Chart:
    """A figure by how many places count, up to `deepest`."""
    places = placed(targets, predictions)
    depths = np.arange(1, deepest + 1)
    known = places.relevant > 0
    values = np.array([figure(places, int(k))[known].mean() if known.any() else np.nan for k in depths])
    lines = (line("model", depths, values),)
    return Chart(title=f"{what} by number of places", across="places", up=what, lines=lines, metric=metric)


def as_numbers(values: Sequence[Value] | Sequence[Label]) -> Floats:
    """(rows,) finite numbers, NaN for others."""
    return np.array([late.number(value) for value in values], dtype=np.float64)
