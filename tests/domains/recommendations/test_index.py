"""The unit of the real domain: what its server answers from the index is what the trained model's vectors say, in order, of what is for sale."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from domains.recommendations import data
from domains.recommendations.features import FACTS_OF_ITEMS, PLURALS, encode, encode_candidate, encode_item
from domains.recommendations.serving import order
from hallmark.artifacts import bundle
from hallmark.data import dataset
from hallmark.declaration import domain as domains
from hallmark.features.fields import Columns
from hallmark.learners.model import examples, requested, spec
from hallmark.learners.reranker import Candidates
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


def test_candidates_of_many_records_are_read_as_those_of_each_alone() -> None:
    """In one call of the ranker, which is how requests that wait together are answered."""
    items = source.corpus("recommendations", source="synthetic", at=AT, seed=7).head(12)
    retriever = spec(domains.load("recommendations")).retriever
    assert retriever is not None
    found: Columns = {**requested(items, retriever.item), "item_id": items["item_id"].to_numpy()}
    lists = {
        f"recent_{PLURALS[name]}": [items[name].to_numpy()[:size] for size in (3, 0, 1)] for name in FACTS_OF_ITEMS
    }
    lists["recent_items"] = [items["item_id"].to_numpy()[:size] for size in (3, 0, 1)]
    made = {name: np.fromiter(values, dtype=object, count=3) for name, values in lists.items()}
    of = np.repeat(np.arange(3), 4)
    nearness = np.linspace(1, 0, 12, dtype=np.float32)
    together: Columns = {**{name: values[of] for name, values in made.items()}, **found, "vector_score": nearness}
    whole = encode_candidate(together)["input"]
    for record in range(3):
        alone = encode_candidate({name: values[of == record] for name, values in together.items()})["input"]
        np.testing.assert_array_equal(alone, whole[of == record])
    assert whole[0, 1] == 3 and (whole[:3, 2::2] > 0).any(), "the first items are those that were looked at"
    assert (
        np.isnan(whole[4:8, 2:]).all() and len(encode_candidate({k: v[:0] for k, v in together.items()})["input"]) == 0
    )


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
    asked, ranker = trained.encode(test.given), trained.ranker  # type: ignore[attr-defined]
    known = {name: row for row, name in enumerate(items["item_id"])}
    facts = encode_item({**requested(items, model.retriever.item), "item_id": items["item_id"].to_numpy()})["facts"]
    for row, seen in enumerate(rows["recent_items"]):
        gone = [] if seen is None else list(seen)
        nearest = vectors @ asked[row]
        best = [place for place in np.argsort(-nearest, kind="stable") if ids[place] in known][:100]
        looked = test.named["facts"][row][: len(gone)]
        of = Candidates(
            looked, facts[[known[ids[place]] for place in best]], nearest[best], np.zeros(len(best), np.bool_)
        )
        order = np.argsort(-ranker.scores(of), kind="stable")
        wanted = [ids[best[place]] for place in order if ids[best[place]] not in gone][:10]
        same = np.array(wanted) == answers["items"][row][: len(wanted)]
        assert same.mean() > 0.7, "but for those whose scores differ by a rounding"
