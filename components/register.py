# mypy: allow-untyped-decorators
"""Register a model with its model card."""

from typing import Any

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Model

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def register(
    domain: str,
    source: str,
    as_of: str,
    seed: int,
    shift: str,
    options: dict[str, Any],
    model: Input[Model],
    parity: Input[Artifact],
    facts: Input[Artifact],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    plots: Input[HTML],
    precision: Input[Artifact] = None,
    correlation: str = "",
) -> int:
    """Give the version; the same digest is the same version."""
    from pathlib import Path

    from hallmark.training import steps

    return steps.register(
        domain,
        origin=Path(source).name,
        as_of=as_of,
        seed=seed,
        shift=shift,
        options=options,
        model=Path(model.path),
        parity=Path(parity.path),
        facts=Path(facts.path),
        evaluation=Path(evaluation.path),
        decision=Path(decision.path),
        plots=Path(plots.path),
        precision=Path(precision.path) if precision else None,
        correlation=correlation,
    )
