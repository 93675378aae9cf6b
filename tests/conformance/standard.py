"""Staging's cluster in Standard mode, its pods played: real KServe makes the Deployments, Services and HTTPRoutes, and nothing runs in the pods."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hallmark import object_labels
from hallmark.render import network
from hallmark.rollout import mirror
from tests.conformance import installed
from tests.conformance.mesh import play_pod, play_service
from tests.conformance.services import STANDARD
from tests.conformance.stack import Stack
from tests.manifests.builds import DOMAINS, declared, tenant

Object = dict[str, Any]
CASES = Path(__file__).parents[1] / "cases" / "standard-routes.yaml"
REVIEWER, SHADOW = "10.22.0.1", "10.22.0.2"


def serve(stack: Stack, answer: Callable[[str, int], None]) -> None:
    """Every domain's service, ready, with KServe's routes. answer: has something answer at an address and port."""
    argo_cd, addresses = installed.argo_cd(stack.api), _addresses()
    for domain in DOMAINS:
        for each in tenant(STANDARD, domain):
            if each["kind"] == "InferenceService":
                argo_cd.apply(each)

    def ready() -> bool:
        for pod in stack.api.get("/api/v1/pods?labelSelector=component%3Dpredictor")["items"]:
            if not pod["status"].get("podIP"):
                address = next(addresses)
                answer(address, network.HTTP)
                play_pod(stack, pod, address)
        served = stack.api.get("/apis/serving.kserve.io/v1beta1/inferenceservices")["items"]
        return len(served) == len(DOMAINS) and all(_ready(each) for each in served)

    installed.until(ready, what="every domain's service ready", seconds=240)


def review(stack: Stack, answer: Callable[[str, int], None]) -> None:
    """The route of the reviewers, in the form that KServe's LLM controller gives it, which is not run here."""
    answer(REVIEWER, network.REVIEWER)
    for domain in DOMAINS:
        if declared(domain).reviewer:
            text = CASES.read_text(encoding="utf-8").replace("fraud", domain)
            (route,) = [each for each in yaml.safe_load_all(text) if each["metadata"]["name"].startswith("reviewer")]
            (named,) = route["spec"]["rules"][0]["backendRefs"]
            play_service(stack, domain, named["name"], {"http": named["port"]}, REVIEWER, network.REVIEWER)
            stack.api.apply(route)


def shadow(stack: Stack, domain: str) -> Object:
    """The route that the watch makes while version 2 gets copies of all requests; what it names is played."""
    meta = {"name": domain, "namespace": domain}
    live = stack.api.live({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": meta})
    theirs = stack.api.live({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta})
    live["metadata"]["annotations"][object_labels.SHADOW] = "100"
    live["status"]["canaryStatuses"] = [{"name": "v2", "ready": True, "trafficPercent": 0}]
    live["spec"]["canary"] = [{"trafficPercent": 0, "predictor": {**live["spec"]["predictor"], "name": "v2"}}]
    play_service(stack, domain, f"{domain}-v2-predictor", {"http": 80}, SHADOW, network.HTTP)
    made: Object = mirror.route(theirs, live)
    stack.api.create(made)
    return made


def _addresses() -> Iterator[str]:
    return (f"10.21.{high}.{low}" for high, low in itertools.product(range(256), range(1, 250)))


def _ready(each: Object) -> bool:
    told = (each.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told)
