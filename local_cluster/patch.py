"""The kinds of patch that Kubernetes takes: JSON merge (RFC 7386, in hallmark.rollout.plan), JSON (RFC 6902) and strategic merge. All give a new value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hallmark.errors import HallmarkError
from local_cluster import schema as schemas
from local_cluster.resources import Object

OPERATIONS = 10_000
COPIED_BYTES = 3 << 20


class PatchMalformed(HallmarkError):
    """The patch cannot be read."""


class PatchRejected(HallmarkError):
    """The patch can be read and does not fit the object."""


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902: all operations in order, or `PatchRejected` and none; bounded in number and in what `copy` adds."""
    if not isinstance(operations, list):
        raise PatchMalformed("a JSON patch is a list of operations")
    if len(operations) > OPERATIONS:
        raise PatchMalformed(f"the allowed maximum operations in a JSON patch is {OPERATIONS}, got {len(operations)}")
    document = json.loads(json.dumps(document))
    copied = 0
    for operation in operations:
        if not isinstance(operation, dict):
            raise PatchMalformed("an operation of a JSON patch is an object")
        act = _ACTS.get(str(operation.get("op")))
        if act is None:
            raise PatchMalformed(f"unexpected kind of operation: {operation.get('op')!r}")
        if operation["op"] == "copy":
            copied += len(json.dumps(_read(document, _pointer(operation, "from"))))
            if copied > COPIED_BYTES:
                raise PatchRejected(f"the copies of a JSON patch are limited to {COPIED_BYTES} bytes")
        document = act(document, operation)
    return document


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return (type(left) is type(right) and left == right) or (_number(left) and _number(right) and left == right)


def strategic(target: Any, patch: Any, schema: Object) -> Any:
    """Kubernetes' strategic merge: as a JSON merge, and lists that the schema keys are merged by key.

    Knows `$patch` (delete, replace, merge), `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>` and `$retainKeys`.
    """
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return _plain(patch)
    if patch.get("$patch") == "delete":
        return {}
    merged = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        merged = {key: value for key, value in merged.items() if key in _a_list(patch["$retainKeys"], "$retainKeys")}
    for key, value in patch.items():
        if key.startswith("$"):
            _directive(merged, key, value, schema)
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _merge_lists(merged.get(key), value, schemas.step(schema, key))
        else:
            merged[key] = strategic(merged.get(key), value, schemas.step(schema, key))
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            _reorder(merged, key.partition("/")[2], _a_list(order, key), schema)
    return merged


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _pointer(operation: Object, key: str) -> list[str]:
    text = operation.get(key)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchMalformed(f"{key} of an operation is a JSON pointer, not {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise PatchMalformed(f"operation {operation['op']} needs a value")
    return json.loads(json.dumps(operation["value"]))


def _index(items: list[Any], key: str, *, end: int) -> int:
    if not key.isascii() or not key.isdigit() or (key != "0" and key.startswith("0")) or len(key) > 9:
        raise PatchRejected(f"{key!r} is not an index of a list")
    if int(key) >= end:
        raise PatchRejected(f"index {key} is beyond the end of a list of {len(items)}")
    return int(key)


def _read(document: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list):
            document = document[_index(document, key, end=len(document))]
        else:
            raise PatchRejected(f"there is nothing at /{'/'.join(path)}")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(parent, path[-1], end=len(parent) + 1), value)
    else:
        raise PatchRejected(f"nothing can be added at /{'/'.join(path)}")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _read(document, path)
    parent = _read(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document


def _op_add(document: Any, operation: Object) -> Any:
    return _add(document, _pointer(operation, "path"), _value(operation))


def _op_remove(document: Any, operation: Object) -> Any:
    return _remove(document, _pointer(operation, "path"))


def _op_replace(document: Any, operation: Object) -> Any:
    path, value = _pointer(operation, "path"), _value(operation)
    _read(document, path)
    if not path:
        return value
    parent = _read(document, path[:-1])
    parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = value
    return document


def _op_move(document: Any, operation: Object) -> Any:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    value = _read(document, source)
    if path == source:
        return document
    if path[: len(source)] == source:
        raise PatchRejected("a value cannot be moved into itself")
    return _add(_remove(document, source), path, value)


def _op_copy(document: Any, operation: Object) -> Any:
    value = _read(document, _pointer(operation, "from"))
    return _add(document, _pointer(operation, "path"), json.loads(json.dumps(value)))


def _op_test(document: Any, operation: Object) -> Any:
    path = _pointer(operation, "path")
    if not same(_read(document, path), _value(operation)):
        raise PatchRejected(f"testing value /{'/'.join(path)} failed")
    return document


_ACTS: dict[str, Callable[[Any, Object], Any]] = {
    "add": _op_add,
    "remove": _op_remove,
    "replace": _op_replace,
    "move": _op_move,
    "copy": _op_copy,
    "test": _op_test,
}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items() if not key.startswith("$") and below is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and item.get("$patch") == "delete")]
    return value


def _a_list(value: Any, shown: str) -> list[Any]:
    if not isinstance(value, list):
        raise PatchMalformed(f"{shown} is a list")
    return value


def _directive(merged: Object, key: str, value: Any, schema: Object) -> None:
    name, _, field = key.partition("/")
    if name == "$deleteFromPrimitiveList":
        gone = _a_list(value, key)
        if isinstance(merged.get(field), list):
            merged[field] = [item for item in merged[field] if item not in gone]
    elif name not in ("$setElementOrder", "$retainKeys", "$patch"):
        raise PatchMalformed(f"unknown directive {key!r}")


def _merge_lists(target: Any, patch: list[Any], schema: Object) -> list[Any]:
    keys = schemas.list_keys(schema)
    current = list(target) if isinstance(target, list) else []
    replaced = any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch)
    if keys is None or replaced:
        kept = [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
        return [_plain(item) for item in kept]
    before = [_key_of(item, keys[0]) if keys else item for item in current]
    if keys == ():
        return _ordered(current + [item for item in patch if item not in current], before, list(patch), None)
    for item in patch:
        if not isinstance(item, dict) or keys[0] not in item:
            raise PatchMalformed(f"an item of a list that is merged by {keys[0]!r} has no {keys[0]!r}")
        # The first key alone tells items apart, as in kubectl: a port is patched by its number.
        found = next((i for i, each in enumerate(current) if _key_of(each, keys[0]) == item[keys[0]]), None)
        if item.get("$patch") == "delete":
            if found is not None:
                del current[found]
        elif found is None:
            current.append(_plain(item))
        else:
            current[found] = strategic(current[found], item, schemas.items(schema))
    return _ordered(current, before, [item[keys[0]] for item in patch], keys[0])


def _ordered(items: list[Any], before: list[Any], patched: list[Any], key: str | None) -> list[Any]:
    """Merged items as the API server orders them: those of the patch in its order, each of the others before the first of them that
    it stood before; what is new comes before the others.

    apimachinery's strategicpatch, normalizeElementOrder.
    """

    def named(item: Any) -> Any:
        return item if key is None else _key_of(item, key)

    theirs = [item for name in dict.fromkeys(patched) for item in items if named(item) == name]
    others = [item for item in items if named(item) not in patched]
    found = []
    while theirs and others:
        mine, other = named(theirs[0]), named(others[0])
        both = mine in before and other in before
        found.append((others if both and before.index(other) < before.index(mine) else theirs).pop(0))
    return [*found, *theirs, *others]


def _key_of(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else None


def _reorder(merged: Object, field: str, order: list[Any], schema: Object) -> None:
    items = merged.get(field)
    keys = schemas.list_keys(schemas.step(schema, field))
    if not isinstance(items, list) or keys is None:
        return
    wanted = [_key_of(item, keys[0]) if keys else item for item in order]

    def place(item: Any) -> int:
        key = _key_of(item, keys[0]) if keys else item
        return wanted.index(key) if key in wanted else len(wanted)

    merged[field] = sorted(items, key=place)
