"""OpenAPI v2 as the protobuf that kubectl asks for, and for what it asks it: which kinds take which options of a patch.

kubectl reads v3 (local_cluster/openapi.py) and comes here for what no v3 document has: a List, or a kind that is not served. So the
definitions of the kinds are left out; fields are numbered as in gnostic's OpenAPIv2.proto.
"""

from __future__ import annotations

import json
from functools import cache

from local_cluster import openapi
from local_cluster.resources import Object

MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 7}


@cache
def version_two() -> bytes:
    """`/openapi/v2`."""
    document = openapi.version_two()
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(_bytes(2, _text(1, path) + _bytes(2, _path(item))) for path, item in document["paths"].items())
    return _text(1, document["swagger"]) + _bytes(2, info) + _bytes(8, paths)


def _path(item: Object) -> bytes:
    return b"".join(_bytes(_METHODS[method], _operation(item[method])) for method in _METHODS if method in item)


def _operation(operation: Object) -> bytes:
    options = [each for each in operation["parameters"] if each["in"] == "query"]
    written = _text(5, operation["operationId"])
    for each in options:
        query = _text(2, "query") + _text(4, each["name"]) + _text(6, "string")
        written += _bytes(8, _bytes(1, _bytes(2, _bytes(3, query))))
    for name in ("x-kubernetes-action", "x-kubernetes-group-version-kind"):
        # An extension is a YAML text; JSON is one.
        written += _bytes(13, _text(1, name) + _bytes(2, _text(2, json.dumps(operation[name]))))
    return written


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    """A field of wire type 2: its tag, its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
