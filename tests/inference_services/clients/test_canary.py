"""Two versions at one address: what a client sends means the same whichever of them answers, over REST and gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest
from served import order_inputs

from inference_services.protocol.pb import protobufs

TIMES = 40


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_pinned_version_is_refused_every_time(gateway: int, version: str) -> None:
    """Row B10: it was served or refused by chance, 43 times of 400."""
    path = f"/serving/orders/orders/v2/models/orders/versions/{version}"
    seen: Counter[tuple[str, int]] = Counter()
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway}", trust_env=False) as client:
        free = Counter(
            client.post("/serving/orders/orders/v2/models/orders/infer", json={"inputs": order_inputs()}).json()[
                "model_version"
            ]
            for _ in range(TIMES)
        )
        for _ in range(TIMES):
            for answer in (
                client.post(f"{path}/infer", json={"inputs": order_inputs()}),
                client.get(path),
                client.get(f"{path}/ready"),
            ):
                seen[answer.headers["x-hallmark-model-version"], answer.status_code] += 1
    assert set(free) == {"1", "2"}, "both answer"
    assert {code for _, code in seen} == {400}
    assert {answered for answered, _ in seen} == {"1", "2"}, "refused by both"


def test_a_pinned_version_is_refused_over_grpc_every_time(gateway: int) -> None:
    """Row B10, gRPC's model_version."""
    pb = protobufs()
    options = [("grpc.default_authority", "orders.orders.localhost"), ("grpc.enable_http_proxy", 0)]
    calls = {
        "ModelInfer": pb.ModelInferRequest(model_name="orders", model_version="1"),
        "ModelReady": pb.ModelReadyRequest(name="orders", version="2"),
        "ModelMetadata": pb.ModelMetadataRequest(name="orders", version="1"),
    }
    seen = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{gateway}", options=options) as channel:
        for _ in range(TIMES):
            for method, message in calls.items():
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(
                        message.SerializeToString(), timeout=10
                    )
                seen[method, refused.value.code().name] += 1
    assert seen == {(method, "INVALID_ARGUMENT"): TIMES for method in calls}


def test_the_document_is_of_the_version_that_answers_and_its_address_is_the_gateways(gateway: int) -> None:
    base = f"http://127.0.0.1:{gateway}/serving/orders/orders"
    with httpx.Client(trust_env=False) as client:
        for _ in range(10):
            answer = client.get(f"{base}/openapi.json")
            document = answer.json()
            assert document["info"]["version"] == answer.headers["x-hallmark-model-version"]
            server = httpx.URL(f"{base}/openapi.json").join(document["servers"][0]["url"])
            path = "/v2/models/orders/infer"
            example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
            assert client.post(str(server).rstrip("/") + path, json=example).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_by_the_gateway(gateway: int, kind: str) -> None:
    """NVIDIA's client, as docs/serving.md has it; a process of its own, since KServe's protobufs have the same names."""
    command = [sys.executable, str(Path(__file__).with_name("tritonclient_asks.py")), kind, str(gateway)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"1", "2"}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserves_rest_client_by_the_gateway(gateway: int, protocol: str) -> None:
    import asyncio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def talk() -> None:
        base = f"http://127.0.0.1:{gateway}/serving/orders/orders"
        client = InferenceRESTClient(RESTConfig(protocol=protocol, retries=1))
        if protocol == "v2":
            assert await client.is_server_ready(base)
            assert await client.is_model_ready(base, "orders")
            inputs = [InferInput(one["name"], one["shape"], one["datatype"], one["data"]) for one in order_inputs()]
            answer = await client.infer(base, InferRequest("orders", inputs), model_name="orders")
            assert answer.outputs[0].name == "score"
        else:
            row = {one["name"]: one["data"][0] for one in order_inputs()} | {"vector": [[0.1, 0.2], [0.3, 0.4]]}
            answer = await client.infer(base, {"instances": [row]}, model_name="orders")
            assert len(answer["predictions"]) == 1
        await client.close()

    asyncio.run(talk())
