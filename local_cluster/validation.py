"""Defaults, refusals and warnings of the API server and KServe's webhooks, before an object is kept."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator
from typing import Any

from hallmark.declaration.traffic import Mode
from hallmark.lint.objects import FRAMEWORKS, LEGACY, MODE
from local_cluster import resources
from local_cluster import schema as schemas
from local_cluster.admission import Admission
from local_cluster.patch import same
from local_cluster.problems import invalid
from local_cluster.resources import Object, Resource
from local_cluster.schema import SchemaFault

_SPEAK_V2 = frozenset({"triton", "onnx", "huggingface"})
"""Frameworks to which KServe's webhook gives the protocol v2."""
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_ANNOTATIONS = 256 << 10
_DATA = 1 << 20


def default(obj: Object, resource: Resource) -> Object:
    """`obj` with what the server adds, of which KServe's webhook: an older framework field becomes `model`."""
    if resource is resources.INFERENCE_SERVICES:
        return _default_service(obj)
    if resource is resources.SECRETS:
        obj.setdefault("type", "Opaque")
        for key, text in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[key] = b64encode(str(text).encode()).decode()
    return obj


def check(
    obj: Object,
    resource: Resource,
    before: Object | None = None,
    *,
    around: Iterable[Object] = (),
    mode: Mode = "Knative",
    left_out: object = None,
) -> list[str]:
    """Warnings about what is taken; refuses what may not be kept, all faults at once (422).

    mode: the cluster's.  left_out: a status that is not kept, and yet decoded first.
    """
    given = obj if left_out is None else {**obj, "status": left_out}
    judged = Admission(given, before=before, around=around, mode=mode)
    found = judged.refusals or [*_status(obj, resource), *_content(obj, resource, before)]
    if found:
        raise invalid(resource, str(obj["metadata"].get("name", "")), found)
    return [*judged.warnings, *_here(obj, resource, mode)]


def _status(obj: Object, resource: Resource) -> Iterator[SchemaFault]:
    """Lint ignores a status, as KServe does that of a new object; who writes one has to write it as the kind has it."""
    if resource.status and "status" in obj:
        yield from schemas.faults(obj["status"], schemas.step(schemas.of(resource), "status"), "status")


def _here(obj: Object, resource: Resource, mode: Mode) -> list[str]:
    """What a cluster runs, and this one does not."""
    own = resources.FINALIZERS if resource is resources.INFERENCE_SERVICES else frozenset()
    strange = [each for each in obj["metadata"].get("finalizers") or () if each not in own]
    found = [
        f"metadata.finalizers: nobody in this cluster lets go of {each}: take it away to delete this"
        for each in strange
    ]
    if resource is resources.HTTP_ROUTES and mode != "Standard":
        found.append("this cluster is in Knative mode, where no gateway follows HTTPRoutes: it has no effect")
    if resource is not resources.INFERENCE_SERVICES:
        return found
    written = (obj["metadata"].get("annotations") or {}).get(MODE)
    if written not in (None, mode):
        found.append(f"this cluster serves in {mode} mode only: the annotation {MODE}: {written} is not followed")
    share = ((obj.get("spec") or {}).get("predictor") or {}).get("canaryTrafficPercent")
    if mode == "Knative" and share is not None and not 0 <= share <= 100:
        found.append(
            f"spec.predictor.canaryTrafficPercent: {share} is taken, and refused by Knative once there is another revision"
        )
    for part in ("transformer", "explainer"):
        if (obj.get("spec") or {}).get(part):
            found.append(f"this cluster serves predictors only: spec.{part} is kept and not run")
    return found


def _content(obj: Object, resource: Resource, before: Object | None) -> Iterator[SchemaFault]:
    if resource is resources.SERVING_RUNTIMES:
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


def _default_service(obj: Object) -> Object:
    annotations = obj["metadata"].get("annotations")
    if isinstance(annotations, dict) and annotations.get(MODE) in LEGACY:
        annotations[MODE] = LEGACY[annotations[MODE]]
    spec = obj.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, dict) else None
    if not isinstance(predictor, dict):
        return obj
    named = [name for name in FRAMEWORKS if isinstance(predictor.get(name), dict)]
    if len(named) == 1:
        # A model beside it is replaced: what kubectl applies a second time changes nothing.
        given = predictor.pop(named[0])
        given = {"protocolVersion": "v2", **given} if named[0] in _SPEAK_V2 else given
        predictor["model"] = {"modelFormat": {"name": named[0]}, **given}
    model = predictor.get("model")
    if isinstance(model, dict) and isinstance(model.get("modelFormat"), dict):
        if model["modelFormat"].get("name") in ("triton", "vLLM"):
            model.setdefault("protocolVersion", "v2")
        if model.get("name") == "":
            model.pop("name")
    return obj


def _base64(value: str) -> bool:
    try:
        b64decode(value, validate=True)
    except (NotBase64, ValueError):
        return False
    return True


def _wrong(field: str, value: Any, rule: str) -> SchemaFault:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return SchemaFault(field, "FieldValueInvalid", f"Invalid value: {text}: {rule}")
