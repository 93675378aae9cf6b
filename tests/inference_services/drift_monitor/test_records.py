"""Optional and varying fields as the monitor reads them: missing is missing, photos are photos, broken is counted."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sidecar import event

from hallmark.artifacts import bundle, folder, publication
from hallmark.artifacts.signature import Signature
from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.features import image
from hallmark.features.fields import Columns, Field, Output
from inference_services.drift_monitor import events, reference
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.records import Decoder
from inference_services.drift_monitor.reference import Reference

FIELDS = (
    Field(name="price", datatype="FP64", optional=True),
    Field(name="gift", datatype="BOOL", optional=True),
    Field(name="views", datatype="BYTES", media="image", shape=(None,), at_most=3),
    Field(name="sides", datatype="BYTES", media="image", shape=(2,)),
    Field(name="vector", datatype="FP32", shape=(2,)),
)
SIGNATURE = Signature(domain="shop", fields=FIELDS, outputs=(Output(name="score", datatype="FP32"),))


def photo(level: int = 120) -> bytes:
    stream = BytesIO()
    Image.new("L", (32, 32), level).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


TEXT = base64.b64encode(photo()).decode()


def observe(columns: Columns) -> Columns:
    return {
        "price": columns["price"],
        "gift": columns["gift"],
        "views": np.array([len(each) for each in columns["views"]], dtype=np.float64),
        "brightness": np.array([image.statistics(list(sides))["brightness"].mean() for sides in columns["sides"]]),
        "length": np.linalg.norm(columns["vector"], axis=1),
    }


def decoder() -> Decoder:
    names = {name: np.zeros(1) for name in ("price", "gift", "views", "brightness", "length")}
    return Decoder(Reference("", SIGNATURE, profile.build(names), observe), most=100)


def tensors(**changes: Any) -> dict[str, Any]:
    """The V2 request of two records, with tensors replaced, or left out where None."""
    made: dict[str, Any] = {
        "price": {"shape": [2], "datatype": "FP64", "data": [1.5, None]},
        "gift": {"shape": [2], "datatype": "BOOL", "data": [None, True]},
        "views": {"shape": [2, 2], "datatype": "BYTES", "data": [TEXT, TEXT, TEXT, ""]},
        "sides": {"shape": [2, 2], "datatype": "BYTES", "data": [TEXT] * 4},
        "vector": {"shape": [2, 2], "datatype": "FP32", "data": [[3, 4], [0, 2]]},
        **changes,
    }
    return {"inputs": [{"name": name, **tensor} for name, tensor in made.items() if tensor is not None]}


def seen(body: dict[str, Any]) -> tuple[dict[str, list[Any]], int]:
    reading = decoder()
    (part,) = reading.requests([body])
    return {name: values.tolist() for name, values in part.columns.items()}, reading.unreadable  # type: ignore[union-attr]


def test_photos_of_a_field_with_a_shape_are_read() -> None:
    found, unreadable = seen(tensors())
    assert found["brightness"] == pytest.approx([120 / 255] * 2, abs=0.01)
    assert (found["views"], found["length"], unreadable) == ([2, 1], [5, 2], 0)


def test_null_is_missing_and_not_malformed() -> None:
    found, unreadable = seen(tensors())
    np.testing.assert_array_equal(found["price"], [1.5, np.nan])
    np.testing.assert_array_equal(found["gift"], [np.nan, 1.0])
    left_out, _ = seen(tensors(price=None, gift=None))
    assert np.isnan(left_out["price"]).all() and np.isnan(left_out["gift"]).all()
    assert unreadable == 0


@pytest.mark.parametrize(
    ("name", "change", "unreadable"),
    [
        ("sides", {"shape": [2, 2], "datatype": "BYTES", "data": [TEXT, TEXT, TEXT, "not base64!"]}, 1),
        ("sides", {"shape": [2, 3], "datatype": "BYTES", "data": [TEXT] * 6}, 0),
        ("sides", {"shape": [2, 2], "datatype": "BYTES", "data": [TEXT, TEXT, TEXT]}, 0),
        ("views", {"shape": [2, 2], "datatype": "BYTES", "data": [TEXT, 7, {}, "x"]}, 0),
        ("views", {"shape": [2, 0], "datatype": "BYTES", "data": []}, 0),
        ("vector", {"shape": [2, 2], "datatype": "FP32", "data": [[3, "x"], [0]]}, 0),
        ("vector", {"shape": [2, 2], "datatype": "FP32", "data": [[[3]], None]}, 0),
        ("price", {"shape": [2], "datatype": "FP64", "data": ["x", {}]}, 0),
        ("gift", {"shape": [2], "datatype": "BOOL", "data": [7, []]}, 0),
    ],
)
def test_broken_values_cost_only_themselves(name: str, change: Any, unreadable: int) -> None:
    found, got = seen(tensors(**{name: change}))
    assert got == unreadable
    if name == "sides":
        assert np.isnan(np.array(found["brightness"], dtype=float)).any()
    good = {"price": "price", "gift": "gift", "vector": "length"}
    for field, column in good.items():
        if field != name and not unreadable:
            expected = seen(tensors())[0][column]
            np.testing.assert_array_equal(found[column], expected)


def test_the_share_of_missing_values_is_watched() -> None:
    random = np.random.default_rng(3)
    prices = np.where(random.random(2000) < 0.1, np.nan, random.normal(100, 10, 2000))
    signature = Signature(domain="shop", fields=FIELDS[:1], outputs=SIGNATURE.outputs)
    learned = profile.build({"price": prices}, scores={"score": random.random(2000)})
    assert learned.columns[0].missing == pytest.approx(0.1, abs=0.02)
    monitor = Monitor(Reference("", signature, learned, dict), Drift(window=400, minimum=200))
    batch = []
    for at in range(400):
        price = None if random.random() < 0.6 else float(random.normal(100, 10))
        inputs = [{"name": "price", "shape": [1], "datatype": "FP64", "data": [price]}]
        outputs = [{"name": "score", "shape": [1], "datatype": "FP32", "data": [float(random.random())]}]
        batch += [
            event(f"e{at}", "request", {"inputs": inputs}, revision="v1"),
            event(f"e{at}", "response", {"outputs": outputs}, revision="v1"),
        ]
    good, wrong = events.parse({"content-type": "application/cloudevents-batch+json"}, json.dumps(batch).encode())
    assert not wrong and monitor.take(good) == []
    (price,) = (column for column in monitor.verdict("v1").columns if column.name == "price")
    assert price.drifted and price.missing == pytest.approx(0.6, abs=0.1)
    assert monitor.counts["malformed"] == 0


def test_the_monitor_reads_the_assets_that_are_published_with_the_model(tmp_path: Path) -> None:
    source = """
import json
import numpy as np
def load(assets):
    return set(json.loads(assets["words.json"]))
def encode(columns, words):
    return np.zeros((len(columns["title"]), 1), np.float32)
def observe(columns, words):
    return {"known": np.array([sum(word in words for word in title.split()) for title in columns["title"]])}
"""
    model = tmp_path / "model"
    model.mkdir()
    fields = (Field(name="title", datatype="BYTES", media="text", longest=99),)
    signature = Signature(domain="shop", fields=fields, outputs=SIGNATURE.outputs, assets=("words.json",))
    (model / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (model / "profile.json").write_text(profile.build({"known": np.arange(3)}).model_dump_json(), encoding="utf-8")
    (model / "features.py").write_text(source, encoding="utf-8")
    (model / "words.json").write_text('["wool", "coat"]', encoding="utf-8")
    (model / "unread.txt").write_text("not an asset", encoding="utf-8")
    digest = folder.seal(model)
    publication.publish(bundle.read(model, expected=digest, keep=bundle.WATCHED), tmp_path / "published")
    found = publication.read(tmp_path / "published", digest)
    assert set(found.files) == {"signature.json", "profile.json", "features.py", "words.json"}
    watched = reference.of(found).observe({"title": np.array(["a wool coat", "hat"], dtype=object)})
    assert watched["known"].tolist() == [2, 0]
