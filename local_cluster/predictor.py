"""A predictor, resolved with its serving runtime into the template that a revision is made from.

As in KServe's Knative mode, everything but canaryTrafficPercent is in the template, so that a change of it makes a revision:
minReplicas and maxReplicas too, which KServe writes into the template as autoscaling annotations.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from hallmark import object_labels
from hallmark.declaration import timeouts
from hallmark.declaration.traffic import Mode
from hallmark.errors import HallmarkError
from hallmark.lint.objects import LEGACY
from hallmark.lint.shapes import shape
from local_cluster import containers
from local_cluster.admission import Admission
from local_cluster.containers import MAIN
from local_cluster.volumes import VolumeError, parse

Json = dict[str, Any]

COMPONENT = "predictor"
STOP_ANNOTATION = "serving.kserve.io/stop"
SHADOW_ANNOTATION = object_labels.SHADOW
RETENTION_ANNOTATION = "autoscaling.knative.dev/scale-to-zero-pod-retention-period"
LONGEST_RETENTION = 3600.0
"""Seconds; Knative takes no more."""
_OWN = "hallmark.dev/"

_LEFT_OUT_ANNOTATIONS = frozenset(
    {
        "autoscaling.knative.dev/min-scale",
        "autoscaling.knative.dev/minScale",
        "autoscaling.knative.dev/max-scale",
        "autoscaling.knative.dev/maxScale",
        "internal.serving.kserve.io/storage-initializer-sourceuri",
        "kubectl.kubernetes.io/last-applied-configuration",
        STOP_ANNOTATION,
    }
)
_LEFT_OUT_LABELS = frozenset({"networking.knative.dev/visibility"})
_MODEL_KEYS = frozenset({"modelFormat", "protocolVersion", "runtime", "runtimeVersion", "storageUri", "storage"})
_CANNOT = {
    "workerSpec": "multi-node serving",
    "batcher": "KServe's batcher",
    "logger": "KServe's logger",
    "storageUris": "more than one storageUri",
}
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PLACEHOLDER = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")


class InvalidSpec(HallmarkError):
    """A predictor that cannot be served here; `reason` is one of KServe's failure reasons."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def checked(service: Json, runtimes: list[Json], *, mode: Mode = "Knative") -> tuple[Json, int | None]:
    """The template and the canaryTrafficPercent of an InferenceService; `InvalidSpec`, whatever the spec holds.

    In Standard mode neither a share, nor a shadow, nor a retention is read from there.
    """
    try:
        found = template(service, runtimes, mode=mode)
        _startable(found)
        _judged(service, runtimes, mode)
        if mode == "Standard":
            return found, None
        shadow(service)
        retention(found)
        return found, percent(service)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        # A spec may hold anything anywhere; what has the wrong shape is the spec's fault, and is said so.
        text = f"the spec has a value of the wrong type: {error}"
        raise InvalidSpec("InvalidPredictorSpec", text) from error


def _judged(service: Json, runtimes: list[Json], mode: Mode) -> None:
    """What Knative's webhook, or whoever makes the pods, would refuse: the service was taken, and never gets ready."""
    if reasons := Admission(service, around=runtimes, mode=mode).never_ready:
        raise InvalidSpec("InvalidPredictorSpec", "; ".join(reasons))


def template(service: Json, runtimes: list[Json], *, mode: Mode = "Knative") -> Json:
    """The revision template of an InferenceService with one of `runtimes`; `InvalidSpec` where it cannot be served."""
    meta, spec = service.get("metadata") or {}, service.get("spec") or {}
    predictor = _predictor(meta, spec, mode)
    model = _mapping(predictor.get("model"), "spec.predictor.model")
    runtime = _runtime(model, runtimes)
    _storage(model)
    rspec = runtime.get("spec") or {}
    containers = _containers(meta, rspec, model, predictor, mode)
    return {
        "runtime": runtime["metadata"]["name"],
        "storageUri": model["storageUri"],
        "timeoutSeconds": predictor.get("timeout") or timeouts.UNSET,
        "minReplicas": predictor.get("minReplicas", 1),
        "maxReplicas": predictor.get("maxReplicas", 0),
        "serviceAccountName": predictor.get("serviceAccountName"),
        "labels": _strings(rspec.get("labels"))
        | _filtered(meta.get("labels"), _LEFT_OUT_LABELS)
        | _strings(predictor.get("labels")),
        "annotations": _strings(rspec.get("annotations"))
        | _without_own(_filtered(meta.get("annotations"), _LEFT_OUT_ANNOTATIONS))
        | _filtered(predictor.get("annotations"), _LEFT_OUT_ANNOTATIONS),
        "containers": containers,
        "volumes": _volumes(rspec.get("volumes") or [], predictor.get("volumes") or []),
    }


def percent(service: Json) -> int | None:
    """The predictor's canaryTrafficPercent; `InvalidSpec` where it is not 0 to 100 and there is another revision to share with.

    KServe takes any number; Knative refuses the shares that it makes of one, and with the first revision it makes none.
    """
    value = ((service.get("spec") or {}).get("predictor") or {}).get("canaryTrafficPercent")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        components = (service.get("status") or {}).get("components") or {}
        if not (components.get(COMPONENT) or {}).get("latestRolledoutRevision"):
            return None
        raise InvalidSpec(
            "InvalidPredictorSpec", f"spec.predictor.canaryTrafficPercent: expected 0 to 100, got {value!r}"
        )
    return value


def shadow(service: Json) -> float:
    """Percent of stable's requests that a candidate without traffic is to see; `InvalidSpec` unless it is 0 to 100 or absent."""
    value = ((service.get("metadata") or {}).get("annotations") or {}).get(SHADOW_ANNOTATION, "0")
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found <= 100:
        raise InvalidSpec("InvalidPredictorSpec", f"annotation {SHADOW_ANNOTATION}: expected 0 to 100, got {value!r}")
    return found


def retention(template: Json) -> float:
    """Seconds that a revision's pod stays after its traffic is gone, by Knative's annotation; `InvalidSpec` unless 0 to 1h."""
    value = str((template.get("annotations") or {}).get(RETENTION_ANNOTATION, "0s"))
    given = _DURATION.fullmatch(value)
    found = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value)) if given else -1.0
    if not 0 <= found <= LONGEST_RETENTION:
        text = f"annotation {RETENTION_ANNOTATION}: expected a duration from 0s to 1h such as 30m, got {value!r}"
        raise InvalidSpec("InvalidPredictorSpec", text)
    return found


def stopped(service: Json) -> bool:
    """True where serving.kserve.io/stop asks for no pods at all."""
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(STOP_ANNOTATION, "")).lower() == "true"


def _startable(found: Json) -> None:
    """Make each container's plan once, for nothing: its faults are reported before there is a revision of it."""
    ports = dict.fromkeys(containers.ports(found["containers"]), 1)
    volumes = {str(volume["name"]) for volume in found["volumes"]}
    if wrong := [name for name in volumes if not _NAME.match(name)]:
        raise InvalidSpec("InvalidPredictorSpec", f"{wrong[0]!r} is not a volume's name")
    for container in found["containers"]:
        for mount in container.get("volumeMounts") or []:
            inside = ".." not in str(mount.get("subPath", "")).split("/")
            if mount["name"] not in volumes or not str(mount["mountPath"]).startswith("/") or not inside:
                text = f"container {container['name']!r} mounts {mount['name']!r}, which is not one of its volumes, or not within it"
                raise InvalidSpec("InvalidPredictorSpec", text)
        try:
            containers.plan(container, ports=ports, mounts={}, environment={}, root=Path())
        except InvalidSpec:
            raise
        except HallmarkError as error:
            raise InvalidSpec("InvalidPredictorSpec", error.message) from error


def _predictor(meta: Json, spec: Json, mode: Mode) -> Json:
    written = (meta.get("annotations") or {}).get(object_labels.MODE, mode)
    if LEGACY.get(written, written) != mode:
        raise InvalidSpec(
            "InvalidPredictorSpec",
            f"annotation {object_labels.MODE}: this local cluster serves {mode} mode only, got {written!r}",
        )
    for part in ("transformer", "explainer"):
        if spec.get(part):
            raise InvalidSpec("InvalidPredictorSpec", f"spec.{part} is not served by the local cluster")
    predictor = _mapping(spec.get("predictor"), "spec.predictor")
    for key, what in _CANNOT.items():
        if predictor.get(key):
            raise InvalidSpec(
                "InvalidPredictorSpec", f"spec.predictor.{key}: {what} is not served by the local cluster"
            )
    timeout = predictor.get("timeout")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 0):
        raise InvalidSpec(
            "InvalidPredictorSpec",
            f"spec.predictor.timeout: expected seconds, 0 (the default) or more, got {timeout!r}",
        )
    if not predictor.get("model"):
        raise InvalidSpec(
            "InvalidPredictorSpec",
            "spec.predictor.model is needed: the local cluster serves models of a serving runtime",
        )
    return predictor


def _mapping(value: object, shown: str) -> Json:
    if not isinstance(value, dict):
        raise InvalidSpec("InvalidPredictorSpec", f"{shown}: expected a mapping, got {type(value).__name__}")
    return value


def _runtime(model: Json, runtimes: list[Json]) -> Json:
    wanted, named = _mapping(model.get("modelFormat"), "spec.predictor.model.modelFormat"), model.get("runtime")
    protocol = model.get("protocolVersion")
    if named:
        found = next((r for r in runtimes if r["metadata"]["name"] == named), None)
        if found is None:
            raise InvalidSpec("RuntimeNotRecognized", f"there is no ClusterServingRuntime {named!r}; waiting for it")
        spec = found.get("spec") or {}
        if spec.get("disabled"):
            raise InvalidSpec("RuntimeDisabled", f"the ClusterServingRuntime {named!r} is disabled")
        if protocol and protocol not in (spec.get("protocolVersions") or ["v1"]):
            raise InvalidSpec("NoSupportingRuntime", f"the runtime {named!r} does not speak protocol {protocol!r}")
        if not any(_supports(item, wanted) for item in spec.get("supportedModelFormats") or []):
            raise InvalidSpec("NoSupportingRuntime", f"the runtime {named!r} does not serve format {_format(wanted)}")
        return found
    for runtime in sorted(runtimes, key=lambda r: str(r["metadata"]["name"])):
        spec = runtime.get("spec") or {}
        formats = [f for f in spec.get("supportedModelFormats") or [] if f.get("autoSelect")]
        speaks = (protocol or "v1") in (spec.get("protocolVersions") or ["v1"])
        if not spec.get("disabled") and speaks and any(_supports(item, wanted) for item in formats):
            return runtime
    raise InvalidSpec(
        "NoSupportingRuntime", f"no ClusterServingRuntime serves format {_format(wanted)}; name one in runtime"
    )


def _supports(offered: Json, wanted: Json) -> bool:
    version = wanted.get("version")
    return offered.get("name") == wanted.get("name") and (
        version is None or str(offered.get("version")) == str(version)
    )


def _format(wanted: Json) -> str:
    version = wanted.get("version")
    return f"{wanted.get('name')!r}" + (f" version {version}" if version else "")


def _storage(model: Json) -> None:
    if model.get("storage"):
        raise InvalidSpec("InvalidPredictorSpec", "spec.predictor.model.storage is not served here; use storageUri")
    try:
        parse(model.get("storageUri"))
    except VolumeError as error:
        raise InvalidSpec("InvalidPredictorSpec", f"spec.predictor.model.storageUri: {error.message}") from error


def _containers(meta: Json, runtime: Json, model: Json, predictor: Json, mode: Mode) -> list[Json]:
    offered = [dict(c) for c in runtime.get("containers") or []]
    main = next((c for c in offered if c.get("name") == MAIN), None)
    if main is None:
        raise InvalidSpec("InvalidPredictorSpec", f"the serving runtime has no container {MAIN!r}")
    main = _substituted(_merged(main, model), meta)
    others = [c for c in offered if c.get("name") != MAIN] + [dict(c) for c in predictor.get("containers") or []]
    for container in (main, *others):
        if container.get("name") == "transformer-container":
            raise InvalidSpec("InvalidPredictorSpec", "a transformer-container is not served by the local cluster")
        if not container.get("command"):
            raise InvalidSpec(
                "InvalidPredictorSpec",
                f"container {container.get('name')!r} has no command: there are no images here, so it cannot be left to one",
            )
    if mode == "Standard":
        return [main, *others]
    kept = _kept_by_a_revision()
    return [{key: value for key, value in container.items() if key in kept} for container in (main, *others)]


@cache
def _kept_by_a_revision() -> frozenset[str]:
    """The fields of a container that a Knative Service has; lint says of the others that they are dropped (HM321)."""
    service = shape("serving.knative.dev", "Service", "v1")
    return service.at("spec", "template", "spec", "containers", "[]").fields if service is not None else frozenset()


def _volumes(offered: list[Json], asked: list[Json]) -> list[Json]:
    """A runtime's volumes and a predictor's; of one name, the predictor's keys over the runtime's (KServe's strategic merge)."""
    found = {volume.get("name"): volume for volume in offered}
    for volume in asked:
        old = found.get(volume.get("name"), {})
        both = {key: {**old[key], **value} for key, value in volume.items() if isinstance(old.get(key), dict) and value}
        found[volume.get("name")] = {**old, **volume, **both}
    return list(found.values())


def _merged(offered: Json, model: Json) -> Json:
    """A runtime's container with what the model asks for: args appended, keyed lists merged by their key, the rest replaced."""
    asked = {
        key: value for key, value in model.items() if key not in _MODEL_KEYS and key != "name" and value is not None
    }
    merged = {**offered, **asked}
    if offered.get("args") or asked.get("args"):
        merged["args"] = [*(offered.get("args") or []), *(asked.get("args") or [])]
    for key, by in (("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort")):
        if offered.get(key) or asked.get(key):
            entries = {item.get(by): item for item in [*(offered.get(key) or []), *(asked.get(key) or [])]}
            merged[key] = list(entries.values())
    if offered.get("resources") or asked.get("resources"):
        both = (offered.get("resources") or {}, asked.get("resources") or {})
        merged["resources"] = {k: {**(both[0].get(k) or {}), **(both[1].get(k) or {})} for k in ("requests", "limits")}
    return merged


def _substituted(container: Json, meta: Json) -> Json:
    values = {".Name": str(meta.get("name", "")), ".Namespace": str(meta.get("namespace", ""))}
    for kind in ("Labels", "Annotations"):
        values |= {f".{kind}.{k}": str(v) for k, v in (meta.get(kind.lower()) or {}).items()}

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise InvalidSpec(
                "InvalidPredictorSpec",
                f"the serving runtime's container {MAIN!r} has a placeholder with no value: {match.group(0)}",
            )
        return values[match.group(1)]

    def walk(node: Any) -> Any:
        if isinstance(node, str):
            return _PLACEHOLDER.sub(value, node)
        if isinstance(node, list):
            return [walk(item) for item in node]
        return {k: walk(v) for k, v in node.items()} if isinstance(node, dict) else node

    return {key: walk(item) for key, item in container.items()}


def _strings(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in (value or {}).items()}


def _filtered(value: Any, without: frozenset[str]) -> dict[str, str]:
    return {k: v for k, v in _strings(value).items() if k not in without}


def _without_own(annotations: dict[str, str]) -> dict[str, str]:
    """Ours speak of rollouts, not of pods: a change of them makes no revision."""
    return {k: v for k, v in annotations.items() if not k.startswith(_OWN)}
