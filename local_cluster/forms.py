"""The form of an answer: plain, `Table` or `PartialObjectMetadata`, as the Accept header asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from local_cluster import table as tables
from local_cluster.problems import ApiProblem
from local_cluster.resources import NEW_EVENTS, Object, Resource

Kind = Literal["", "Table", "PartialObjectMetadata"]
_KINDS: dict[str, Kind] = {
    "": "",
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadata",
}
_MEDIA = ("application/json", "application/*", "*/*")


@dataclass(frozen=True)
class Form:
    """Representation of objects of `resource`; `include` selects what rows of a table carry: None, Metadata or Object."""

    resource: Resource
    kind: Kind
    include: str

    @classmethod
    def asked(cls, accept: str, resource: Resource, *, include: str = "") -> Form:
        """The first form of an Accept header that is served here; 406 where there is none."""
        for written in (accept or "*/*").split(","):
            media, given = parameters(written)
            kind = _KINDS.get(given.get("as", ""))
            if media in _MEDIA and kind is not None:
                return cls(resource, kind, include or "Metadata")
        raise ApiProblem("NotAcceptable", "only the following media types are accepted: application/json")

    def one(self, obj: Object) -> Object:
        """One object."""
        shown = _shown(obj, self.resource)
        if self.kind == "Table":
            version = str(shown["metadata"].get("resourceVersion", ""))
            return tables.table([shown], self.resource, version=version, include=self.include)
        return tables.partial(shown) if self.kind else shown

    def many(self, objects: list[Object], version: str, **more: Any) -> Object:
        """A list, as of resourceVersion `version`; more: of its metadata."""
        shown = [_shown(obj, self.resource) for obj in objects]
        if self.kind == "Table":
            table = tables.table(shown, self.resource, version=version, include=self.include)
            return {**table, "metadata": {**table["metadata"], **more}}
        kind, api_version = self.resource.kind + "List", self.resource.api_version
        if self.kind:
            shown = [tables.partial(obj) for obj in shown]
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        return {
            "kind": kind,
            "apiVersion": api_version,
            "metadata": {"resourceVersion": version, **more},
            "items": shown,
        }

    def bookmark(self, version: str) -> Object:
        """The object of a bookmark."""
        if self.kind == "Table":
            return tables.table([], self.resource, version=version)
        meta = {"resourceVersion": version, "creationTimestamp": None}
        return {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": meta}


def parameters(written: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, without its weight."""
    media, *rest = (part.strip() for part in written.split(";"))
    found = dict(part.partition("=")[::2] for part in rest if "=" in part)
    found.pop("q", None)
    return media.lower(), found


def _shown(obj: Object, resource: Resource) -> Object:
    """An object of the store in the resource's form: events have two."""
    if resource is not NEW_EVENTS:
        return obj
    shown: Object = {
        key: obj[key] for key in ("metadata", "reason", "type", "action", "related", "reportingInstance") if key in obj
    }
    return {
        "apiVersion": NEW_EVENTS.api_version,
        "kind": NEW_EVENTS.kind,
        **shown,
        "eventTime": obj.get("eventTime"),
        "regarding": obj.get("involvedObject", {}),
        "note": obj.get("message", ""),
        "reportingController": obj.get("reportingComponent", ""),
        "deprecatedCount": obj.get("count", 1),
        "deprecatedFirstTimestamp": obj.get("firstTimestamp"),
        "deprecatedLastTimestamp": obj.get("lastTimestamp"),
        "deprecatedSource": obj.get("source", {}),
    }
