"""A request on one record is read as any other, and its columns are what its bytes and words say."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts.signature import Signature
from hallmark.features.fields import Field, Output
from hallmark.features.record import RecordLayout
from inference_services.protocol import v2
from inference_services.protocol.errors import BadRequest
from inference_services.protocol.schema import Schema

FIELDS = (
    Field(name="flag", datatype="BOOL"),
    Field(name="word", datatype="BYTES", categories=("a", "b", "é")),
    Field(name="small", datatype="INT32"),
    Field(name="price", datatype="FP64", minimum=0),
    Field(name="note", datatype="BYTES"),
    Field(name="half", datatype="FP32"),
    Field(name="count", datatype="INT64"),
)
VALUES: dict[str, Any] = {
    "flag": True,
    "word": "é",
    "small": -(2**31),
    "price": 0.1,
    "note": "",
    "half": 0.1,
    "count": 2**63 - 1,
}


def schema(fields: tuple[Field, ...] = FIELDS) -> Schema:
    return Schema("m", Signature(domain="m", fields=fields, outputs=(Output(name="y", datatype="FP32"),)))


def tensor(name: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    kind = next(each.datatype for each in FIELDS if each.name == name)
    return {"name": name, "shape": shape or [len(data)], "datatype": kind, "data": data}


def body(*inputs: dict[str, Any]) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


def one(**changed: Any) -> list[dict[str, Any]]:
    return [tensor(name, [value]) for name, value in (VALUES | changed).items()]


def test_one_record_is_read_as_two_of_it_are() -> None:
    model, shuffled = schema(), one()
    random.Random(1).shuffle(shuffled)
    alone = v2.decode(model, body(*shuffled))
    twice = v2.decode(model, body(*[tensor(each["name"], each["data"] * 2) for each in one()]))
    assert alone.record is not None and twice.record is None
    assert [*alone.columns] == [field.name for field in FIELDS]
    for name, values in alone.columns.items():
        both = twice.columns[name]
        assert values.dtype == both.dtype and values.shape == (1,) and values.flags.aligned and values.flags.writeable
        assert values.tolist() == both[:1].tolist()


def test_records_are_joined_in_their_order() -> None:
    model = schema()
    assert model.layout is not None
    dice = random.Random(2)
    asked = [
        {"price": dice.random(), "count": dice.randint(-(2**60), 2**60), "word": dice.choice("ab"), "note": f"n{at}"}
        for at in range(50)
    ]
    found = [v2.decode(model, body(*one(**each))) for each in asked]
    joined = model.layout.joined([each.record for each in found if each.record is not None])
    part = model.layout.columns(model.layout.part(joined, 7, 31))
    for name, values in model.layout.columns(joined).items():
        assert values.tolist() == [each.columns[name][0] for each in found]
        assert part[name].tolist() == values[7:31].tolist()
        assert values.dtype == found[0].columns[name].dtype
        assert values.flags.c_contiguous and values.flags.aligned and values.flags.writeable


def test_a_tensor_in_binary_among_others_makes_arrays_of_all() -> None:
    price = {"name": "price", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [price if each["name"] == "price" else each for each in one()]}).encode()
    found = v2.decode(schema(), text + struct.pack("<d", 2.5), len(text))
    assert found.record is None and found.columns["price"].tolist() == [2.5]
    assert {name: values.tolist()[0] for name, values in found.columns.items()} == VALUES | {
        "price": 2.5,
        "half": float(np.float32(0.1)),
    }


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (one(word="z"), "input 'word': expected one of a, b, é"),
        (one(price=-1), "input 'price': expected `float` >= 0.0"),
        (one(count=2**63), "input 'count'"),
        (one(half=1e39), "input 'half'"),
        (one(flag=1), "input 'flag': expected `bool`, got `int`"),
        ([*one()[1:], tensor("flag", [True, False])], "expected 2 rows as in|expected 1 rows as in 'word', got 2"),
        ([*one()[1:], tensor("flag", [True, False], [1])], "input 'flag': shape \\[1\\] needs 1 values, got 2"),
        ([*one()[1:], tensor("flag", [], [1])], "input 'flag': shape \\[1\\] needs 1 values, got 0"),
        (one()[1:], "input 'flag': missing"),
        ([*one(), tensor("flag", [False])], "input 'flag': given twice"),
    ],
)
def test_what_is_wrong_with_one_record_is_said_of_its_field(inputs: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(BadRequest, match=reason.replace("`", "")):
        v2.decode(schema(), body(*inputs))


@pytest.mark.parametrize(
    "fields",
    [
        (Field(name="x", datatype="FP64"),),
        (Field(name="x", datatype="FP64"), Field(name="v", datatype="FP32", shape=(3,))),
        (Field(name="x", datatype="FP64"), Field(name="o", datatype="FP32", optional=True)),
        (Field(name="x", datatype="FP64"), Field(name="photo", datatype="BYTES", media="image")),
        (Field(name="a", datatype="BYTES"), Field(name="b", datatype="BYTES")),
    ],
)
def test_other_models_have_no_layout(fields: tuple[Field, ...]) -> None:
    assert RecordLayout.of(fields) is None
