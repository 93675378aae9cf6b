"""The vision-language reviewer that a domain declares, as an LLMInferenceService."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.render import placement
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

FILE = "reviewer.yaml"
NAME = "reviewer"
IMAGE = "ghcr.io/llm-d/llm-d-cuda:v0.9.0"
"""vLLM as KServe 0.21 starts it: its own template runs commands of this image."""


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The reviewer of each domain that declares one, by path."""
    found = {}
    for domain in declared:
        if wanted := objects(domain):
            source = f"domains/{domain.name}/domain.yaml"
            found[settings.releases / domain.name / FILE] = manifest(wanted, source=source)
    return found


def objects(domain: Domain) -> list[dict[str, Any]]:
    """The domain's reviewer; none where it declares none.

    Command, ports, probes and the volumes behind /home, /tmp, /models and /dev/shm are KServe's own, from its template for a
    model on one node. Without `router` it is reached inside the cluster only, under the model's name.
    """
    declared = domain.reviewer
    if declared is None:
        return []
    labels = names.labels(domain.name) | {"hallmark.dev/reviewer": declared.served_name}
    container = {
        "name": "main",
        "image": IMAGE,
        "resources": placement.resources(cpu=declared.cpu, memory=declared.memory, gpu=declared.gpu),
        "securityContext": placement.restricted(),
    }
    spec: dict[str, Any] = {
        "model": {"uri": declared.model, "name": declared.served_name},
        "labels": labels,
        # Nothing that is installed wakes a model that has no pod, so one that may sleep stays up.
        "replicas": max(1, declared.replicas.minimum),
    }
    if declared.gpu > 1:
        spec["parallelism"] = {"tensor": declared.gpu}
    spec["template"] = {
        **placement.account(names.PREDICTOR),
        **placement.nodes(gpu=declared.gpu),
        "containers": [container],
    }
    return [
        {
            "apiVersion": "serving.kserve.io/v1alpha2",
            "kind": "LLMInferenceService",
            "metadata": {"name": NAME, "namespace": domain.namespace, "labels": labels},
            "spec": spec,
        }
    ]
