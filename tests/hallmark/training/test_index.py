"""The index that a training puts into a model folder: the one that the server opens, of the items as its own code encodes them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "inference_services" / "runtime"))

from stock import embed, items, stock_folder

from hallmark.artifacts import bundle
from hallmark.artifacts.folder import INDEX, Signature, seal
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.retrieval import pairing
from hallmark.training import index

STOCK = items(300)


def test_it_is_the_index_that_the_server_opens(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stock_folder(folder, STOCK, index=False)
    (folder / "manifest.json").unlink()
    frame = pd.DataFrame(STOCK)
    queries = pd.DataFrame({"query": [each["title"] for each in STOCK[:40]]})
    card = index.put(folder, frame, queries=queries)
    assert (card.items, card.dimension, card.words) == (300, 32, True)
    assert card.columns == {"category": "keyword", "price": "number", "new": "boolean", "listed_at": "time"}
    model = bundle.read(folder, expected=seal(folder))
    unit = pairing.opened(folder, model)
    assert unit is not None and unit.ids.tolist() == [each["item_id"] for each in STOCK]
    made = embed(folder, STOCK)
    kept = unit.vectors(np.arange(300))
    assert np.allclose(kept, made / np.linalg.norm(made, axis=1, keepdims=True), atol=1e-6)
    assert unit.columns.row(3)["listed_at"].startswith(STOCK[3]["listed_at"][:10])


def test_a_row_that_is_no_item_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stock_folder(folder, STOCK, index=False)
    with pytest.raises(ContractBroken, match="title"):
        index.put(folder, pd.DataFrame(STOCK).drop(columns="title"))
    with pytest.raises(ContractBroken):
        index.put(folder, pd.DataFrame([*STOCK, STOCK[0]]))
    assert not (folder / INDEX).exists()


def test_a_model_without_a_retriever_gets_none(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    stock_folder(folder, STOCK, index=False)
    path = folder / "signature.json"
    told = Signature.model_validate_json(path.read_text(encoding="utf-8")).model_copy(update={"retriever": None})
    path.write_text(told.model_dump_json(), encoding="utf-8")
    with pytest.raises(DeclarationError, match="has no retriever"):
        index.put(folder, pd.DataFrame(STOCK))
