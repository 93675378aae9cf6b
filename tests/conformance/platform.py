"""Our platform and tenants on a real API server, applied as Argo CD does: server-side, strict, by its account, wave by wave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.conformance import installed
from tests.conformance.stack import Stack
from tests.manifests.builds import STANDARD, everything, platform

Object = dict[str, Any]
CLUSTER = "dev"
SERVED = ("InferenceService", "LLMInferenceService")


def install(stack: Stack, cluster: str = CLUSTER) -> None:
    """A cluster's objects for real, KServe and Knative's webhook among them; of models only what they need, not themselves."""
    installed.grant_argo_cd(stack.api)
    argo_cd = installed.argo_cd(stack.api)
    objects = [each for each in everything(cluster) if argo_cd.known(each)]
    for each in objects:
        if each["kind"] == "Namespace":
            argo_cd.apply(each)
    if cluster not in STANDARD:
        installed.serve_knative(stack, knative_config(platform(cluster)))
    installed.serve_kserve(stack, kserve_config(platform(cluster)))
    for each in sorted(objects, key=wave):
        if each["kind"] not in SERVED:
            argo_cd.apply(each)


def wave(each: Object) -> int:
    """The wave in which Argo CD applies an object."""
    return int((each["metadata"].get("annotations") or {}).get("argocd.argoproj.io/sync-wave", "0"))


def knative_config(objects: Iterable[Object]) -> dict[str, dict[str, str]]:
    """What our KnativeServing tells Knative's operator to write into Knative's ConfigMaps."""
    (serving,) = [each for each in objects if each["kind"] == "KnativeServing"]
    return dict(serving["spec"]["config"])


def application(objects: Iterable[Object], name: str) -> Object:
    """The values that our Argo CD Application of that name hands to its chart."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Application", name)]
    return dict(found["spec"]["source"]["helm"]["valuesObject"])


def kserve_config(objects: Iterable[Object]) -> Object:
    """Our ConfigMap for KServe's controllers."""
    (found,) = [each for each in objects if each["metadata"]["name"] == "inferenceservice-config"]
    return found
