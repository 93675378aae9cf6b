"""Requests that nobody thought of: no answer is a 5xx, no connection is left hanging, and the server lives on."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Server, order_inputs

from inference_services.protocol.pb import protobufs

NAMES = [tensor["name"] for tensor in order_inputs()]
KINDS = ["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES", "UINT8", "FP16", "", "int"]
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
tensor = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(NAMES) | anything,
        "shape": st.lists(st.integers(-3, 5) | st.integers(), max_size=4) | anything,
        "datatype": st.sampled_from(KINDS) | anything,
        "data": st.lists(st.floats() | st.integers() | st.booleans() | st.text(max_size=4), max_size=6) | anything,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "x"]), anything, max_size=2) | anything,
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A fine request with some tensors replaced, perhaps cut or with a byte changed; or anything at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return json.dumps(draw(anything)).encode()
    inputs: list[Any] = order_inputs(draw(st.integers(1, 3)))
    for at in draw(st.lists(st.integers(0, 6), max_size=3)):
        change = draw(tensor)
        inputs[at] = {**inputs[at], **change} if draw(st.booleans()) and isinstance(inputs[at], dict) else change
    body = json.dumps({"id": draw(st.text(max_size=5)), "inputs": inputs}).encode()
    if kind == 2:
        return body[: draw(st.integers(0, len(body)))]
    if kind == 3:
        at = draw(st.integers(0, len(body) - 1))
        return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]
    return body


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in an answer")


@pytest.mark.slow
@settings(max_examples=2500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    body=bodies(),
    length=st.none() | st.integers(-2, 600).map(str) | st.text("0123456789-+ x", max_size=6).map(str.strip),
)
def test_no_rest_request_ends_in_a_5xx(orders_server: Server, body: bytes, length: str | None) -> None:
    headers = {} if length is None else {"inference-header-content-length": length}
    response = orders_server.infer(body, headers=headers)
    assert response.status_code < 500, response.text
    answer = json.loads(response.text, parse_constant=_refuse)
    assert (response.status_code == 200) == ("outputs" in answer)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(NAMES),
            st.sampled_from(KINDS),
            st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 4), max_size=4),
            st.lists(st.floats(), max_size=4),
        ),
        max_size=3,
    ),
    raw=st.lists(st.binary(max_size=24), max_size=8),
)
def test_no_grpc_request_ends_in_internal(
    orders_server: Server, changes: list[tuple[int, str, str, list[int], list[float]]], raw: list[bytes]
) -> None:
    pb = protobufs()
    request = pb.ModelInferRequest(model_name="orders", raw_input_contents=raw)
    for wanted in order_inputs():
        request.inputs.add(name=wanted["name"], datatype=wanted["datatype"], shape=wanted["shape"])
    for at, name, kind, shape, values in changes:
        request.inputs[at].CopyFrom(pb.ModelInferRequest.InferInputTensor(name=name, datatype=kind, shape=shape))
        request.inputs[at].contents.fp64_contents.extend(values)
    channel = grpc.insecure_channel(f"127.0.0.1:{orders_server.grpc}")
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request.SerializeToString(), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
