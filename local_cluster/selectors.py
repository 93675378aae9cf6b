"""Label and field selectors, as kubectl writes them: `app=x,tier in (a, b),!old` and `metadata.name=x`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hallmark.errors import DeclarationError
from local_cluster.resources import Object

_KEY = r"(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]*)"
_SET = re.compile(rf"^{_KEY}\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(rf"^{_KEY}\s*(?P<op>=|==|!=)\s*(?P<value>[A-Za-z0-9._-]*)$")
_HAS = re.compile(rf"^(?P<no>!?)\s*{_KEY}$")
_COMMA = re.compile(r",(?![^()]*\))")
_FIELD = re.compile(r"^(?P<path>[A-Za-z.]+)(?P<op>==|!=|=)(?P<value>.*)$")

Test = Callable[[Object], bool]

FIELDS = ("metadata.name", "metadata.namespace")
MORE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase"),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}
_ALIASES = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


@dataclass(frozen=True)
class Selection:
    """A filter of objects; all of `tests` hold for those it selects."""

    tests: tuple[Test, ...] = ()

    def matches(self, obj: Object) -> bool:
        """Is `obj` meant?"""
        return all(test(obj) for test in self.tests)

    @classmethod
    def equal(cls, labels: Mapping[str, str]) -> Selection:
        """Objects that carry all of `labels`."""
        return cls(tuple(_label(key, {value}.__contains__) for key, value in labels.items()))

    @classmethod
    def parse(cls, labels: str, fields: str, *, kind: str) -> Selection:
        """The selection of a labelSelector and a fieldSelector; `DeclarationError` where one cannot be read."""
        tests = [_label_test(part.strip()) for part in _COMMA.split(labels) if part.strip()]
        tests += [_field_test(part.strip(), kind) for part in fields.split(",") if part.strip()]
        return cls(tuple(tests))


def _label(key: str, holds: Callable[[str | None], bool]) -> Test:
    return lambda obj: holds((obj["metadata"].get("labels") or {}).get(key))


def _label_test(text: str) -> Test:
    if match := _SET.match(text):
        values = {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return _label(match["key"], lambda found: found in values)
        return _label(match["key"], lambda found: found not in values)
    if match := _EQUAL.match(text):
        value = match["value"]
        if match["op"] == "!=":
            return _label(match["key"], lambda found: found != value)
        return _label(match["key"], lambda found: found == value)
    if match := _HAS.match(text):
        if match["no"]:
            return _label(match["key"], lambda found: found is None)
        return _label(match["key"], lambda found: found is not None)
    raise DeclarationError(f"unable to parse requirement: {text!r}", expected="key, key=value or key in (a, b)")


def _field_test(text: str, kind: str) -> Test:
    match = _FIELD.match(text)
    if match is None:
        raise DeclarationError(f"invalid selector: {text!r}; can't understand {text!r}")
    head, _, rest = match["path"].partition(".")
    path = ".".join(filter(None, (_ALIASES.get(head, head), rest)))
    if path not in FIELDS + tuple(MORE_FIELDS.get(kind, ())):
        raise DeclarationError(f"field label not supported: {match['path']}")
    value, wanted = match["value"], match["op"] != "!="
    return lambda obj: (_at(obj, path) == value) == wanted


def _at(obj: Object, path: str) -> str:
    found: object = obj
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("component")
    return "" if found is None else str(found)
