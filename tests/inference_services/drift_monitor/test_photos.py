"""Photos: watched by their statistics, read once, broken ones counted."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sidecar import event

from hallmark.artifacts.signature import Signature
from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.features import image
from hallmark.features.fields import Field, Output
from hallmark.tasks import Multiclass
from inference_services.capture import exchanges
from inference_services.capture.exchanges import NO_MARKS, Answered
from inference_services.capture.observing import EMBEDDED, OBSERVED
from inference_services.capture.records import Call
from inference_services.drift_monitor import events
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.reference import Reference


def photo(level: int, *, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    pixels = random.normal(level, 40, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    return made(embedded=False)


def made(*, embedded: bool) -> Monitor:
    random = np.random.default_rng(1)
    labels = random.choice(np.array(["coat", "shoe"], dtype=object), 300)
    observed = image.statistics([photo(int(random.integers(100, 160)), seed=at) for at in range(300)])
    signature = Signature(
        domain="listing",
        task=Multiclass(labels=("coat", "shoe")),
        fields=(Field(name="image", datatype="BYTES", media="image"),),
        outputs=(Output(name="probabilities", datatype="FP32", shape=(2,)),),
        labels=("coat", "shoe"),
    )
    learned = profile.build(observed, scores={"label": labels})
    reference = Reference("sha256:0", signature, learned, lambda columns: image.statistics(columns["image"]))
    if embedded:
        some = image.descriptors([photo(130, seed=at) for at in range(30)])
        reference = replace(reference, embed=lambda columns: image.descriptors(columns["image"]), sample=some)
    return Monitor(reference, Drift(window=100, minimum=50, threshold=0.25))


def send(monitor: Monitor, photos: list[Any], *, prefix: str) -> None:
    """An exchange a photo, response with probabilities beside the label."""
    parsed = []
    for at, data in enumerate(photos):
        request = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [data]}]}
        outputs = [
            {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": [0.3, 0.7]},
            {"name": "label", "shape": [1], "datatype": "BYTES", "data": [["coat", "shoe"][at % 2]]},
        ]
        pair = [("request", request), ("response", {"outputs": outputs})]
        parsed += [event(f"{prefix}-{at}", half, body, revision="v1", service="listing") for half, body in pair]
    good, wrong = events.parse({"content-type": "application/cloudevents-batch+json"}, dumps(parsed))
    assert not wrong and monitor.take(good) == []


def dumps(items: Any) -> bytes:
    import json

    return json.dumps(items).encode()


def encoded(level: int, *, seed: int) -> str:
    return base64.b64encode(photo(level, seed=seed)).decode()


def test_photos_become_statistics_and_broken_ones_are_missing(monitor: Monitor) -> None:
    clean = [encoded(100 + at * 60 // 99, seed=1000 + at) for at in range(100)]
    clean[7], clean[8] = "not base64 at all!", base64.b64encode(b"GIF89a not a photo").decode()
    send(monitor, clean, prefix="clean")
    verdict = monitor.verdict("v1")
    by_name = {column.name: column for column in verdict.columns}
    assert (verdict.state, verdict.rows, monitor.decoder.unreadable) == ("OK", 100, 2)
    assert by_name["brightness"].missing == 0.02 and by_name["label"].missing == 0


def test_darker_photos_are_drift_by_name(monitor: Monitor) -> None:
    send(monitor, [encoded(60, seed=2000 + at) for at in range(100)], prefix="dark")
    verdict = monitor.verdict("v1")
    drifted = [column.name for column in verdict.columns if column.drifted]
    assert verdict.state == "DRIFT" and "brightness" in drifted and "aspect" not in drifted


def take(monitor: Monitor, columns: dict[str, Any], rows: int) -> None:
    """An event of columns, as our server sends it."""
    outputs = {"label": np.array(["coat", "shoe"] * rows, dtype=object)[:rows]}
    body = exchanges.packed(
        [Answered([Call(columns, outputs, rows)], [1] * rows, [9] * rows, ["c"] * rows, [NO_MARKS] * rows)], prefix="p"
    )
    head = {"specversion": "1.0", "type": exchanges.TYPE, "id": "a", "source": "/", "revision": "v1"}
    head |= {"inferenceservicename": "listing", "namespace": "listing"}
    captured = events.columns({f"ce-{name}": value for name, value in head.items()}, body)
    assert captured is not None and monitor.take_columns(captured) == rows


def test_what_the_server_observed_is_what_the_monitor_would_have() -> None:
    here, there = made(embedded=True), made(embedded=True)
    photos = np.array([photo(100 + at, seed=at) for at in range(60)], dtype=object)
    take(here, {"image": photos}, 60)
    numbers = {f"{OBSERVED}{name}": values for name, values in image.statistics(photos).items()}
    take(there, numbers | {EMBEDDED: image.descriptors(photos)}, 60)
    one, other = here.windows["v1"], there.windows["v1"]
    assert {name: values.tolist() for name, values in one.columns().items()} == {
        name: values.tolist() for name, values in other.columns().items()
    }
    assert here.verdict("v1").columns == there.verdict("v1").columns
    assert "embedding" in {each.name for each in there.verdict("v1").columns}


def test_numbers_of_another_form_and_those_that_a_server_could_not_make_are_missing() -> None:
    monitor = made(embedded=True)
    told = image.statistics([photo(100 + at, seed=at) for at in range(60)])
    numbers: dict[str, Any] = {f"{OBSERVED}{name}": values.astype(object) for name, values in told.items()}
    for values in numbers.values():
        values[:3] = None
    take(monitor, numbers | {EMBEDDED: np.zeros((60, 3))}, 60)
    by_name = {column.name: column for column in monitor.verdict("v1").columns}
    assert by_name["brightness"].missing == 0.05 and monitor.decoder.unreadable == 3
