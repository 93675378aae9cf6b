"""A domain's InferenceService, for KServe's Knative and Standard mode, from its declaration and its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, object_labels, templates
from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import serving_config, timeouts
from hallmark.declaration.domain import Domain
from hallmark.declaration.serving_config import ConfigReference
from hallmark.declaration.traffic import Mode
from hallmark.errors import ModelRefused, NotFound
from hallmark.render import decision, kustomization, placement, reviewer
from hallmark.render.manifest import manifest
from hallmark.settings import Settings

Json = dict[str, Any]

FILE = "inferenceservice.yaml"
BUDGET_FILE = "disruptionbudget.yaml"
RUNTIME = "hallmark-runtime"
MAIN = "kserve-container"
VERSION_LABEL = "hallmark.dev/model-version"
ZERO_NOTE = "hallmark.dev/scale-to-zero"
"""Annotation where the declaration allows no pods at all, which Knative does and Standard mode cannot wake up from."""
RETENTION = "autoscaling.knative.dev/scale-to-zero-pod-retention-period"
"""Knative's own: how long the last pod of a revision stays after its traffic went, so that a roll-back finds it warm."""
DIGEST_ENV = "HALLMARK_MODEL_DIGEST"
VERSION_ENV = "HALLMARK_MODEL_VERSION"
TIMEOUT_ENV = "HALLMARK_SERVING_TIMEOUT"
"""Seconds of the release unit's `timeout`, so that pods and canaries tell it too."""
CONFIG_LABEL = "hallmark.dev/serving-config"
VOLUME = "config"
"""The volume that the runtime's containers mount, from which both read the serving config."""
OWNED = ("labels", "timeout", "volumes")
"""Fields of a predictor that belong to a release unit, beside its model's `storageUri` and `env`: a live rollout owns them."""


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The InferenceService of each released domain, what guards its pods, and each domain's kustomization, by path."""
    found = {}
    for domain in declared:
        folder, source = settings.releases / domain.name, f"domains/{domain.name}/domain.yaml"
        release = releases.read(domain.name, settings)
        if wanted := objects(domain, release):
            found[folder / FILE] = manifest(wanted[1:], source=f"{source} and release.yaml")
            found[folder / f"{wanted[0]['metadata']['name']}.yaml"] = manifest(wanted[:1], source=source)
            found |= earlier_configs(domain, release, folder)
        if budget := disruption(domain):
            found[folder / BUDGET_FILE] = manifest(budget, source=source)
    beside = [*found, *reviewer.files(settings, declared), *decision.files(settings, declared)]
    return found | kustomization.files(settings, declared, beside=beside)


def objects(domain: Domain, release: Release, mode: Mode = "Knative") -> list[Json]:
    """The Kubernetes objects of one domain's service, the declaration's serving config first; none while nothing is released."""
    if release.stable is None:
        return []
    return [config_map(domain), inferenceservice(domain, release, mode)]


def inferenceservice(domain: Domain, release: Release, mode: Mode = "Knative") -> Json:
    """The v1beta1 InferenceService.

    Knative:  the candidate's model where there is one, else the stable one's; canaryTrafficPercent says who gets what.
    Standard: the stable one's, and the candidate's in spec.canary (KServe 0.21 with enableGatewayApi).
    """
    if release.stable is None:
        raise ValueError(f"nothing is released of {domain.name}")
    annotations: dict[str, str] = {object_labels.MODE: mode}
    if not domain.serving.replicas.minimum:
        annotations[ZERO_NOTE] = "true"
    knative = mode == "Knative"
    served = release.candidate if knative and release.candidate else release.stable
    spec: Json = {"predictor": _predictor(domain, served, mode)}
    if knative and release.percent is not None:
        spec["predictor"]["canaryTrafficPercent"] = release.percent
    if not knative and release.candidate is not None:
        spec["canary"] = [canary(release.candidate, percent=release.percent or 0)]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": domain.name,
            "namespace": domain.namespace,
            "labels": names.labels(domain.name),
            "annotations": annotations,
        },
        "spec": spec,
    }


def canary(target: Target, *, percent: int, name: str = "") -> Json:
    """An entry of spec.canary; what it does not say, it has from the stable predictor.

    Its pods are as many as its share of the stable ones; one where it has no traffic, or there would be none to be ready.
    """
    predictor: Json = {"name": name or f"v{target.version}", **model_of(target)}
    # KServe's schema wants the container's name of a canary's model, where its webhook refuses one of stable's.
    predictor["model"] = {"name": MAIN, **predictor["model"], **_format()}
    if not percent:
        predictor["minReplicas"] = 1
    return {"trafficPercent": percent, "predictor": predictor}


def model_of(target: Target) -> Json:
    """The part of a predictor that says which release unit it serves: what a release patches, and nothing else (OWNED)."""
    env = {DIGEST_ENV: target.digest, VERSION_ENV: str(target.version)}
    found: Json = {"labels": {VERSION_LABEL: str(target.version)}}
    if (config := target.config) is not None:
        env |= {serving_config.DIGEST_ENV: config.digest, TIMEOUT_ENV: str(config.timeout)}
        found["labels"][CONFIG_LABEL] = config.short
        volume = {
            "name": VOLUME,
            "configMap": {"name": config.name, "optional": False},
        }  # the runtime's own is optional
        found |= {"timeout": config.timeout, "volumes": [volume]}
    listed = [{"name": name, "value": value} for name, value in env.items()]
    return found | {"model": {"storageUri": target.storage_uri, "env": listed}}


def target_of(predictor: Json) -> Target | None:
    """The version that a live predictor serves; none where it was not written by Hallmark."""
    model = predictor.get("model") or {}
    env = {item.get("name"): item.get("value") for item in model.get("env") or []}
    version, digest, uri = env.get(VERSION_ENV), env.get(DIGEST_ENV), model.get("storageUri")
    if not (version and digest and uri and str(version).isdigit()):
        return None
    served, timeout = env.get(serving_config.DIGEST_ENV), str(env.get(TIMEOUT_ENV))
    config = ConfigReference(digest=served, timeout=int(timeout)) if served and timeout.isdigit() else None
    return Target(version=int(version), storageUri=uri, digest=digest, config=config)


def config_map(domain: Domain) -> Json:
    """The ConfigMap of the serving config that the declaration asks for."""
    values = {"config": serving_config.of(domain), "domain": domain, "labels": names.labels(domain.name)}
    (found,) = templates.objects("render/templates/serving-config.yaml", **values)
    return found


def earlier_configs(domain: Domain, release: Release, folder: Path) -> dict[Path, str]:
    """The files in `folder` of serving configs that released units have and the declaration has no more; as they lie there.

    `NotFound` where one is gone: nothing here says any more what it was.
    """
    found = {}
    for config in earlier(domain, release):
        path = folder / f"{config.name}.yaml"
        if not path.is_file():
            raise NotFound(
                f"{path.name}, the serving config of a released version of {domain.name}, is not there",
                expected=f"{path.name} beside release.yaml, which names it",
                got="no such file",
                fix=f"`hallmark settle {domain.name}` takes it from the cluster; or take it back from Git",
            )
        found[path] = path.read_text(encoding="utf-8")
    return found


def earlier(domain: Domain, release: Release) -> list[ConfigReference]:
    """The serving configs that released units have and the declaration has no more."""
    units = (release.stable, release.candidate, release.previous)
    found = {unit.config.name: unit.config for unit in units if unit and unit.config}
    found.pop(serving_config.of(domain).reference.name, None)
    return [found[name] for name in sorted(found)]


def taken(config: ConfigReference, domain: Domain, live: Json) -> str:
    """The file of a serving config, from its ConfigMap `live`; `ModelRefused` where that is another than the reference says."""
    text = str((live.get("data") or {}).get(serving_config.FILE, ""))
    if (got := serving_config.digest(text.encode())) != config.digest:
        raise ModelRefused(f"ConfigMap {config.name} is not what its name says", expected=config.digest, got=got)
    wanted = config_map(domain)
    wanted["metadata"]["name"], wanted["data"] = config.name, {serving_config.FILE: text}
    return manifest([wanted], source=f"an earlier domains/{domain.name}/domain.yaml")


def disruption(domain: Domain) -> list[Json]:
    """The budget that lets a drained node take one of the service's pods at a time; none for a service that rests on one pod."""
    labels = names.labels(domain.name)
    return templates.objects(
        "render/templates/disruptionbudget.yaml", domain=domain, names=names, labels=labels, pods=pods(domain)
    )


def pods(domain: Domain) -> dict[str, str]:
    """The labels that KServe gives to every pod of the domain's predictor, in both modes."""
    return {"serving.kserve.io/inferenceservice": domain.name, "component": "predictor"}


def _predictor(domain: Domain, target: Target, mode: Mode) -> Json:
    serving = domain.serving
    minimum = serving.replicas.minimum
    predictor: Json = {
        "minReplicas": minimum if mode == "Knative" else max(1, minimum),
        "maxReplicas": serving.replicas.maximum,
        **placement.account(names.PREDICTOR),
        **placement.nodes(gpu=serving.gpu),
    }
    if serving.replicas.maximum > 1:
        predictor |= placement.spread(pods(domain))
    if mode == "Knative":
        predictor["annotations"] = {RETENTION: f"{domain.rollout.warm.total_seconds():g}s"}
    else:
        predictor["terminationGracePeriodSeconds"] = timeouts.POD
    predictor |= model_of(
        target if target.config else target.model_copy(update={"config": serving_config.of(domain).reference})
    )
    predictor["model"] |= _format() | {
        "resources": placement.resources(cpu=serving.cpu, memory=serving.memory, gpu=serving.gpu),
    }
    return predictor


def _format() -> Json:
    return {"modelFormat": {"name": "onnx", "version": "1"}, "protocolVersion": "v2", "runtime": RUNTIME}
