"""The protobuf that `kubectl create namespace|configmap|secret|serviceaccount` sends, and the options that client-go sends with a DELETE,
read without a library: these kinds and no others.

An object comes as four magic bytes and an `Unknown` message (1: apiVersion and kind, 2: the object). Field numbers are those
of k8s.io/api; fields that are not named here are passed over, as protobuf has it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from local_cluster.resources import Object

MEDIA = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

Wire = int | bytes
Read = Callable[[Wire], Any]


class Unreadable(ValueError):
    """Not protobuf, or not a kind that is read here."""


def decode(raw: bytes) -> Object:
    """The object in a body; `Unreadable`."""
    if not raw.startswith(MAGIC):
        raise Unreadable("the body does not begin as Kubernetes' protobuf does")
    unknown = _message({1: ("type", _message_of({1: ("apiVersion", _text), 2: ("kind", _text)})), 2: ("raw", _bytes)})(
        raw[len(MAGIC) :]
    )
    type_ = unknown.get("type") or {}
    kind = str(type_.get("kind", ""))
    if kind == "DeleteOptions":  # of whichever group the object is that shall go
        return {"apiVersion": "v1", "kind": kind, **_DELETE_OPTIONS(unknown.get("raw", b""))}
    if type_.get("apiVersion") != "v1" or kind not in _KINDS:
        raise Unreadable(f"{type_.get('apiVersion')}, Kind={kind} is not read as protobuf: send JSON")
    return {"apiVersion": "v1", "kind": kind, **_KINDS[kind](unknown.get("raw", b""))}


def _fields(data: bytes) -> Iterator[tuple[int, Wire]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise Unreadable(f"wire type {wire} is not known")
        if at + size > len(data):
            raise Unreadable("the body ends in the middle of a field")
        if wire == 2:
            yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Unreadable("the body ends in the middle of a number")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise Unreadable("a number is too long")


def _bytes(value: Wire) -> bytes:
    if not isinstance(value, bytes):
        raise Unreadable("a number came where bytes belong")
    return value


def _text(value: Wire) -> str:
    return _bytes(value).decode("utf-8")


def _base64(value: Wire) -> str:
    return b64encode(_bytes(value)).decode("ascii")


def _flag(value: Wire) -> bool:
    return bool(value)


def _number(value: Wire) -> int:
    if not isinstance(value, int):
        raise Unreadable("bytes came where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _time(value: Wire) -> str | None:
    seconds = next((each for number, each in _fields(_bytes(value)) if number == 1), None)
    if not isinstance(seconds, int) or seconds > 253402300799:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _message(known: dict[int, tuple[str, Read]]) -> Callable[[bytes], Object]:
    def read(data: bytes) -> Object:
        found: Object = {}
        for number, value in _fields(data):
            if number not in known:
                continue
            name, one = known[number]
            got = one(value)
            if isinstance(got, dict) and isinstance(found.get(name), dict):
                found[name] |= got
            elif isinstance(got, list):
                found.setdefault(name, []).extend(got)
            elif got not in (None, "", b""):
                found[name] = got
        return found

    return read


def _message_of(known: dict[int, tuple[str, Read]]) -> Read:
    read = _message(known)
    return lambda value: read(_bytes(value))


def _map(one: Read) -> Read:
    def read(value: Wire) -> Object:
        entry = dict(_fields(_bytes(value)))
        return {_text(entry.get(1, b"")): one(entry.get(2, b""))}

    return read


def _many(one: Read) -> Read:
    return lambda value: [one(value)]


_META = _message_of(
    {
        1: ("name", _text),
        2: ("generateName", _text),
        3: ("namespace", _text),
        5: ("uid", _text),
        6: ("resourceVersion", _text),
        8: ("creationTimestamp", _time),
        11: ("labels", _map(_text)),
        12: ("annotations", _map(_text)),
        14: ("finalizers", _many(_text)),
    }
)
_DELETE_OPTIONS = _message(
    {
        1: ("gracePeriodSeconds", _number),
        2: ("preconditions", _message_of({1: ("uid", _text), 2: ("resourceVersion", _text)})),
        3: ("orphanDependents", _flag),
        4: ("propagationPolicy", _text),
        5: ("dryRun", _many(_text)),
    }
)
_NAMED = _many(_message_of({1: ("name", _text)}))
_SECRETS = _many(_message_of({3: ("name", _text)}))
_KINDS: dict[str, Callable[[bytes], Object]] = {
    "Namespace": _message({1: ("metadata", _META)}),
    "ConfigMap": _message(
        {1: ("metadata", _META), 2: ("data", _map(_text)), 3: ("binaryData", _map(_base64)), 4: ("immutable", _flag)}
    ),
    "Secret": _message(
        {
            1: ("metadata", _META),
            2: ("data", _map(_base64)),
            3: ("type", _text),
            4: ("stringData", _map(_text)),
            5: ("immutable", _flag),
        }
    ),
    "ServiceAccount": _message(
        {
            1: ("metadata", _META),
            2: ("secrets", _SECRETS),
            3: ("imagePullSecrets", _NAMED),
            4: ("automountServiceAccountToken", _flag),
        }
    ),
}
