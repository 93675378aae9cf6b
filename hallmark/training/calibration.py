"""Thresholds of a domain's decision, by learn then test on the latest examples, whose labels nothing was learnt from.

`data.weight` is taken for one by the chance with which an example came to be labelled, as `hallmark reviews export` writes it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.thresholds import NO_THRESHOLD, Thresholds
from hallmark.decision import calibrate
from hallmark.errors import DeclarationError
from hallmark.learners.model import examples
from hallmark.tasks import targets

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.decision import Risk
    from hallmark.declaration.domain import Domain


def calibrated(
    domain: Domain, trained: Path, *, validation: pd.DataFrame, test: pd.DataFrame, scores: NDArray[Any]
) -> Thresholds:
    """The thresholds of the model in `trained`: grids from its scores of `validation`, tested on `scores` and labels of `test`.

    `DeclarationError` where the decision's score is not this model's, or its slices are no columns of the examples.
    """
    from hallmark.training import precision as precisions

    if domain.decision is None:
        raise DeclarationError(
            f"{domain.name} declares no decision, so there is nothing to calibrate",
            expected="decision: in domain.yaml",
            got="none",
        )
    risk = domain.decision.risk.false_authentic
    node = domain.decision.nodes[risk.score.partition(".")[0]]
    if node.service != domain.name or domain.task.kind != "binary":
        raise DeclarationError(
            "the decision's score is not what this training can calibrate",
            expected=f"risk.false_authentic.score of a node whose service is {domain.name}, in a binary task",
            got=f"{risk.score} of {node.service}, in a {domain.task.kind} task",
            fix="name the node that asks the domain's own model",
        )
    for name in lacking(risk, test.columns):
        raise DeclarationError(
            f"risk.false_authentic.slices names {name}, and the examples have no such column",
            expected=", ".join(map(str, test.columns)),
            got=name,
            fix="name columns of the examples, or have data.py give this one",
        )
    earlier = precisions.predict(domain.name, trained, examples(domain.name, validation).given)
    return calibrate.calibrated(
        risk,
        scores=np.asarray(scores, dtype=np.float64),
        counterfeit=test[domain.data.label].to_numpy() > 0,
        slices=_slices(test, risk.slices),
        earlier=np.asarray(earlier, dtype=np.float64),
        earlier_slices=_slices(validation, risk.slices),
        weights=targets.weights(test, domain.data.target_columns),
        earlier_weights=targets.weights(validation, domain.data.target_columns),
    )


def lacking(risk: Risk, columns: Collection[str]) -> list[str]:
    """Fields of the risk's slices that examples with these columns have not, so that nothing of them can be calibrated."""
    return [name for name in risk.slices if name not in columns]


def markdown(found: Thresholds) -> str:
    """A table of the slices."""
    lines = [f"| {' | '.join([*found.fields, 'accepted up to', 'examples', 'accepted', 'counterfeits'])} |"]
    lines.append("|" + "---|" * len(found.fields) + "---:|" * 4)
    for each in found.slices:
        told = NO_THRESHOLD if each.threshold is None else f"{each.threshold:.4g}"
        lines.append(
            f"| {' | '.join([*each.values, told, *map(str, (each.examples, each.accepted, each.counterfeits))])} |"
        )
    return "\n".join(lines) + "\n"


def _slices(frame: pd.DataFrame, fields: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Of each row, the values of the fields as an item's are written."""
    if not fields:
        return [()] * len(frame)
    return list(zip(*(frame[name].astype(str).tolist() for name in fields), strict=True))
