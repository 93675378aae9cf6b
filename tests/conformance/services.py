"""InferenceServices of our domains on the real cluster, in either mode, and the part of Knative's controllers, which do not run here."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any, Self

import httpx

from tests.conformance.api import Api, Refusal
from tests.conformance.platform import CLUSTER
from tests.manifests.builds import tenant

Object = dict[str, Any]
STANDARD = "staging"
"""The cluster whose build makes them in Standard mode."""
MODES = {"Knative": CLUSTER, "Standard": STANDARD}


def service(domain: str, mode: str) -> Object:
    """A domain's InferenceService as a cluster of that mode has it, its model in the bucket of the cluster that is installed."""
    (found,) = [each for each in tenant(MODES[mode], domain) if each["kind"] == "InferenceService"]
    text = json.dumps(found).replace(f"hallmark-{MODES[mode]}-artifacts", f"hallmark-{CLUSTER}-artifacts")
    return dict(json.loads(text))


def made_of(each: Object) -> Object:
    """What KServe makes of it: Knative's Service, or a Deployment; enough of it to ask for."""
    meta = {"name": f"{each['metadata']['name']}-predictor", "namespace": each["metadata"]["namespace"]}
    if each["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative":
        return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": meta}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}


class Revisions:
    """Knative's controllers, as far as KServe can tell: each change of a Service's template is a revision that is ready at once."""

    def __init__(self, api: Api, served: Object, *, host: str = "example.com") -> None:
        """host: what the cluster's services are called below, by Knative's config-domain."""
        self._api = api
        self._host = host
        self._target = made_of(served)
        self._template: Object | None = None
        self._count = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def name(self, number: int) -> str:
        """A revision by its number, from 1."""
        return f"{self._target['metadata']['name']}-{number:05}"

    def asked(self) -> dict[str, int]:
        """The shares that the Service asks for, by revision; the newest is `newest`."""
        traffic = self._api.live(self._target)["spec"].get("traffic") or []
        return {one.get("revisionName", "newest"): one.get("percent", 0) for one in traffic}

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            # Somebody else changed it meanwhile, or it is not there yet: the next time will do.
            with contextlib.suppress(Refusal, httpx.HTTPError):
                self._step(self._api.live(self._target))

    def _step(self, live: Object) -> None:
        if live["spec"]["template"] != self._template:
            self._template = live["spec"]["template"]
            self._count += 1
        status = self._status(live)
        if status != live.get("status"):
            self._api.call("PUT", f"{self._api.path(self._target)}/status", {**live, "status": status})

    def _status(self, live: Object) -> Object:
        newest, meta = self.name(self._count), live["metadata"]
        url = f"http://{meta['name']}.{meta['namespace']}.{self._host}"
        return {
            "observedGeneration": meta["generation"],
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": meta["creationTimestamp"]}
                for kind in ("ConfigurationsReady", "Ready", "RoutesReady")
            ],
            "latestCreatedRevisionName": newest,
            "latestReadyRevisionName": newest,
            "url": url,
            "address": {"url": url},
            "traffic": [
                {**one, "revisionName": one.get("revisionName") or newest}
                for one in live["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
            ],
        }
