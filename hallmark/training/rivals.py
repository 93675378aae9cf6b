"""Fair comparison with the champion: on rows that it has not learnt from, of data of the same kind, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hallmark.learners.model import spec, task_of
from hallmark.training import rows_seen

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain

FEWEST = 100
"""Test rows that are new to the champion without which nothing is told of two models."""
NOT_ASKED = "the champion was left out, as was asked for (--no-champion)"


class Terms(NamedTuple):
    """How a candidate meets the champion.

    rows:    (n,) which of the test rows both are compared on; None for all, and then nothing is known of what it has learnt from.
    skipped: why they are not compared; empty where they are.
    """

    rows: NDArray[np.bool_] | None = None
    skipped: str = ""

    @property
    def some(self) -> NDArray[np.bool_] | None:
        """The rows, where those are not all."""
        return None if self.rows is None or self.rows.all() else self.rows


def strangers(champion_synthetic: bool, candidate_synthetic: bool, *, version: int) -> str:
    """Why champion and candidate are no rivals: one has learnt from synthetic data and one has not; empty where they are."""
    if champion_synthetic == candidate_synthetic:
        return ""
    kinds = {True: "synthetic data", False: "data of your own"}
    return (
        f"version {version}, the champion, has learnt from {kinds[champion_synthetic]} and this from {kinds[candidate_synthetic]}:"
        " they are not compared"
    )


def terms(domain: Domain, champion: Path, test: pd.DataFrame, *, version: int, skipped: str = "") -> Terms:
    """The terms on which a candidate meets the champion in a model folder, on the test examples.   skipped: known before."""
    if skipped:
        return Terms(skipped=skipped)
    rows = rows_seen.unseen(domain, champion, test)
    if rows is None or rows.all():
        return Terms(rows)
    left, part = int(rows.sum()), test[rows]
    task = task_of(domain, spec(domain)).seen_in(part, domain.data.target_columns)
    reason = task.enough(task.targets(part, domain.data.target_columns)) if left else None
    if left >= FEWEST and reason is None:
        return Terms(rows)
    others = f"the {left:,} others are too few to compare on" if left else "there are no others to compare on"
    text = f"version {version}, the champion, has learnt from {len(test) - left:,} of the {len(test):,} test rows, and {others}"
    return Terms(skipped=f"{text} ({reason})" if left >= FEWEST else text)
