"""A registered version as MLflow's `python_function`: `mlflow.pyfunc.load_model("models:/fraud@champion").predict(frame)`.

This module travels beside the model (registry/mlmodel.py), so that it also runs where Hallmark is not installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.artifacts import bundle
from hallmark.artifacts.folder import MLMODEL
from hallmark.batch.scorer import Scorer
from hallmark.errors import ModelRefused

if TYPE_CHECKING:
    import pandas as pd

DIGEST = "digest"
"""Key of MLmodel's metadata: the digest that the folder must have."""


class Answers:
    """A verified model folder, loaded once, as MLflow asks it."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answers to the n rows of `frame`, a column an output; `ContractBroken` where they are not what the model reads."""
        return self._scorer.answers(frame)


def _load_pyfunc(path: str) -> Answers:
    """MLflow's entry point; `ModelRefused` where one byte of the folder is not what its MLmodel names, before any of it runs."""
    import yaml

    folder = Path(path)
    try:
        digest = yaml.safe_load((folder / MLMODEL).read_text(encoding="utf-8"))["metadata"][DIGEST]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelRefused(
            f"the model's {MLMODEL} names no digest", expected="metadata: {digest: sha256:…}", got=str(error)
        ) from error
    model = bundle.read(folder, expected=str(digest))
    if model.signature.retriever is not None:
        raise ModelRefused(
            f"{model.signature.domain} answers with items of its index, which mlflow.pyfunc does not serve",
            expected="a model that answers each row by itself",
            got="a retriever",
            fix=f"ask its server: hallmark serve {model.signature.domain}",
        )
    return Answers(Scorer(model, threads=1))  # as the server: sums over trees differ in their last bit by threads
