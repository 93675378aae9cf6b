"""A stand-in of OpenSearch over HTTP: indices, mappings, bulk, k-NN queries with filters, counts; what it does not know is a 400."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.hallmark.retrieval.answering import JsonHandler, answering


class _Handler(JsonHandler, BaseHTTPRequestHandler):
    indices: dict[str, dict[str, Any]]

    def do_HEAD(self) -> None:
        self.answer(200 if self._parts()[0] in self.indices else 404, None)

    def do_PUT(self) -> None:
        name, *rest = self._parts()
        body = self._body()
        if rest == ["_mapping"]:
            self.indices[name]["mappings"].update(body)
            return self.answer(200, {"acknowledged": True})
        vector = body["mappings"]["properties"]["vector"]
        if (
            name in self.indices
            or not body["settings"]["index"]["knn"]
            or vector["method"]["space_type"] != "innerproduct"
        ):
            return self.answer(400, {"error": {"type": "resource_already_exists_exception"}, "status": 400})
        self.indices[name] = {**body, "documents": {}, "visible": {}}
        return self.answer(200, {"acknowledged": True})

    def do_DELETE(self) -> None:
        self.indices.pop(self._parts()[0])
        self.answer(200, {"acknowledged": True})

    def do_GET(self) -> None:
        name, rest = self._parts()
        assert rest == "_mapping"
        self.answer(200, {name: {"mappings": self.indices[name]["mappings"]}})

    def do_POST(self) -> None:
        parts = self._parts()
        if parts[-1] == "_bulk":
            return self._bulk()
        held = self.indices[parts[0]]
        if parts[1] == "_refresh":
            held["visible"] = dict(held["documents"])
            return self.answer(200, {})
        query = self._body()
        if parts[1] == "_count":
            asked = query["query"].get("bool", {"filter": []})["filter"]
            return self.answer(200, {"count": sum(_meets(each, asked) for each in held["visible"].values())})
        near = query["query"]["knn"]["vector"]
        asked = near.get("filter", {"bool": {"filter": []}})["bool"]["filter"]
        products = {
            name: float(np.dot(each["vector"], near["vector"]))
            for name, each in held["visible"].items()
            if _meets(each, asked)
        }
        best = sorted(products.items(), key=lambda pair: -pair[1])[: near["k"]][: query["size"]]
        hits = [{"_id": name, "_score": 1 + p if p >= 0 else 1 / (1 - p)} for name, p in best]
        return self.answer(200, {"hits": {"hits": hits}})

    def _bulk(self) -> None:
        lines = [json.loads(line) for line in self.raw().splitlines() if line]
        items = []
        while lines:
            ((operation, what),) = lines.pop(0).items()
            held = self.indices[what["_index"]]["documents"]
            if operation == "delete":
                there = held.pop(what["_id"], None)
                items.append({"delete": {"_id": what["_id"], "status": 200 if there else 404}})
            else:
                held[what["_id"]] = lines.pop(0)
                items.append({operation: {"_id": what["_id"], "status": 201}})
        if "refresh=true" in self.path:
            for index in self.indices.values():
                index["visible"] = dict(index["documents"])
        self.answer(200, {"errors": False, "items": items})

    def _parts(self) -> list[str]:
        return urlsplit(self.path).path.strip("/").split("/")

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw() or b"{}")
        return found


def _meets(document: dict[str, Any], asked: list[dict[str, Any]]) -> bool:
    for condition in asked:
        ((kind, ((field, want),)),) = ((kind, tuple(fields.items())) for kind, fields in condition.items())
        value = document["values"].get(field.removeprefix("values."))
        values = value if isinstance(value, list) else [] if value is None else [value]
        if kind == "terms" and not set(values) & set(want):
            return False
        if kind == "range" and not any(want.get("gte", each) <= each <= want.get("lte", each) for each in values):
            return False
    return True


@contextmanager
def running() -> Iterator[str]:
    """Its address."""
    handler = type("Handler", (_Handler,), {"indices": {}})
    with answering(handler) as port:
        yield f"http://127.0.0.1:{port}"
