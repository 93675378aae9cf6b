# mypy: allow-untyped-decorators
"""Try a trained model in int8, in the graph of a domain that declares it."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def quantize(
    domain: str,
    seed: int,
    trained: Input[Model],
    training: Input[Dataset],
    test: Input[Dataset],
    candidate: Output[Model],
    precision: Output[Artifact],
    summary: Output[Markdown],
) -> None:
    """The model as it is to ship, in int8 or as it was; why, and what was measured."""
    from pathlib import Path

    from hallmark.training import steps

    steps.quantize(
        domain,
        seed=seed,
        trained=Path(trained.path),
        training=Path(training.path),
        test=Path(test.path),
        candidate=Path(candidate.path),
        precision=Path(precision.path),
        summary=Path(summary.path),
    )
