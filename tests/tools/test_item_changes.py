"""Items that change in a drill: what is found and what is not is told, and each way of going wrong is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.settings import Settings
from tests.domains.search.small import Small
from tests.web import serving
from tools import item_changes
from tools.item_changes import ItemChanges
from tools.stages import StageFailed

ASKED = {"query": ["coat"], "locale": ["en"], "at": [1.79e9], "member_price": [None]}
BODY = json.dumps({"inputs": [{"name": name, "shape": [1], "data": data} for name, data in ASKED.items()]}).encode()


class Shop:
    """A server of items that filters by category and price. forgets: does not see what is put in. remembers: nor what is deleted."""

    def __init__(self, *, forgets: bool = False, remembers: bool = False) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self._forgets, self._remembers = forgets, remembers

    def pods(self, _: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]

    def sidecar(self, _: object, path: str, *, port: int, body: dict[str, Any]) -> bytes:
        assert (path, port) == ("v2/models/search/items", 8080)
        self.items |= {} if self._forgets else {each["item_id"]: each for each in body.get("put", [])}
        for each in [] if self._remembers else body.get("delete", []):
            del self.items[each]
        return b'{"position": 1}'

    async def predict(self, request: Request) -> JSONResponse:
        (asked,) = (await request.json())["instances"]
        assert asked["query"] == "coat" and "member_price" not in asked
        low, high = asked["filter_price_min"], asked["filter_price_max"]
        found = [
            name
            for name, item in self.items.items()
            if item["category"] in asked["filter_category"] and low <= item["price"] <= high
        ]
        return JSONResponse({"predictions": [{"items": found}]}, headers={"x-hallmark-model-version": "7"})


@pytest.fixture
def changed(small_search: Small, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the proof says, or why it failed, once it says something."""
    monkeypatch.setattr(item_changes, "_EVERY", 0.01)
    data = domains.module("search", "data")
    monkeypatch.setattr(data, "corpus", lambda source, *, at, seed: small_search.corpus)
    declared = domains.load("search")
    retrieval = declared.retrieval.model_copy(update={"fresh": declared.retrieval.fresh / 4})  # type: ignore[union-attr]
    world: Any = SimpleNamespace(domain=declared.model_copy(update={"retrieval": retrieval}), settings=Settings.load())

    def proof(shop: Any, *, spoiled: bool = False) -> str:
        app = Starlette(routes=[Route("/v1/models/search:predict", shop.predict, methods=["POST"])])
        with serving(app) as url, ItemChanges(world, shop, url, [BODY], spoiled=spoiled) as changes:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    if said := changes.proof():
                        return said
                except StageFailed as error:
                    return str(error)
                time.sleep(0.02)
        raise AssertionError("nothing was said in 20 s")

    return proof


def test_what_was_put_in_is_found_and_what_was_deleted_is_not(changed: Callable[..., str]) -> None:
    said = changed(Shop())
    assert "put in, found within 0." in said and "in no answer since; by version 7" in said


def test_each_way_of_going_wrong_is_told(changed: Callable[..., str]) -> None:
    assert "item drill-0 was not found by version 7" in changed(Shop(forgets=True))
    after = "item drill-1 was in an answer of version 7 after its deletion was acknowledged"
    assert changed(Shop(remembers=True)) == changed(Shop(), spoiled=True) == after


def test_a_domain_whose_items_do_not_change_has_no_such_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert item_changes.applies(domains.load("search"))
    assert main(["drill", "fraud", "--break", "items"]) == 2
    assert "fraud has no stage items" in capsys.readouterr().err
