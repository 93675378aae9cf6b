"""Defaults, refusals and warnings of the API server and KServe's webhooks, before an object is kept."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from typing import Any

from local_cluster import resources
from local_cluster import schema as schemas
from local_cluster.patch import same
from local_cluster.problems import invalid
from local_cluster.resources import Object, Resource
from local_cluster.schema import SchemaFault

FRAMEWORKS = (
    "huggingface",
    "lightgbm",
    "onnx",
    "paddle",
    "pmml",
    "pytorch",
    "sklearn",
    "tensorflow",
    "triton",
    "xgboost",
)
MODE = "serving.kserve.io/deploymentMode"
_OLD_MODES = {"Serverless": "Knative", "RawDeployment": "Standard"}

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ISVC = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
)
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_ANNOTATIONS = 256 << 10
_DATA = 1 << 20
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_ISVC_RULE = (
    "a InferenceService name must consist of lower case alphanumeric characters or '-', and must start with "
    'alphabetical character. (e.g. "my-name" or "abc-123", regex used for validation is \'[a-z]([-a-z0-9]*[a-z0-9])?\')'
)
# A host name of KServe is <name>-predictor.<namespace>, and each part of one has at most 63 characters.
_ISVC_LONGEST = 63 - len("-predictor")


def default(obj: Object, resource: Resource) -> Object:
    """`obj` with what the server adds, of which KServe's webhook: an older framework field becomes `model`."""
    if resource is resources.INFERENCE_SERVICES:
        return _default_service(obj)
    if resource is resources.SECRETS:
        obj.setdefault("type", "Opaque")
        for key, text in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[key] = b64encode(str(text).encode()).decode()
    return obj


def check(obj: Object, resource: Resource, before: Object | None = None) -> None:
    """Refuse what may not be kept, all faults at once (422)."""
    name = str(obj["metadata"].get("name", ""))
    found = list(schemas.faults(obj, schemas.of(resource)))
    if not found:
        found = [*_metadata(obj, resource), *_content(obj, resource, before)]
    if found:
        raise invalid(resource, name, found)


def warnings(obj: Object, resource: Resource) -> list[str]:
    """Warnings about fields that are accepted and have no effect here."""
    if resource is not resources.INFERENCE_SERVICES:
        return []
    mode = (obj["metadata"].get("annotations") or {}).get(MODE)
    found = []
    if mode not in (None, "Knative"):
        found.append(f"this cluster serves in Knative mode only: the annotation {MODE}: {mode} is not followed")
    for part in ("transformer", "explainer"):
        if (obj.get("spec") or {}).get(part):
            found.append(f"this cluster serves predictors only: spec.{part} is kept and not run")
    return found


def _metadata(obj: Object, resource: Resource) -> Iterator[SchemaFault]:
    meta = obj["metadata"]
    name = str(meta.get("name", ""))
    if resource is resources.NAMESPACES:
        if not _LABEL.fullmatch(name):
            yield _wrong("metadata.name", name, _LABEL_RULE)
    elif resource is resources.INFERENCE_SERVICES:
        if not _ISVC.fullmatch(name):
            yield _wrong("metadata.name", name, _ISVC_RULE)
        elif len(name) > _ISVC_LONGEST:
            yield _wrong("metadata.name", name, f"must be no more than {_ISVC_LONGEST} characters")
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield _wrong("metadata.name", name, _NAME_RULE)
    for key, value in (meta.get("labels") or {}).items():
        if not _qualified(key):
            yield _wrong("metadata.labels", key, "name part must be a qualified name of at most 63 characters")
        if not _LABEL_VALUE.fullmatch(value):
            yield _wrong(
                "metadata.labels",
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'",
            )
    annotations = meta.get("annotations") or {}
    for key in annotations:
        if not _qualified(key.lower()):
            yield _wrong("metadata.annotations", key, "name part must be a qualified name of at most 63 characters")
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS:
        yield SchemaFault(
            "metadata.annotations", "FieldValueTooLong", f"Too long: may not be more than {_ANNOTATIONS} bytes"
        )


def _content(obj: Object, resource: Resource, before: Object | None) -> Iterator[SchemaFault]:
    if resource is resources.INFERENCE_SERVICES:
        yield from _service(obj, before)
    elif resource is resources.SERVING_RUNTIMES:
        if not obj.get("spec"):
            yield SchemaFault("spec", "FieldValueRequired", "Required value")
    elif resource in (resources.CONFIGMAPS, resources.SECRETS):
        yield from _data(obj, resource, before)
    elif resource is resources.LEASES:
        yield from _lease(obj.get("spec") or {})


def _lease(spec: Object) -> Iterator[SchemaFault]:
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield _wrong("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield _wrong("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
    if spec.get("holderIdentity") == "":
        yield _wrong("spec.holderIdentity", "", "must not be empty")


def _data(obj: Object, resource: Resource, before: Object | None) -> Iterator[SchemaFault]:
    encoded = "data" if resource is resources.SECRETS else "binaryData"
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            size += len(value)
            if not _KEY.fullmatch(key) or key in (".", ".."):
                yield _wrong(
                    f"{field}[{key}]",
                    key,
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                )
            if field == encoded and not _base64(value):
                yield _wrong(f"{field}[{key}]", "", "must be base64")
    if size > _DATA:
        yield SchemaFault("", "FieldValueTooLong", f"Too long: may not be more than {_DATA} bytes")
    if before and before.get("immutable"):
        for field in ("data", "binaryData", "immutable"):
            if not same(obj.get(field), before.get(field)):
                yield SchemaFault(field, "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set")


def _service(obj: Object, before: Object | None) -> Iterator[SchemaFault]:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        yield SchemaFault("spec", "FieldValueRequired", "Required value")
        return
    if spec.get("canary"):
        yield SchemaFault(
            "spec.canary", "FieldValueForbidden", "Forbidden: canary is only supported in Standard deployment mode"
        )
    for part in ("predictor", "transformer", "explainer"):
        if isinstance(spec.get(part), dict):
            yield from _component(spec[part], f"spec.{part}")
    predictor = spec["predictor"]
    chosen = [name for name in ("model", *FRAMEWORKS) if predictor.get(name) is not None]
    if len(chosen) + bool(predictor.get("containers")) != 1 and not (
        chosen == ["model"] and predictor.get("containers")
    ):
        listed = ", ".join(chosen) or "none"
        yield SchemaFault(
            "spec.predictor",
            "FieldValueInvalid",
            f"Invalid value: {listed}: exactly one of model, containers or a framework must be specified",
        )
    model = predictor.get("model") or {}
    if model.get("name"):
        yield _wrong(
            "spec.predictor.model.name", model["name"], "the 'name' field is not allowed in standard predictor"
        )
    uri = model.get("storageUri")
    if uri is not None and not _storage_known(uri):
        yield _wrong("spec.predictor.model.storageUri", uri, "must be one of: " + ", ".join(_STORAGE))
    if uri is not None and predictor.get("storageUris"):
        yield SchemaFault(
            "spec.predictor.storageUris",
            "FieldValueForbidden",
            "Forbidden: storageUri and storageUris cannot both be set",
        )
    if before is not None:
        was = (before.get("status") or {}).get("deploymentMode")
        now = (obj["metadata"].get("annotations") or {}).get(MODE)
        if was and now and was != now:
            yield _wrong(
                f"metadata.annotations[{MODE}]", now, f"deploymentMode cannot be changed from '{was}' to '{now}'"
            )


_STORAGE = (
    "gs://",
    "s3://",
    "pvc://",
    "file://",
    "https://",
    "http://",
    "hdfs://",
    "webhdfs://",
    "oci://",
    "hf://",
    "git://",
)


def _storage_known(uri: str) -> bool:
    return uri.startswith(_STORAGE) or "://" not in uri


def _component(component: Object, at: str) -> Iterator[SchemaFault]:
    low, high = component.get("minReplicas"), component.get("maxReplicas")
    if low is not None and low < 0:
        yield _wrong(f"{at}.minReplicas", low, "'MinReplicas' cannot be less than 0")
    if high is not None and high < 0:
        yield _wrong(f"{at}.maxReplicas", high, "'MaxReplicas' cannot be less than 0")
    if low is not None and high and low > high:
        yield _wrong(f"{at}.minReplicas", low, "'MinReplicas' cannot be greater than MaxReplicas")
    if (component.get("containerConcurrency") or 0) < 0:
        yield _wrong(
            f"{at}.containerConcurrency", component["containerConcurrency"], "parallelism cannot be less than 0"
        )
    if component.get("timeout") is not None and component["timeout"] < 0:
        yield _wrong(f"{at}.timeout", component["timeout"], "must be at least 0 seconds")
    if component.get("deploymentStrategy"):
        yield SchemaFault(
            f"{at}.deploymentStrategy",
            "FieldValueForbidden",
            "Forbidden: customizing deploymentStrategy is only supported for raw deployment mode",
        )


def _default_service(obj: Object) -> Object:
    annotations = obj["metadata"].get("annotations")
    if isinstance(annotations, dict) and annotations.get(MODE) in _OLD_MODES:
        annotations[MODE] = _OLD_MODES[annotations[MODE]]
    spec = obj.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, dict) else None
    if not isinstance(predictor, dict):
        return obj
    named = [name for name in FRAMEWORKS if isinstance(predictor.get(name), dict)]
    if len(named) == 1 and not predictor.get("model"):
        predictor["model"] = {"modelFormat": {"name": named[0]}, **predictor.pop(named[0])}
    model = predictor.get("model")
    if isinstance(model, dict) and isinstance(model.get("modelFormat"), dict):
        if model["modelFormat"].get("name") in ("triton", "vLLM"):
            model.setdefault("protocolVersion", "v2")
        if model.get("name") == "":
            model.pop("name")
    return obj


def _qualified(key: str) -> bool:
    return len(key) <= 317 and _QUALIFIED.fullmatch(key) is not None


def _base64(value: str) -> bool:
    try:
        b64decode(value, validate=True)
    except (NotBase64, ValueError):
        return False
    return True


def _wrong(field: str, value: Any, rule: str) -> SchemaFault:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return SchemaFault(field, "FieldValueInvalid", f"Invalid value: {text}: {rule}")
