"""Retrieval: which k of very many? Ids from an index, best first, against those that turned out relevant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hallmark.errors import ModelRefused
from hallmark.tasks import answers as late
from hallmark.tasks import by_query, queries
from hallmark.tasks import targets as columns_of
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.by_query import SWAPPED, ByQuery
from hallmark.tasks.charts import Chart, Confusion
from hallmark.tasks.metric import Metric
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import ModelGap

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "-1")
"""Ids that stand for no item, where an index finds fewer than k."""


class Retrieval(ByQuery):
    """k ids a record, best first. A row of the data is one relevant (or judged) item of a query.

    The first output is (n, k) ids, int64 or words, for the query of each row; what was returned and is not among the
    query's rows still takes its place. So predictions are places: of the row's item in the answer to its query.
    """

    kind: Literal["retrieval"] = "retrieval"
    k: int = Field(default=10, ge=1, description="Ids in an answer.")

    needs: ClassVar[tuple[str, ...]] = ("query", "item")

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,): ids."""
        return (self.k,)

    @property
    def gated(self) -> str:
        """Share of what is relevant that was found."""
        return f"recall@{self.k}"

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Relevances by query and item, each pair once."""
        plain = super().targets(frame, columns)
        item = columns_of.present(frame, columns.item, role="item")
        columns_of.refuse_where(item.isna().to_numpy(dtype=np.bool_), item, role="item", expected="an id in each row")
        twice = frame.duplicated([columns.query, columns.item]).to_numpy(dtype=np.bool_)
        expected = f"each item once for each {columns.query}"
        columns_of.refuse_where(
            twice, item, role="item", expected=expected, fix="merge those rows in the domain's data.py"
        )
        ids = item.to_numpy(dtype=np.int64) if item.dtype.kind in "iu" else item.astype(str).to_numpy(dtype=np.str_)
        return Targets(labels=plain.labels, groups=plain.groups, weights=plain.weights, items=ids)

    def check(self, raw: NDArray[Any], *, rows: int) -> NDArray[Any]:
        """Ids (rows, k), int64 or words, each once a row; "" and -1 stand for none."""
        given = np.asarray(raw)
        if given.shape != (rows, self.k) or given.dtype.kind not in "iuUSO":
            raise ModelRefused(
                "the model's answers have the wrong shape",
                expected=f"ids of shape {(rows, self.k)}, int64 or words",
                got=f"{given.dtype} of shape {given.shape}",
            )
        found = given.astype(np.int64) if given.dtype.kind in "iu" else _words(given)
        ordered = np.sort(found, axis=1)
        twice = ((ordered[:, 1:] == ordered[:, :-1]) & ~np.isin(ordered[:, 1:].astype(str), MISSING)).any(axis=1)
        if twice.any():
            raise ModelRefused(
                f"{int(twice.sum())} of {rows} answers hold an id twice",
                expected="each id once",
                got=", ".join(map(str, found[twice][0])),
            )
        return found

    def predictions(self, raw: NDArray[Any], targets: Targets) -> Floats:
        """(n,) place, from 1, of the row's item in the answer to its query; infinite where it was not returned."""
        found = self.check(raw, rows=len(targets))
        if targets.items is None:
            raise ValueError("expected targets with items, as Retrieval.targets gives them")
        items = targets.items
        if found.dtype.kind != items.dtype.kind:
            found, items = found.astype(str), items.astype(str)
        same = found == items[:, None]
        return np.where(same.any(axis=1), same.argmax(axis=1) + 1.0, np.inf)

    def metrics(self) -> Mapping[str, Metric]:
        """Figures of the k ids."""
        return by_query.metrics(queries.returned, self.k, (f"recall@{self.k}", f"ndcg@{self.k}", "mrr"))

    def enough(self, targets: Targets) -> str | None:
        """Some query with something relevant."""
        return None if (targets.labels > 0).any() else f"nothing is relevant in {len(targets)} rows"

    def parity(self, expected: NDArray[Any], exported: NDArray[Any], targets: Targets | None = None) -> ModelGap:
        """Share of the trained model's ids that the exported one does not return, at whichever place: neighbours may tie."""
        first, second = (self.check(each, rows=len(each)).astype(str) for each in (expected, exported))
        if first.shape != second.shape:
            raise ModelRefused(
                "the exported model answers in another shape", expected=str(first.shape), got=str(second.shape)
            )
        given = ~np.isin(first, MISSING)
        kept = (first[:, :, None] == second[:, None, :]).any(axis=2) & given
        return ModelGap(value=float(1 - kept.sum() / max(1, given.sum())), tolerance=SWAPPED, kind="rank")

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The first k ids of each record; None where it has none."""
        found = [late.ids(value) for value in answers]
        return [[None if ids is None else list(ids[: self.k]) for ids in found]]

    def same(self, stable: Any, candidate: Any, rule: Agreement) -> bool:
        """The ids of each record overlap."""
        return len(stable) == len(candidate) and all(
            a == b if a is None or b is None else self.overlaps(a, b, rule)
            for a, b in zip(stable, candidate, strict=True)
        )

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """1 - recall@k of each request, the mean over its records; NaN where one has no list of ids or no label."""
        codes, first = late.units(requests)
        missed = late.by_record(answers, labels, self._judged).loss
        loss = np.bincount(codes, weights=missed, minlength=len(first)) / np.maximum(np.bincount(codes), 1)
        return Losses(loss=loss, bias=np.zeros(len(first)), rows=first)

    def late_labels(self, frame: pd.DataFrame, columns: TargetColumns) -> Sequence[Label]:
        """The relevant ids of each row's query."""
        relevant: dict[Any, list[Any]] = {}
        for query, item, label in zip(
            *(frame[name].tolist() for name in (columns.query, columns.item, columns.label)), strict=True
        ):
            relevant.setdefault(query, []).extend([item] if label > 0 else [])
        return [relevant[query] for query in frame[columns.query].tolist()]

    def label_problem(self, label: object) -> str | None:
        """The relevant ids."""
        return (
            None if _relevant(label) else 'expected label: the ids that were relevant, such as ["i12", "i7"], or one id'
        )

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Recall by how many places count."""
        return (
            by_query.by_depth(
                queries.returned,
                targets,
                predictions,
                what="recall",
                metric=self.gated,
                figure=lambda places, k: places.recall(k),
                deepest=self.k,
            ),
        )

    def _judged(self, answer: Value, label: Label) -> tuple[float, float]:
        given, relevant = late.ids(answer), _relevant(label)
        if given is None or not relevant:
            return math.nan, math.nan
        return 1 - len(set(given[: self.k]) & set(relevant)) / len(relevant), 0.0


def _relevant(label: object) -> tuple[str, ...]:
    if isinstance(label, str):
        return (label,) if label else ()
    return late.ids([label]) or late.ids(label) or ()


def _words(given: NDArray[Any]) -> NDArray[np.str_]:
    plain = [
        each.decode() if isinstance(each, bytes) else "" if each is None else str(each)
        for each in given.ravel().tolist()
    ]
    return np.array(plain, dtype=np.str_).reshape(given.shape)
