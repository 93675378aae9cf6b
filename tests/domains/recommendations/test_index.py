"""The unit of the real domain: what its server answers from the index is what the trained model's vectors say, in order, of what is for sale."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from domains.recommendations import data
from domains.recommendations.features import FACTS_OF_ITEMS, PLURALS, encode, encode_item
from domains.recommendations.serving import order
from hallmark.artifacts import bundle
from hallmark.data import dataset
from hallmark.declaration import domain as domains
from hallmark.features.fields import Columns
from hallmark.learners.model import examples, requested, spec
from hallmark.training import export, index, source
from hallmark.training.split import split
from inference_services.runtime.retrieval import RetrievalModel

AT = datetime(2026, 9, 1, tzinfo=UTC)


def test_an_item_is_encoded_as_it_is_in_a_sequence() -> None:
    items = source.corpus("recommendations", source="synthetic", at=AT, seed=7).head(50)
    retriever = spec(domains.load("recommendations")).retriever
    assert retriever is not None
    alone: Columns = {**requested(items, retriever.item), "item_id": items["item_id"].to_numpy()}
    lists = {f"recent_{PLURALS[name]}": [[value] for value in items[name].tolist()] for name in FACTS_OF_ITEMS}
    listed = encode(
        {
            name: np.fromiter(map(np.array, values), dtype=object, count=len(items))
            for name, values in {"recent_items": [[each] for each in items["item_id"]], **lists}.items()
        }
    )
    np.testing.assert_array_equal(encode_item(alone)["facts"], listed["facts"][:, 0])


def test_items_of_a_public_log_are_its_items_of_which_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\nann,a,1300000000\nann,b,1300000100\nbob,b,1300000050\n")
    found = source.corpus("recommendations", source=str(tmp_path / "log.csv"), at=AT, seed=7)
    assert sorted(found["item_id"]) == ["a", "b"] and found.drop(columns="item_id").isna().all(axis=None)


def test_what_was_just_seen_is_left_out() -> None:
    candidates = {"item_id": np.array(["a", "b", "c"], dtype=object)}
    scores = np.array([0.2, 0.9, 0.5], dtype=np.float32)
    assert order({"recent_items": np.array(["b", "x"], dtype=object)}, candidates, scores) == [2, 0]


@pytest.mark.slow
def test_the_server_orders_as_the_trained_model_does(tmp_path: Path) -> None:
    declared = domains.load("recommendations")
    made = split(declared, data.draw(start=AT - timedelta(days=8), end=AT, seed=7), as_of=AT)
    train, validation, test = (examples("recommendations", each) for each in (made.train, made.validation, made.test))
    trained = spec(declared).fit(train, validation, seed=1, progress=None, quick=True, epochs=2)
    items = source.corpus("recommendations", source="synthetic", at=AT, seed=7)
    dataset.write(items, tmp_path / "corpus")
    queries = index.golden(declared, made.test)
    assert index.embed(declared, trained, tmp_path / "vectors", items=items, queries=queries) == len(items)
    index.build(declared, tmp_path / "vectors", tmp_path / "corpus", tmp_path / "index")
    export.export(declared, trained, tmp_path / "model", test=made.test, reference=made.test, index=tmp_path / "index")
    model = RetrievalModel("recommendations", bundle.read(tmp_path / "model", expected=None))
    rows = made.test.head(40).reset_index(drop=True)
    answers = model.predict(requested(rows, model.signature.asked), len(rows))
    ids, vectors = trained.vectors()  # type: ignore[attr-defined]
    asked = trained.encode(test.given)  # type: ignore[attr-defined]
    stock = set(items["item_id"])
    for row, seen in enumerate(rows["recent_items"]):
        gone = set() if seen is None else set(seen)
        best = [ids[place] for place in np.argsort(-(vectors @ asked[row]), kind="stable")]
        assert [each for each in best if each in stock and each not in gone][:10] == answers["items"][row].tolist()
