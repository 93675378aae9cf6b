"""The shape of each kind: unknown fields, wrong types, what lists are keyed by.

A schema is an OpenAPI v3 schema as Kubernetes publishes it, with `$ref` to the others; `any` is an object that declares
`x-kubernetes-preserve-unknown-fields`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from local_cluster.resources import NEW_EVENTS, Object, Resource

REF = "#/components/schemas/"
ANY = "x-kubernetes-preserve-unknown-fields"
KEYS = "x-kubernetes-list-map-keys"
LIST = "x-kubernetes-list-type"

_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_SIMPLE: dict[str, Object] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "number": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
    "quantity": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
    "any": {"type": "object", ANY: True},
}
_RANGE = re.compile(r"^(int32|int64) (-?\d+)\.\.(-?\d+)$")
_NAMES = {
    "boolean": bool,
    "string": str,
    "object": dict,
    "array": list,
}


@dataclass(frozen=True)
class SchemaFault:
    """A value that breaks its schema; `reason` is one of Kubernetes' own cause reasons."""

    field: str
    reason: str
    message: str


@cache
def definitions() -> dict[str, Object]:
    """Every schema by its short name."""
    path = Path(__file__).with_name("schemas.yaml")
    compact = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _struct(fields) for name, fields in compact.items()}


def of(resource: Resource) -> Object:
    """The schema of a kind."""
    return definitions()["NewEvent" if resource is NEW_EVENTS else resource.kind]


def resolve(schema: Object) -> Object:
    """The schema itself where `schema` points to it."""
    ref = schema.get("$ref")
    return definitions()[ref.removeprefix(REF)] if ref else schema


def step(schema: Object, key: str) -> Object:
    """The schema of the value under `key` of a map."""
    schema = resolve(schema)
    below = (schema.get("properties") or {}).get(key) or schema.get("additionalProperties")
    return resolve(below) if isinstance(below, dict) else _SIMPLE["any"]


def items(schema: Object) -> Object:
    """The schema of a list's items."""
    return resolve(resolve(schema).get("items") or _SIMPLE["any"])


def unknown(value: Any, schema: Object, at: str = "") -> Iterator[str]:
    """The paths of fields that the schema does not have, as Kubernetes writes them: `spec.containers[0].nam`."""
    schema = resolve(schema)
    if schema.get(ANY):
        return
    if isinstance(value, dict) and schema.get("type") == "object":
        for key, below in value.items():
            path = f"{at}.{key}" if at else key
            if key not in (schema.get("properties") or {}) and "additionalProperties" not in schema:
                yield path
            else:
                yield from unknown(below, step(schema, key), path)
    elif isinstance(value, list) and schema.get("type") == "array":
        for index, below in enumerate(value):
            yield from unknown(below, items(schema), f"{at}[{index}]")


def prune(value: Any, schema: Object) -> Any:
    """`value` without the fields that the schema does not have, and without those that are null."""
    schema = resolve(schema)
    if schema.get(ANY):
        return value
    if isinstance(value, dict) and schema.get("type") == "object":
        known = schema.get("properties") or {}
        keep = "additionalProperties" in schema
        return {
            key: prune(below, step(schema, key))
            for key, below in value.items()
            if below is not None and (keep or key in known)
        }
    if isinstance(value, list) and schema.get("type") == "array":
        return [prune(below, items(schema)) for below in value]
    return value


def faults(value: Any, schema: Object, at: str = "") -> Iterator[SchemaFault]:
    """Breaches of the schema in `value`: types, required fields, ranges, repeated keys."""
    schema = resolve(schema)
    wrong = _wrong_type(value, schema)
    if wrong:
        yield SchemaFault(
            at, "FieldValueTypeInvalid", f'Invalid value: "{_kind(value)}": {at} in body must be of type {wrong}'
        )
        return
    if schema.get(ANY):
        return
    if isinstance(value, dict):
        for key in schema.get("required") or ():
            if value.get(key) is None:
                yield SchemaFault(f"{at}.{key}" if at else key, "FieldValueRequired", "Required value")
        for key, below in value.items():
            if below is not None:
                yield from faults(below, step(schema, key), f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        yield from _repeated(value, schema, at)
        for index, below in enumerate(value):
            yield from faults(below, items(schema), f"{at}[{index}]")
    else:
        yield from _out_of_range(value, schema, at)


def list_keys(schema: Object) -> tuple[str, ...] | None:
    """Keys that identify the items of a list: their names, () for a set of values, none for a list that is replaced as a whole."""
    schema = resolve(schema)
    kind = schema.get(LIST)
    if kind == "map":
        return tuple(schema[KEYS])
    return () if kind == "set" else None


def _struct(fields: Object) -> Object:
    properties: Object = {}
    required: list[str] = []
    for name, written in fields.items():
        if name == "":
            continue
        key = name.removesuffix("!")
        properties[key] = _struct(written) if isinstance(written, dict) else _field(written)
        if name.endswith("!"):
            required.append(key)
    schema: Object = {"type": "object", "properties": properties}
    if fields.get(""):
        schema["description"] = fields[""]
    if required:
        schema["required"] = required
    return schema


def _field(written: str) -> Object:
    type_, _, words = written.partition(" -- ")
    schema = dict(_type(type_.strip()))
    if words:
        schema["description"] = words.strip()
    return schema


def _type(written: str) -> Object:
    if written in _SIMPLE:
        return _SIMPLE[written]
    if written in _INTEGERS:
        return {"type": "integer", "format": written}
    if match := _RANGE.match(written):
        return {"type": "integer", "format": match[1], "minimum": int(match[2]), "maximum": int(match[3])}
    head, _, rest = written.partition(" ")
    if head == "enum":
        return {"type": "string", "enum": rest.split("|")}
    if head == "map":
        return {"type": "object", "additionalProperties": _type(rest)}
    if head == "list":
        of_, _, keys = rest.partition(" by ")
        return {"type": "array", "items": _type(of_), **_list_type(keys)}
    return {"$ref": REF + written}


def _list_type(keys: str) -> Object:
    if not keys:
        return {LIST: "atomic"}
    if keys == "value":
        return {LIST: "set", "x-kubernetes-patch-strategy": "merge"}
    names = keys.split(",")
    return {
        LIST: "map",
        KEYS: names,
        "x-kubernetes-patch-merge-key": names[0],
        "x-kubernetes-patch-strategy": "merge",
    }


def _wrong_type(value: Any, schema: Object) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        return "" if fits else "integer or string"
    wanted = str(schema.get("type", ""))
    if wanted == "integer":
        fits = isinstance(value, int) and not isinstance(value, bool)
        return "" if fits or (isinstance(value, float) and value.is_integer()) else "integer"
    if wanted == "number":
        return "" if isinstance(value, (int, float)) and not isinstance(value, bool) else "number"
    return "" if isinstance(value, _NAMES.get(wanted, object)) else wanted


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for name, kind in (*_NAMES.items(), ("integer", int), ("number", float)):
        if isinstance(value, kind):
            return name
    return type(value).__name__


def _out_of_range(value: Any, schema: Object, at: str) -> Iterator[SchemaFault]:
    if schema.get("enum") and value not in schema["enum"]:
        choices = ", ".join(f'"{each}"' for each in schema["enum"])
        yield SchemaFault(at, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {choices}')
    if schema.get("type") == "integer":
        low, high = _INTEGERS.get(str(schema.get("format")), _INTEGERS["int64"])
        low, high = schema.get("minimum", low), schema.get("maximum", high)
        if value < low:
            yield SchemaFault(
                at,
                "FieldValueInvalid",
                f"Invalid value: {value}: {at} in body should be greater than or equal to {low}",
            )
        if value > high:
            yield SchemaFault(
                at, "FieldValueInvalid", f"Invalid value: {value}: {at} in body should be less than or equal to {high}"
            )


def _repeated(value: list[Any], schema: Object, at: str) -> Iterator[SchemaFault]:
    keys = list_keys(schema)
    if keys is None:
        return
    seen: list[Any] = []
    for index, item in enumerate(value):
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if identity in seen:
            yield SchemaFault(f"{at}[{index}]", "FieldValueDuplicate", f"Duplicate value: {identity}")
        seen.append(identity)
