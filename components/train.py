# mypy: allow-untyped-decorators
"""Fit a domain's model."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def train(
    domain: str,
    seed: int,
    options: dict[str, Any],
    training: Input[Dataset],
    validation: Input[Dataset],
    trained: Output[Model],
) -> None:
    """Weights only; the graph asks for an accelerator where the domain declares one."""
    from pathlib import Path

    from hallmark.training import steps

    steps.train(
        domain,
        seed=seed,
        options=options,
        training=Path(training.path),
        validation=Path(validation.path),
        trained=Path(trained.path),
    )
