"""The clients that teams have, unpatched: KServe's SDK and NVIDIA's tritonclient, over REST and gRPC."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Server, order_inputs

SCORE = 0.444066


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient(orders_server: Server, photos_server: Server, kind: str) -> None:
    addresses = [f"127.0.0.1:{getattr(server, kind)}" for server in (orders_server, photos_server)]
    command = [sys.executable, str(Path(__file__).with_name("tritonclient_talks.py")), kind, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("raw", [False, True])
def test_kserve_grpc_client(orders_server: Server, raw: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's generated code warns of its own age
        from kserve import InferenceGRPCClient, InferInput, InferRequest

    async def talk() -> None:
        async with InferenceGRPCClient(f"127.0.0.1:{orders_server.grpc}") as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("orders")
            answer = await client.infer(InferRequest("orders", _inputs(InferInput, binary=raw), request_id="7"))
            assert answer.id == "7"
            assert answer.outputs[0].as_numpy() == pytest.approx([SCORE], abs=1e-5)

    asyncio.run(talk())


@pytest.mark.parametrize("binary", [False, True])
def test_kserve_rest_client(orders_server: Server, binary: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
        from kserve.protocol.infer_type import RequestedOutput

    async def talk() -> None:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(orders_server.url)
        assert await client.is_server_ready(orders_server.url)
        assert await client.is_model_ready(orders_server.url, "orders")
        outputs = [RequestedOutput("score", {"binary_data": binary})]
        request = InferRequest("orders", _inputs(InferInput, binary=binary), request_id="7", request_outputs=outputs)
        answer = await client.infer(orders_server.url, request, model_name="orders")
        assert answer.id == "7"
        assert answer.outputs[0].as_numpy() == pytest.approx([SCORE], abs=1e-5)
        v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
        row = {tensor["name"]: tensor["data"][0] for tensor in order_inputs()}
        row["vector"] = [[0.1, 0.2], [0.3, 0.4]]
        found = await v1.infer(orders_server.url, {"instances": [row]}, model_name="orders")
        assert found["predictions"] == pytest.approx([SCORE], abs=1e-5)
        await client.close()
        await v1.close()

    asyncio.run(talk())


def _inputs(kind: Any, *, binary: bool) -> list[Any]:
    """An order as the SDK's own inputs."""
    types = {"FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_, "FP32": np.float32}
    inputs = []
    for tensor in order_inputs():
        one = kind(tensor["name"], tensor["shape"], tensor["datatype"])
        if tensor["datatype"] == "BYTES":
            array = np.array([value.encode() for value in tensor["data"]], dtype=np.object_)
        else:
            array = np.array(tensor["data"], dtype=types[tensor["datatype"]])
        one.set_data_from_numpy(array.reshape(tensor["shape"]), binary_data=binary)
        inputs.append(one)
    return inputs
