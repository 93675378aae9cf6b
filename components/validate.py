# mypy: allow-untyped-decorators
"""Check a domain's examples against its contract."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def validate(domain: str, examples: Input[Dataset], facts: Output[Artifact], summary: Output[Markdown]) -> None:
    """Stop the run where the contract is broken; else write down what the data set is."""
    from pathlib import Path

    from hallmark.training import steps

    steps.validate(domain, examples=Path(examples.path), facts=Path(facts.path), summary=Path(summary.path))
