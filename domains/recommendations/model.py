"""The recommender: self-attention over a member's last items, each its id and what is known of it, and a forest that orders what it finds.

docs/decisions/0043 says why this network, 0067 why this second stage.
"""

from __future__ import annotations

from domains.recommendations.features import FACTS, FIELDS, ITEM, LONGEST
from hallmark.artifacts.retriever import OnnxPart, RetrieverParts
from hallmark.features.encoding import Input
from hallmark.features.fields import Output
from hallmark.features.matching import width
from hallmark.learners.model import ModelSpec
from hallmark.learners.reranker import Reranker
from hallmark.learners.sequence import Recipe, SequenceLearner

OUTPUTS: tuple[Output, ...] = (
    Output(name="items", datatype="BYTES", shape=(10,)),
    Output(name="scores", datatype="FP32", shape=(10,)),
)

QUICK = Recipe(dim=16, layers=1, heads=1, epochs=3, negatives=256, batch=32, rate=2e-2, average=0.9)
"""Seconds for some ten thousand rows: tests and first looks."""

BARE = Recipe(layers=1, heads=1, negatives=256, batch=128, epochs=12)
"""Of a log of ids alone, as public ones are: one layer learns what is there, in a quarter of the time (docs/decisions/0043)."""

LEARNER = SequenceLearner(
    output=OUTPUTS[0],
    longest=LONGEST,
    facts=FACTS,
    recipe=Recipe(),
    quick=QUICK,
    bare=BARE,
    indexed=True,
    reranker=Reranker(facts=FACTS),
)
RETRIEVER = RetrieverParts(
    fields=FIELDS,
    encoder=OnnxPart(file="encoder.onnx", code="encode", inputs=LEARNER.inputs, output="vector"),
    items=OnnxPart(
        file="items.onnx",
        code="encode_item",
        inputs=(Input(name="item", datatype="BYTES"), Input(name="facts", datatype="INT16", shape=(FACTS,))),
        output="vector",
    ),
    item=ITEM,
    ranker=OnnxPart(
        file="ranker.onnx",
        code="encode_candidate",
        inputs=(Input(name="input", datatype="FP32", shape=(width(FACTS),)),),
        output="score",
    ),
    normalised=False,
)
fit, restore = LEARNER.fit, LEARNER.restore
SPEC = ModelSpec(
    task="retrieval", outputs=OUTPUTS, inputs=LEARNER.inputs, fit=fit, restore=restore, retriever=RETRIEVER
)
