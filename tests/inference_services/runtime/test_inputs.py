"""Optional, free-text and varying fields through the real server, to a model with several named inputs and assets."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from garments import FIELDS, INPUTS, garments_folder, model, score
from served import Server, jpeg

from hallmark.artifacts import bundle
from hallmark.errors import ModelRefused
from hallmark.features.encoding import Input
from inference_services.protocol.pb import protobufs
from inference_services.runtime.model import Model

PHOTO = jpeg()
TEXT = base64.b64encode(PHOTO).decode()
FULL = score(tokens=8, brand="acme", known=3, numbers=(100, 7, 1, 2, 3, 1, 7, 2))
SPARE = score(tokens=1, brand=None, known=0, numbers=(0, 0, 0, 0, 1, 2, 10, 0))


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garments")
    garments_folder(folder)
    return folder


@pytest.fixture(scope="module")
def server(garments: Path) -> Iterator[Server]:
    served = Server(garments, "garments", notice=0, cache=16 * 2**20)
    served.wait_ready()
    yield served
    assert served.stop() == 0
    assert "Traceback" not in served.errors


def tensor(name: str, data: Any, shape: list[int], datatype: str | None = None) -> dict[str, Any]:
    kinds = {field.name: field.datatype for field in FIELDS}
    return {"name": name, "shape": shape, "datatype": datatype or kinds[name], "data": data}


def both() -> list[dict[str, Any]]:
    """A record with everything, and one with as little as it may have."""
    return [
        tensor("title", ["wool coat", "hat"], [2]),
        tensor("tags", ["warm", "blue", None, None], [2, 2]),
        tensor("views", [TEXT, TEXT, TEXT, TEXT, "", None], [2, 3]),
        tensor("sides", [TEXT, TEXT, None, ""], [2, 2]),
        tensor("price", [100, None], [2]),
        tensor("stock", [7, None], [2]),
        tensor("gift", [True, None], [2]),
        tensor("brand", ["acme", None], [2]),
        tensor("sizes", [3, 4, None, None, 1, 2, 3, 4], [2, 2, 2]),
    ]


def scores(response: Any) -> list[float]:
    assert response.status_code == 200, response.text
    found: list[float] = response.json()["outputs"][0]["data"]
    return found


def test_metadata_leaves_the_varying_axis_open(server: Server) -> None:
    inputs = {one["name"]: one["shape"] for one in server.client.get("/v2/models/garments").json()["inputs"]}
    assert (inputs["views"], inputs["sizes"], inputs["sides"], inputs["price"]) == (
        [-1, -1],
        [-1, -1, 2],
        [-1, 2],
        [-1],
    )


def test_null_is_missing_and_fills_up_what_is_shorter(server: Server) -> None:
    answer = server.infer({"inputs": both()})
    assert scores(answer) == pytest.approx([FULL, SPARE])
    assert answer.json()["outputs"][1]["data"] == ["rich", "poor"]


def test_nested_data_is_the_same(server: Server) -> None:
    inputs = both()
    inputs[2]["data"] = [[TEXT] * 3, [TEXT, None, None]]
    inputs[8]["data"] = [[[3, 4], [None, None]], [[1, 2], [3, 4]]]
    assert scores(server.infer({"inputs": inputs})) == pytest.approx([FULL, SPARE])


def test_optional_inputs_may_be_left_out(server: Server) -> None:
    inputs = [
        tensor("title", ["hat"], [1]),
        tensor("views", [TEXT], [1, 1]),
        tensor("sizes", [1, 2, 3, 4], [1, 2, 2]),
    ]
    assert scores(server.infer({"inputs": inputs})) == pytest.approx([SPARE])


def test_binary_says_missing_with_nan_and_empty_strings(server: Server) -> None:
    def strings(*values: bytes) -> bytes:
        return b"".join(struct.pack("<I", len(value)) + value for value in values)

    parts = [
        ("title", "BYTES", [2], strings(b"wool coat", b"hat")),
        ("tags", "BYTES", [2, 2], strings(b"warm", b"blue", b"", b"")),
        ("views", "BYTES", [2, 3], strings(PHOTO, PHOTO, PHOTO, PHOTO, b"", b"")),
        ("sides", "BYTES", [2, 2], strings(PHOTO, PHOTO, b"", b"")),
        ("price", "FP64", [2], np.array([100, np.nan]).tobytes()),
        ("stock", "FP64", [2], np.array([7, np.nan]).tobytes()),
        ("gift", "FP64", [2], np.array([1, np.nan]).tobytes()),
        ("brand", "BYTES", [2], strings(b"acme", b"")),
        ("sizes", "FP64", [2, 2, 2], np.array([3, 4, np.nan, np.nan, 1, 2, 3, 4]).tobytes()),
    ]
    inputs = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(blob)}}
        for name, kind, shape, blob in parts
    ]
    head = json.dumps({"inputs": inputs}).encode()
    body = head + b"".join(blob for *_, blob in parts)
    answer = server.infer(body, headers={"inference-header-content-length": str(len(head))})
    assert scores(answer) == pytest.approx([FULL, SPARE])


def test_v1_takes_each_records_own_number_of_photos(server: Server) -> None:
    rows = [
        {
            "title": "wool coat",
            "tags": ["warm", "blue"],
            "views": [{"b64": TEXT}, TEXT, {"b64": TEXT}],
            "sides": [TEXT, {"b64": TEXT}],
            "price": 100,
            "stock": 7,
            "gift": True,
            "brand": "acme",
            "sizes": [[3, 4]],
        },
        {"title": "hat", "views": [{"b64": TEXT}], "sizes": [[1, 2], [3, 4]], "price": None, "sides": [None, None]},
    ]
    answer = server.client.post("/v1/models/garments:predict", json={"instances": rows}).json()
    assert [row["score"] for row in answer["predictions"]] == pytest.approx([FULL, SPARE])
    names = ("title", "views", "sizes", "price")
    table = {name: [row.get(name) for row in rows] for name in names}
    answer = server.client.post("/v1/models/garments:predict", json={"inputs": table}).json()
    bare = score(tokens=8, brand=None, known=1, numbers=(100, 0, 0, 0, 3, 1, 7, 0))
    assert [row["score"] for row in answer["predictions"]] == pytest.approx([bare, SPARE])


@pytest.mark.parametrize("raw", [False, True])
def test_grpc(server: Server, raw: bool) -> None:
    pb = protobufs()
    request = pb.ModelInferRequest(model_name="garments")

    def add(name: str, kind: str, shape: list[int], contents: str, values: list[Any]) -> None:
        one = request.inputs.add(name=name, datatype=kind, shape=shape)
        if not raw:
            getattr(one.contents, contents).extend(values)
        elif kind == "BYTES":
            request.raw_input_contents.append(b"".join(struct.pack("<I", len(value)) + value for value in values))
        else:
            types = {"FP64": np.float64, "INT32": np.int32}
            request.raw_input_contents.append(np.array(values, dtype=types[kind]).tobytes())

    add("title", "BYTES", [2], "bytes_contents", [b"wool coat", b"hat"])
    add("tags", "BYTES", [2, 2], "bytes_contents", [b"warm", b"blue", b"", b""])
    add("views", "BYTES", [2, 3], "bytes_contents", [PHOTO, PHOTO, PHOTO, PHOTO, b"", b""])
    add("sides", "BYTES", [2, 2], "bytes_contents", [PHOTO, PHOTO, b"", b""])
    add("price", "FP64", [2], "fp64_contents", [100.0, float("nan")])
    add("stock", "FP64", [2], "fp64_contents", [7.0, float("nan")])
    add("gift", "FP64", [2], "fp64_contents", [1.0, float("nan")])
    add("brand", "BYTES", [2], "bytes_contents", [b"acme", b""])
    add("sizes", "FP64", [2, 2, 2], "fp64_contents", [3, 4, float("nan"), float("nan"), 1, 2, 3, 4])
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", lambda m: m.SerializeToString())
        found = pb.ModelInferResponse.FromString(call(request, timeout=30))
        del request.inputs[8:], request.raw_input_contents[8:]
        add("sizes", "INT32", [2, 1, 2], "int_contents", [3, 4, 1, 2])
        again = pb.ModelInferResponse.FromString(call(request, timeout=30))
    one_less = score(tokens=1, brand=None, known=0, numbers=(0, 0, 0, 0, 1, 1, 3, 0))
    for answer, expected in ((found, [FULL, SPARE]), (again, [FULL, one_less])):
        values = (
            np.frombuffer(answer.raw_output_contents[0], np.float32)
            if raw
            else answer.outputs[0].contents.fp32_contents
        )
        assert list(values) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_sends_records_of_several_lengths(server: Server, kind: str) -> None:
    program = Path(__file__).with_name("tritonclient_sends.py")
    address = f"127.0.0.1:{getattr(server, kind)}"
    done = subprocess.run([sys.executable, str(program), kind, address], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx([FULL, SPARE])


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (
            "views",
            {"shape": [2, 4], "data": [TEXT] * 8},
            r"input 'views': expected shape \[-1, 1 to 3\], got \[2, 4\]",
        ),
        ("views", {"shape": [2, 0], "data": []}, r"expected shape \[-1, 1 to 3\], got \[2, 0\]"),
        ("views", {"data": [TEXT, TEXT, TEXT, None, TEXT, TEXT]}, "input 'views': row 1: padding before a value"),
        ("views", {"data": [TEXT, TEXT, TEXT, None, None, None]}, "input 'views': row 1: expected 1 to 3 values"),
        (
            "views",
            {"data": [TEXT] * 3 + [base64.b64encode(b"GIF89a").decode()] * 3},
            "input 'views': row 1: photo 0: this is GIF",
        ),
        ("views", {"data": [TEXT] * 5}, r"input 'views': shape \[2, 3\] needs 6 values, got 5"),
        ("views", {"data": [[TEXT] * 3, [TEXT] * 2]}, r"expected shape \[2, 3\], got lists of another length"),
        ("sizes", {"data": [3, 4, None, None, 1, None, 3, 4]}, "input 'sizes': row 1: a value is there in part"),
        ("sizes", {"data": [3, 4, 0, 4, 1, 2, 3, 4]}, "input 'sizes': expected int >= 1"),
        ("sizes", {"datatype": "FP64", "data": [3, 4, 1, 1.5, 1, 2, 3, 4]}, "expected a whole number from 1"),
        ("price", {"data": [100, "x"]}, r"input 'price': expected float \| null, got str at \[1\]"),
        ("price", {"data": [100, -1]}, r"input 'price': expected float >= 0.0 at \[1\]"),
        ("stock", {"data": [2**53 + 2, None]}, "input 'stock': expected int <= 9007199254740992"),
        ("brand", {"data": ["acme", "other"]}, "input 'brand': expected one of acme, zeta or null at"),
        ("title", {"data": ["a" * 41, "b"]}, "input 'title': expected str of length <= 40"),
        ("title", {"data": [None, "b"]}, "input 'title': expected str, got null"),
        (
            "gift",
            {"datatype": "FP64", "data": [0.5, None]},
            "input 'gift': expected a whole number from 0 to 1 or null",
        ),
        ("gift", {"datatype": "INT64", "data": [1, 0]}, "input 'gift': expected datatype BOOL, got INT64"),
    ],
)
def test_what_does_not_fit_is_named_by_field_and_row(server: Server, name: str, change: Any, reason: str) -> None:
    inputs = [{**one, **change} if one["name"] == name else one for one in both()]
    response = server.infer({"inputs": inputs})
    assert response.status_code == 400, response.text
    assert re.search(reason, response.json()["error"]), response.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"views": []}, "length >= 1"),
        ({"views": [TEXT] * 4}, "length <= 3"),
        ({"views": TEXT}, "expected array, got str"),
        ({"sides": [TEXT]}, "length >= 2"),
        ({"views": [None, TEXT]}, "input 'views': row 0: padding before a value"),
        ({"title": None}, "expected str, got null"),
        ({"sizes": [[1, 2, 3]]}, "length <= 2"),
    ],
)
def test_v1_checks_the_number_of_values(server: Server, change: Any, reason: str) -> None:
    row = {"title": "hat", "views": [TEXT], "sizes": [[1, 2]], **change}
    response = server.client.post("/v1/models/garments:predict", json={"instances": [row]})
    assert response.status_code == 400
    assert reason in response.text


def test_every_photo_counts(server: Server) -> None:
    rows = [{"title": "hat", "views": [TEXT] * 3, "sizes": [[1, 2]]}] * 22
    response = server.client.post("/v1/models/garments:predict", json={"instances": rows})
    assert response.status_code == 400
    assert "at most 64 photos a request" in response.text


def test_the_cache_tells_missing_from_present(server: Server) -> None:
    inputs = both()
    first = scores(server.infer({"inputs": inputs}))
    inputs[1]["data"] = ["warm", "", None, None]
    inputs[7]["data"] = [None, "zeta"]
    second = scores(server.infer({"inputs": inputs}))
    tags = score(tokens=8, brand=None, known=3, numbers=(100, 7, 1, 1, 3, 1, 7, 2))
    assert first == pytest.approx([FULL, SPARE])
    assert second == pytest.approx([tags, SPARE - 0.125 + 0.5])


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (INPUTS[:3], "inputs tokens, brand, known"),
        ((*INPUTS[:3], Input(name="numbers", datatype="FP64")), r"tensor\(double\)"),
        ((*INPUTS[:3], Input(name="numbers", datatype="FP32", shape=(7,))), r"\[7\] a record"),
        ((*INPUTS[1:], Input(name="tokens", datatype="INT64", shape=())), r"\[\] a record"),
    ],
)
def test_a_model_that_takes_something_else_is_refused(tmp_path: Path, inputs: Any, reason: str) -> None:
    garments_folder(tmp_path, inputs=inputs)
    with pytest.raises(ModelRefused, match=f"(?s)model.onnx does not fit its signature.*{reason}"):
        Model("garments", bundle.read(tmp_path, expected=None))


def test_an_asset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    garments_folder(tmp_path, assets=("vocabulary.json", "thresholds.json", "index.safetensors"))
    with pytest.raises(ModelRefused, match=r"no index\.safetensors"):
        bundle.read(tmp_path, expected=None)


def test_code_that_cannot_load_its_assets_is_refused(tmp_path: Path) -> None:
    garments_folder(tmp_path, assets=("thresholds.json",))
    with pytest.raises(ModelRefused, match=r"(?s)cannot load its assets.*KeyError"):
        Model("garments", bundle.read(tmp_path, expected=None))


def test_a_changed_asset_is_refused(tmp_path: Path, start: Callable[..., Server]) -> None:
    digest = garments_folder(tmp_path)
    (tmp_path / "vocabulary.json").write_bytes(b"{}")
    server = start(tmp_path, "garments", env={"HALLMARK_MODEL_DIGEST": digest})
    assert server.process.wait(30) == 3
    assert "vocabulary.json of the model was changed" in server.process.stderr.read()  # type: ignore[union-attr]


def test_the_model_is_what_this_says(garments: Path) -> None:
    assert (garments / "model.onnx").read_bytes() == model()
