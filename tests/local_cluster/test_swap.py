"""A swap of units that is cut off between any two steps: the old unit answers every request, and the new one is never ready."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from broken_runtime import STEPS

sys.path.insert(0, str(Path(__file__).parents[1] / "inference_services" / "runtime"))

from stock import items, stock_folder

from hallmark.declaration import serving_config
from hallmark.declaration.serving_config import RetrievalServing, ServingConfig
from hallmark.render import inferenceservice
from inference_services.runtime import change_log
from inference_services.runtime.change_log import ItemChange

ROOT = Path(__file__).parents[2]
STOCK = items(300)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def runtime(*broken: str) -> dict[str, Any]:
    """The runtime as it is, or one that breaks."""
    found: dict[str, Any] = yaml.safe_load(
        (ROOT / "inference_services" / "runtime" / "servingruntime.yaml").read_text()
    )
    found["spec"]["containers"] = found["spec"]["containers"][:1]
    if broken:
        found["metadata"]["name"] = "broken"
        found["spec"]["containers"][0]["command"] = [
            "python",
            str(Path(__file__).parent / "broken_runtime.py"),
            *broken,
        ]
    return found


def test_a_swap_that_is_cut_off_between_any_two_steps_leaves_the_old_unit_live(
    cluster: Callable[..., Any], tmp_path: Path
) -> None:
    changes = f"file://{tmp_path / 'changes'}"
    log = change_log.connect(changes)
    put = {**STOCK[0], "item_id": "n1", "title": "camel cashmere cape"}
    log.append([ItemChange("n1", time.time(), put), ItemChange("i3", time.time())])
    serving = ServingConfig(retrieval=RetrievalServing(fresh=1.0, live=1.0))
    config = serving.reference
    models = tmp_path / "models" / "fraud"
    digests = {version: stock_folder(models / str(version), STOCK, seed=version) for version in (1, 2)}
    asked = {"instances": [{"query": "camel cashmere cape"}]}

    def apply(c: Any, version: int, percent: int | None, by: str, mark: str = "") -> None:
        env = {
            "HALLMARK_MODEL_DIGEST": digests[version],
            "HALLMARK_CHANGES": changes,
            serving_config.DIGEST_ENV: config.digest,
            "TRIED": mark,
        }
        model = {"modelFormat": {"name": "onnx"}, "protocolVersion": "v2", "runtime": by}
        model |= {
            "storageUri": f"pvc://models/fraud/{version}",
            "env": [{"name": name, "value": value} for name, value in env.items()],
        }
        volumes = [{"name": inferenceservice.VOLUME, "configMap": {"name": config.name}}]
        c.apply(version, percent=percent, model=model, volumes=volumes)

    async def answers(c: Any, count: int) -> None:
        for _ in range(count):
            answer = await c.client.post(f"{c.url}/v1/models/fraud:predict", json=asked)
            assert (answer.status_code, answer.headers["x-hallmark-variant"]) == (200, "stable"), answer.text
            found = answer.json()["predictions"][0]["items"]
            assert "n1" in found and "i3" not in found

    async def scenario() -> None:
        async with cluster() as c:
            c.store.create(runtime())
            c.store.create(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": config.name, "namespace": "fraud"},
                    "data": {"serving.json": serving.text},
                }
            )
            apply(c, 1, None, "hallmark-runtime")
            await c.ready({"00001": 100}, seconds=60)
            for number, (step, kind) in enumerate((step, kind) for step in STEPS for kind in ("raise", "kill")):
                mark = tmp_path / f"mark-{number}"
                broken = runtime(step, kind, str(mark))
                broken["metadata"]["name"] = f"broken-{number}"
                c.store.create(broken)
                apply(c, 2, 50, f"broken-{number}", str(mark))
                await c.until(lambda mark=mark: mark.exists(), seconds=60)
                await answers(c, 12)
                made = c.predictor["latestCreatedRevision"]
                assert made != c.predictor["latestReadyRevision"], (step, kind)
                assert c.predictor["latestReadyRevision"].endswith("00001"), (step, kind)
            apply(c, 2, None, "hallmark-runtime")
            await c.until(lambda: list(c.shares.values()) == [100] and "00001" not in c.shares, seconds=90)
            answer = await c.client.post(f"{c.url}/v1/models/fraud:predict", json=asked)
            assert answer.status_code == 200 and "n1" in answer.json()["predictions"][0]["items"]

    asyncio.run(scenario())
