"""The fraud model behind the real server: callers send orders, and its answers are those of the model on what training would have joined."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from served import ROOT, Server

import domains.fraud.synthetic as marketplace
from hallmark.artifacts import bundle
from hallmark.artifacts.folder import signature
from hallmark.feature_store import offline, sources
from hallmark.learners.model import columns
from hallmark.settings import Settings
from tools.traffic import synthetic


def order(body: bytes) -> dict[str, Any]:
    return {each["name"]: each["data"][0] for each in json.loads(body)["inputs"]}


def test_an_order_is_judged_by_what_is_known_of_its_buyer_device_and_address(
    tmp_path: Path, trained_fraud: Any, start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference_services.runtime.model import Model

    for name in ("orders", "order_events"):
        monkeypatch.setattr(marketplace, name, functools.partial(getattr(marketplace, name), per_day=1000))
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
    asked = synthetic("fraud", count=200, seed=3, shift="new_fraud_pattern", settings=settings)
    assert asked.prepare() > 0
    server = start(trained_fraud.folder, "fraud", env={"HALLMARK_FEATURE_STORE": settings.feature_store})
    server.wait_ready()
    found = [server.infer(body).json()["outputs"][0]["data"][0] for body in asked.bodies]

    orders = pd.DataFrame([order(body) for body in asked.bodies]).assign(at=pd.Timestamp.now("UTC").as_unit("us"))
    taken = signature(trained_fraud.folder)
    views = [use.view for use in taken.views]
    files = sources.snapshot(sources.place(settings, "orders@1")).files()
    joined = pd.read_parquet(
        offline.training_frame(orders, views, {"orders@1": files}, tmp_path / "joined", time="at")[0]
    )
    assert [view.reference for view in views] == ["buyer_orders@1", "device@1", "ip_orders@1"]
    assert all((joined[name] > 0).any() for use in taken.views for name in use.fields)
    model = Model("fraud", bundle.read(trained_fraud.folder, expected=None))
    expected = model.predict(columns(joined, taken.fields), len(joined))["score"]
    assert np.allclose(found, expected, atol=1e-6)

    whole = json.loads(asked.bodies[0])
    sent = {"name": "buyer_orders_30d", "shape": [1], "datatype": "INT64", "data": [0]}
    refused = server.infer({"inputs": [*whole["inputs"], sent]})
    assert refused.status_code == 400 and "no such input" in refused.json()["error"], "what is looked up is not sent"
    known = [each for each in whole["inputs"] if each["name"] != "device_id"]
    assert server.infer({"inputs": known}).status_code == 200, "a device may be worked out later"
