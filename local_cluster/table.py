"""Objects as rows, for `kubectl get`: the columns of the core kinds, and those of KServe's definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hallmark import object_labels
from local_cluster.resources import Object, Resource, dicts

Cell = str | int | bool | None


@dataclass(frozen=True)
class PrinterColumn:
    """One column; shown with `-o wide` only where `priority` is 1."""

    name: str
    value: Callable[[Object], Cell]
    type: str = "string"
    priority: int = 0
    format: str = ""


def table(objects: Iterable[Object], resource: Resource, *, version: str, include: str = "Metadata") -> Object:
    """A `Table` of objects; `include` selects what each row carries: None, Metadata or Object."""
    columns = _COLUMNS.get((resource.group, resource.plural), _PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.name,
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": [_row(obj, columns, include) for obj in objects],
    }


def age(since: str | None, *, now: datetime | None = None) -> str:
    """Age as kubectl writes it: 45s, 5m10s, 3h, 2d."""
    try:
        then = datetime.fromisoformat(str(since))
        seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"
    return duration(max(seconds, 0))


def duration(seconds: int) -> str:
    """Seconds as kubectl writes them: two units while the larger is small."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, unit: str, small: int, below: str) -> str:
    return f"{large}{unit}{small}{below}" if small else f"{large}{unit}"


def _row(obj: Object, columns: Sequence[PrinterColumn], include: str) -> Object:
    row: Object = {"cells": [column.value(obj) for column in columns]}
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = partial(obj)
    return row


def partial(obj: Object) -> Object:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _name(obj: Object) -> Cell:
    return str(obj["metadata"]["name"])


def _age(obj: Object) -> Cell:
    return age(obj["metadata"].get("creationTimestamp"))


def _get(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> Cell:
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)


def _at(*path: str) -> Callable[[Object], Cell]:
    return lambda obj: _text(_get(obj, *path))


def _ready(obj: Object) -> Cell:
    found = [item.get("status") for item in dicts(_get(obj, "status", "conditions")) if item.get("type") == "Ready"]
    return _text(found[0]) if found else None


def _traffic(field: str, *, previous: bool) -> Callable[[Object], Cell]:
    def value(obj: Object) -> Cell:
        for item in dicts(_get(obj, "status", "components", "predictor", "traffic")):
            if (item.get("tag") == "prev") if previous else (item.get("latestRevision") is True):
                return _text(item.get(field))
        return None

    return value


def _names(*path: str) -> Callable[[Object], Cell]:
    return lambda obj: ",".join(str(item.get("name")) for item in dicts(_get(obj, *path))) or None


def _count(*fields: str) -> Callable[[Object], Cell]:
    return lambda obj: sum(len(obj.get(field) or ()) for field in fields)


def _pod_ready(obj: Object) -> Cell:
    states = dicts(_get(obj, "status", "containerStatuses"))
    total = len(dicts(_get(obj, "spec", "containers"))) or len(states)
    return f"{sum(item.get('ready') is True for item in states)}/{total}"


def _pod_status(obj: Object) -> Cell:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for item in dicts(_get(obj, "status", "containerStatuses")):
        for state in ("waiting", "terminated"):
            reason = _get(item, "state", state, "reason")
            if reason:
                return str(reason)
    return str(_get(obj, "status", "reason") or _get(obj, "status", "phase") or "Unknown")


def _pod_restarts(obj: Object) -> Cell:
    states = dicts(_get(obj, "status", "containerStatuses"))
    count = sum(int(item.get("restartCount") or 0) for item in states)
    ends = [str(end) for item in states if (end := _get(item, "lastState", "terminated", "finishedAt"))]
    return f"{count} ({age(max(ends))} ago)" if count and ends else str(count)


def _event_time(obj: Object) -> Cell:
    for key in ("lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp"):
        if obj.get(key):
            return age(obj[key])
    return _age(obj)


def _event_object(obj: Object) -> Cell:
    about: Object = _get(obj, "involvedObject") or _get(obj, "regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


_NAME = PrinterColumn("Name", _name, format="name")
_AGE = PrinterColumn("Age", _age)
_PLAIN = (_NAME, _AGE)
_EVENTS = (
    PrinterColumn("Last Seen", _event_time),
    PrinterColumn("Type", _at("type")),
    PrinterColumn("Reason", _at("reason")),
    PrinterColumn("Object", _event_object),
    PrinterColumn("Subobject", _at("involvedObject", "fieldPath"), priority=1),
    PrinterColumn("Source", _at("source", "component"), priority=1),
    PrinterColumn("Message", lambda obj: str(obj.get("message") or obj.get("note") or "").strip()),
    PrinterColumn("First Seen", lambda obj: age(obj.get("firstTimestamp")), priority=1),
    PrinterColumn("Count", lambda obj: _text(obj.get("count") or obj.get("deprecatedCount") or 1), "integer", 1),
    PrinterColumn("Name", _name, priority=1, format="name"),
)
_KSERVE = "serving.kserve.io"
_COLUMNS: dict[tuple[str, str], tuple[PrinterColumn, ...]] = {
    (_KSERVE, "inferenceservices"): (
        _NAME,
        PrinterColumn("URL", _at("status", "url")),
        PrinterColumn("Ready", _ready),
        PrinterColumn("Prev", _traffic("percent", previous=True), "integer"),
        PrinterColumn("Latest", _traffic("percent", previous=False), "integer"),
        PrinterColumn("PrevRolledoutRevision", _traffic("revisionName", previous=True)),
        PrinterColumn("LatestReadyRevision", _traffic("revisionName", previous=False)),
        PrinterColumn("Age", _age, "date"),
    ),
    (_KSERVE, "clusterservingruntimes"): (
        _NAME,
        PrinterColumn("Disabled", _at("spec", "disabled"), "boolean"),
        PrinterColumn("ModelType", _names("spec", "supportedModelFormats")),
        PrinterColumn("Containers", _names("spec", "containers")),
        PrinterColumn("Age", _age, "date"),
    ),
    ("", "namespaces"): (_NAME, PrinterColumn("Status", _at("status", "phase")), _AGE),
    ("", "configmaps"): (_NAME, PrinterColumn("Data", _count("data", "binaryData"), "string"), _AGE),
    ("", "secrets"): (_NAME, PrinterColumn("Type", _at("type")), PrinterColumn("Data", _count("data"), "string"), _AGE),
    ("", "serviceaccounts"): (_NAME, PrinterColumn("Secrets", _count("secrets"), "string"), _AGE),
    ("", "pods"): (
        _NAME,
        PrinterColumn("Ready", _pod_ready),
        PrinterColumn("Status", _pod_status),
        PrinterColumn("Restarts", _pod_restarts),
        _AGE,
        PrinterColumn("IP", _at("status", "podIP"), priority=1),
        PrinterColumn("Node", _at("spec", "nodeName"), priority=1),
        PrinterColumn(
            "Revision",
            lambda obj: (obj["metadata"].get("labels") or {}).get(object_labels.REVISION),
            priority=1,
        ),
    ),
    ("coordination.k8s.io", "leases"): (_NAME, PrinterColumn("Holder", _at("spec", "holderIdentity")), _AGE),
    ("", "events"): _EVENTS,
    ("events.k8s.io", "events"): _EVENTS,
}
