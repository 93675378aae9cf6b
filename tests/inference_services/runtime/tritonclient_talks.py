"""NVIDIA's public `tritonclient`, unpatched, against the servers on the given ports; run by test_clients.py.

It is a process of its own, since its protobufs and KServe's have the same names and cannot be in one.
"""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from served import jpeg, order_inputs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies warn of their own age
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http
    from tritonclient.utils import InferenceServerException

_TYPES = {"FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_, "FP32": np.float32}


def _inputs(kind: Any, rows: int = 1, **options: Any) -> list[Any]:
    inputs = []
    for tensor in order_inputs(rows):
        one = kind.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        if tensor["datatype"] == "BYTES":
            array = np.array([value.encode() for value in tensor["data"]], dtype=np.object_)
        else:
            array = np.array(tensor["data"], dtype=_TYPES[tensor["datatype"]])
        one.set_data_from_numpy(array.reshape(tensor["shape"]), **options)
        inputs.append(one)
    return inputs


def _field(found: Any, name: str) -> Any:
    return found[name] if isinstance(found, dict) else getattr(found, name)


def health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("orders")
    assert "binary_tensor_data" in _field(client.get_server_metadata(), "extensions")
    model = client.get_model_metadata("orders")
    assert _field(model, "name") == "orders"
    named = {_field(one, "name"): _field(one, "datatype") for one in _field(model, "inputs")}
    assert named == {one["name"]: one["datatype"] for one in order_inputs()}


def what_is_not_there_is_an_error_it_understands(kind: Any, client: Any) -> None:
    if kind is over_http:
        assert not client.is_model_ready("other")
    else:
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            client.is_model_ready("other")
    for ask in (
        lambda: client.get_model_metadata("other"),
        lambda: client.get_model_config("orders"),
        lambda: client.unload_model("orders"),
        lambda: client.get_inference_statistics("orders"),
    ):
        with pytest.raises(InferenceServerException):
            ask()
    if kind is over_http:  # over gRPC Triton numbers the fields of this message otherwise than KServe does
        client.load_model("orders")


def infer(kind: Any, client: Any, rows: int) -> None:
    answer = client.infer("orders", _inputs(kind, rows), request_id="7")
    assert answer.as_numpy("score").shape == (rows,)
    assert answer.as_numpy("score") == pytest.approx(np.full(rows, answer.as_numpy("score")[0]))
    assert _field(answer.get_response(), "id") == "7"
    assert _field(answer.get_response(), "model_version") == "2"


def json_and_binary(address: str, *, binary_in: bool, binary_out: bool) -> None:
    with over_http.InferenceServerClient(address, concurrency=4) as client:
        wanted = [over_http.InferRequestedOutput("score", binary_data=binary_out)]
        inputs = _inputs(over_http, 2, binary_data=binary_in)
        answer = client.infer("orders", inputs, outputs=wanted, headers={"x-team": "fraud"})
        later = [client.async_infer("orders", inputs, outputs=wanted) for _ in range(20)]
        assert all(one.get_result().as_numpy("score") == pytest.approx(answer.as_numpy("score")) for one in later)
        for way in ("gzip", "deflate"):
            packed = client.infer(
                "orders", inputs, outputs=wanted, request_compression_algorithm=way, response_compression_algorithm=way
            )
            assert packed.as_numpy("score") == pytest.approx(answer.as_numpy("score"))
        with pytest.raises(InferenceServerException, match="classification"):
            client.infer("orders", inputs, outputs=[over_http.InferRequestedOutput("score", class_count=1)])


def calls_that_wait_for_nobody(address: str) -> None:
    done, results = threading.Event(), []

    def take(result: Any, error: Any) -> None:
        results.append(error or result.as_numpy("score"))
        if len(results) == 50:
            done.set()

    with over_grpc.InferenceServerClient(address) as client:
        inputs = _inputs(over_grpc, 2)
        for _ in range(50):
            client.async_infer("orders", inputs, take, client_timeout=10)
        assert done.wait(20)
        assert all(one == pytest.approx(results[0]) for one in results)
        for way in ("gzip", "deflate"):
            packed = client.infer("orders", inputs, compression_algorithm=way)
            assert packed.as_numpy("score") == pytest.approx(results[0])
        many = client.infer("orders", _inputs(over_grpc, 4096), compression_algorithm="gzip")
        assert many.as_numpy("score") == pytest.approx(np.full(4096, results[0][0]))
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*the rollout chooses it"):
            client.infer("orders", inputs, model_version="2")
        with pytest.raises(InferenceServerException, match="no such output"):
            client.infer("orders", inputs, outputs=[over_grpc.InferRequestedOutput("other")])


def a_wrong_request_is_named(kind: Any, client: Any) -> None:
    inputs = _inputs(kind)
    with pytest.raises(InferenceServerException, match="'vector': missing"):
        client.infer("orders", inputs[:6])
    wrong = kind.InferInput("amount", [1], "FP64")
    wrong.set_data_from_numpy(np.array([np.nan]))
    with pytest.raises(InferenceServerException, match="'amount': expected a number"):
        client.infer("orders", [wrong, *inputs[1:]])


def photos(kind: Any, client: Any) -> None:
    one = kind.InferInput("image", [2], "BYTES")
    one.set_data_from_numpy(np.array([jpeg(), jpeg(80, 80)], dtype=np.object_))
    answer = client.infer("photos", [one])
    assert answer.as_numpy("probabilities").shape == (2, 3)
    labels = [value.decode() if isinstance(value, bytes) else value for value in answer.as_numpy("label")]
    assert set(labels) <= {"bag", "coat", "shoe"}


def main(kind: Any, orders: str, pictures: str) -> None:
    """All of it, over one protocol."""
    client = kind.InferenceServerClient(orders)
    health_and_metadata(client)
    what_is_not_there_is_an_error_it_understands(kind, client)
    for rows in (1, 3):
        infer(kind, client, rows)
    a_wrong_request_is_named(kind, client)
    client.close()
    if kind is over_grpc:
        calls_that_wait_for_nobody(orders)
    else:
        for binary_in in (False, True):
            for binary_out in (False, True):
                json_and_binary(orders, binary_in=binary_in, binary_out=binary_out)
    client = kind.InferenceServerClient(pictures)
    photos(kind, client)
    client.close()


if __name__ == "__main__":
    main({"http": over_http, "grpc": over_grpc}[sys.argv[1]], *sys.argv[2:])
