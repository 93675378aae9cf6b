"""Declarations that contradict themselves, and how a column says that nothing is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hallmark.artifacts.signature import Signature
from hallmark.features.fields import Field


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"datatype": "FP32", "shape": (3, None), "at_most": 2}, "None in shape as its first axis only"),
        ({"datatype": "FP32", "shape": (None,)}, "expected at_most"),
        ({"datatype": "FP32", "shape": (3,), "at_most": 2}, "at_most only where"),
        ({"datatype": "FP32", "shape": (None,), "at_most": 0}, "at_most from 1"),
        ({"datatype": "FP32", "shape": (0,)}, "sides of at least 1"),
        ({"datatype": "BYTES", "minimum": 1}, "with numbers only"),
        ({"datatype": "BOOL", "maximum": 1}, "with numbers only"),
        ({"datatype": "FP32", "minimum": 2, "maximum": 1}, "a minimum up to the maximum"),
        ({"datatype": "FP32", "minimum": float("nan")}, "a minimum up to the maximum"),
        ({"datatype": "INT64", "categories": ("a",)}, "categories with BYTES only"),
        ({"datatype": "BYTES", "categories": ()}, "at least one of categories"),
        ({"datatype": "BYTES", "categories": ("a", "a")}, "each of categories once"),
        ({"datatype": "BYTES", "categories": ("a", ""), "optional": True}, "no empty category"),
        ({"datatype": "BYTES", "categories": ("a",), "media": "text", "longest": 3}, "either categories or media"),
        ({"datatype": "INT64", "media": "image"}, "media with BYTES only"),
        ({"datatype": "BYTES", "media": "text"}, "expected longest"),
        ({"datatype": "BYTES", "media": "image", "longest": 3}, "longest with strings only"),
        ({"datatype": "BYTES", "longest": 0}, "longest of at least 1"),
    ],
)
def test_a_contradiction_is_refused_by_name(declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=f"field it: .*{reason}"):
        Field(name="it", **declared)


def test_nullable_is_told_the_word_that_is_read_here() -> None:
    with pytest.raises(ValidationError, match="field price: nullable; did you mean optional=True"):
        Field(name="price", datatype="FP64", nullable=True)  # type: ignore[call-arg]


def test_what_may_be_missing_is_a_float_or_an_object() -> None:
    kinds = {kind: np.dtype(Field(name="a", datatype=kind, optional=True).dtype) for kind in ("BOOL", "INT32", "INT64")}
    assert set(kinds.values()) == {np.dtype(np.float64)}
    assert Field(name="a", datatype="FP32", optional=True).dtype == np.float32
    assert Field(name="a", datatype="INT64", shape=(None,), at_most=2, optional=True).dtype == np.int64


def test_a_signature_of_before_inputs_is_read() -> None:
    fields = '[{"name": "a", "datatype": "FP64", "shape": [2], "media": null, "description": "x"}]'
    old = (
        f'{{"domain": "d", "fields": {fields}, "outputs": [{{"name": "s", "datatype": "FP32"}}], "onnx_input": "data"}}'
    )
    found = Signature.model_validate_json(old)
    assert [(one.name, one.datatype, one.shape) for one in found.inputs] == [("data", "FP32", None)]
    assert (found.assets, found.fields[0].optional, found.fields[0].shape) == ((), False, (2,))
    assert Signature.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("name", ["features.py", "model.onnx", "profile.json", "../up.json", "a.pkl", "manifest.json"])
def test_no_code_and_no_part_of_the_platform_is_an_asset(name: str) -> None:
    with pytest.raises(ValidationError, match="expected assets to be names"):
        Signature(domain="d", fields=(), outputs=(), assets=(name,))
