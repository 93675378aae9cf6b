# mypy: allow-untyped-decorators
"""Judge a candidate by its domain's gate, beside the champion."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def compare(
    domain: str,
    evaluation: Input[Artifact],
    test: Input[Dataset],
    decision: Output[Artifact],
    summary: Output[Markdown],
) -> None:
    """The decision and its reasons; `gate` turns it into the one output that the graph branches on."""
    from pathlib import Path

    from hallmark.training import steps

    steps.compare(
        domain,
        evaluation=Path(evaluation.path),
        test=Path(test.path),
        decision=Path(decision.path),
        summary=Path(summary.path),
    )
