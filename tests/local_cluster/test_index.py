"""A unit that does not fit, through the whole path: a candidate whose index is another's, or has a byte that is another, and the old one serves."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_model import configured

sys.path.insert(0, str(Path(__file__).parents[1] / "inference_services" / "runtime"))

from stock import encoder, items, stock_folder

from hallmark.artifacts.folder import INDEX, seal

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_candidate_whose_index_does_not_fit_is_refused_and_the_old_unit_serves(
    cluster: Callable[..., Any], tmp_path: Path
) -> None:
    runtime = yaml.safe_load((ROOT / "inference_services" / "runtime" / "servingruntime.yaml").read_text())
    runtime["spec"]["containers"] = runtime["spec"]["containers"][:1]
    models = tmp_path / "models" / "fraud"
    asked = {"instances": [{"query": "red wool coat"}]}

    def predictor(c: Any, version: int, digest: str, percent: int | None, given: Any) -> None:
        volumes, serving = given
        env = [{"name": "HALLMARK_MODEL_DIGEST", "value": digest}, serving]
        model = {"modelFormat": {"name": "onnx"}, "protocolVersion": "v2", "runtime": "hallmark-runtime", "env": env}
        model["storageUri"] = f"pvc://models/fraud/{version}"
        c.apply(version, percent=percent, model=model, volumes=volumes)

    async def refused(c: Any, version: int, digest: str, given: Any, said: str) -> None:
        predictor(c, version, digest, 50, given)
        await c.until(lambda: said in c.status["modelStatus"].get("lastFailureInfo", {}).get("message", ""), seconds=60)
        assert c.status["modelStatus"]["lastFailureInfo"]["exitCode"] == 3
        answers = [await c.client.post(f"{c.url}/v1/models/fraud:predict", json=asked) for _ in range(20)]
        assert {(a.status_code, a.headers["x-hallmark-variant"]) for a in answers} == {(200, "stable")}
        assert {a.json()["predictions"][0]["found"] for a in answers} == {10}

    async def scenario() -> None:
        async with cluster() as c:
            c.store.create(runtime)
            given = configured(c.store)
            digest = stock_folder(models / "1", items(300))
            predictor(c, 1, digest, None, given)
            await c.ready({"00001": 100}, seconds=60)
            change = await c.client.post(f"{c.url}/v2/models/fraud/items", json={"delete": ["i1"]})
            assert change.status_code == 403 and "never through the gateway" in change.text
            shutil.copytree(models / "1", models / "2")
            (models / "2" / "encoder.onnx").write_bytes(encoder(seed=99))  # of the same dimension
            await refused(c, 2, seal(models / "2"), given, "the index was made by another encoder")
            shutil.copytree(models / "1", models / "3")
            part = models / "3" / INDEX / "vectors.npy"
            data = bytearray(part.read_bytes())
            data[-1] ^= 1
            part.write_bytes(data)
            await refused(c, 3, digest, given, "index/vectors.npy of the model was changed")

    asyncio.run(scenario())
