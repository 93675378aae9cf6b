"""Shapes of objects: the strict schemas under `schemas`, and every place where an object breaks its kind's.

Two readers judge by them: `hallmark lint`, and the API of the local cluster. Where each schema is from: tests/schemas/README.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hallmark.lint.source import Keys

Schema = dict[str, Any]

CORE = "core"
"""Folder of the kinds that have no group."""
OPEN = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_FOLDER = Path(__file__).with_name("schemas")
_LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TYPES = {"string": str, "boolean": bool, "object": dict, "array": list}
_WORDS = {
    "string": "a text",
    "boolean": "true or false",
    "object": "a map",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
}


class Breach(StrEnum):
    """wrong_type: no decoder reads it. value: the type is right, the value is not. missing: needed, and not there. unknown: no such field."""

    wrong_type = "wrong type"
    value = "value"
    missing = "missing"
    unknown = "unknown"


class ShapeFault(NamedTuple):
    """One place that breaks a schema, what was expected and found there, and of a value what to write."""

    path: Keys
    breach: Breach
    text: str
    fix: str = ""


class Shape:
    """The schema of a kind, or of a part of one.

    decoded: the value is read into Go's types first, which turn numbers into quantities and nulls in lists into empty values.
    filled:  what is missing has been filled in with empty values by then, as KServe's webhook writes back what it decoded.
    """

    def __init__(self, schema: Schema, parts: dict[str, Schema], *, decoded: bool, filled: bool) -> None:
        self.schema = schema
        self.decoded = decoded
        self.filled = filled
        self._parts = parts

    @property
    def kind(self) -> str:
        """The kind as it is spelt."""
        found: str = self.schema["properties"]["kind"]["enum"][0]
        return found

    def at(self, *path: str) -> Shape:
        """The shape of a part; `[]` goes from a list to its items."""
        schema = self._whole(self.schema)
        for step in path:
            schema = self._whole(schema["items"] if step == "[]" else schema["properties"][step])
        return Shape(schema, self._parts, decoded=self.decoded, filled=self.filled)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it names."""
        return frozenset(self.schema.get("properties", ()))

    def faults(self, value: Any, path: Keys = ()) -> Iterator[ShapeFault]:
        """Every breach in `value`; what stands under `path` of something larger."""
        return self._judge(value, self.schema, path)

    def pruned(self, value: Any) -> Any:
        """`value` as the API server keeps it: without fields that are not named, and without those that are null."""
        return self._pruned(value, self.schema)

    def _pruned(self, value: Any, schema: Schema) -> Any:
        schema = self._whole(schema)
        if isinstance(value, list):
            items = schema.get("items", {})
            return [self._pruned(item, items) for item in value]
        if not isinstance(value, dict) or not ({"properties", "additionalProperties"} & set(schema)):
            return value
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        return {
            key: self._pruned(below, known.get(key, more if isinstance(more, dict) else {}))
            for key, below in value.items()
            if below is not None and (key in known or more is not False)
        }

    def _whole(self, schema: Schema) -> Schema:
        name = schema.get("$ref")
        return self._parts[name.removeprefix("#/$defs/")] if name else schema

    def _judge(self, value: Any, schema: Schema, path: Keys) -> Iterator[ShapeFault]:
        schema = self._whole(schema)
        if wrong := self._wrong(value, schema):
            yield ShapeFault(path, Breach.wrong_type, f"expected {wrong}, got {_said(value)}")
        elif isinstance(value, dict):
            yield from self._map(value, schema, path)
        elif isinstance(value, list):
            yield from self._list(value, schema, path)
        else:
            yield from _scalar(value, schema, path)

    def _map(self, value: dict[str, Any], schema: Schema, path: Keys) -> Iterator[ShapeFault]:
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        for key in schema.get("required", ()):
            if value.get(key) is None and not self._filled(known.get(key, {})):
                place = f"under {'.'.join(map(str, path))}" if path else "at the top of the object"
                said, wanted = f"{key} is needed, and is not there", self._wanted(known.get(key, {}))
                yield ShapeFault((*path, key), Breach.missing, said, f"write {key}: {wanted}, {place}")
        for key, below in value.items():
            if key not in known and more is False:
                yield ShapeFault((*path, key), Breach.unknown, f"there is no field {key}")
            elif below is None:
                continue  # null is nothing: dropped, or read as the empty value
            elif key in known:
                yield from self._judge(below, known[key], (*path, key))
            elif isinstance(more, dict):
                yield from self._judge(below, more, (*path, key))

    def _filled(self, schema: Schema) -> bool:
        """True where Go's decoder puts an empty value in the place of a missing one: for all but a list."""
        return self.filled and self._whole(schema).get("type") != "array"

    def _list(self, value: list[Any], schema: Schema, path: Keys) -> Iterator[ShapeFault]:
        items = schema.get("items", {})
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            said = f"{len(value)} entries, expected {least} to {most}"
            more = len(value) < least
            fix = f"add {least - len(value)} to this list" if more else f"take {len(value) - most} away from this list"
            yield ShapeFault(path, Breach.value, said, fix)
        for index, item in enumerate(value):
            if item is not None or not self.decoded:
                yield from self._judge(item, items, (*path, index))
        yield from self._twice(value, schema, path)

    def _twice(self, value: list[Any], schema: Schema, path: Keys) -> Iterator[ShapeFault]:
        kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
        if kind not in ("map", "set"):
            return
        fields = self._whole(schema.get("items", {})).get("properties", {})
        seen: list[Any] = []
        for index, item in enumerate(value):
            if kind == "map" and not isinstance(item, dict):
                continue
            identity = [item.get(key, fields.get(key, {}).get("default")) for key in keys] if kind == "map" else item
            if identity in seen:
                shown = ", ".join(map(str, identity)) if isinstance(identity, list) else identity
                said = f"{shown} stands in this list already"
                yield ShapeFault(
                    (*path, index),
                    Breach.value,
                    said,
                    f"keep one entry {shown} of this list, or name this one otherwise",
                )
            seen.append(identity)

    def _wanted(self, schema: Schema) -> str:
        """What may stand there, in words: one of a list, or a type."""
        schema = self._whole(schema)
        if "enum" in schema:
            return " or ".join(map(str, schema["enum"]))
        return _WORDS.get(str(schema.get("type")), "its value")

    def _wrong(self, value: Any, schema: Schema) -> str:
        """What was expected, where the value is of another type."""
        wanted = schema.get("type")
        if schema.get(INT_OR_STRING):
            whole = isinstance(value, int) or (
                isinstance(value, float) and (value.is_integer() or (self.decoded and "pattern" in schema))
            )
            return "" if isinstance(value, str) or (whole and not isinstance(value, bool)) else "a number or a text"
        if wanted is None or (isinstance(wanted, list) and value is None):
            return ""
        name = next(each for each in wanted if each != "null") if isinstance(wanted, list) else wanted
        if name in ("integer", "number"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits = number and (name == "number" or isinstance(value, int) or value.is_integer())
        else:
            fits = isinstance(value, _TYPES[name])
        return "" if fits else _WORDS[name]


def _scalar(value: Any, schema: Schema, path: Keys) -> Iterator[ShapeFault]:
    said = _said(value)
    if "enum" in schema and value not in schema["enum"]:
        words = list(map(str, schema["enum"]))
        fix = f"write one of {', '.join(words)}" if len(words) > 1 else f"write {words[0]}"
        yield ShapeFault(path, Breach.value, f"{said} is none of {', '.join(words)}", fix)
    if isinstance(value, str):
        if schema.get("format") == "date-time" and not _TIME.fullmatch(value):
            yield ShapeFault(path, Breach.wrong_type, f"{said} is no time such as 2026-11-30T12:00:00Z")
        pattern = schema.get("pattern")
        if pattern and not _matches(pattern, value):
            # A quantity that cannot be read stops the decoder, as a wrong type does.
            breach = Breach.wrong_type if schema.get(INT_OR_STRING) else Breach.value
            yield ShapeFault(path, breach, f"{said} does not match {pattern}", f"write a text of the form {pattern}")
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            shortest, longest = schema.get("minLength", 0), schema.get("maxLength", "any number of")
            span = f"{shortest} to {longest} characters"
            yield ShapeFault(
                path, Breach.value, f"{len(value)} characters, expected {shortest} to {longest}", f"write {span}"
            )
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = _LIMITS.get(str(schema.get("format")), (None, None))
        if low is not None and high is not None and not low <= value <= high:
            yield ShapeFault(path, Breach.wrong_type, f"{value} does not fit into {schema['format']}")
        elif value < schema.get("minimum", value) or value > schema.get("maximum", value):
            span = f"{schema.get('minimum', 'any')} to {schema.get('maximum', 'any')}"
            yield ShapeFault(path, Breach.value, f"{value}, expected {span}", f"write a number: {span}")


@cache
def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # a pattern that Go reads and Python does not


def _said(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return f"{_WORDS['object' if isinstance(value, dict) else 'array']}"
    shown = json.dumps(value, ensure_ascii=False)
    return f"{'the text ' if isinstance(value, str) else ''}{shown[:80]}"


@cache
def held() -> frozenset[tuple[str, str, str]]:
    """Group, kind in small letters, and version of every kind whose schema is here."""
    found = set()
    for path in _FOLDER.glob("*/*.json"):
        kind, _, version = path.stem.partition("_")
        found.add(("" if path.parent.name == CORE else path.parent.name, kind, version))
    return frozenset(found)


@cache
def shape(group: str, kind: str, version: str) -> Shape | None:
    """The shape of a kind, however it is spelt; None where its schema is not here."""
    if (group, kind.lower(), version) not in held():
        return None
    path = _FOLDER / (group or CORE) / f"{kind.lower()}_{version}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    if filled := kind.lower() in _DECODED:
        schema["properties"]["status"] = _STATUS
    return Shape(schema, schema.get("$defs", {}), decoded=builtin(group) or filled, filled=filled)


_DECODED = frozenset({"inferenceservice", "llminferenceservice", "trainedmodel"})
"""Kinds that a webhook of KServe decodes before the API server looks at their schema."""
_STATUS: Schema = {
    "type": "object",
    "properties": {
        **{key: {"type": "array", "items": {"type": "object"}} for key in ("conditions", "canaryStatuses")},
        **{key: {"type": "object"} for key in ("address", "annotations", "components", "modelStatus")},
        **{
            key: {"type": "string"}
            for key in ("url", "deploymentMode", "servingRuntimeName", "clusterServingRuntimeName")
        },
        "observedGeneration": {"type": "integer", "format": "int64"},
    },
}
"""Types of a status that such a webhook decodes before the API server leaves it out."""
KSERVE_GROUP = "serving.kserve.io"
SERVED: dict[str, dict[str, str]] = {
    "": {
        "v1": "Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim "
        "Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount"
    },
    "apps": {"v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet"},
    "batch": {"v1": "CronJob Job"},
    "autoscaling": {"v1": "HorizontalPodAutoscaler Scale", "v2": "HorizontalPodAutoscaler"},
    "policy": {"v1": "Eviction PodDisruptionBudget"},
    "networking.k8s.io": {"v1": "IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR"},
    "rbac.authorization.k8s.io": {"v1": "ClusterRole ClusterRoleBinding Role RoleBinding"},
    "scheduling.k8s.io": {"v1": "PriorityClass"},
    "extensions": {},
    KSERVE_GROUP: {
        "v1alpha1": "ClusterServingRuntime ClusterStorageContainer InferenceGraph LLMInferenceService LLMInferenceServiceConfig "
        "LocalModelCache LocalModelNamespaceCache LocalModelNode LocalModelNodeGroup ServingRuntime TrainedModel",
        "v1alpha2": "LLMInferenceService LLMInferenceServiceConfig",
        "v1beta1": "InferenceService",
    },
}
"""The kinds of the groups that are known whole, by version: what is not among them is nowhere (Kubernetes 1.34, KServe 0.21)."""


def builtin(group: str) -> bool:
    """True for the API server's own groups, which no CustomResourceDefinition makes."""
    own = (*SERVED, "admissionregistration.k8s.io", "coordination.k8s.io")
    return group in own and group != KSERVE_GROUP
