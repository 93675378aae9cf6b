# mypy: allow-untyped-decorators
"""Load a domain's examples."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def load(
    domain: str,
    source: str,
    as_of: str,
    scheduled: str,
    window: str,
    seed: int,
    shift: str,
    examples: Output[Dataset],
) -> str:
    """Give the time the examples are as of: `as_of`, else the time this run was scheduled for."""
    from pathlib import Path

    from hallmark.training import steps

    return steps.load(
        domain,
        source=steps.origin(source),
        as_of=steps.day(as_of, scheduled),
        window=window,
        seed=seed,
        shift=shift,
        examples=Path(examples.path),
    )
