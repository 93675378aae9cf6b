# mypy: allow-untyped-decorators
"""Write the model folder that is registered and served."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def export(
    domain: str,
    trained: Input[Model],
    test: Input[Dataset],
    model: Output[Model],
    parity: Output[Artifact],
    source: str = "",
    as_of: str = "",
    seed: int = 0,
) -> None:
    """ONNX, refused where it does not answer as the trained model does; feature code and drift profile beside it.

    Where `source` is given, last year's examples of the weeks that come are references too.
    """
    from pathlib import Path

    from hallmark.training import steps

    steps.export(
        domain,
        trained=Path(trained.path),
        test=Path(test.path),
        model=Path(model.path),
        parity=Path(parity.path),
        source=steps.origin(source) if source else "",
        as_of=as_of,
        seed=seed,
    )
