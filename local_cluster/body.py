"""Request bodies: bounded, read strictly, never a traceback. JSON, and the YAML that apply patches come in."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import yaml

from local_cluster import protobuf
from local_cluster.problems import ApiProblem, bad_request

LIMIT = 3 << 20
DEPTH = 64
_INT64 = 2**63


@dataclass(frozen=True)
class RequestBody:
    """A body and the fields that came twice in it."""

    value: Any
    repeated: tuple[str, ...] = ()


class _Unfit(ValueError):
    """Not what a Kubernetes object can hold."""


def parse(raw: bytes, *, media: str) -> RequestBody:
    """The value in a body; 400 where there is none that an object can hold."""
    if len(raw) > LIMIT:
        raise ApiProblem("RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")
    try:
        if media == protobuf.MEDIA:
            body = RequestBody(protobuf.decode(raw))
        else:
            body = _yaml(raw) if media.endswith("yaml") else _json(raw)
        check(body.value)
    except (_Unfit, ValueError, yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())[:300] or "too deeply nested"
        raise bad_request(f"error decoding the body: {words}") from error
    return body


def check(value: Any) -> None:
    """`_Unfit` for what is nested too deep, or a number that JSON or an int64 cannot hold."""
    level = [value]
    for _ in range(DEPTH):
        if not level:
            return
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, float) and not math.isfinite(item):
                raise _Unfit("a number is not finite")
            elif isinstance(item, int) and not -_INT64 <= item < _INT64:
                raise _Unfit("a number does not fit into 64 bits")
        level = below
    if level:
        raise _Unfit(f"nested deeper than {DEPTH} levels")


def _json(raw: bytes) -> RequestBody:
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            names = [key for key, _ in found]
            repeated.extend(sorted({key for key in names if names.count(key) > 1}))
        return made

    def constant(name: str) -> Any:
        raise _Unfit(f"{name} is not JSON")

    text = raw.decode("utf-8")
    return RequestBody(json.loads(text, object_pairs_hook=pairs, parse_constant=constant), tuple(repeated))


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: no aliases (they explode), keys are text, dates stay text."""

    def fetch_more_tokens(self) -> Any:
        if self.flow_level > DEPTH or len(self.indents) > DEPTH:
            raise _Unfit(f"nested deeper than {DEPTH} levels")
        return super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Unfit("YAML aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            raise _Unfit("a key came twice")
        if not all(isinstance(key, str) for key in found):
            raise _Unfit("keys are text")
        return found


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(raw: bytes) -> RequestBody:
    try:
        return _json(raw)
    except (ValueError, RecursionError):
        value = yaml.load(raw, Loader=_Loader)  # noqa: S506 - a SafeLoader with less in it
        if not _plain(value):
            raise _Unfit("a value is not one that JSON has") from None
        return RequestBody(value)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))
