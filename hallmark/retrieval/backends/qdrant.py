"""An index in a collection of Qdrant; its client is handed in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from hallmark.retrieval.backends.backend import Collection, Row, hits
from hallmark.retrieval.card import ID, TEXT
from hallmark.retrieval.deltas import Delete, Upsert
from hallmark.retrieval.filters import Between, Condition, Filter
from hallmark.retrieval.search import Hits

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_IDS = uuid.UUID("7d0f4b36-38c5-4b51-9f5e-2c0f0c7a5d10")
"""Namespace of the names that items have there: Qdrant takes numbers and UUIDs alone."""
_INDEXED = {"keywords": "keyword", "number": "float", "boolean": "bool", "time": "datetime"}


class Qdrant:
    """The collection of a name and a unit (hallmark.retrieval.backends.backend.Backend)."""

    def __init__(self, client: QdrantClient, collection: Collection) -> None:
        self._client, self._collection = client, collection

    def publish(self) -> None:
        """Fill the collection from the unit, unless it is whole; `ModelRefused` where it is another's.

        Several may do so at once: what they write is the same.
        """
        name, card = self._collection.name, self._collection.card
        self._create()
        if self._collection.whole(self._marks()):
            return
        for column, kind in card.columns.items():
            self._client.create_payload_index(name, column, field_schema=_INDEXED.get(kind, kind), wait=True)
        for rows in self._collection.rows():
            if self._collection.whole(self._marks()):  # another was faster
                return
            self._client.upsert(name, [_point(row) for row in rows], wait=True)
        self._client.update_collection(name, metadata=self._collection.marks)

    def verify(self) -> None:
        """`ModelRefused` where the collection is not there whole, or was filled from another unit."""
        there = self._client.collection_exists(self._collection.name)
        self._collection.verify(self._marks() if there else None)

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest items to each of queries (n, d)."""
        asked = self._collection.asked(queries, k, where)
        found = []
        for query in asked:
            answer = self._client.query_points(
                self._collection.name,
                query=query.tolist(),
                limit=k,
                query_filter=self._filter(where),
                with_payload=[ID],
            )
            found.append([((point.payload or {})[ID], point.score) for point in answer.points])
        return hits(found, k)

    def apply(self, changes: Sequence[Upsert | Delete]) -> None:
        """Make the changes; returns once a search finds them."""
        from qdrant_client import models

        ready = self._collection.changed(changes)
        rows = [_point(each) for each in ready if isinstance(each, Row)]
        gone: list[Any] = [_name(each) for each in ready if isinstance(each, str)]
        if rows:
            self._client.upsert(self._collection.name, rows, wait=True)
        if gone:
            self._client.delete(self._collection.name, models.PointIdsList(points=gone), wait=True)

    def count(self, where: Filter | None = None) -> int:
        """Items that match now."""
        self._collection.check(where)
        return int(self._client.count(self._collection.name, count_filter=self._filter(where), exact=True).count)

    def _create(self) -> None:
        from qdrant_client import models

        name = self._collection.name
        if self._client.collection_exists(name):
            return
        described = models.VectorParams(size=self._collection.card.dimension, distance=models.Distance.DOT)
        try:
            self._client.create_collection(name, vectors_config=described)
        except Exception:  # of several kinds by the client's mode
            if not self._client.collection_exists(name):
                raise

    def _marks(self) -> dict[str, Any] | None:
        marks: dict[str, Any] | None = self._client.get_collection(self._collection.name).config.metadata
        return marks

    def _filter(self, where: Filter | None) -> models.Filter | None:
        from qdrant_client import models

        return models.Filter(must=[self._condition(each) for each in where.conditions]) if where is not None else None

    def _condition(self, condition: Condition) -> Any:
        from qdrant_client import models

        key, kind = condition.column, self._collection.card.columns[condition.column]
        ranged = models.DatetimeRange if kind == "time" else models.Range
        if isinstance(condition, Between):
            return models.FieldCondition(key=key, range=ranged(gte=condition.least, lte=condition.most))
        if kind in ("number", "time"):
            each = [models.FieldCondition(key=key, range=ranged(gte=value, lte=value)) for value in condition.values]
            return models.Filter(should=each)
        if kind == "boolean":
            same = [models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in condition.values]
            return models.Filter(should=same)
        values = [int(value) if kind == "integer" else value for value in condition.values]
        return models.FieldCondition(key=key, match=models.MatchAny(any=values))


def _point(row: Row) -> models.PointStruct:
    from qdrant_client import models

    return models.PointStruct(id=_name(row.id), vector=row.vector, payload={ID: row.id, TEXT: row.text, **row.values})


def _name(item: str) -> str:
    return str(uuid.uuid5(_IDS, item))
