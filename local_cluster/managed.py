"""Ownership of fields: `metadata.managedFields`, and server-side apply on top of it.

A simplified, honest form of Kubernetes' own: fields are owned by managers; an apply owns the fields it names, takes away
those it named before and no longer names (where nobody else owns them), and conflicts where another manager owns a field
with another value. Ownership is kept for leaves and for the items of keyed lists, not for the maps between.
"""

from __future__ import annotations

import json
from typing import Any

from local_cluster import schema as schemas
from local_cluster.patch import same
from local_cluster.resources import Object
from local_cluster.store import now

Path = tuple[str, ...]
Paths = frozenset[Path]

_SYSTEM = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
        "generateName",
    }
)
_SELF = "."


class Owned(Exception):
    """Another manager owns fields that this apply would change."""

    def __init__(self, conflicts: list[tuple[str, Path]]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


def fields(obj: Object, schema: Object) -> Paths:
    """Every leaf of an object that somebody can own."""
    meta = {key: value for key, value in obj.get("metadata", {}).items() if key not in _SYSTEM}
    body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    found = set(_leaves(body, schema, ()))
    found |= set(_leaves(meta, schemas.step(schema, "metadata"), ("f:metadata",))) if meta else set()
    return frozenset(found)


def written(before: Object | None, after: Object, *, manager: str, schema: Object, subresource: str = "") -> None:
    """Note in `after` that `manager` set what differs from `before`."""
    entries = _entries(after)
    owned_before = fields(before, schema) if before else frozenset()
    owned_after = fields(after, schema)
    changed = {
        path
        for path in owned_after
        if path not in owned_before or (before and not same(_at(before, path, schema), _at(after, path, schema)))
    }
    if subresource:
        changed = {path for path in changed if path[0] == f"f:{subresource}"}
    else:
        changed = {path for path in changed if path[0] != "f:status"}
    for entry in entries:
        paths = _decode(entry.get("fieldsV1") or {}) & owned_after
        mine = _is(entry, manager, "Update", subresource)
        entry["fieldsV1"] = _encode(paths | changed if mine else paths - changed)
        if mine and changed:
            entry["time"] = now()
    if changed and not any(_is(entry, manager, "Update", subresource) for entry in entries):
        entries.append(_entry(after, manager, "Update", frozenset(changed), subresource))
    _keep(after, entries)


def apply(live: Object | None, applied: Object, *, manager: str, force: bool, schema: Object) -> Object:
    """`live` with the fields of `applied`, and without those that this manager's last apply had and this one does not. `Owned`."""
    wanted = fields(applied, schema)
    if live is None:
        fresh = json.loads(json.dumps(applied))
        fresh.setdefault("metadata", {})["managedFields"] = [_entry(applied, manager, "Apply", wanted, "")]
        return dict(fresh)
    entries = _entries(live)
    conflicts = []
    for entry in entries:
        if _is(entry, manager, "Apply", ""):
            continue
        for path in sorted(wanted & _decode(entry.get("fieldsV1") or {})):
            if path[-1] != _SELF and not same(_at(live, path, schema), _at(applied, path, schema)):
                conflicts.append((str(entry.get("manager")), path))
    if conflicts and not force:
        raise Owned(conflicts)
    taken = {path for _, path in conflicts}
    merged: Object = _overlay(live, applied, schema)
    others: set[Path] = set()
    previous: Paths = frozenset()
    for entry in entries:
        paths = _decode(entry.get("fieldsV1") or {})
        if _is(entry, manager, "Apply", ""):
            previous = paths
        else:
            entry["fieldsV1"] = _encode(paths - taken)
            others |= paths - taken
    _take_away_all(merged, previous - wanted - others, others, schema)
    entries = [entry for entry in entries if not _is(entry, manager, "Apply", "")]
    entries.append(_entry(applied, manager, "Apply", wanted, ""))
    _keep(merged, entries)
    return merged


def shown(path: Path) -> str:
    """A path as Kubernetes writes it: `.spec.predictor.model.env[name="A"].value`."""
    text = ""
    for part in path:
        kind, _, rest = part.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(rest).items()) + "]"
        elif kind == "v":
            text += f"[={rest}]"
    return text


def _leaves(value: Any, schema: Object, at: Path) -> list[Path]:
    schema = schemas.resolve(schema)
    if isinstance(value, dict) and value:
        return [
            leaf
            for key, below in value.items()
            for leaf in _leaves(below, schemas.step(schema, key), (*at, f"f:{key}"))
        ]
    keys = schemas.list_keys(schema) if isinstance(value, list) else None
    if keys is None:
        return [at] if at else []
    found = []
    for item in value:
        part = _item(item, keys)
        found.append((*at, part, _SELF) if keys else (*at, part))
        if keys:
            found += _leaves(item, schemas.items(schema), (*at, part))
    return found


def _item(item: Any, keys: tuple[str, ...]) -> str:
    if not keys:
        return "v:" + json.dumps(item)
    found = {key: item.get(key) for key in keys if item.get(key) is not None} if isinstance(item, dict) else {}
    return "k:" + json.dumps(found, separators=(",", ":"), sort_keys=True)


def _at(obj: Any, path: Path, schema: Object) -> Any:
    for part in path:
        if part == _SELF:
            return obj
        if part.startswith("f:"):
            obj = obj.get(part[2:]) if isinstance(obj, dict) else None
            schema = schemas.step(schema, part[2:])
        else:
            keys = schemas.list_keys(schema) or ()
            found = [each for each in obj if _item(each, keys) == part] if isinstance(obj, list) else []
            obj = found[0] if found else None
            schema = schemas.items(schema)
    return obj


def _take_away_all(obj: Object, paths: Paths, others: set[Path], schema: Object) -> None:
    """Items first, whole, unless somebody else owns a field in them: then the item and what it is known by stay."""
    held = {path[:end] for path in others for end in range(1, len(path))}
    for path in sorted(paths, key=lambda each: (each[-1] != _SELF, len(each))):
        in_item = len(path) > 1 and path[-2].startswith("k:")
        is_key = in_item and path[-1].removeprefix("f:") in json.loads(path[-2][2:])
        if in_item and path[:-1] in held and (path[-1] == _SELF or is_key):
            continue
        _take_away(obj, path, schema)


def _take_away(obj: Any, path: Path, schema: Object) -> None:
    trail: list[tuple[Any, str]] = []
    steps = path[:-1] if path[-1] == _SELF else path
    for part in steps[:-1]:
        trail.append((obj, part))
        obj, schema = _down(obj, part, schema)
        if obj is None:
            return
    last = steps[-1]
    if last.startswith("f:"):
        if isinstance(obj, dict):
            obj.pop(last[2:], None)
    elif isinstance(obj, list):
        keys = schemas.list_keys(schema) or ()
        if path[-1] == _SELF or last.startswith("v:"):
            obj[:] = [each for each in obj if _item(each, keys) != last]
    for parent, part in reversed(trail):
        if obj or not part.startswith("f:") or not isinstance(parent, dict) or part == "f:metadata":
            return
        parent.pop(part[2:], None)
        obj = parent


def _down(obj: Any, part: str, schema: Object) -> tuple[Any, Object]:
    if part.startswith("f:"):
        return (obj.get(part[2:]) if isinstance(obj, dict) else None), schemas.step(schema, part[2:])
    return _at(obj, (part,), schema), schemas.items(schema)


def _overlay(live: Any, applied: Any, schema: Object) -> Any:
    schema = schemas.resolve(schema)
    if isinstance(live, dict) and isinstance(applied, dict):
        merged = json.loads(json.dumps(live))
        for key, value in applied.items():
            below = schemas.step(schema, key)
            merged[key] = _overlay(live[key], value, below) if key in live else json.loads(json.dumps(value))
        return merged
    keys = schemas.list_keys(schema) if isinstance(live, list) and isinstance(applied, list) else None
    if keys is None:
        return json.loads(json.dumps(applied))
    merged = json.loads(json.dumps(live))
    places = {_item(item, keys): index for index, item in enumerate(merged)}
    for item in applied:
        place = places.get(_item(item, keys))
        if place is None:
            merged.append(json.loads(json.dumps(item)))
        else:
            merged[place] = _overlay(merged[place], item, schemas.items(schema))
    return merged


def _entries(obj: Object) -> list[Object]:
    entries = (obj.get("metadata") or {}).get("managedFields") or []
    return [json.loads(json.dumps(entry)) for entry in entries if isinstance(entry, dict) and entry.get("manager")]


def _keep(obj: Object, entries: list[Object]) -> None:
    kept = [entry for entry in entries if entry.get("fieldsV1")]
    if kept:
        obj["metadata"]["managedFields"] = kept
    else:
        obj["metadata"].pop("managedFields", None)


def _is(entry: Object, manager: str, operation: str, subresource: str) -> bool:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == (
        manager,
        operation,
        subresource,
    )


def _entry(obj: Object, manager: str, operation: str, paths: Paths, subresource: str) -> Object:
    entry: Object = {
        "manager": manager,
        "operation": operation,
        "apiVersion": obj["apiVersion"],
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": _encode(paths),
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _encode(paths: frozenset[Path] | set[Path]) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(part, {})
    return tree


def _decode(tree: Any, at: Path = ()) -> Paths:
    if not isinstance(tree, dict):
        return frozenset()
    found: set[Path] = set()
    for part, below in tree.items():
        here = (*at, part)
        if not below:
            found.add(here)
        else:
            found |= _decode(below, here)
    return frozenset(found)
