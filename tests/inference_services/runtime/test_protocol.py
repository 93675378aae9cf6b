"""KServe's protocols as a client sees them: V2 in JSON and binary, V1, gRPC, health, metadata, repository."""

from __future__ import annotations

import base64
import functools
import json
import socket
import struct
import zlib
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from served import Server, jpeg, order_inputs

from inference_services.protocol.column import Column
from inference_services.protocol.pb import protobufs

SCORE = 0.444066


def binary_request(rows: int, **more: Any) -> tuple[bytes, int]:
    """An order with every tensor in binary, and the length of its JSON part."""
    blobs = [
        np.full(rows, 12.5).tobytes(),
        np.full(rows, 3, np.int64).tobytes(),
        np.full(rows, 7, np.int32).tobytes(),
        np.ones(rows, np.bool_).tobytes(),
        (struct.pack("<I", 4) + b"card") * rows,
        (struct.pack("<I", 2) + "é".encode()) * rows,
        np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), rows).tobytes(),
    ]
    inputs = []
    for tensor, blob in zip(order_inputs(rows), blobs, strict=True):
        del tensor["data"]
        inputs.append({**tensor, "parameters": {"binary_data_size": len(blob)}})
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + b"".join(blobs), len(text)


def test_json_answer(orders_server: Server) -> None:
    response = orders_server.infer({"id": "mine", "inputs": order_inputs(3)})
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("orders", "2", "mine")
    (score,) = body["outputs"]
    assert (score["name"], score["shape"], score["datatype"]) == ("score", [3], "FP32")
    assert score["data"] == pytest.approx([SCORE] * 3, abs=1e-5)
    assert response.headers["x-hallmark-revision"] == "orders-00001"
    assert response.headers["x-hallmark-model-version"] == "2"


def test_an_id_is_made_where_there_is_none(orders_server: Server) -> None:
    made = {orders_server.infer().json()["id"] for _ in range(3)}
    assert len(made) == 3
    assert all(len(one) > 24 for one in made)


def test_nested_data_is_taken(orders_server: Server) -> None:
    inputs = order_inputs(2)
    inputs[6]["data"] = [[[0.1, 0.2], [0.3, 0.4]]] * 2
    for indent in (None, 2, "\t"):
        answer = orders_server.infer(json.dumps({"inputs": inputs}, indent=indent).encode()).json()
        assert answer["outputs"][0]["data"] == pytest.approx([SCORE] * 2, abs=1e-5)


def test_binary_in_and_json_out(orders_server: Server) -> None:
    body, length = binary_request(4)
    response = orders_server.infer(body, headers={"inference-header-content-length": str(length)})
    assert response.json()["outputs"][0]["data"] == pytest.approx([SCORE] * 4, abs=1e-5)


def test_binary_both_ways(orders_server: Server) -> None:
    body, length = binary_request(4, outputs=[{"name": "score", "parameters": {"binary_data": True}}])
    response = orders_server.infer(body, headers={"inference-header-content-length": str(length)})
    head = int(response.headers["inference-header-content-length"])
    (output,) = json.loads(response.content[:head])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(response.content[head:], np.float32) == pytest.approx([SCORE] * 4, abs=1e-5)


def test_strings_come_back_in_binary(photos_server: Server) -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(jpeg()).decode()]}
    response = photos_server.infer({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    head = int(response.headers["inference-header-content-length"])
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(response.content[:head])["outputs"]]
    assert sizes == [12, 4 + len("shoe"), 4]
    assert response.content[head + 12 : head + 20] == b"\x04\x00\x00\x00shoe"


def test_chosen_outputs_come_in_the_order_asked(photos_server: Server) -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(jpeg()).decode()]}
    asked = [{"name": "confidence"}, {"name": "label"}]
    answer = photos_server.infer({"inputs": [tensor], "outputs": asked}).json()
    assert [output["name"] for output in answer["outputs"]] == ["confidence", "label"]


def test_a_photo_is_the_same_in_json_binary_v1_and_grpc(photos_server: Server) -> None:
    photo, path = jpeg(), "/v2/models/photos/infer"
    text = base64.b64encode(photo).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    first = photos_server.infer({"inputs": [{**tensor, "data": [text]}]}).json()["outputs"][0]["data"]
    blob = struct.pack("<I", len(photo)) + photo
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(blob)}}]}).encode()
    sent = photos_server.client.post(
        path, content=head + blob, headers={"inference-header-content-length": str(len(head))}
    )
    assert sent.json()["outputs"][0]["data"] == first
    rows = [{"image": {"b64": text}}, {"image": text}]
    answer = photos_server.client.post("/v1/models/photos:predict", json={"instances": rows}).json()
    assert [row["probabilities"] for row in answer["predictions"]] == [first, first]
    assert answer["predictions"][0]["label"] == "shoe"
    pb = protobufs()
    request = pb.ModelInferRequest(model_name="photos")
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(photo)
    with grpc.insecure_channel(f"127.0.0.1:{photos_server.grpc}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", lambda m: m.SerializeToString())
        found = pb.ModelInferResponse.FromString(call(request, timeout=30))
    assert list(found.outputs[0].contents.fp32_contents) == pytest.approx(first)
    assert list(found.outputs[1].contents.bytes_contents) == [b"shoe"]


def test_v1_by_row_and_by_column(orders_server: Server) -> None:
    row = {tensor["name"]: tensor["data"][0] for tensor in order_inputs()}
    row["vector"] = [[0.1, 0.2], [0.3, 0.4]]
    for body in ({"instances": [row, row]}, {"inputs": {name: [value] * 2 for name, value in row.items()}}):
        answer = orders_server.client.post("/v1/models/orders:predict", json=body).json()
        assert answer["predictions"] == pytest.approx([SCORE] * 2, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["orders"]}),
        ("/v2/models/orders/ready", {"name": "orders", "ready": True}),
        ("/v1/models", {"models": ["orders"]}),
        ("/v1/models/orders", {"name": "orders", "ready": True}),
    ],
)
def test_health_and_names(orders_server: Server, path: str, expected: dict[str, Any]) -> None:
    assert orders_server.client.get(path).json() == expected


def test_metadata(orders_server: Server) -> None:
    server = orders_server.client.get("/v2").json()
    assert set(server) == {"name", "version", "extensions"}
    model = orders_server.client.get("/v2/models/orders").json()
    assert model["inputs"][6] == {"name": "vector", "datatype": "FP32", "shape": [-1, 2, 2]}
    assert model["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]
    assert (model["versions"], model["platform"]) == (["2"], "onnxruntime_onnx")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v2/models/other", 404, None),
        ("POST", "/v2/models/other/infer", 404, None),
        ("GET", "/nothing/here", 404, None),
        ("POST", "/nothing/here", 404, None),
        ("POST", "/v2/models/orders/infer/", 404, None),
        ("POST", "/v1/models/orders:predict/", 404, None),
        ("GET", "/v2/health/live/", 404, None),
        ("PUT", "/v2/models/orders/infers", 404, None),
        ("GET", "/v2/models/%ff", 404, None),
        ("GET", "/v2/repository/nothing", 404, None),
        ("POST", "/inference.GRPCInferenceService/Nothing", 404, None),
        ("POST", "/v2/repository/models/other/load", 404, None),
        ("GET", "/v2/models/orders/infer", 405, "POST"),
        ("PUT", "/v1/models/orders:predict", 405, "POST"),
        ("GET", "/v2/repository/index", 405, "POST"),
        ("GET", "/inference.GRPCInferenceService/ModelInfer", 405, "POST"),
        ("DELETE", "/v2/models/orders", 405, "GET, HEAD"),
        ("POST", "/v2/health/live", 405, "GET, HEAD"),
        ("OPTIONS", "/metrics", 405, "GET, HEAD"),
        ("POST", "/openapi.json", 405, "GET, HEAD"),
        ("GET", "/openapi.json/", 404, None),
        ("TRACE", "/v2/models/orders/versions/2", 405, "GET, HEAD"),
        ("POST", "/v2/models/orders/versions/2/ready", 405, "GET, HEAD"),
        ("GET", "/v2/models/orders/versions/2/infer", 405, "POST"),
        ("GET", "/v2/models/other/versions/2", 404, None),
        ("POST", "/v2/repository/models/orders/unload", 403, None),
        ("POST", "/inference.GRPCInferenceService/ModelInfer", 415, None),
    ],
)
def test_a_path_that_is_not_there_is_404_and_a_wrong_method_405_with_those_that_are_right(
    orders_server: Server, method: str, path: str, status: int, allow: str | None
) -> None:
    """Row B35: a gateway that appends a slash, or a client that guesses, learns which of the two is wrong; each is counted."""
    before = orders_server.metric("hallmark_rest_requests_total", code=str(status))
    response = orders_server.client.request(method, path)
    assert (response.status_code, response.headers.get("allow")) == (status, allow)
    assert list(response.json()) == ["error"]
    if not path.startswith("/inference."):
        assert orders_server.metric("hallmark_rest_requests_total", code=str(status)) == before + 1


@pytest.mark.parametrize("version", ["1", "2", "9"])
def test_a_version_in_the_path_is_refused_by_every_revision_alike(orders_server: Server, version: str) -> None:
    """Row B10: with a canary two versions answer at one address, so whether a pin holds would be chance; the server's own is 2."""
    path = f"/v2/models/orders/versions/{version}"
    for answer in (
        orders_server.client.get(path),
        orders_server.client.get(f"{path}/ready"),
        orders_server.client.post(f"{path}/infer", json={"inputs": order_inputs()}),
        orders_server.client.post(f"{path}/infer", content=b"not even JSON"),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("version: expected none")
    pb = protobufs()
    with grpc.insecure_channel(f"127.0.0.1:{orders_server.grpc}") as channel:
        for method, asked in (
            ("ModelInfer", pb.ModelInferRequest(model_name="orders", model_version=version)),
            ("ModelReady", pb.ModelReadyRequest(name="orders", version=version)),
            ("ModelMetadata", pb.ModelMetadataRequest(name="orders", version=version)),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(asked.SerializeToString(), timeout=30)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "version: expected none" in refused.value.details()


def coded(way: str, body: bytes) -> bytes:
    """The body in a coding; `bare` is deflate without zlib's head, as some clients send it."""
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "bare": -15}[way])
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("way", ["gzip", "deflate", "bare"])
def test_a_compressed_body_is_read(orders_server: Server, way: str) -> None:
    """Row B12, over REST: V2 in JSON and in binary, and V1."""
    named = {"content-encoding": "deflate" if way == "bare" else way}
    answer = orders_server.infer(coded(way, json.dumps({"inputs": order_inputs()}).encode()), headers=named)
    assert answer.json()["outputs"][0]["data"] == pytest.approx([SCORE], abs=1e-5)
    body, length = binary_request(4)
    answer = orders_server.infer(coded(way, body), headers={"inference-header-content-length": str(length), **named})
    assert answer.json()["outputs"][0]["data"] == pytest.approx([SCORE] * 4, abs=1e-5)
    row = {tensor["name"]: tensor["data"][0] for tensor in order_inputs()} | {"vector": [[0.1, 0.2], [0.3, 0.4]]}
    sent = coded(way, json.dumps({"instances": [row]}).encode())
    v1 = orders_server.client.post("/v1/models/orders:predict", content=sent, headers=named)
    assert v1.json()["predictions"] == pytest.approx([SCORE], abs=1e-5)


@functools.cache
def blanks(way: str, size: int) -> bytes:
    """So many spaces, in a coding, made when they are asked for: each pytest process reads this file."""
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[way])
    part = b" " * min(size, 1 << 20)
    return b"".join(packer.compress(part[: size - at]) for at in range(0, size, len(part))) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", 16 * 1024 * 1024 + 1, 413),
        ("deflate", 1 << 28, 413),
        ("gzip", b"\x1f\x8b", 400),
        ("gzip", coded("gzip", b"{}")[:-1], 400),
        ("gzip", coded("gzip", b"{}") * 2, 400),
        ("deflate", coded("gzip", b"{}"), 400),
        ("gzip", b"", 400),
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
    ],
    ids=str,
)
def test_a_compressed_body_is_opened_within_the_limit_alone(
    orders_server: Server, coding: str, body: bytes | int, status: int
) -> None:
    """Row B12: what grows a thousandfold is never made, and what is no whole stream is named; over REST and gRPC."""
    body = blanks(coding, body) if isinstance(body, int) else body
    before = orders_server.memory()
    answer = orders_server.infer(body or b" "[:0], headers={"content-encoding": coding})
    assert answer.status_code == status, answer.text
    assert answer.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
    framed = struct.pack("!BL", 1, len(body)) + body
    headers = {"content-type": "application/grpc", "grpc-encoding": coding}
    path = "/inference.GRPCInferenceService/ModelInfer"
    call = orders_server.client.post(path, content=framed, headers=headers)
    assert (call.status_code, call.content, call.headers["content-type"]) == (200, b"", "application/grpc")
    assert call.headers["grpc-status"] == ("12" if status == 415 else "3")
    assert orders_server.memory() - before < 100
    assert orders_server.infer().status_code == 200


def test_a_large_answer_is_compressed_for_a_client_that_asks(orders_server: Server) -> None:
    """Row B12: where it saves packets, and never for one that does not ask."""
    body, length = binary_request(4000)
    sizes = {}
    for accepted in ("gzip", "deflate, gzip;q=0.5", "*", "identity", "br", "gzip;q=0, *", "gzip;q=0.0, br"):
        headers = {"inference-header-content-length": str(length), "accept-encoding": accepted}
        with orders_server.client.stream("POST", "/v2/models/orders/infer", content=body, headers=headers) as answer:
            sizes[accepted] = (answer.headers.get("content-encoding"), len(b"".join(answer.iter_raw())))
    whole = sizes["identity"][1]
    assert {name for name, (coding, _) in sizes.items() if coding == "gzip"} == {"gzip", "deflate, gzip;q=0.5", "*"}
    assert all(size < whole / 2 if coding else size == whole for coding, size in sizes.values())
    small = orders_server.infer(headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers


def test_repository_of_one(orders_server: Server) -> None:
    (index,) = orders_server.client.post("/v2/repository/index").json()
    assert index == {"name": "orders", "version": "2", "state": "READY", "reason": ""}
    loaded = orders_server.client.post("/v2/repository/models/orders/load")
    assert loaded.json() == {"name": "orders", "load": True}


def test_metrics_name_model_and_revision(orders_server: Server) -> None:
    labels = {"model": "orders", "revision": "orders-00001", "version": "2"}
    before = orders_server.metric("hallmark_rest_requests_total", code="200", **labels)
    orders_server.infer()
    assert orders_server.metric("hallmark_rest_requests_total", code="200", **labels) >= before + 1
    within = orders_server.metric("hallmark_request_seconds_bucket", le="0.1", protocol="rest")
    assert orders_server.metric("hallmark_request_seconds_count", protocol="rest", **labels) >= within > 0


def test_several_requests_in_one_packet_are_answered_in_order(orders_server: Server) -> None:
    body = [json.dumps({"id": str(at), "inputs": order_inputs()}).encode() for at in range(5)]
    sent = b"".join(
        b"POST /v2/models/orders/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(one), one)
        for one in body
    )
    with socket.create_connection(("127.0.0.1", orders_server.http)) as connection:
        connection.sendall(sent)
        connection.settimeout(5)
        received = b""
        while received.count(b"HTTP/1.1 200") < 5 or not received.endswith(b"}]}"):
            received += connection.recv(65_536)
    assert [json.loads(part.split(b"\r\n\r\n")[1])["id"] for part in received.split(b"HTTP/1.1 ")[1:]] == list("01234")


def test_a_body_in_chunks_is_taken(orders_server: Server) -> None:
    body = json.dumps({"inputs": order_inputs()}).encode()
    response = httpx.post(f"{orders_server.url}/v2/models/orders/infer", content=iter([body[:50], body[50:]]))
    assert response.status_code == 200


def test_columns_say_what_they_expect(orders_server: Server) -> None:
    from served import ORDER_FIELDS

    texts = [Column(field).expected for field in ORDER_FIELDS]
    assert texts[0] == "a number from 0.5 to 100000"
    assert texts[3:6] == ["true or false", "one of card, wallet", "a string"]


def orders_message(rows: int) -> bytes:
    """Fine orders as a ModelInferRequest."""
    kinds = {"FP64": "fp64", "FP32": "fp32", "INT32": "int", "INT64": "int64", "BOOL": "bool", "BYTES": "bytes"}
    request = protobufs().ModelInferRequest(model_name="orders")
    for tensor in order_inputs(rows):
        given = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        values = [value.encode() if isinstance(value, str) else value for value in tensor["data"]]
        getattr(given.contents, f"{kinds[tensor['datatype']]}_contents").extend(values)
    message: bytes = request.SerializeToString()
    return message


def called(server: Server, message: bytes, **headers: str) -> httpx.Response:
    """A call as the gateway brings it: in HTTP/1.1, behind its five bytes, in gzip where the headers say so."""
    packed = headers.get("grpc-encoding") == "gzip"
    message = coded("gzip", message) if packed else message
    body = struct.pack("!BL", packed, len(message)) + message
    headers = {"content-type": "application/grpc", **headers}
    return server.client.post("/inference.GRPCInferenceService/ModelInfer", content=body, headers=headers)


@pytest.mark.parametrize(("timeout", "status"), [("1n", "8"), ("20S", None), ("1H", None), ("soon", None)])
def test_a_calls_own_deadline_is_kept(orders_server: Server, timeout: str, status: str | None) -> None:
    answer = called(orders_server, orders_message(1), **{"grpc-timeout": timeout})
    assert answer.headers.get("grpc-status") == status
    assert answer.headers["x-hallmark-model-version"] == "2"
    if status is None:
        found = protobufs().ModelInferResponse.FromString(answer.content[5:])
        assert list(found.outputs[0].contents.fp32_contents) == pytest.approx([SCORE], abs=1e-5)
    else:
        assert answer.headers["retry-after"]


def test_a_large_message_is_compressed_for_a_client_that_compresses(orders_server: Server) -> None:
    """Row B12, over gRPC; every client says that it would take gzip, so only one that sends it is taken at its word."""
    takes = {"grpc-accept-encoding": "identity, deflate, gzip"}
    for rows, headers, packed in (
        (4096, {"grpc-encoding": "gzip", **takes}, True),
        (4096, {"grpc-encoding": "gzip"}, False),
        (4096, takes, False),
        (1, {"grpc-encoding": "gzip", **takes}, False),
    ):
        answer = called(orders_server, orders_message(rows), **headers)
        flag, size = struct.unpack_from("!BL", answer.content)
        message = answer.content[5:]
        assert (flag, size) == (packed, len(message))
        assert answer.headers.get("grpc-encoding") == ("gzip" if packed else None)
        assert "content-encoding" not in answer.headers
        found = protobufs().ModelInferResponse.FromString(zlib.decompress(message, 31) if packed else message)
        assert list(found.outputs[0].contents.fp32_contents) == pytest.approx([SCORE] * rows, abs=1e-5)


CALL = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("path", [b"/inference.GRPCInferenceService/ModelStreamInfer", b"/x.Y/Z"])
def test_p7_a_method_that_nobody_serves_is_unimplemented_at_once_though_the_client_goes_on(
    orders_server: Server, path: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", orders_server.http), timeout=2) as connection:
        connection.sendall(CALL % path + b"7\r\n\0\0\0\0\2\n\0\r\n")
        received = b""
        while block := connection.recv(65_536):
            received += block
    assert b"HTTP/1.1 200" in received and b"grpc-status: 12\r\n" in received


def test_p8_calls_that_the_client_gave_up_hold_no_place(orders_server: Server) -> None:
    for _ in range(300):
        with socket.create_connection(("127.0.0.1", orders_server.http)) as connection:
            connection.sendall(CALL % b"/inference.GRPCInferenceService/ModelInfer" + b"7\r\n\0\0\0")
    assert called(orders_server, orders_message(1)).headers.get("grpc-status") is None


def test_p9_a_compression_that_is_not_known_is_unimplemented_and_those_that_are_read_are_named(
    orders_server: Server,
) -> None:
    body = b"\1" + struct.pack("!L", 3) + b"abc"
    headers = {"content-type": "application/grpc", "grpc-encoding": "snappy"}
    answer = orders_server.client.post("/inference.GRPCInferenceService/ModelInfer", content=body, headers=headers)
    assert answer.headers["grpc-status"] == "12"
    assert {"gzip", "deflate"} <= set(answer.headers["grpc-accept-encoding"].replace(" ", "").split(","))
