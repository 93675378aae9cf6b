"""InferenceServices of our domains on the real cluster, in either mode, and the part of Knative's controller that no process plays here."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.api import Api
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


def say_ready(api: Api, each: Object, revision: str) -> None:
    """Write what Knative's controller would: `revision` is made and ready, and the traffic is what the Service asks for."""
    target = made_of(each)
    live = api.live(target)
    asked = live["spec"].get("traffic") or [{"latestRevision": True, "percent": 100}]
    host = f"http://{target['metadata']['name']}.{target['metadata']['namespace']}.example.com"
    live["status"] = {
        "observedGeneration": live["metadata"]["generation"],
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": live["metadata"]["creationTimestamp"]}
            for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
        ],
        "latestCreatedRevisionName": revision,
        "latestReadyRevisionName": revision,
        "url": host,
        "address": {"url": host},
        "traffic": [
            {
                "revisionName": one.get("revisionName") or revision,
                "percent": one.get("percent", 0),
                "latestRevision": bool(one.get("latestRevision")),
            }
            for one in asked
        ],
    }
    api.call("PUT", f"{api.path(target)}/status", live)
