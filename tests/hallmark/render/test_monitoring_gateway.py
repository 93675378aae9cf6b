"""From Istio's counts to a rollout's evidence: a real Prometheus with the generated rules between two gateway pods and the meter."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hallmark.metrics import MILLISECONDS
from hallmark.render import istio
from hallmark.rollout.evidence import RequestCounts
from hallmark.rollout.meter import NAMES, Meter, Variants, counts
from hallmark.rollout.prometheus import Prometheus
from hallmark.rollout.samples import Sample
from inference_services.runtime.metrics import Metrics
from local_cluster.samples import parse
from tests.hallmark.render.prometheus import declared
from tests.hallmark.rollout.test_prometheus import _ready as is_ready
from tests.hallmark.rollout.test_prometheus import eventually, free_port
from tests.web import serving

STABLE, CANARY = "fraud-predictor-00001", "fraud-predictor-00002"
VARIANTS = Variants(stable=STABLE, canary=CANARY)
SERVER = {"reporter": "source", "source_workload": "istio-ingress", "source_workload_namespace": "istio-ingress"}


@dataclass
class Proxy:
    """The counters of one Envoy, as Istio prints them; labels that nothing reads are a few of the many that there are."""

    requests: dict[tuple[str, ...], int] = field(default_factory=dict)
    slowness: dict[str, list[int]] = field(default_factory=dict)
    noise: str = ""

    def serve(self, revision: str, count: int, *, code: str = "200", grpc: str = "", ms: int = 8) -> None:
        key = (revision, code, grpc)
        self.requests[key] = self.requests.get(key, 0) + count
        self.slowness.setdefault(revision, []).extend([ms] * count)

    def text(self) -> str:
        lines = []
        for (revision, code, grpc), count in self.requests.items():
            labels = self._labels(revision, response_code=code, grpc_response_status=grpc, response_flags="-")
            lines.append(f"istio_requests_total{{{labels}}} {count}")
        for revision, seen in self.slowness.items():
            labels = self._labels(revision, response_code="200")
            name = "istio_request_duration_milliseconds"
            for edge in MILLISECONDS:
                lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {sum(ms <= edge for ms in seen)}')
            lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {len(seen)}')
            lines += [f"{name}_sum{{{labels}}} {sum(seen)}", f"{name}_count{{{labels}}} {len(seen)}"]
        return "\n".join(lines) + "\n" + self.noise

    @staticmethod
    def _labels(revision: str, **more: str) -> str:
        # Behind the activator the workload is the activator's: only the Service's name says what was meant.
        about = SERVER | {
            "destination_workload": "activator",
            "destination_workload_namespace": "knative-serving",
            "destination_canonical_revision": "latest",
            "destination_service_name": revision,
            "destination_service_namespace": "fraud",
            **more,
        }
        return ",".join(f'{name}="{value}"' for name, value in about.items())


OTHERS = "".join(
    f'istio_requests_total{{reporter="{reporter}",destination_service_namespace="{space}",'
    f'destination_service_name="{service}",response_code="503"}} 5000\n'
    for reporter, space, service in (
        ("destination", "fraud", STABLE),
        ("source", "fraud", f"{STABLE}-private"),
        ("source", "fraud", "fraud-reviewer"),
        ("source", "pricing", "pricing-predictor-00001"),
        ("source", "unknown", "PassthroughCluster"),
    )
)


@dataclass
class Mesh:
    """Two gateway pods and a model server, and what Prometheus has of them."""

    proxies: dict[str, Proxy] = field(default_factory=lambda: {"gw-1": Proxy(), "gw-2": Proxy(noise=OTHERS)})
    model: Metrics = field(
        default_factory=lambda: Metrics({"model": "fraud", "version": "1", "revision": STABLE, "variant": STABLE})
    )
    url: str = ""

    async def answer(self, request: Request) -> Response:
        who = request.path_params["who"]
        if who == "model":
            return PlainTextResponse(self.model.render())
        proxy = self.proxies.get(who)
        return PlainTextResponse(proxy.text() if proxy else "", status_code=200 if proxy else 503)

    def read(self, *, requests: int) -> list[Sample]:
        """All samples, once Prometheus has as many requests as were served, and what the model server says of them."""
        source = Prometheus.at(self.url, fresh=2.0)
        found: list[Sample] = []
        said: dict[str, float] = defaultdict(float)
        for sample in parse(self.model.render().decode(), NAMES):
            said[sample.name] += sample.value

        def settled() -> bool:
            found[:] = source.read("fraud", NAMES)
            total = sum(sample.value for sample in found if sample.name == "envoy_hallmark_requests")
            timed = sum(
                sample.value
                for sample in found
                if sample.name == "envoy_hallmark_milliseconds_bucket" and sample.labels["le"] in ("+Inf",)
            )
            return total == timed == requests and all(
                sum(sample.value for sample in found if sample.name == name) == value for name, value in said.items()
            )

        eventually(settled, seconds=20)
        return found


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    mesh = Mesh()
    groups = [{**group, "interval": "200ms"} for group in istio.groups(declared("fraud"))]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    with serving(Starlette(routes=[Route("/{who}", mesh.answer)])) as url:
        host = url.removeprefix("http://")

        def job(name: str, **labels: str) -> dict[str, object]:
            return {
                "job_name": name,
                "metrics_path": f"/{name}",
                "static_configs": [{"targets": [host], "labels": labels}],
            }

        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                *(job(name, namespace="istio-ingress", pod=name) for name in ("gw-1", "gw-2", "gw-3")),
                job("model", namespace="fraud", pod="p-1"),
            ],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        port = free_port()
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        mesh.url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: process.poll() is not None or is_ready(mesh.url))
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield mesh
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_istios_counts_become_the_evidence_that_was_served(mesh: Mesh) -> None:
    one, two = mesh.proxies["gw-1"], mesh.proxies["gw-2"]
    one.serve(STABLE, 1000)
    two.serve(STABLE, 2000)
    mesh.model.attach(0)
    meter = Meter()
    assert meter.added(mesh.read(requests=3000)) == []

    one.serve(STABLE, 400)
    two.serve(STABLE, 500, ms=49)
    two.serve(STABLE, 20, ms=51)
    one.serve(STABLE, 3, code="503")
    one.serve(STABLE, 6, code="422")
    one.serve(STABLE, 9, code="0")
    two.serve(CANARY, 80)
    two.serve(CANARY, 7, code="500", ms=300)
    two.serve(CANARY, 5, grpc="14")
    two.serve(CANARY, 4, grpc="3")
    for _ in range(900):
        mesh.model.answered("rest", 200, 0.01)
    mesh.model.add("refused", "model", 2)
    found = counts(meter.added(mesh.read(requests=4034)), VARIANTS, objective=0.05, shadow=False)
    assert found["stable"] == RequestCounts(requests=938, failed=3, slow=20, answered=900, invalid=2)
    assert found["canary"] == RequestCounts(requests=96, failed=12, slow=7)

    # One gateway pod begins anew, one goes and another comes: nothing is counted twice, and nothing is lost.
    mesh.proxies["gw-2"] = Proxy(noise=OTHERS)
    mesh.proxies["gw-2"].serve(CANARY, 40)
    mesh.proxies["gw-3"] = Proxy()
    mesh.proxies["gw-3"].serve(STABLE, 70)
    left = sum(one.requests.values())
    one.serve(STABLE, 30)
    found = counts(meter.added(mesh.read(requests=left + 30 + 70 + 40)), VARIANTS, objective=0.05, shadow=False)
    assert (found["stable"].requests, found["stable"].failed) == (100, 0)
    assert (found["canary"].requests, found["canary"].failed) == (40, 0)
    del mesh.proxies["gw-1"]
    found = counts(meter.added(mesh.read(requests=70 + 40)), VARIANTS, objective=0.05, shadow=False)
    assert found["stable"] == RequestCounts() == found["canary"]


def test_series_have_the_labels_of_the_local_gateway_and_the_namespace(mesh: Mesh) -> None:
    mesh.proxies["gw-1"].serve(CANARY, 10, code="503", grpc="14")
    found = {sample.name: sample for sample in mesh.read(requests=10) if not sample.name.startswith("hallmark_")}
    labels = found["envoy_hallmark_requests"].labels
    assert {name: labels[name] for name in ("service", "revision", "code", "grpc", "namespace")} == {
        "service": "fraud/fraud",
        "revision": CANARY,
        "code": "503",
        "grpc": "14",
        "namespace": "fraud",
    }
    assert not any(name.startswith(("destination", "response")) for name in labels)
    assert found["envoy_hallmark_milliseconds_bucket"].labels["revision"] == CANARY
