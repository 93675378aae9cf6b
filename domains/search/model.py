"""The search model: a text encoder learnt from clicks, by which items are found, and boosted trees that put them in order.

docs/decisions/0042-search-model.md says why this encoder, and how clicks are freed of the place they were made at.
"""

from __future__ import annotations

from domains.search.features import ITEM, ITEM_SLOTS, NAMES, QUERY_SLOTS, REQUEST
from hallmark.artifacts.retriever import OnnxPart, RetrieverParts
from hallmark.features.encoding import Input
from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting
from hallmark.learners.model import ModelSpec
from hallmark.learners.near_forest import NearForest

OUTPUTS: tuple[Output, ...] = (Output(name="score", datatype="FP32"),)
INPUTS: tuple[Input, ...] = (
    Input(name="query", datatype="INT32", shape=(QUERY_SLOTS,)),
    Input(name="item", datatype="INT32", shape=(ITEM_SLOTS,)),
    Input(name="numbers", datatype="FP32", shape=(len(NAMES),)),
)

RANKER = NearForest(
    forest=Boosting(
        output=OUTPUTS[0],
        options={
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": 10,
            "learning_rate": 0.04,
            "num_leaves": 15,
            "min_data_in_leaf": 100,
            "feature_fraction": 0.8,
            "lambda_l2": 5.0,
        },
        rounds=300,
        patience=80,
    )
)
RETRIEVER = RetrieverParts(
    fields=REQUEST,
    text="query",
    encoder=OnnxPart(
        file="encoder.onnx",
        code="encode_query",
        inputs=(Input(name="text", datatype="INT32", shape=(QUERY_SLOTS,)),),
        output="embedding",
    ),
    items=OnnxPart(
        file="encoder.onnx",
        code="encode_item",
        inputs=(Input(name="text", datatype="INT32", shape=(ITEM_SLOTS,)),),
        output="embedding",
    ),
    item=ITEM,
    ranker=OnnxPart(file="model.onnx", code="encode_candidate", inputs=INPUTS, output="score"),
)
SPEC = ModelSpec(
    task="ranking", outputs=OUTPUTS, fit=RANKER.fit, restore=RANKER.restore, inputs=INPUTS, retriever=RETRIEVER
)
