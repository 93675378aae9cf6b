"""The requests that every contender is sent, ready-made."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.contenders import ROUTE

SIDE = 224


@dataclass(frozen=True)
class Body:
    """A request's body and headers."""

    data: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    def raw(self) -> bytes:
        """The whole HTTP/1.1 request."""
        lines = [f"POST {ROUTE} HTTP/1.1", "host: bench", f"content-length: {len(self.data)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.data


def floats(*shape: int) -> Any:
    """The same numbers each time."""
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def json_floats(*shape: int) -> Body:
    """Floats as JSON."""
    data = [round(float(value), 4) for value in floats(*shape).ravel()]
    tensor = {"name": "input", "shape": shape, "datatype": "FP32", "data": data}
    return Body(json.dumps({"id": "1", "inputs": [tensor]}).encode())


def binary_floats(*shape: int) -> Body:
    """Floats as a binary tensor, and the answer too."""
    return _binary("input", shape, "FP32", floats(*shape).tobytes())


def photo(data: bytes) -> Body:
    """One photo as a BYTES tensor."""
    return _binary("image", (1,), "BYTES", struct.pack("<I", len(data)) + data)


def photo_text(data: bytes) -> Body:
    """One photo as base64 in JSON: the stock server answers 500 to a BYTES tensor that is not UTF-8."""
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
    return Body(json.dumps({"id": "1", "inputs": [tensor]}).encode())


def order() -> Body:
    """A fraud request, 17 fields of one value, as JSON."""
    from domains.fraud.features import FIELDS

    kinds: dict[str, Any] = {"BOOL": True, "FP64": 0.5}
    inputs = [
        {
            "name": each.name,
            "shape": [1],
            "datatype": each.datatype,
            "data": [each.categories[0] if each.categories else kinds.get(each.datatype, 3)],
        }
        for each in FIELDS
    ]
    return Body(json.dumps({"id": "1", "inputs": inputs}).encode())


def jpegs(count: int) -> list[bytes]:
    """Photos of clothes, 224 x 224: real ones where ../shared/data or HALLMARK_DATA has them, else drawn ones."""
    from PIL import Image

    out = []
    for data in _real(count) or _drawn(count):
        stream = io.BytesIO()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        out.append(stream.getvalue())
    return out


def _real(count: int) -> list[bytes]:
    folder = Path(os.environ.get("HALLMARK_DATA", Path(__file__).parents[3].parent / "shared" / "data")) / "clothing"
    if not (folder / "images.csv").is_file():
        return []
    with (folder / "images.csv").open(encoding="utf-8", newline="") as table:
        names = [row["image"] for row in csv.DictReader(table)]
    found = [path for path in (folder / "images" / _file(name) for name in names[: 2 * count]) if path.is_file()]
    return [path.read_bytes() for path in found[:count]] if len(found) >= count else []


def _file(name: str) -> str:
    return name if name.endswith(".jpg") else f"{name}.jpg"


def _drawn(count: int) -> list[bytes]:
    from domains.listing.synthetic import photos

    return list(photos(count, seed=7)["image"])


def _binary(name: str, shape: tuple[int, ...], datatype: str, blob: bytes) -> Body:
    parameters = {"binary_data_size": len(blob)}
    tensor = {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}
    text = json.dumps({"id": "1", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    kind = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
    return Body(text + blob, kind)
