"""A small model folder with an index: items on sale, found by the letters of their titles and by their words, ranked by a second model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from served import linear

from hallmark.artifacts.folder import INDEX, seal
from hallmark.artifacts.retriever import OnnxPart, Retriever
from hallmark.artifacts.signature import Signature
from hallmark.declaration.corpus import Corpus, Filter
from hallmark.features import code
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.files import digest_file
from hallmark.retrieval.unit import Items, build
from hallmark.tasks import Ranking

COLOURS = ("red", "blue", "green", "black", "white", "camel", "navy", "rust")
MATERIALS = ("wool", "silk", "denim", "linen", "leather", "cotton", "cashmere", "velvet")
CATEGORIES = ("coats", "dresses", "jeans", "shoes", "bags")
WIDTH, DIMENSION = 128, 32
ENCODED = (Field(name="title", datatype="BYTES", media="text", longest=200),)
CORPUS = Corpus(
    reference="stock@1",
    id="item_id",
    datatype="BYTES",
    filters=(
        Filter(column="category", datatype="BYTES", by="value", values=CATEGORIES),
        Filter(column="price", datatype="FP64", by="range"),
        Filter(column="new", datatype="BOOL", by="value"),
        Filter(column="listed_at", datatype="TIME", by="range"),
    ),
    words=("title",),
)
FEATURES = """
import zlib

import numpy as np

WIDTH = 128


def _letters(texts):
    table = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in enumerate(texts):
        padded = f" {str(text).lower()} "
        for at in range(len(padded) - 2):
            table[row, zlib.crc32(padded[at : at + 3].encode()) % WIDTH] += 1
    return table


def encode_query(columns):
    return _letters(columns["query"])


def encode_item(columns):
    return _letters(columns["title"])


def encode(columns):
    parts = [columns["vector_score"], columns["word_score"], columns["fused_score"], columns["price"] / 1000]
    return np.nan_to_num(np.stack([np.asarray(part, dtype=np.float32) for part in parts], axis=1))
"""


def items(count: int, *, seed: int = 7) -> list[dict[str, Any]]:
    """Items as a caller puts them in."""
    draw = random.Random(seed)
    return [
        {
            "item_id": f"i{number}",
            "title": f"{draw.choice(COLOURS)} {draw.choice(MATERIALS)} {(kind := draw.choice(CATEGORIES))[:-1]} {number}",
            "category": kind,
            "price": float(draw.randint(5, 500)),
            "new": draw.random() < 0.5,
            "listed_at": f"2026-{draw.randint(1, 9):02}-{draw.randint(1, 28):02}T12:00:00Z",
        }
        for number in range(count)
    ]


def encoder(*, seed: int = 3, dimension: int = DIMENSION) -> bytes:
    """An ONNX model: letters (n, WIDTH) to vectors (n, dimension), a random projection."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(0, 1, (WIDTH, dimension)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["vector"])],
        "encoder",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return bytes(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    )


def embed(folder: Path, stock: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    """Vectors of items by the folder's own code and encoder."""
    made = code.load(folder, "features").encode_item({"title": [each["title"] for each in stock]})
    running = onnxruntime.InferenceSession((folder / "encoder.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(running.run(["vector"], {"input": made})[0])


def retriever(*, ranked: bool = True, candidates: int = 50) -> Retriever:
    """What the folder's signature says of it."""
    letters = (Input(name="input", shape=(WIDTH,)),)
    score = OnnxPart(file="model.onnx", code="encode", inputs=(Input(name="input", shape=(4,)),), output="score")
    return Retriever(
        corpus=CORPUS,
        fields=(Field(name="query", datatype="BYTES", media="text", longest=200),),
        text="query",
        encoder=OnnxPart(file="encoder.onnx", code="encode_query", inputs=letters, output="vector"),
        item=ENCODED,
        ranker=score if ranked else None,
        k=10,
        candidates=candidates,
    )


def stock_folder(
    folder: Path,
    stock: Sequence[dict[str, Any]],
    *,
    seed: int = 3,
    dimension: int = DIMENSION,
    index: bool = True,
    features: str = FEATURES,
    domain: str = "stock",
    **given: Any,
) -> str:
    """A sealed model folder with an index of `stock`; gives its digest."""
    declared = retriever(**{name: given.pop(name) for name in ("ranked", "candidates") if name in given})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(linear(4, 1))
    (folder / "encoder.onnx").write_bytes(encoder(seed=seed, dimension=dimension))
    (folder / "features.py").write_text(features, encoding="utf-8")
    if serving := given.pop("serving", None):
        (folder / "serving.py").write_text(serving, encoding="utf-8")
    signature = Signature(
        domain=domain,
        task=Ranking(),
        fields=tuple(
            Field(name=name, datatype="FP32") for name in ("vector_score", "word_score", "fused_score", "price")
        ),
        outputs=(Output(name="score", datatype="FP32"),),
        inputs=(Input(name="input", shape=(4,)),),
        retriever=declared,
    )
    (folder / "signature.json").write_text(signature.model_dump_json(indent=2), encoding="utf-8")
    if index:
        put_index(folder, stock, declared, dimension=dimension, **given)
    return seal(folder)


def put_index(folder: Path, stock: Sequence[dict[str, Any]], declared: Retriever, **given: Any) -> None:
    """Build the index of a folder whose encoder is there."""
    made = declared.made_by({path.name: digest_file(path) for path in folder.iterdir() if path.is_file()})
    build(
        folder / INDEX,
        [
            Items(
                ids=[each["item_id"] for each in stock],
                vectors=embed(folder, stock),
                values={name: [item[name] for item in stock] for name in declared.columns},
                texts=[each["title"] for each in stock],
            )
        ],
        encoder=made[0],
        preprocessing=made[1],
        columns=declared.columns,  # type: ignore[arg-type]
        words=True,
        **given,
    )
