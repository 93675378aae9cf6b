"""Facts about the cluster in the files: KServe's version and ingress, Knative's features and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hallmark.declaration import timeouts
from hallmark.lint.objects import ClusterObject, LintContext
from hallmark.lint.reading import dig, integer, listing, mapping, text, version

_CONFIG = "inferenceservice-config"
_REVISION_LIMIT = "max-revision-timeout-seconds"
PLATFORM: dict[str, Any] = {
    "apiVersion": "operator.knative.dev/v1beta1",
    "kind": "KnativeServing",
    "metadata": {"name": "knative-serving", "namespace": "knative-serving"},
    "spec": {
        "config": {
            "features": {
                "kubernetes.podspec-fieldref": "enabled",
                "kubernetes.podspec-init-containers": "enabled",
                "kubernetes.podspec-nodeselector": "enabled",
                "kubernetes.podspec-priorityclassname": "enabled",
                "kubernetes.podspec-securitycontext": "enabled",
                "kubernetes.podspec-tolerations": "enabled",
                "kubernetes.podspec-topologyspreadconstraints": "enabled",
                "kubernetes.podspec-volumes-emptydir": "enabled",
                "secure-pod-defaults": "enabled",
            },
            "autoscaler": {"max-scale-limit": "50"},
            "defaults": {_REVISION_LIMIT: str(timeouts.MOST)},
        }
    },
}
"""What the platform's Knative takes (manifests/platform/knative-serving.yaml), for the local cluster, which has no such object."""


def kserve_version(world: LintContext) -> tuple[tuple[int, ...], str] | None:
    """KServe's version and who says so: --kserve, else the Argo CD Application that installs it; None where nobody does."""
    if world.options.kserve is not None:
        found = version(world.options.kserve)
        return (found, "--kserve") if found else None
    for each, source in _sources(world):
        if (found := version(text(source, "targetRevision"))) is not None:
            return found, f"Application {each.name}"
    return None


def gateway_api(world: LintContext) -> tuple[bool, str] | None:
    """True if KServe writes HTTPRoutes, with the file that sets it; none where no file does."""
    if world.options.gateway_api is not None:
        return world.options.gateway_api, "--gateway-api" if world.options.gateway_api else "--no-gateway-api"
    for each, source in _sources(world):
        values = mapping(source, "helm", "valuesObject")
        found = dig(values, "kserve", "controller", "gateway", "ingressGateway", "enableGatewayApi")
        if isinstance(found, bool):
            return found, f"Application {each.name}"
    patched = any(
        text(patch, "target", "name") == _CONFIG
        for each in world.of("Kustomization", "Component")
        for patch in listing(each.data, "patches")
    )
    # Where a cluster lays a patch over it, only that cluster's build says what holds.
    for each in [] if patched else world.of("ConfigMap"):
        if each.name == _CONFIG:
            try:
                ingress = json.loads(text(each.data, "data", "ingress") or "{}")
            except (ValueError, RecursionError):
                continue
            if isinstance(dig(ingress, "enableGatewayApi"), bool):
                return ingress["enableGatewayApi"], f"ConfigMap {_CONFIG}"
    return None


def knative_config(world: LintContext, name: str) -> dict[str, Any]:
    """A ConfigMap of Knative Serving, such as features or defaults, from the files; empty where they do not have it."""
    found: dict[str, Any] = {}
    for each in world.of("KnativeServing", "ConfigMap"):
        if each.kind == "KnativeServing":
            config = mapping(each.data, "spec", "config")
            found |= mapping(config, name) | mapping(config, f"config-{name}")
        elif each.name == f"config-{name}":
            found |= mapping(each.data, "data")
    return found


def limit(world: LintContext, key: str, default: int) -> int:
    """A whole number of Knative's config-defaults."""
    value = knative_config(world, "defaults").get(key)
    found = integer([value], 0)
    if found is None and isinstance(value, str) and value.isdecimal():
        return int(value)
    return default if found is None else found


def revision_limit(world: LintContext) -> int:
    """Seconds that a revision's timeout may be, where the files do not say: as Knative has it by itself."""
    return limit(world, _REVISION_LIMIT, 600)


def _sources(world: LintContext) -> Iterator[tuple[ClusterObject, Any]]:
    """The sources of the Applications that install KServe."""
    for each in world.of("Application"):
        for source in [mapping(each.data, "spec", "source"), *listing(each.data, "spec", "sources")]:
            where = " ".join(text(source, key) for key in ("chart", "repoURL", "path"))
            if "kserve" in where.split("/")[-1] or "/kserve/" in where or text(source, "chart").startswith("kserve"):
                yield each, source
