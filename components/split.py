# mypy: allow-untyped-decorators
"""Part a domain's examples into training, validation and test."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def split(
    domain: str,
    as_of: str,
    seed: int,
    examples: Input[Dataset],
    training: Output[Dataset],
    validation: Output[Dataset],
    test: Output[Dataset],
) -> None:
    """By time with final labels, or by entity, as the domain declares."""
    from pathlib import Path

    from hallmark.training import steps

    steps.split(
        domain,
        as_of=as_of,
        seed=seed,
        examples=Path(examples.path),
        training=Path(training.path),
        validation=Path(validation.path),
        test=Path(test.path),
    )
