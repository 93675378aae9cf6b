"""Rules and dashboards name only what is exported: the model server, the monitor, the gateway and the watch say so themselves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import httpx
import pytest

from hallmark import metrics
from hallmark.artifacts import folder as folders
from hallmark.artifacts.signature import Signature
from hallmark.decision import engine
from hallmark.declaration.feature_view import FeatureView
from hallmark.drift import profile
from hallmark.drift.analysis import FORGIVEN
from hallmark.drift.verdict import COMPLETE
from hallmark.features.fields import Output
from hallmark.prompts import chat
from hallmark.render import alerts, monitoring
from hallmark.rollout.evidence import RolloutProgress
from hallmark.rollout.liveness import DomainCheck, Liveness
from hallmark.rollout.timeline import TimelineEntry
from inference_services.decision.metrics import DecisionMetrics
from inference_services.drift_monitor import exposition
from inference_services.transport.one_model import ServiceMetrics
from tests.hallmark.feature_store.shop import DECLARED, MINUTE, Shop
from tests.hallmark.render import foreign, promql
from tests.hallmark.render.prometheus import declared, groups_of
from tests.inference_services.drift_monitor.sidecar import FEATURES, ROOT, draw, exchange, free_port, onnx_model
from tests.local_cluster.gateways import call, gateway, service, upstream

SCRAPED = {"namespace", "pod", "instance", "job", "container"}
"""What the operator's PodMonitors add to every series."""
FRESH = declared("fraud", "drift.freshness={column: ordered_at, limit: 5m}", "serving.cache=64Mi")
DOMAINS = (FRESH, declared("authentication"))
Exported = dict[str, dict[str, set[str]]]
"""Metric -> label -> the values that were seen."""


def parsed(text: str) -> Exported:
    found: Exported = {}
    for name, written in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        labels = found.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', written):
            labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model server and a drift monitor after some requests: what both print."""
    folder = tmp_path_factory.mktemp("exporters") / "shop"
    folder.mkdir()
    (folder / "features.py").write_text(FEATURES)
    made: dict[str, Any] = {}
    exec(FEATURES, made)  # noqa: S102
    columns, scores = draw(2000, seed=1)
    (folder / "profile.json").write_text(profile.build(columns, scores=scores).model_dump_json())
    output = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = Signature(domain="shop", fields=made["FIELDS"], outputs=(output,))
    (folder / "signature.json").write_text(signature.model_dump_json())
    (folder / "model.onnx").write_bytes(onnx_model())
    folders.seal(folder)
    # Any number is a time; an amount is one of 1970, so that all are stale.
    (folder.parent / "serving.json").write_text(
        '{"cache": 8388608, "drift": {"minimum": 50, "window": 200, "freshness": {"column": "amount", "limit": "5m"}}}'
    )
    port, sink = free_port(), free_port()
    model = ["inference_services.runtime", "--model-name=shop", f"--http-port={port}"]
    watching = ["inference_services.drift_monitor", f"--port={sink}"]
    about = [f"--config={folder.parent / 'serving.json'}", f"--model-dir={folder}", "--host=127.0.0.1"]
    more = {
        "model": [f"--capture-url=http://127.0.0.1:{sink}/"],
        "monitor": [f"--runtime-metrics-url=http://127.0.0.1:{port}/metrics"],
    }
    environment = {**os.environ, "K_REVISION": "shop-00007"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *command, *about, *more[which]], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        for which, command in (("model", model), ("monitor", watching))
    ]
    try:
        with httpx.Client(timeout=30, trust_env=False) as client:
            answers(client, f"http://127.0.0.1:{sink}/healthz")
            answers(client, f"http://127.0.0.1:{port}/v2/health/ready")

            def ask(row: int) -> None:
                request, _ = exchange(columns, scores, slice(row, row + 1))
                client.post(f"http://127.0.0.1:{port}/v2/models/shop/infer", json=request).raise_for_status()

            for row in range(60):
                ask(row)
            yield text_of(client, f"http://127.0.0.1:{port}/metrics", f"http://127.0.0.1:{sink}/metrics", ask)
    finally:
        for process in running:
            process.terminate()
            process.wait(timeout=20)


def answers(client: httpx.Client, url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            if client.get(url).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < until, url
        time.sleep(0.05)


def text_of(client: httpx.Client, model: str, monitor: str, ask: Callable[[int], None]) -> str:
    """Both texts once all is in them; requests go on, since the monitor counts loss between two looks at the runtime."""
    until = time.monotonic() + 20
    for row in range(60, 2000):
        ask(row)
        text = client.get(monitor).text
        if "hallmark_drift_psi{" in text and "hallmark_drift_captured_ratio{" in text:
            return client.get(model).text + text
        assert time.monotonic() < until, text
        time.sleep(0.1)
    raise AssertionError("2,000 requests, and not all series")


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real Envoy after a request."""

    async def scenario() -> str:
        folder = tmp_path_factory.mktemp("gateway")
        async with gateway(folder) as (envoy, on):
            await envoy.apply((service(0, await upstream(folder, on, "r1"), None),))
            await call(envoy, 1)
            for _ in range(100):
                if "envoy_hallmark_milliseconds_count" in (text := await envoy.stats()):
                    return text
                await asyncio.sleep(0.05)
            return text

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def watched() -> str:
    """A watch in a rollout."""
    liveness, now = Liveness(), datetime.now(UTC)
    progress = RolloutProgress(id="a", version=2, phase="canary", percent=10, started=now, since=now)
    sides = {"stable": "fraud-predictor-00001", "canary": "fraud-predictor-00002"}
    liveness.held("fraud", True)
    liveness.checked(
        "fraud",
        DomainCheck(
            progress=progress, deadline=now + timedelta(hours=1), revisions=sides, versions={"stable": 1, "canary": 2}
        ),
    )
    liveness.checked(
        "fraud",
        DomainCheck(failed=True, progress=progress, deadline=now, revisions=sides, versions={"stable": 1, "canary": 2}),
    )
    liveness.told("fraud", TimelineEntry(at=now, correlation="", kind="promote", text=""))
    liveness.registered("fraud", now)
    return liveness.text()


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job of a view, and answers of a model that reads it: what the stream and the monitor beside the model print of them."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.ingest(*(shop.order(number, f"b{number}", ago=MINUTE) for number in range(120)))
    shop.run()
    ring = shop.ring(*((f"r{number}", f"b{number}") for number in range(120)))
    return shop.metrics() + metrics.exposed(metrics.DRIFT["feature_age_seconds"], exposition.ages(ring))


@pytest.fixture(scope="module")
def decided() -> str:
    """What the service that decides and the one that asks a reviewer export, with each value that a label has."""
    decision = DecisionMetrics(model="bags", unit="u")
    for fate in get_args(engine.Fate):
        decision.add("node_answers", node="view", fate=fate)
    for gauge in ("expired", "share_stopped", "guarantee_labels"):
        decision.set(gauge, 0.0)
    decision.set("minute_price", 0.0, person="expert")
    reviewer = ServiceMetrics(metrics.REVIEWER, model="bags-reviewer", prompt="p")
    for cause in ("answered", *chat.CAUSES):
        reviewer.add("reviews", cause=cause)
        reviewer.add("tries", cause=cause)
    return decision.render().decode() + reviewer.render().decode()


@pytest.fixture(scope="module")
def ours(served: str, counted: str, watched: str, streamed: str, decided: str) -> Exported:
    return {**parsed(served), **parsed(counted), **parsed(watched), **parsed(streamed), **parsed(decided)}


def expressions() -> Iterator[tuple[str, str]]:
    """Where each stands, and what it says."""
    objects = [
        *(each for domain in DOMAINS for each in monitoring.objects(domain)),
        *monitoring.of_platform([FeatureView.model_validate(DECLARED)]),
    ]
    for group in groups_of(objects):
        for rule in group["rules"]:
            yield f"{group['name']} {rule.get('alert') or rule['record']}", rule["expr"]
    for each in objects:
        if each["kind"] == "ConfigMap":
            yield from of_dashboard(each)


def of_dashboard(config_map: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, text in config_map["data"].items():
        content = json.loads(text)
        for panel in content["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name} {panel['title']}", target["expr"]
        for each in content["annotations"]["list"]:
            yield f"{name} {each['name']}", each["expr"]


def recorded() -> dict[str, set[str]]:
    """What the recording rules give: the labels that they group by last, and those that they set."""
    objects = [each for domain in DOMAINS for each in monitoring.objects(domain)]
    found: dict[str, set[str]] = {}
    for group in groups_of(objects):
        for rule in group["rules"]:
            if "record" in rule:
                outer = re.match(r"\(?\(?(?:1 - )?sum by \(([^)]*)\)", rule["expr"])
                labels = {label.strip() for label in outer[1].split(",")} if outer else set()
                found.setdefault(rule["record"], set()).update(labels, rule["labels"])
    return found


def test_every_declared_metric_is_exported_with_its_labels_and_nothing_else_is(
    served: str, counted: str, watched: str
) -> None:
    families = (*metrics.RUNTIME.values(), *metrics.DRIFT.values(), *metrics.WATCH.values())
    everything = {**parsed(served), **parsed(watched)}
    late = {
        metrics.DRIFT["final_labels"].name,
        metrics.DRIFT["feature_age_seconds"].name,
        metrics.DRIFT["promise_kept_ratio"].name,
        metrics.DRIFT["promise_labels"].name,
    }  # of labels, of models that read views, and of answered ranges
    for family in families:
        labels = set(family.labels) | ({"le"} if family.kind == "histogram" else set())
        for sample in family.samples:
            if sample not in late:
                mine = labels if sample.endswith("_bucket") else labels - {"le"}
                assert set(everything[sample]) == mine, sample
    declared_names = {sample for family in families for sample in family.samples}
    assert {name for name in everything if name.startswith("hallmark_")} <= declared_names
    envoy = {name: labels for name, labels in parsed(counted).items() if name.startswith("envoy_hallmark")}
    wanted = {
        sample for family in (metrics.GATEWAY_REQUESTS, metrics.GATEWAY_MILLISECONDS) for sample in family.samples
    }
    assert set(envoy) == wanted
    assert set(metrics.GATEWAY_REQUESTS.labels) == set(envoy[metrics.GATEWAY_REQUESTS.name])


def test_the_edges_that_are_exported_are_the_declared_ones(served: str, counted: str) -> None:
    def edges(text: str, name: str) -> set[float]:
        return {float(le) for le in parsed(text)[name]["le"]} - {float("inf")}

    assert edges(served, metrics.RUNTIME_BUCKETS) == set(metrics.SECONDS)
    assert edges(counted, metrics.GATEWAY_MILLISECONDS.samples[0]) == set(metrics.MILLISECONDS)
    key, text = metrics.ISTIO_EDGES
    assert key == "sidecar.istio.io/statsHistogramBuckets"
    assert json.loads(text) == {"istiocustom": list(metrics.MILLISECONDS)}


def test_the_gateways_pods_are_given_our_edges() -> None:
    key, text = metrics.ISTIO_EDGES
    manifests = [path.read_text() for path in (ROOT / "manifests" / "platform").rglob("*.yaml")]
    given = [line for content in manifests for line in content.splitlines() if key in line]
    assert given and all(text in line for line in given)


def test_rules_and_dashboards_name_only_metrics_labels_and_values_that_exist(ours: Exported) -> None:
    known = {name: set(labels) | SCRAPED for name, labels in ours.items()}
    for name, labels in recorded().items():
        known[name] = known.get(name, set()) | labels | {"le"}
    known |= {name: set(labels) | SCRAPED for name, labels in foreign.EVERY.items()}
    wrong, seen = [], set()
    for where, expr in expressions():
        picked = list(promql.selectors(expr))
        assert picked, f"{where}: {expr}"
        free = promql.made(expr)
        for selector in picked:
            seen.add(selector.metric)
            if selector.metric not in known:
                wrong.append(f"{where}: no metric {selector.metric}")
                continue
            wrong += [
                f"{where}: no label {each} on {selector.metric}" for each in selector.labels - known[selector.metric]
            ]
            for label, value in selector.equals:
                values = ours.get(selector.metric, {}).get(label)
                if values is not None and label not in ("domain", "namespace") and value not in values:
                    wrong.append(f"{where}: {label} is never {value} on {selector.metric}, but {sorted(values)}")
            free |= known[selector.metric]
        wrong += [f"{where}: groups by {label}, which nothing has" for label in promql.grouped(expr) - free]
    assert not wrong, "\n".join(wrong)
    assert set(foreign.EVERY) <= seen, "a foreign metric that nobody reads any more"


def test_the_reader_of_names_sees_a_wrong_one(ours: Exported) -> None:
    expr = 'sum by (pdo) (rate(hallmark_drfit_verdict{state="DRIFT",vairant=~"a{5}"}[5m])) / on (x) vector(1)'
    (found,) = promql.selectors(expr)
    assert found == ("hallmark_drfit_verdict", {"state", "vairant"}, {("state", "DRIFT")})
    assert promql.grouped(expr) == {"pdo", "x"}
    assert "hallmark_drfit_verdict" not in ours and "hallmark_drift_verdict" in ours


def test_thresholds_are_those_of_the_drift_monitor() -> None:
    assert (alerts.CAPTURED, alerts.STALE) == (COMPLETE, FORGIVEN)
