"""The unit of the real domain: index and encoder of one version, whose served order is that of the trained model, and which is refused in parts."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domains.search.features import FIELDS, encode, encode_candidate
from hallmark.artifacts import bundle
from hallmark.artifacts.folder import INDEX, seal
from hallmark.declaration import domain as domains
from hallmark.errors import Conflict, ContractBroken, DeclarationError, ModelRefused
from hallmark.files import digest_file
from hallmark.learners.model import columns, requested, spec
from hallmark.training import export, gate, index
from inference_services.runtime.retrieval import RetrievalModel
from tests.domains.search.small import AT, Small


@pytest.fixture
def unit(small_search: Small) -> Small:
    return small_search


def _served(folder: Path) -> Any:
    return RetrievalModel("search", bundle.read(folder, expected=None))


def test_its_index_is_measured_and_its_floors_are_the_gate_s(unit: Small) -> None:
    required = domains.load("search").retrieval.required  # type: ignore[union-attr]
    assert unit.report.items == len(unit.corpus) and unit.report.contract == "listings@1"
    assert [row.selectivity for row in unit.report.recall] == [1.0, 0.1, 0.01, 0.001]
    fine = gate.GateDecision(passed=True, reasons=("fine",))
    assert gate.recalled(fine, unit.report, required).passed
    worse = unit.report.recall[2].model_copy(update={"recall": 0.9})
    report = unit.report.model_copy(update={"recall": (*unit.report.recall[:2], worse, unit.report.recall[3])})
    refused = gate.recalled(fine, report, required)
    assert not refused.passed
    assert refused.reasons[0].startswith("recall@10 at 1% of the items 0.9000 does not reach the floor 0.9500")
    missing = report.model_copy(update={"recall": report.recall[:1]})
    assert (
        "recall@10 at 0.1% of the items of the candidate's index is missing"
        in gate.recalled(fine, missing, required).reasons
    )


def test_a_candidate_is_encoded_as_the_row_that_was_learnt_from(unit: Small) -> None:
    rows = unit.test.head(200)
    learnt = encode(columns(rows, FIELDS))
    listed = rows["searched_at"] - pd.to_timedelta(rows["item_age_days"], unit="D")
    shares = [[] if np.isnan(share) else [share] for share in rows["member_brand_share"]]
    brands = [[brand] if share else [] for brand, share in zip(rows["brand"], shares, strict=True)]
    found = rows.assign(
        listed_at=listed.astype("datetime64[us, UTC]").astype("int64") / 1e6, member_brands=brands, member_shares=shares
    )
    fields = [
        *(spec(domains.load("search")).retriever.fields),
        *(field for field in FIELDS if field.name in unit.corpus),
    ]  # type: ignore[union-attr]
    served = encode_candidate({**requested(found, fields), "listed_at": found["listed_at"].to_numpy()})
    for name, values in learnt.items():
        np.testing.assert_array_equal(served[name], values, err_msg=name)


def test_the_server_finds_and_orders_as_the_trained_model_does(unit: Small) -> None:
    model = _served(unit.folder)
    rows = unit.test.drop_duplicates("query_id").head(20).reset_index(drop=True)
    asked = requested(rows, model.signature.asked)
    answers = model.predict(asked, len(rows))
    assert (answers["found"] == 20).all()
    known = unit.corpus.set_index("item_id")
    for row in range(len(rows)):
        ids = answers["items"][row].tolist()
        items = known.loc[ids].reset_index()
        age = np.floor(
            (rows.at[row, "at"] - items["listed_at"].astype("datetime64[us, UTC]").astype("int64") / 1e6) / 86_400
        )
        frame = items.assign(
            **{name: rows.at[row, name] for name in ("query", "locale", "member_price")},
            item_age_days=np.clip(age, 0, 3650).astype("int64"),
            member_brand_share=np.nan,
        )
        expected = unit.trained.predict(encode(columns(frame, FIELDS)))
        np.testing.assert_allclose(answers["scores"][row], expected, atol=1e-5)
        assert (np.diff(answers["scores"][row]) <= 1e-6).all()
    assert ((answers["vector_rank"] > 0) | (answers["word_rank"] > 0)).all()


def test_a_filter_keeps_to_what_it_leaves(unit: Small) -> None:
    model = _served(unit.folder)
    rows = pd.DataFrame({"query": ["red wool coat"], "locale": ["en"], "at": [AT.timestamp()]})
    asked = dict(requested(rows, model.signature.asked))
    asked["filter_category"] = np.array([None], dtype=object)
    asked["filter_category"][0] = np.array(["coats"], dtype=object)
    asked["filter_price_max"] = np.array([60.0])
    answers = model.predict(asked, 1)
    there = unit.corpus[(unit.corpus["category"] == "coats") & (unit.corpus["price"] <= 60)]
    found = [each for each in answers["items"][0].tolist() if each]
    assert len(found) == min(20, len(there)) and set(found) <= set(there["item_id"])


def test_a_byte_that_is_another_in_any_part_of_it_is_refused(unit: Small, tmp_path: Path) -> None:
    parts = [path for path in sorted(unit.folder.rglob("*")) if path.is_file() and path.stat().st_size]
    assert {"encoder.onnx", "model.onnx", "vectors.npy", "unit.json", "words.npz", "items.parquet"} <= {
        p.name for p in parts
    }
    folder = tmp_path / "model"
    shutil.copytree(unit.folder, folder)
    digest = digest_file(folder / "manifest.json")
    for part in parts:
        path = folder / part.relative_to(unit.folder)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(ModelRefused):
            bundle.read(folder, expected=digest)
        shutil.copyfile(part, path)
    assert RetrievalModel("search", bundle.read(folder, expected=digest)).digest == digest


def test_another_encoder_of_the_same_dimension_is_refused_and_so_is_its_index_at_export(
    unit: Small, tmp_path: Path
) -> None:
    import onnx
    from onnx import numpy_helper

    folder = tmp_path / "model"
    shutil.copytree(unit.folder, folder)
    other = onnx.load(folder / "encoder.onnx")
    table = max(other.graph.initializer, key=lambda each: len(each.raw_data))
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * np.float32(-1), table.name))
    (folder / "encoder.onnx").write_bytes(other.SerializeToString())
    digest = seal(folder)
    with pytest.raises(ModelRefused, match="the index was made by another encoder"):
        RetrievalModel("search", bundle.read(folder, expected=digest))
    shutil.rmtree(folder / INDEX)
    with pytest.raises(Conflict, match="not made by the encoder that is exported"):
        index.put(folder, unit.folder / INDEX)


def test_a_row_that_is_no_item_stops_it(unit: Small, tmp_path: Path) -> None:
    declared = domains.load("search")
    queries = index.golden(declared, unit.test)
    with pytest.raises(ContractBroken, match="title"):
        index.embed(declared, unit.trained, tmp_path / "a", items=unit.corpus.drop(columns="title"), queries=queries)
    with pytest.raises(ContractBroken, match="no item has a vector"):
        nothing = unit.corpus.head(3).assign(title="?", brand="!")
        index.embed(declared, unit.trained, tmp_path / "b", items=nothing, queries=queries)
    assert (
        index.embed(
            declared, unit.trained, tmp_path / "c", items=pd.concat([nothing, unit.corpus.tail(5)]), queries=queries
        )
        == 5
    )


def test_a_function_that_spec_names_and_features_py_has_not_stops_it_before_anything_is_encoded(
    unit: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = domains.load("search")
    monkeypatch.delattr(domains.module("search", "features"), "encode_item")
    with pytest.raises(DeclarationError, match="has no function encode_item"):
        index.embed(declared, unit.trained, tmp_path / "a", items=unit.corpus, queries=unit.test)
    assert not (tmp_path / "a").exists()


def test_both_sides_say_that_answers_are_items_or_neither() -> None:
    declared = domains.load("search").model_copy(update={"retrieval": None})
    with pytest.raises(DeclarationError, match="do not agree on whether answers are items"):
        spec(declared)
    borrowed = domains.load("search")
    retrieval = borrowed.retrieval.model_copy(update={"encoder": "recommendations@3"})  # type: ignore[union-attr]
    with pytest.raises(DeclarationError, match="different encoders"):
        spec(borrowed.model_copy(update={"retrieval": retrieval}))


def test_an_encoder_that_is_another_s_travels_with_its_feature_code(
    unit: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = domains.load("search")
    assert own.retrieval is not None
    declared = own.model_copy(update={"retrieval": own.retrieval.model_copy(update={"encoder": "other@1"})})
    module = domains.module("search", "model")
    ranker = module.RETRIEVER.model_copy(update={"encoder": None, "items": None})
    monkeypatch.setattr(module, "SPEC", dataclasses.replace(module.SPEC, retriever=ranker))
    monkeypatch.setattr(domains, "load", lambda name, settings=None: declared)
    lent = index.lent(unit.folder, "other@1")
    queries = index.golden(declared, unit.test)
    items = len(unit.corpus)
    assert (
        index.embed(declared, unit.trained, tmp_path / "v", items=unit.corpus, queries=queries, borrowed=lent) == items
    )
    corpus = unit.folder.parent / "corpus"
    index.build(declared, tmp_path / "v", corpus, tmp_path / "index", borrowed=lent)
    assert index.measure(declared, tmp_path / "index", tmp_path / "v", corpus_items=items).encoder == "other@1"
    folder = tmp_path / "model"
    given = {"test": unit.test, "reference": unit.test, "index": tmp_path / "index", "borrowed": lent}
    export.export(declared, unit.trained, folder, **given)
    assert (folder / "encoder.py").read_bytes() == (unit.folder / "features.py").read_bytes()
    assert (folder / "encoder.onnx").read_bytes() == (unit.folder / "encoder.onnx").read_bytes()
    rows = unit.test.drop_duplicates("query_id").head(4).reset_index(drop=True)
    both = []
    for each in (unit.folder, folder):
        model = _served(each)
        both.append(model.predict(requested(rows, model.signature.asked), len(rows))["items"].tolist())
    assert both[0] == both[1]
    with pytest.raises(DeclarationError, match="has no encoder of its own"):
        index.lent(folder, "search@2")
