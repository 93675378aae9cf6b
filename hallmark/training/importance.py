"""Importance of fields: what the gate's metric loses where a field's values are shuffled among test rows.

Permutation importance (Breiman, Random Forests, 2001, section 10), of whole fields before they are encoded, so that it means the same for
trees and networks. Of fields that say the same twice each looks less important than both are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration import domain as domains
from hallmark.learners.model import examples, spec, task_of

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

ROWS = 1000
"""Test rows at most: the order of fields is told by few, and each field takes one more prediction of all of them."""
_SEED = 7


def measured(
    domain: Domain,
    predict: Callable[[Any], NDArray[Any]],
    test: pd.DataFrame,
    *,
    settings: Settings | None = None,
) -> dict[str, float]:
    """The loss of the gate's metric by field, the largest first; nothing for photos and retrieval, whose predictions take long.

    predict: the model's first output of encoded inputs, as `Trained.predict`.
    """
    fields = domains.module(domain.name, "features", settings).FIELDS
    if domain.task.kind == "retrieval" or any(field.media for field in fields):
        return {}
    rows = _some(domain, test)
    task = task_of(domain, spec(domain, settings))
    targets = task.targets(rows, domain.data.target_columns)
    metric = task.metrics()[domain.gate.metric]

    def value(frame: pd.DataFrame) -> float:
        scores = np.asarray(predict(examples(domain.name, frame, settings=settings).given))
        return metric.value(targets, task.predictions(scores, targets))

    whole = value(rows)
    order = np.random.default_rng(_SEED).permutation(len(rows))
    sign = -1.0 if metric.direction == "lower" else 1.0
    found = {}
    for field in fields:
        if field.name in rows.columns:
            shuffled = rows[field.name].iloc[order].set_axis(rows.index)
            loss = sign * (whole - value(rows.assign(**{field.name: shuffled})))
            if math.isfinite(loss):
                found[field.name] = round(loss, 6)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _some(domain: Domain, test: pd.DataFrame) -> pd.DataFrame:
    """`ROWS` rows at most; of queries whole ones."""
    if len(test) <= ROWS:
        return test.reset_index(drop=True)
    query = domain.data.query
    if query is None:
        return test.sample(ROWS, random_state=_SEED).reset_index(drop=True)
    counts = test.groupby(query, sort=False).size().cumsum()
    kept = counts.index[counts <= ROWS]
    return test[test[query].isin(kept if len(kept) else counts.index[:1])].reset_index(drop=True)
