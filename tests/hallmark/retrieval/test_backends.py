"""The same index in the folder, in Qdrant (its own local mode, and over HTTP in front of that) and in OpenSearch (a stand-in that speaks its protocol)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.errors import ContractBroken, DeclarationError, ModelRefused, Refused
from hallmark.retrieval import filters
from hallmark.retrieval.backends.address import connect
from hallmark.retrieval.backends.backend import Collection, Folder
from hallmark.retrieval.backends.overlaid import Overlaid
from hallmark.retrieval.backends.qdrant import Qdrant
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import Unit
from tests.hallmark.retrieval import opensearch, qdrant
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


Open = Callable[[Unit], Any]
"""The index of a unit in one place, through a client of its own."""


@pytest.fixture(params=["qdrant", "qdrant in this process", "opensearch"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    if request.param == "qdrant in this process":
        from qdrant_client import QdrantClient

        local = QdrantClient(":memory:")
        yield lambda unit: Qdrant(local, Collection("search", unit))
        local.close()
        return
    kind: Any = request.param
    with (qdrant if kind == "qdrant" else opensearch).running() as at:
        yield lambda unit: connect(kind, at, Collection("search", unit), timeout=5.0)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_a_collection_answers_as_the_folder_does(opened: Open, unit: Unit, tmp_path: Path) -> None:
    there = opened(unit)
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
    opened: Open, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = opened(unit)

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
    assert opened(other)._collection.name != there._collection.name
    with pytest.raises(ModelRefused):
        opened(other).verify()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
def test_what_the_folder_refuses_a_collection_refuses(opened: Open, unit: Unit) -> None:
    there = opened(unit)
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


@pytest.mark.parametrize("opened", ["qdrant", "opensearch"], indirect=True)  # not in this process: one thread there
def test_several_that_fill_one_collection_at_once_leave_it_whole(opened: Open, unit: Unit) -> None:
    places = [opened(unit) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(place.publish) for place in places]:
            done.result()
    places[0].verify()
    assert places[0].count() == 1200


@pytest.mark.slow
@pytest.mark.parametrize("opened", ["qdrant", "opensearch"], indirect=True)
@pytest.mark.parametrize("gone", [3, 200], ids=["few deleted", "more than is asked for besides"])
def test_changes_over_a_collection_answer_as_over_the_folder(
    opened: Open, unit: Unit, tmp_path: Path, gone: int
) -> None:
    """Those of each server alone: the collection stays as it was filled, for versions that are rolled back to."""
    held = opened(unit)
    held.publish()
    with contextlib.closing(Deltas.open(tmp_path, unit)) as deltas:
        here = Retriever(unit, deltas)
        there = Overlaid(held, here)
        query = np.random.default_rng(1).standard_normal(8)
        nearest = [item for item, _ in here.search(query, gone).of()]
        deltas.apply(
            [
                *(Delete(item) for item in nearest),
                Upsert("new", query, {"category": "coat", "price": 40.0, "sizes": ["S"], "stock": 3}),
                Upsert("newer", 2 * query, {"category": "hat", "price": 41.0}),
                Upsert("i8", -query),  # known, and another now
                Delete("never there"),
            ]
        )
        for asked in FILTERS:
            where = filters.parse(asked)
            for queries in (query[None], np.random.default_rng(2).standard_normal((3, 8))):
                one, other = here.search(queries, 9, where), there.search(queries, 9, where)
                assert one.ids.tolist() == other.ids.tolist(), asked
                assert other.scores == pytest.approx(one.scores, abs=1e-4)
        found = {item for item, _ in there.search(query, 1200).of()}
        assert "new" in found and not found & set(nearest), "all that live, and no other"
        assert len(found) == here.count() and held.count() == 1200


@pytest.mark.parametrize("kind", ["opensearch", "qdrant"])
@pytest.mark.parametrize("address", ["", "there:9200", "redis://there", "http://", "https://there/?a=b"])
def test_an_address_that_is_none_is_refused(kind: Any, address: str, unit: Unit) -> None:
    with pytest.raises(DeclarationError, match=f"no address of {kind}"):
        connect(kind, address, Collection("search", unit), timeout=1.0)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")  # TLS is not the stand-in's
def test_a_key_in_the_address_is_sent(unit: Unit) -> None:
    with qdrant.running("a-key") as at:
        connect("qdrant", at, Collection("search", unit), timeout=5.0).publish()
        with pytest.raises(Exception, match="Invalid API key"):
            connect("qdrant", at.replace("a-key", "another"), Collection("search", unit), timeout=5.0).publish()
