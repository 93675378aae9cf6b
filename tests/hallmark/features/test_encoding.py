"""Feature code at work: assets loaded once, named inputs checked."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hallmark.errors import ModelRefused
from hallmark.features import code
from hallmark.features.encoding import Features, Input

COLUMNS = {"a": np.array([1.0, 2.0])}


def module(body: str, *, more: str = "") -> ModuleType:
    return code.run(f"import numpy as np\n{more}\ndef encode(columns):\n    return {body}\n".encode(), "features.py")


def test_one_array_is_the_one_input_and_is_made_to_fit() -> None:
    found = Features(module("columns['a'][:, None]")).encode(COLUMNS)
    assert list(found) == ["input"]
    assert (found["input"].dtype, found["input"].shape) == (np.float32, (2, 1))


def test_several_inputs_of_several_types() -> None:
    inputs = (Input(name="ids", datatype="INT64", shape=(None,)), Input(name="word", datatype="BYTES", shape=()))
    body = "{'word': np.array(['x', 'y']), 'ids': np.zeros((2, 3), np.int32)}"
    found = Features(module(body), inputs=inputs).encode(COLUMNS)
    assert {name: array.dtype for name, array in found.items()} == {"ids": np.int64, "word": np.dtype(object)}


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("columns['a'][:1]", (Input(),), "encode's input.*expected: 2 rows.*got: shape (1,)"),
        ("list(columns['a'])", (Input(),), "expected: an array of float32.*got: list"),
        ("columns['a']", (Input(datatype="INT64"),), "expected: an array of int64.*got: one of float64"),
        ("columns['a']", (Input(name="a"), Input(name="b")), "expected: a mapping of a, b.*got: ndarray"),
        ("{'a': columns['a'], 'c': 1}", (Input(name="a"), Input(name="b")), "expected: a, b.*got: a, c"),
        ("columns['a']", (Input(shape=(3,)),), "expected: shape (3,) a record.*got: shape ()"),
        ("columns['a'] > 1", (Input(datatype="BYTES"),), "expected: an array of object.*got: one of bool"),
    ],
)
def test_what_the_model_does_not_take_is_refused(body: str, inputs: Any, reason: str) -> None:
    pattern = ".*".join(map(re.escape, reason.split(".*")))
    with pytest.raises(ModelRefused, match=f"(?s){pattern}"):
        Features(module(body), inputs=inputs).encode(COLUMNS)


def test_assets_are_loaded_once_and_handed_to_all_of_it() -> None:
    source = """
import numpy as np
calls = []
def load(assets):
    calls.append(sorted(assets))
    return float(assets["scale.txt"])
def encode(columns, scale):
    return columns["a"] * scale
def observe(columns, scale):
    return {"a": columns["a"] + scale}
"""
    made = code.run(source.encode(), "features.py")
    features = Features(made, assets={"scale.txt": b"3"})
    assert [features.encode(COLUMNS)["input"].tolist() for _ in range(2)] == [[3.0, 6.0]] * 2
    assert features.observe is not None
    assert features.observe(COLUMNS)["a"].tolist() == [4.0, 5.0]
    assert features.embed is None
    assert made.calls == [["scale.txt"]]
