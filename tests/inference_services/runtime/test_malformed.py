"""Row 26 of the faults and more: what no model takes is answered 4xx with the field and the reason, over REST and gRPC."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from served import Server, order_inputs

from inference_services.protocol.pb import protobufs

SECRET = "canary-4711"
ONE: dict[str, Any] = {"name": "amount", "shape": [1], "datatype": "FP64", "data": [12.5]}


def changed(field: str, /, **change: Any) -> dict[str, Any]:
    """A fine request but for one input."""
    inputs = [{**tensor, **(change if tensor["name"] == field else {})} for tensor in order_inputs()]
    return {"inputs": [{key: value for key, value in tensor.items() if value is not ...} for tensor in inputs]}


def raw(name: str, data: str) -> bytes:
    """A fine request but for one input's data, as text that is perhaps not JSON."""
    return json.dumps(changed(name, data="@")).replace('"@"', data).encode()


def binary(tail: bytes, size: Any, *, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    """`amount` in binary and the rest in JSON."""
    text = json.dumps(changed("amount", data=..., parameters={"binary_data_size": size})).encode()
    header = str(len(text)) if length is None else length
    return text + tail, {"inference-header-content-length": header, "content-type": "application/octet-stream"}


FINE = struct.pack("<d", 12.5)
CASES: dict[str, tuple[Any, str]] = {
    # shapes
    "shape is longer than the data": (changed("amount", shape=[2]), "amount"),
    "shape is shorter than the data": (changed("amount", data=[1.0, 2.0]), "amount"),
    "shape of zero rows": (changed("amount", shape=[0], data=[]), "amount"),
    "negative shape": (changed("amount", shape=[-7]), "amount"),
    "minus one": (changed("amount", shape=[-1]), "amount"),
    "two negatives that multiply to one": (changed("vector", shape=[1, -2, -2]), "vector"),
    "huge shape": (changed("amount", shape=[2**62]), "amount"),
    "shape beyond 64 bits": (changed("amount", shape=[10**30]), "amount"),
    "shape of another rank": (changed("vector", shape=[1, 4]), "vector"),
    "no dimensions": (changed("amount", shape=[]), "amount"),
    "a thousand dimensions": (changed("amount", shape=[1] * 1000), "amount"),
    "shape is a string": (changed("amount", shape="1"), "shape"),
    "shape holds a float": (changed("amount", shape=[1.0]), "shape"),
    "shape holds a bool": (changed("amount", shape=[True]), "shape"),
    "shape is missing": (changed("amount", shape=...), "shape"),
    "rows differ between inputs": (changed("age", shape=[2], data=[1, 2]), "age"),
    "more rows than the limit": ({"inputs": order_inputs(5000)}, "amount"),
    # values
    "NaN": (raw("amount", "[NaN]"), "JSON"),
    "infinity": (raw("amount", "[Infinity]"), "JSON"),
    "1e999": (raw("amount", "[1e999]"), "amount"),
    "an FP32 beyond FP32": (raw("vector", "[1e39, 0, 0, 0]"), "vector"),
    "INT32 1.9": (raw("orders", "[1.9]"), "orders"),
    "INT32 1.0": (raw("orders", "[1.0]"), "orders"),
    "INT32 beyond 32 bits": (raw("orders", "[3000000000]"), "orders"),
    "INT64 beyond 64 bits": (raw("age", "[9223372036854775808]"), "age"),
    "an integer of 5000 digits": (raw("age", f"[{'9' * 5000}]"), "age"),
    "a float of 5000 digits": (raw("amount", f"[{'9' * 5000}]"), "amount"),
    'BOOL "no"': (raw("express", '["no"]'), "express"),
    "BOOL 1": (raw("express", "[1]"), "express"),
    "a number as a string": (raw("amount", '["12.5"]'), "amount"),
    "a string as a number": (raw("payment", "[5]"), "payment"),
    "null": (raw("amount", "[null]"), "amount"),
    "data is an object": (raw("amount", "{}"), "amount"),
    "data is a number": (raw("amount", "12.5"), "amount"),
    "data is null": (raw("amount", "null"), "amount"),
    "data is missing": (changed("amount", data=...), "amount"),
    "below the minimum": (raw("amount", "[0.25]"), "amount"),
    "above the maximum": (raw("age", "[3651]"), "age"),
    "not one of the categories": (changed("payment", data=[SECRET]), "payment"),
    "nested where flat is due": (raw("amount", "[[12.5]]"), "amount"),
    "ragged": (raw("vector", "[[[1, 2], [3]]]"), "vector"),
    "nested in another shape": (raw("vector", "[[[1, 2, 3, 4]]]"), "vector"),
    "a lone surrogate": (raw("note", '["\\ud800"]'), "JSON"),
    "not UTF-8": (raw("note", '["@@"]').replace(b"@@", b"\xff\xfe"), "note"),
    # names and types
    "an unknown input": ({"inputs": [*order_inputs(), {**ONE, "name": SECRET}]}, "inputs[7]"),
    "an input misspelt": (changed("amount", name="Amount"), "inputs[0]"),
    "an input missing": ({"inputs": order_inputs()[1:]}, "amount"),
    "an input twice": ({"inputs": [ONE, *order_inputs()]}, "amount"),
    "name is missing": (changed("amount", name=...), "name"),
    "name is a number": (changed("amount", name=5), "name"),
    "another datatype": (changed("amount", datatype="INT64"), "amount"),
    "an unknown datatype": (changed("amount", datatype=SECRET), "amount"),
    "datatype is missing": (changed("amount", datatype=...), "datatype"),
    "an unknown output": ({"inputs": order_inputs(), "outputs": [{"name": SECRET}]}, "outputs[0]"),
    "an output twice": ({"inputs": order_inputs(), "outputs": [{"name": "score"}] * 2}, "outputs"),
    "classification": (
        {"inputs": order_inputs(), "outputs": [{"name": "score", "parameters": {"classification": 3}}]},
        "score",
    ),
    "parameters is a list": (changed("amount", parameters=[1]), "parameters"),
    "a parameter is an object": ({"inputs": order_inputs(), "parameters": {"a": {}}}, "parameters"),
    "binary_data is a string": (
        {"inputs": order_inputs(), "outputs": [{"name": "score", "parameters": {"binary_data": "yes"}}]},
        "binary_data",
    ),
    "binary_data_output is a number": (
        {"inputs": order_inputs(), "parameters": {"binary_data_output": 1}},
        "binary_data_output",
    ),
    "id is a number": ({"id": 5, "inputs": order_inputs()}, "id"),
    "id of a megabyte": ({"id": "x" * 1_000_000, "inputs": order_inputs()}, "id"),
    # the body
    "empty body": (b"", "JSON"),
    "not JSON": (b"amount=5", "JSON"),
    "JSON cut off": (json.dumps(changed("amount"))[:-5].encode(), "JSON"),
    "JSON and more": (json.dumps(changed("amount")).encode() + b"x", "JSON"),
    "a list": (b"[]", "object"),
    "null as the body": (b"null", "object"),
    "no inputs": (b"{}", "inputs"),
    "empty inputs": ({"inputs": []}, "amount"),
    "inputs is an object": ({"inputs": {}}, "inputs"),
    "inputs holds a number": ({"inputs": [5]}, "inputs[0]"),
    "500 levels": (raw("amount", "[" * 500 + "]" * 500), "amount"),
    "100,000 levels": (raw("amount", "[" * 100_000 + "]" * 100_000), "deep"),
    "100,000 levels where nobody looks": (b'{"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "deep"),
    "UTF-16": (json.dumps(changed("amount")).encode("utf-16"), "JSON"),
    # the binary extension
    "binary too short": (binary(FINE[:-1], 8), "amount"),
    "binary too long": (binary(FINE + b"x", 8), "body"),
    "binary of another size": (binary(FINE * 2, 16), "amount"),
    "binary size is negative": (binary(FINE, -8), "amount"),
    "binary size is a bool": (binary(FINE, True), "amount"),
    "binary size is a string": (binary(FINE, "8"), "amount"),
    "binary size beyond 64 bits": (binary(FINE, 10**30), "amount"),
    "binary NaN": (binary(struct.pack("<d", float("nan")), 8), "amount"),
    "binary infinity": (binary(struct.pack("<d", float("inf")), 8), "amount"),
    "binary below the minimum": (binary(struct.pack("<d", 0.0), 8), "amount"),
    "binary and data": (
        (json.dumps(changed("amount", parameters={"binary_data_size": 8})).encode(), {}),
        "amount",
    ),
    "header length beyond the body": (binary(FINE, 8, length="99999"), "Inference-Header-Content-Length"),
    "header length zero": (binary(FINE, 8, length="0"), "Inference-Header-Content-Length"),
    "header length negative": (binary(FINE, 8, length="-5"), "Inference-Header-Content-Length"),
    "header length is no number": (binary(FINE, 8, length="ten"), "Inference-Header-Content-Length"),
    "header length of 5000 digits": (binary(FINE, 8, length="9" * 5000), "Inference-Header-Content-Length"),
    "header length within the JSON": (binary(FINE, 8, length="30"), "JSON"),
    # content type and encoding
    "a form": ((b"a=b", {"content-type": "multipart/form-data; boundary=a"}), "Content-Type"),
    "what curl -d calls a form": ((b"a=b", {"content-type": "application/x-www-form-urlencoded"}), "not valid JSON"),
    "no gzip": ((b"\x1f\x8b", {"content-encoding": "gzip"}), "Content-Encoding"),
    "brotli": ((b"x", {"content-encoding": "br"}), "Content-Encoding"),
}


@pytest.mark.parametrize("case", CASES)
def test_rest_names_the_field_and_never_calls_the_model(orders_server: Server, case: str) -> None:
    body, named = CASES[case]
    body, headers = body if isinstance(body, tuple) else (body, {})
    before = orders_server.metric("hallmark_model_calls_total")
    response = orders_server.infer(body if body else b"", headers=headers)
    assert response.status_code in (400, 415), response.text
    assert list(response.json()) == ["error"]
    assert named in response.json()["error"]
    assert SECRET not in response.text
    assert len(response.text) < 400
    assert orders_server.metric("hallmark_model_calls_total") == before


def test_server_still_answers_after_all_of_it(orders_server: Server) -> None:
    assert orders_server.infer().status_code == 200
    assert orders_server.metric("hallmark_rest_requests_total", code="500") == 0


V1_ROW = {
    "amount": 1.0,
    "age": 1,
    "orders": 1,
    "express": True,
    "payment": "card",
    "note": "",
    "vector": [[1, 2], [3, 4]],
}
V1_CASES: dict[str, tuple[Any, str]] = {
    "empty": ({}, "instances"),
    "both": ({"instances": [V1_ROW], "inputs": {}}, "inputs"),
    "no instances": ({"instances": []}, "amount"),
    "an instance is a number": ({"instances": [5]}, "instances[0]"),
    "a field missing": ({"instances": [{**V1_ROW, "age": ...}]}, "age"),
    "a field unknown": ({"instances": [{**V1_ROW, SECRET: 1}]}, "unknown field"),
    "a wrong type": ({"instances": [{**V1_ROW, "age": "old"}]}, "age"),
    "out of range": ({"instances": [{**V1_ROW, "age": -1}]}, "age"),
    "a wrong category": ({"instances": [{**V1_ROW, "payment": SECRET}]}, "payment"),
    "a wrong shape": ({"instances": [{**V1_ROW, "vector": [[1, 2]]}]}, "vector"),
    "columns of unequal length": (
        {"inputs": {**{key: [value] for key, value in V1_ROW.items()}, "age": [1, 2]}},
        "age",
    ),
    "deep": (b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "instances[0]"),
}


@pytest.mark.parametrize("case", V1_CASES)
def test_v1_is_as_strict(orders_server: Server, case: str) -> None:
    body, named = V1_CASES[case]
    if not isinstance(body, bytes):
        for row in body.get("instances", []) if isinstance(body, dict) else []:
            if isinstance(row, dict):
                row.update({key: None for key, value in row.items() if value is ...})
        body = json.dumps(body).encode()
    response = orders_server.client.post("/v1/models/orders:predict", content=body)
    assert response.status_code == 400, response.text
    assert named in response.json()["error"]
    assert SECRET not in response.text


def grpc_request(change: Callable[[Any], None] | None = None) -> Any:
    """A fine gRPC request, then changed."""
    pb = protobufs()
    names = {"FP64": "fp64", "INT64": "int64", "INT32": "int", "BOOL": "bool", "BYTES": "bytes", "FP32": "fp32"}
    request = pb.ModelInferRequest(model_name="orders", id="7")
    for tensor in order_inputs():
        new = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        values = [value.encode() if isinstance(value, str) else value for value in tensor["data"]]
        getattr(new.contents, f"{names[tensor['datatype']]}_contents").extend(values)
    if change is not None:
        change(request)
    return request


def set_shape(at: int, *shape: int) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        del request.inputs[at].shape[:]
        request.inputs[at].shape.extend(shape)

    return change


def set_values(at: int, kind: str, *values: Any) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.inputs[at].contents.Clear()
        getattr(request.inputs[at].contents, kind).extend(values)

    return change


GRPC_CASES: dict[str, tuple[Callable[[Any], None], str]] = {
    "shape too long": (set_shape(0, 2), "amount"),
    "negative shape": (set_shape(0, -7), "amount"),
    "zero rows": (set_shape(0, 0), "amount"),
    "huge shape": (set_shape(0, 2**62), "amount"),
    "no shape": (set_shape(0), "amount"),
    "NaN": (set_values(0, "fp64_contents", float("nan")), "amount"),
    "infinity": (set_values(0, "fp64_contents", float("inf")), "amount"),
    "below the minimum": (set_values(0, "fp64_contents", 0.1), "amount"),
    "FP32 NaN": (set_values(6, "fp32_contents", 1, 2, float("nan"), 4), "vector"),
    "contents of another kind": (set_values(0, "fp32_contents", 1.0), "amount"),
    "no contents": (lambda request: request.inputs[0].ClearField("contents"), "amount"),
    "not UTF-8": (set_values(5, "bytes_contents", b"\xff"), "note"),
    "a wrong category": (set_values(4, "bytes_contents", SECRET.encode()), "payment"),
    "an input missing": (lambda request: request.inputs.pop(0), "amount"),
    "an input twice": (lambda request: request.inputs.append(request.inputs[0]), "amount"),
    "an unknown input": (lambda request: request.inputs.add(name=SECRET), "inputs[7]"),
    "an unknown datatype": (lambda request: setattr(request.inputs[0], "datatype", SECRET), "amount"),
    "no inputs": (lambda request: request.ClearField("inputs"), "amount"),
    "an unknown output": (lambda request: request.outputs.add(name=SECRET), "outputs[0]"),
    "raw contents of too few": (lambda request: request.raw_input_contents.append(b""), "raw_input_contents"),
    "raw contents of wrong sizes": (lambda request: request.raw_input_contents.extend([b"x"] * 7), "amount"),
    "an endless id": (lambda request: setattr(request, "id", "x" * 10_000), "id"),
}


@pytest.mark.parametrize("case", GRPC_CASES)
def test_grpc_answers_invalid_argument(orders_server: Server, case: str) -> None:
    change, named = GRPC_CASES[case]
    before = orders_server.metric("hallmark_model_calls_total")
    with grpc.insecure_channel(f"127.0.0.1:{orders_server.grpc}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            call(grpc_request(change).SerializeToString(), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in refused.value.details()
    assert SECRET not in refused.value.details()
    assert orders_server.metric("hallmark_model_calls_total") == before


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x05abc"])
def test_grpc_refuses_what_is_no_message(orders_server: Server, data: bytes) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{orders_server.grpc}")
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(data, timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"", {}, "3"),
        (b"\0\0\0\0", {}, "3"),
        (b"\0\0\0\0\5abc", {}, "3"),
        (b"\0\0\0\0\0" * 2, {}, "3"),
        (b"\2\0\0\0\0", {}, "3"),
        (b"\1\0\0\0\0", {}, "12"),
        (b"\0\0\0\0\0", {"x-large": "x" * 40_000}, "3"),
        (b"x" * (17 << 20), {}, "3"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_one_message_is_the_clients_mistake(
    orders_server: Server, body: bytes, headers: dict[str, str], code: str
) -> None:
    """As Envoy's bridge brings it, what our code never got to see among it: nothing for which a gateway would blame a candidate."""
    path = "/inference.GRPCInferenceService/ModelInfer"
    given = {"content-type": "application/grpc", **headers}
    answer = orders_server.client.post(path, content=body, headers=given)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/grpc", b"")
    assert answer.headers["grpc-status"] == code
    assert answer.headers["grpc-message"]


@pytest.mark.parametrize("packed", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_the_clients_mistake_behind_the_gateway_too(
    orders_server: Server, packed: grpc.Compression
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{orders_server.grpc}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                call(b"x" * (17 << 20), timeout=20, compression=packed)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "body: expected at most 16777216 bytes" in refused.value.details()
        call(grpc_request().SerializeToString(), timeout=30)


def test_photo_that_is_none_is_refused(photos_server: Server) -> None:
    before = photos_server.metric("hallmark_model_calls_total")
    for data in ("!!!", base64.b64encode(b"not a photo").decode(), "", 5, None):
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [data]}
        response = photos_server.infer({"inputs": [tensor]})
        assert response.status_code == 400, response.text
        assert "image" in response.json()["error"]
    assert photos_server.metric("hallmark_model_calls_total") == before


def test_b17_a_photo_of_a_format_that_is_not_read_is_named_to_the_client(photos_server: Server) -> None:
    data = base64.b64encode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40).decode()
    response = photos_server.infer({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [data]}]})
    assert response.status_code == 400
    assert "this is HEIC, not a photo that is read here, expected a JPEG, PNG or WebP file" in response.json()["error"]
