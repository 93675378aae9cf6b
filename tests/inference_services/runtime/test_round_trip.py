"""A data frame as a request and back: the server reads the very columns that training does, and so does the monitor."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import jpeg

from hallmark.artifacts.signature import Signature
from hallmark.drift import profile
from hallmark.features import wire
from hallmark.features.fields import Columns, Field, Output
from hallmark.learners.model import columns
from inference_services.capture import exchanges
from inference_services.capture.exchanges import NO_MARKS, Answered
from inference_services.capture.records import Call
from inference_services.drift_monitor.records import Decoder
from inference_services.drift_monitor.reference import Reference
from inference_services.protocol import v1, v2
from inference_services.protocol.schema import Schema

PHOTO = jpeg(16, 16)
KINDS = ("BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES", "photo")
SHAPES: tuple[tuple[int | None, ...], ...] = ((), (2,), (2, 1), (None,), (None, 2))


def element(kind: str, *, whole: int) -> st.SearchStrategy[Any]:
    return {
        "BOOL": st.booleans(),
        "INT32": st.integers(-(2**31), 2**31 - 1),
        "INT64": st.integers(-(2**whole), 2**whole - 1),
        "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "FP64": st.floats(allow_nan=False, allow_infinity=False),
        "BYTES": st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
        "photo": st.just(PHOTO),
    }[kind]


@st.composite
def frames(draw: st.DrawFn) -> tuple[tuple[Field, ...], pd.DataFrame]:
    rows = draw(st.integers(1, 4))
    fields, data = [Field(name="always", datatype="FP64")], {"always": [0.5] * rows}
    for at in range(draw(st.integers(1, 3))):
        kind, shape, optional = draw(st.sampled_from(KINDS)), draw(st.sampled_from(SHAPES)), draw(st.booleans())
        varies = bool(shape) and shape[0] is None
        field = Field(
            name=f"field {at}",
            datatype="BYTES" if kind == "photo" else kind,  # type: ignore[arg-type]
            media="image" if kind == "photo" else None,
            shape=shape,
            at_most=3 if varies else None,
            optional=optional,
        )
        value: st.SearchStrategy[Any] = element(kind, whole=53 if optional and not varies else 63)
        if optional and not varies:
            value = value | st.none()
        for side in reversed(shape):
            least, most = (side, side) if side is not None else (0 if optional else 1, 3)
            value = st.lists(value, min_size=least, max_size=most)
        fields.append(field)
        data[field.name] = draw(st.lists(value | st.none() if optional else value, min_size=rows, max_size=rows))
    series = {name: pd.Series(values, dtype=None if name == "always" else object) for name, values in data.items()}
    return tuple(fields), pd.DataFrame(series)


def alike(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
        same = mine.dtype == theirs.dtype and mine.shape == theirs.shape
        return bool(same and all(map(alike, mine.ravel(), theirs.ravel())))
    if isinstance(mine, float | np.floating) and math.isnan(mine):
        return math.isnan(theirs)
    return bool(mine == theirs)


def same(mine: Columns, theirs: Columns) -> None:
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert alike(mine[name], theirs[name]), (name, mine[name], theirs[name])


@pytest.mark.examples
@given(drawn=frames())
def test_frame_to_request_to_columns(drawn: tuple[tuple[Field, ...], pd.DataFrame]) -> None:
    fields, frame = drawn
    learned = columns(frame, fields)
    signature = Signature(domain="d", fields=fields, outputs=(Output(name="score", datatype="FP32"),))
    schema = Schema("d", signature)
    body = wire.request(fields, learned)
    served = v2.decode(schema, body)
    same(learned, served.columns)
    scores = {"score": np.zeros(served.rows, dtype=np.float32)}
    captured, _ = v2.texts(schema, served.columns, scores, served.rows)
    same(learned, v2.decode(schema, captured).columns)
    same(learned, v1.V1Codec(schema).decode(instances(json.loads(body))).columns)
    watched: dict[str, Any] = {}

    def observe(found: Columns) -> Columns:
        watched.update(found)
        return {"always": found["always"]}

    known = profile.build({"always": np.array([0.5])})
    decoder = Decoder(Reference("", signature, known, observe), most=10)
    (part,) = decoder.requests([json.loads(captured)])
    assert getattr(part, "records", None) == len(frame)
    close(learned, watched, fields)
    answered = Answered([Call(served.columns, scores, served.rows)], [served.rows], [0], [""], [NO_MARKS])
    sent = exchanges.packed([answered], prefix="p")
    decoder.exchanges(exchanges.read(sent), np.array([True]))
    same(learned, watched)


def instances(body: Any) -> bytes:
    """The V2 body as V1's rows."""
    rows: list[dict[str, Any]] = [{} for _ in range(body["inputs"][0]["shape"][0])]
    for tensor in body["inputs"]:
        values = tensor["data"]
        for side in reversed(tensor["shape"][1:]):
            values = [values[at * side : (at + 1) * side] for at in range(len(values) // side)] if side else []
        for row, given_ in enumerate(rows):
            given_[tensor["name"]] = values[row] if values else []
    return json.dumps({"instances": rows}).encode()


def close(learned: Columns, watched: Columns, fields: tuple[Field, ...]) -> None:
    """As the monitor has always had them: of plain numbers those beyond 2**53, and FP32, as float64."""
    for field in fields:
        mine, theirs = learned[field.name], watched[field.name]
        if field.shape or field.optional or field.datatype == "BYTES":
            assert alike(mine, theirs), (field, mine, theirs)
        else:
            np.testing.assert_allclose(mine.astype(np.float64), theirs.astype(np.float64), rtol=1e-6)
