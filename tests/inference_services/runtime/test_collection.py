"""A model whose vectors are searched in OpenSearch or Qdrant: filled when its server starts, refused by digest, as good as the folder's own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, Server, config, free_port
from stock import items, stock_folder

from hallmark.artifacts import bundle
from hallmark.retrieval import pairing
from hallmark.retrieval.backends.address import connect
from hallmark.retrieval.backends.backend import Collection
from tests.hallmark.retrieval import opensearch, qdrant

STOCK = items(600)
ASKED: list[dict[str, Any]] = [
    {"query": "red wool coat"},
    {"query": "navy silk dress", "filter_category": ["dresses", "bags"], "k": 4},
    {"query": "silk", "filter_price_min": 20, "filter_price_max": 90, "filter_new": True},
    {"query": "silk", "filter_price_min": 10_000},
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The model folder and its digest."""
    found = tmp_path_factory.mktemp("collected") / "model"
    return found, stock_folder(found, STOCK)


@pytest.fixture(params=[pytest.param("opensearch", marks=pytest.mark.slow), "qdrant"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def stand_in(kind: str) -> AbstractContextManager[str]:
    return (qdrant if kind == "qdrant" else opensearch).running()


@pytest.fixture
def own(folder: tuple[Path, str]) -> Iterator[Server]:
    """The same model, searched in its own folder."""
    found = Server(folder[0], "stock", notice=0)
    found.wait_ready()
    yield found
    assert found.stop() == 0


def of(server: Server, asked: dict[str, Any]) -> dict[str, Any]:
    answer = server.client.post("/v1/models/stock:predict", json={"instances": [asked]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["predictions"][0]
    return found


def started(folder: tuple[Path, str], kind: str, at: str, *, env: dict[str, str] | None = None, **given: Any) -> Server:
    env = {"HALLMARK_MODEL_DIGEST": folder[1], "HALLMARK_COLLECTION": at, **(env or {})}
    return Server(folder[0], "stock", notice=0, env=env, retrieval={"backend": kind, "live": 1.0, **given})


@pytest.mark.slow
def test_a_server_fills_its_collection_and_answers_as_from_the_folder(
    folder: tuple[Path, str], kind: Any, own: Server
) -> None:
    with stand_in(kind) as at:
        servers = [started(folder, kind, at) for _ in range(2)]
        for server in servers:
            server.wait_ready()
            for asked in ASKED:
                here, there = of(own, asked), of(server, asked)
                assert here["items"] == there["items"] and here["found"] == there["found"], asked
                assert here["vector_rank"] == there["vector_rank"] and here["word_rank"] == there["word_rank"]
        unit = pairing.opened(folder[0], bundle.read(folder[0], expected=folder[1]))
        assert unit is not None
        held = connect(kind, at, Collection("stock", unit), timeout=5.0)
        held.verify()
        assert held.count() == len(STOCK), "filled once, by either"
    for asked in ASKED[:2]:
        refused = servers[0].client.post("/v1/models/stock:predict", json={"instances": [asked]})
        assert refused.status_code == 503 and "could not be searched now" in refused.text
    wanted, found = (servers[0].metric(f"hallmark_recall_{each}_total") for each in ("wanted", "found"))
    assert wanted == found > 0, "live queries are run again against the unit, exactly"
    for server in servers:
        assert server.stop() == 0
        assert "Traceback" not in server.errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["opensearch"])  # tests/hallmark/retrieval/test_backends.py has both
def test_changes_of_items_bind_all_servers_of_a_collection(folder: tuple[Path, str], kind: Any, tmp_path: Path) -> None:
    def asked(server: Server) -> list[str]:
        found: list[str] = of(server, {"query": "red wool coat", "filter_category": ["coats"], "k": 10})["items"]
        return found

    log = {"HALLMARK_CHANGES": (tmp_path / "changes").as_uri()}
    with stand_in(kind) as at:
        one, other = (started(folder, kind, at, env=log, fresh=1.0) for _ in range(2))
        for server in (one, other):
            server.wait_ready()
        first = asked(one)[0]
        new = {**STOCK[0], "item_id": "new", "title": "red wool coat", "category": "coats"}
        one.client.post("/v2/models/stock/items", json={"put": [new], "delete": [first]}).raise_for_status()
        assert "new" in asked(one), "found at once by the server that took it"
        assert first not in asked(one) + asked(other), "deleted for all once it is acknowledged"
        until = time.monotonic() + 5
        while "new" not in asked(other):
            assert time.monotonic() < until
            time.sleep(0.02)
        wanted, found = (other.metric(f"hallmark_recall_{each}_total") for each in ("wanted", "found"))
        assert wanted == found > 0, "run again exactly, among what is there now"
        for server in (one, other):
            assert server.stop() == 0


@pytest.mark.slow
def test_a_collection_that_was_filled_from_another_unit_is_refused(
    folder: tuple[Path, str], kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its marks, though it has the name: of another encoder, say, whose vectors are as long."""
    unit = pairing.opened(folder[0], bundle.read(folder[0], expected=folder[1]))
    assert unit is not None
    with stand_in(kind) as at:
        another = Collection("stock", unit)
        held = connect(kind, at, another, timeout=5.0)
        marks = {**another.marks, "encoder": "sha256:" + "0" * 64}
        with monkeypatch.context() as patch:
            patch.setattr(Collection, "marks", property(lambda self: marks))
            held.publish()
        said = ended(folder, kind, at, tmp_path, code=3)
        assert "ModelRefused: the collection stock-" in said and "is not the one of this model" in said


@pytest.mark.slow
def test_a_server_without_its_collection_does_not_start(folder: tuple[Path, str], kind: Any, tmp_path: Path) -> None:
    assert "HALLMARK_COLLECTION" in ended(folder, kind, "", tmp_path, code=1)
    assert "cannot be filled" in ended(folder, kind, "http://127.0.0.1:9", tmp_path, code=1)


def ended(folder: tuple[Path, str], kind: str, at: str, tmp_path: Path, *, code: int) -> str:
    """What a server says that does not start."""
    settings = tmp_path / "serving.json"
    settings.write_text(config(retrieval={"backend": kind}), encoding="utf-8")
    command = [sys.executable, "-m", "inference_services.runtime", "--model-name=stock", f"--model-dir={folder[0]}"]
    command.append(f"--http-port={free_port()}")
    env = {"HALLMARK_MODEL_DIGEST": folder[1], "HALLMARK_COLLECTION": at, "PYTHONPATH": str(ROOT)}
    command.append(f"--config={settings}")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stderr
