"""An evaluation to look at: one self-contained HTML page, or a PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hallmark.training.evaluate import Evaluation


def png(evaluation: Evaluation, *, title: str) -> bytes:
    """Curves or confusion matrix, and the slices, as a PNG."""
    raise NotImplementedError


def html(evaluation: Evaluation, *, title: str) -> str:
    """The same with the table of metrics, as a page that needs nothing else."""
    raise NotImplementedError
