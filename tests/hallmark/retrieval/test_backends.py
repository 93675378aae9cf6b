"""The same index in the folder, in Qdrant (its own local mode) and in OpenSearch (a stand-in that speaks its protocol)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.errors import ContractBroken, ModelRefused, Refused
from hallmark.retrieval import filters
from hallmark.retrieval.backends.backend import Collection, Folder
from hallmark.retrieval.backends.opensearch import OpenSearchIndex
from hallmark.retrieval.backends.qdrant import Qdrant
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import Unit
from tests.hallmark.retrieval import opensearch
from tests.hallmark.retrieval.corpus import built, corpus

FILTERS: list[dict[str, Any] | None] = [
    None,
    {"category": "coat"},
    {"category": ["coat", "hat"], "price": {"min": 20, "max": 70}},
    {"sizes": ["S", "M"]},
    {"stock": 3},
    {"stock": {"max": 2}},
    {"price": 40},
    {"category": "nothing"},
]


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return built(tmp_path_factory.mktemp("unit") / "index", corpus(1200, 8))


@pytest.fixture(params=["qdrant", "opensearch"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "qdrant":
        from qdrant_client import QdrantClient

        local = QdrantClient(":memory:")
        yield local
        local.close()
    else:
        from opensearchpy import OpenSearch

        with opensearch.running() as address:
            remote = OpenSearch([address])
            yield remote
            remote.close()


def backend(client: Any, unit: Unit) -> Any:
    kind = Qdrant if type(client).__name__ == "QdrantClient" else OpenSearchIndex
    return kind(client, Collection("search", unit))


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_a_collection_answers_as_the_folder_does(client: Any, unit: Unit, tmp_path: Path) -> None:
    there = backend(client, unit)
    with pytest.raises(ModelRefused, match="is not the one of this model"):
        there.verify()
    there.publish()
    there.verify()
    deltas = Deltas.open(tmp_path, unit)
    here = Folder(Retriever(unit, deltas), deltas)
    queries = np.random.default_rng(0).standard_normal((4, 8))
    changes = [
        Upsert("new", queries[0], {"category": "coat", "price": 40.0, "sizes": ["S"], "stock": 3}, "velvet"),
        Delete("i7"),
        Delete("never there"),
        Upsert("i8", queries[1]),
    ]
    for turn in range(2):
        for asked in FILTERS:
            where = filters.parse(asked)
            one, other = here.search(queries, 9, where), there.search(queries, 9, where)
            assert one.ids.tolist() == other.ids.tolist(), asked
            assert other.scores == pytest.approx(one.scores, abs=1e-4)
            assert here.count(where) == there.count(where), asked
        if not turn:
            here.apply(changes)
            there.apply(changes)
    deltas.close()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_a_collection_of_another_unit_or_half_filled_is_refused(
    client: Any, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = backend(client, unit)

    def stopped(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "rows", stopped)
        with pytest.raises(ConnectionError):
            there.publish()
    with pytest.raises(ModelRefused, match="not filled"):
        there.verify()
    there.publish()
    there.publish()
    there.verify()
    assert there.count() == 1200
    other = built(tmp_path / "other", corpus(30, 8, seed=4))
    assert backend(client, other)._collection.name != there._collection.name
    with pytest.raises(ModelRefused):
        backend(client, other).verify()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_what_the_folder_refuses_a_collection_refuses(client: Any, unit: Unit) -> None:
    there = backend(client, unit)
    there.publish()
    for query, k, where in (
        (np.zeros(8), 3, None),
        (np.ones(7), 3, None),
        (np.ones(8), 0, None),
        (np.ones(8), 3, {"colour": "red"}),
        (np.ones(8), 3, {"price": "dear"}),
    ):
        with pytest.raises(Refused):
            there.search(query, k, filters.parse(where))
    with pytest.raises(ContractBroken):
        there.apply([Upsert("good", np.ones(8)), Upsert("bad", np.zeros(8))])
    assert there.count() == 1200
