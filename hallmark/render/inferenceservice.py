"""A domain's InferenceService, in KServe's Knative mode, from its declaration and its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.domain import Domain
from hallmark.render.manifest import manifest
from hallmark.rollout import release as releases
from hallmark.rollout.release import Release, Target
from hallmark.section import amount
from hallmark.settings import Settings

FILE = "inferenceservice.yaml"
RUNTIME = "hallmark-runtime"
DRIFT_CONFIG = "drift-monitor"
VERSION_LABEL = "hallmark.dev/model-version"
RETENTION = "autoscaling.knative.dev/scale-to-zero-pod-retention-period"
"""Knative's own: how long the last pod of a revision stays after its traffic went, so that a roll-back finds it warm."""
DIGEST_ENV = "HALLMARK_MODEL_DIGEST"
VERSION_ENV = "HALLMARK_MODEL_VERSION"


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The InferenceService of each released domain, by path."""
    found = {}
    for domain in declared:
        if wanted := objects(domain, releases.read(domain.name, settings)):
            source = f"domains/{domain.name}/domain.yaml and release.yaml"
            found[settings.releases / domain.name / FILE] = manifest(wanted, source=source)
    return found


def objects(domain: Domain, release: Release) -> list[dict[str, Any]]:
    """The Kubernetes objects of one domain's service; none while nothing is released."""
    if release.stable is None:
        return []
    return [drift_config(domain), inferenceservice(domain, release)]


def inferenceservice(domain: Domain, release: Release) -> dict[str, Any]:
    """The v1beta1 InferenceService: the candidate's model where there is one, else the stable one's."""
    served = release.candidate or release.stable
    if served is None:
        raise ValueError(f"nothing is released of {domain.name}")
    serving = domain.serving
    predictor: dict[str, Any] = {
        "minReplicas": serving.replicas.minimum,
        "maxReplicas": serving.replicas.maximum,
        "timeout": max(1, round(serving.timeout.total_seconds())),
        "serviceAccountName": names.PREDICTOR,
        "annotations": {RETENTION: f"{domain.rollout.warm.total_seconds():g}s"},
        **model_of(served),
    }
    if release.percent is not None:
        predictor["canaryTrafficPercent"] = release.percent
    predictor["model"] |= {
        "modelFormat": {"name": "onnx", "version": "1"},
        "protocolVersion": "v2",
        "runtime": RUNTIME,
        "args": _flags(domain),
        "resources": _resources(domain),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": domain.name,
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
            "annotations": {"serving.kserve.io/deploymentMode": "Knative"},
        },
        "spec": {"predictor": predictor},
    }


def model_of(target: Target) -> dict[str, Any]:
    """The part of a predictor that says which model it serves: what a release patches, and nothing else."""
    return {
        "labels": {VERSION_LABEL: str(target.version)},
        "model": {
            "storageUri": target.storage_uri,
            "env": [
                {"name": DIGEST_ENV, "value": target.digest},
                {"name": VERSION_ENV, "value": str(target.version)},
            ],
        },
    }


def target_of(predictor: dict[str, Any]) -> Target | None:
    """The version that a live predictor serves; none where it was not written by Hallmark."""
    model = predictor.get("model") or {}
    env = {item.get("name"): item.get("value") for item in model.get("env") or []}
    version, digest, uri = env.get(VERSION_ENV), env.get(DIGEST_ENV), model.get("storageUri")
    if not (version and digest and uri and str(version).isdigit()):
        return None
    return Target(version=int(version), storageUri=uri, digest=digest)


def drift_config(domain: Domain) -> dict[str, Any]:
    """The ConfigMap that the drift monitor of the domain's namespace reads."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": DRIFT_CONFIG,
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
        },
        "data": {"drift.json": domain.drift.model_dump_json()},
    }


def _flags(domain: Domain) -> list[str]:
    """What the runtime is told beside its own arguments; KServe puts a model's after those."""
    serving = domain.serving
    flags = [
        f"--timeout={serving.timeout.total_seconds():g}",
        f"--objective={serving.latency_objective.total_seconds():g}",
    ]
    if serving.cache is not None:
        flags.append(f"--cache={amount(serving.cache) / 2**20:g}")
    return [*flags, "--provider=cuda"] if serving.gpu else flags


def _resources(domain: Domain) -> dict[str, Any]:
    amount = {"cpu": domain.serving.cpu, "memory": domain.serving.memory}
    if domain.serving.gpu:
        amount["nvidia.com/gpu"] = str(domain.serving.gpu)
    return {"requests": dict(amount), "limits": dict(amount)}
