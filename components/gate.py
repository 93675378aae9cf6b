# mypy: allow-untyped-decorators
"""The one output that the graph branches on.

`dsl.If` on a named output is skipped silently, and the run says it succeeded; so this has one output and it has no name.
"""

from kfp import dsl
from kfp.dsl import Artifact, Input

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def gate(domain: str, decision: Input[Artifact]) -> bool:
    """Whether the candidate passed."""
    from pathlib import Path

    from hallmark.training import steps

    return steps.gate(domain, decision=Path(decision.path))
