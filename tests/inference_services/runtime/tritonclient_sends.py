"""Two garments of different lengths by NVIDIA's `tritonclient`, as docs/serving.md has it; prints their scores. Run by test_inputs.py."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
from served import jpeg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies warn of their own age
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http


def main(kind: str, address: str) -> list[float]:
    library: Any = over_http if kind == "http" else over_grpc
    photo = jpeg()
    tensors: dict[str, Any] = {
        "title": np.array([b"wool coat", b"hat"], dtype=object),
        "tags": np.array([[b"warm", b"blue"], [b"", b""]], dtype=object),
        "views": np.array([[photo, photo, photo], [photo, b"", b""]], dtype=object),
        "sides": np.array([[photo, photo], [b"", b""]], dtype=object),
        "price": np.array([100, np.nan]),
        "stock": np.array([7, np.nan]),
        "gift": np.array([1, np.nan]),
        "brand": np.array([b"acme", b""], dtype=object),
        "sizes": np.array([[[3, 4], [np.nan, np.nan]], [[1, 2], [3, 4]]]),
    }
    inputs = []
    for name, values in tensors.items():
        one = library.InferInput(name, values.shape, "BYTES" if values.dtype == object else "FP64")
        one.set_data_from_numpy(values)
        inputs.append(one)
    with library.InferenceServerClient(address) as client:
        found: list[float] = client.infer("garments", inputs).as_numpy("score").tolist()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))  # noqa: T201
