"""MLflow on a model that it cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from stock import stock_folder

from hallmark.errors import ModelRefused
from hallmark.libraries import unwarned
from hallmark.registry import mlmodel


def test_a_model_that_answers_with_items_says_that_its_server_does(tmp_path: Path) -> None:
    with unwarned("mlflow"):
        import mlflow.pyfunc

    digest = stock_folder(tmp_path / "stock", [], index=False)
    mlmodel.write(tmp_path / "stock", digest=digest, model_id="m-1", run="1")
    with pytest.raises(ModelRefused, match="stock answers with items of its index"):
        mlflow.pyfunc.load_model(str(tmp_path / "stock"))
