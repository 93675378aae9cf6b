"""Knative and net-istio as far as the gateway can tell: the Services and routes of each domain's first revision."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conformance import installed, platform, services
from tests.conformance.mesh import play_service
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests import builds
from tests.manifests.builds import DOMAINS

Object = dict[str, Any]
CASES = Path(__file__).parents[1] / "cases" / "knative-routes.yaml"
QUEUE = 8012


def address(domain: str) -> str:
    """The address of a domain's pod."""
    return f"10.20.{DOMAINS.index(domain)}.1"


def net_istio(domain: str) -> list[Object]:
    """The routes that net-istio makes of a domain's service, and of the tag that a canary's traffic has; in the form of those of fraud."""
    text = CASES.read_text(encoding="utf-8")
    tagged = text.replace("- fraud-predictor.fraud", "- prev-fraud-predictor.fraud")
    tagged = tagged.replace("prefix: fraud-predictor.fraud", "prefix: prev-fraud-predictor.fraud")
    first = [each for each in yaml.safe_load_all(text) if each["metadata"]["name"] != "fraud"]
    second = [each for each in yaml.safe_load_all(tagged) if each["metadata"]["name"] == "fraud-predictor-ingress"]
    for each in second:
        each["metadata"]["name"] = f"prev-{each['metadata']['name']}"
    found: list[Object] = json.loads(json.dumps([*first, *second]).replace("fraud", domain))
    return found


@contextlib.contextmanager
def served(stack: Stack, answer: Callable[[str, int], None]) -> Iterator[None]:
    """Every domain's service: KServe's own object and its routes by KServe, the rest by what is played here. All of it goes at the end.

    answer: has something answer at an address and port.
    """
    argo_cd = installed.argo_cd(stack.api)
    (host,) = platform.knative_config(builds.platform(CLUSTER))["domain"]
    with contextlib.ExitStack() as running:
        for domain in DOMAINS:
            wanted = services.service(domain, "Knative")
            argo_cd.apply(wanted)
            running.callback(_gone, stack, wanted)
            running.enter_context(services.Revisions(stack.api, wanted, host=host))
            answer(address(domain), QUEUE)
            play_service(stack, domain, f"{domain}-predictor-00001", {"http": 80}, address(domain), QUEUE)
            for each in net_istio(domain):
                stack.api.apply(each)
                running.callback(stack.api.delete, each)
        for domain in DOMAINS:
            meta = {"name": domain, "namespace": domain}
            route = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta}
            installed.until(functools.partial(stack.api.has, route), what=f"KServe's route of {domain}")
        yield


def _gone(stack: Stack, wanted: Object) -> None:
    installed.argo_cd(stack.api).delete(wanted)
    installed.until(lambda: installed.gone(stack.api, wanted), what=f"{wanted['metadata']['name']} gone")
