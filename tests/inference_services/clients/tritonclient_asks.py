"""NVIDIA's public `tritonclient`, unpatched, by the local gateway on the given port; prints the versions that answered. Run by test_canary.py."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from served import order_inputs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies warn of their own age
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http
    from tritonclient.utils import InferenceServerException

_TYPES = {"FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "BOOL": np.bool_, "FP32": np.float32}


def main(kind: str, port: str) -> list[str]:
    if kind == "http":
        library, client = over_http, over_http.InferenceServerClient(f"127.0.0.1:{port}/serving/orders/orders")
        packed: dict[str, Any] = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    else:
        library, options = over_grpc, [("grpc.default_authority", "orders.orders.localhost")]
        client = over_grpc.InferenceServerClient(f"127.0.0.1:{port}", channel_args=options)
        packed = {"compression_algorithm": "gzip"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("orders")
    inputs = []
    for tensor in order_inputs(2):
        one = library.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        bytes_ = tensor["datatype"] == "BYTES"
        data = [value.encode() for value in tensor["data"]] if bytes_ else tensor["data"]
        one.set_data_from_numpy(
            np.array(data, dtype=np.object_ if bytes_ else _TYPES[tensor["datatype"]]).reshape(tensor["shape"])
        )
        inputs.append(one)
    versions = set()
    for at in range(40):
        found = client.infer("orders", inputs, **(packed if at % 2 else {})).get_response()
        versions.add(found["model_version"] if kind == "http" else found.model_version)
        try:
            client.infer("orders", inputs, model_version="1")
        except InferenceServerException as error:
            assert "the rollout chooses it" in str(error)
        else:
            raise AssertionError("a pinned version was taken")
    client.close()
    return sorted(versions)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))  # noqa: T201
