"""A trained model as the folder that the registry keeps and the server loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.domain import Domain
    from hallmark.settings import Settings
    from hallmark.training.model import Trained


class Parity(BaseModel):
    """How far the ONNX model is from the trained one over the test rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    max_abs_difference: float
    tolerance: float


def export(
    domain: Domain,
    trained: Trained,
    folder: Path,
    *,
    test: pd.DataFrame,
    reference: pd.DataFrame,
    settings: Settings | None = None,
) -> Parity:
    """Write the sealed model folder (all but the passport); `ModelRefused` where ONNX and trained model differ."""
    raise NotImplementedError


def score_folder(folder: Path, frame: pd.DataFrame, *, expected: str | None = None) -> NDArray[Any]:
    """What the model in `folder` makes of `frame`, by its own feature code and its ONNX model: (n,) or (n, k)."""
    raise NotImplementedError
