"""An index in OpenSearch; its client is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from hallmark.retrieval.backends.backend import Collection, Row, hits
from hallmark.retrieval.deltas import Delete, Upsert
from hallmark.retrieval.filters import Between, Condition, Filter
from hallmark.retrieval.search import Hits

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_TYPES = {
    "keyword": "keyword",
    "keywords": "keyword",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "time": "date",
}


class OpenSearchIndex:
    """The index of a name and a unit (hallmark.retrieval.backends.backend.Backend)."""

    def __init__(self, client: OpenSearch, collection: Collection) -> None:
        self._client, self._collection = client, collection

    def publish(self) -> None:
        """Fill the index from the unit, unless it is whole; `ModelRefused` where it is another's.

        Several may do so at once: what they write is the same.
        """
        name = self._collection.name
        self._create()
        if self._collection.whole(self._marks()):
            return
        for rows in self._collection.rows():
            if self._collection.whole(self._marks()):  # another was faster
                return
            self._write(rows, refresh=False)
        self._client.indices.refresh(index=name)
        self._client.indices.put_mapping(index=name, body={"_meta": self._collection.marks})

    def verify(self) -> None:
        """`ModelRefused` where the index is not there whole, or was filled from another unit."""
        there = self._client.indices.exists(index=self._collection.name)
        self._collection.verify(self._marks() if there else None)

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items to each of queries (n, d)."""
        asked = self._collection.asked(queries, k, where)
        found = []
        for query in asked:
            near: dict[str, Any] = {"vector": query.tolist(), "k": k}
            if where is not None:
                near["filter"] = _bool(where)
            body = {"size": k, "query": {"knn": {"vector": near}}, "_source": False}
            answer = self._client.search(index=self._collection.name, body=body)
            found.append([(hit["_id"], _product(hit["_score"])) for hit in answer["hits"]["hits"]])
        return hits(found, k)

    def apply(self, changes: Sequence[Upsert | Delete]) -> None:
        """Make the changes; returns once a search finds them."""
        self._write(self._collection.changed(changes), refresh=True)

    def count(self, where: Filter | None = None) -> int:
        """Items that match now."""
        self._collection.check(where)
        body = {"query": _bool(where)} if where is not None else {"query": {"match_all": {}}}
        return int(self._client.count(index=self._collection.name, body=body)["count"])

    def _write(self, rows: Sequence[Row | str], *, refresh: bool) -> None:
        from opensearchpy import helpers

        name = self._collection.name
        actions = [
            {"_op_type": "delete", "_index": name, "_id": row}
            if isinstance(row, str)
            else {
                "_op_type": "index",
                "_index": name,
                "_id": row.id,
                "vector": row.vector,
                "text": row.text,
                "values": row.values,
            }
            for row in rows
        ]
        helpers.bulk(self._client, actions, refresh=refresh, ignore_status=(404,))  # what is gone may be deleted

    def _create(self) -> None:
        from opensearchpy.exceptions import RequestError

        name = self._collection.name
        if self._client.indices.exists(index=name):
            return
        try:
            self._client.indices.create(index=name, body=self._described())
        except RequestError:
            if not self._client.indices.exists(index=name):
                raise

    def _described(self) -> dict[str, Any]:
        card = self._collection.card
        method = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
        columns = {name: {"type": _TYPES[kind]} for name, kind in card.columns.items()}
        return {
            "settings": {"index": {"knn": True}},
            "mappings": {
                "dynamic": False,
                "properties": {
                    "vector": {"type": "knn_vector", "dimension": card.dimension, "method": method},
                    "text": {"type": "text"},
                    "values": {"properties": columns},
                },
            },
        }

    def _marks(self) -> dict[str, Any] | None:
        name = self._collection.name
        marks: dict[str, Any] | None = self._client.indices.get_mapping(index=name)[name]["mappings"].get("_meta")
        return marks


def _bool(where: Filter) -> dict[str, Any]:
    return {"bool": {"filter": [_condition(each) for each in where.conditions]}}


def _condition(condition: Condition) -> dict[str, Any]:
    field = f"values.{condition.column}"
    if isinstance(condition, Between):
        sides = {"gte": condition.least, "lte": condition.most}
        return {"range": {field: {side: value for side, value in sides.items() if value is not None}}}
    return {"terms": {field: list(condition.values)}}


def _product(score: float) -> float:
    """The inner product of a score: OpenSearch gives 1 + p, and 1 / (1 - p) where p is negative."""
    return score - 1 if score >= 1 else 1 - 1 / score
