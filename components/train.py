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
    """Weights only; on the nodes, processors and accelerators that the domain declares."""
    from pathlib import Path

    from hallmark.training import steps

    steps.train(
        domain,
        seed=seed,
        options=options,
        training=Path(training.path),
        validation=Path(validation.path),
        trained=Path(trained.path),
        addresses=steps.elsewhere(training=training.uri, validation=validation.uri, trained=trained.uri),
    )
