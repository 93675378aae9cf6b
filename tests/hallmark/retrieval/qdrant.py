"""A stand-in of Qdrant over HTTP: its REST paths and bodies by qdrant-client's own models, answered by its local mode; what it does not know is a 404."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from qdrant_client import QdrantClient, models

from tests.hallmark.retrieval.answering import JsonHandler, answering


class _Handler(JsonHandler, BaseHTTPRequestHandler):
    local: QdrantClient
    key: str
    lock: threading.Lock

    def do_GET(self) -> None:
        body = self.raw()
        if self.key and self.headers.get("api-key") != self.key:
            self.answer(401, {"status": {"error": "Invalid API key or JWT"}})
            return
        parts = re.fullmatch(r"/collections/([^/]+)((?:/[a-z]+)*)", urlsplit(self.path).path)
        if parts is None:
            self.answer(404, {"status": {"error": "no such path"}})
            return
        with self.lock:
            try:
                found = self._done(parts[1], f"{self.command}{parts[2]}", json.loads(body or b"{}"))
            except ValueError as error:
                status = 409 if "already exists" in str(error) else 404
                self.answer(status, {"status": {"error": str(error)}})
                return
        self.answer(200, {"result": found, "status": "ok", "time": 0.0})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # all methods go the same way
            return self.do_GET
        raise AttributeError(name)

    def _done(self, name: str, asked: str, body: dict[str, Any]) -> Any:
        local = self.local
        match asked:
            case "GET/exists":
                return {"exists": local.collection_exists(name)}
            case "GET":
                return _plain(local.get_collection(name))
            case "PUT":
                told = models.CreateCollection.model_validate(body)
                return local.create_collection(name, vectors_config=told.vectors)
            case "PATCH":
                return local.update_collection(name, metadata=models.UpdateCollection.model_validate(body).metadata)
            case "DELETE":
                return local.delete_collection(name)
            case "PUT/index":
                field = models.CreateFieldIndex.model_validate(body)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the local mode has no use for one
                    return _plain(local.create_payload_index(name, field.field_name, field.field_schema))
            case "PUT/points":
                return _plain(local.upsert(name, models.PointsList.model_validate(body).points))
            case "POST/points/delete":
                return _plain(local.delete(name, models.PointIdsList.model_validate(body)))
            case "POST/points/count":
                counted = models.CountRequest.model_validate(body)
                return _plain(local.count(name, count_filter=counted.filter, exact=bool(counted.exact)))
            case "POST/points/query":
                wanted = models.QueryRequest.model_validate(body)
                near: Any = getattr(wanted.query, "nearest", wanted.query)
                return _plain(
                    local.query_points(
                        name,
                        query=near,
                        limit=wanted.limit or 10,
                        query_filter=wanted.filter,
                        with_payload=wanted.with_payload or False,
                    )
                )
        raise ValueError("no such path")


def _plain(found: BaseModel) -> Any:
    return json.loads(found.model_dump_json())


@contextmanager
def running(key: str = "") -> Iterator[str]:
    """Its address. key: what callers have to name."""
    local = QdrantClient(":memory:")
    handler = type("Handler", (_Handler,), {"local": local, "key": key, "lock": threading.Lock()})
    try:
        with answering(handler) as port:
            yield f"http://{f':{key}@' if key else ''}127.0.0.1:{port}"
    finally:
        local.close()
