"""Answers that are items, as a drift monitor reads them: the fields of requests, and lists of ids that shadows are compared by."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from stock import retriever

from hallmark.artifacts.signature import Signature
from hallmark.drift import profile
from hallmark.features.fields import Columns, Field, Output
from hallmark.tasks import Ranking
from inference_services.drift_monitor.records import Decoder
from inference_services.drift_monitor.reference import Reference


def observe(columns: Columns) -> Columns:
    return {"letters": np.array([float(len(text)) for text in columns["query"]])}


def decoder() -> Decoder:
    signature = Signature(
        domain="stock",
        task=Ranking(k=10),
        fields=(Field(name="price", datatype="FP32"),),
        outputs=(Output(name="score", datatype="FP32"),),
        retriever=retriever(),
    )
    told = profile.build({"letters": np.arange(20, dtype=np.float64)}, scores={})
    return Decoder(Reference("sha256:" + "0" * 64, signature, told, observe, None, None), most=100)


def test_requests_are_observed_by_their_own_fields_and_answers_kept_as_lists() -> None:
    found = decoder()
    query = {"name": "query", "shape": [2], "datatype": "BYTES", "data": ["red coat", "bag"]}
    (asked,) = found.requests([{"inputs": [query]}])
    assert asked.columns["letters"].tolist() == [8.0, 3.0]  # type: ignore[union-attr]
    items = [f"i{number}" for number in range(20)]
    answered = found.response({"outputs": [{"name": "items", "shape": [2, 10], "datatype": "BYTES", "data": items}]})
    assert [list(each) for each in answered.answers["items"]] == [items[:10], items[10:]]
