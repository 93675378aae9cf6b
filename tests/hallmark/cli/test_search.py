"""`hallmark search`: servers that are live, or a version's own index, are asked, and the command says what came by which way and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "inference_services" / "runtime"))

from served import Server

from hallmark import cli, object_labels
from hallmark.artifacts import bundle
from hallmark.cli import search_servers
from hallmark.errors import Unavailable
from hallmark.registry.store import Registry
from hallmark.rollout import clusters
from tests.domains.search.small import Small


@pytest.fixture
def unit(small_search: Small) -> Small:
    return small_search


class _Kept:
    """A version whose folder is here."""

    def __init__(self, folder: Path, digest: str | None) -> None:
        self.version, self.digest, self._folder = 3, digest, folder

    def fetch(self) -> Path:
        return self._folder


@pytest.fixture
def version(unit: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small model as every version that is asked for."""
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    monkeypatch.setattr(Registry, "__init__", lambda self, settings: None)
    monkeypatch.setattr(Registry, "resolve", lambda self, domain, version: _Kept(unit.folder, None))
    return unit


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert cli.main(["search", *arguments, "-o", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_a_domain_without_items_and_a_version_that_is_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    assert cli.main(["search", "red coat", "--domain", "fraud"]) == 2
    assert "fraud has no items to search" in capsys.readouterr().err
    assert cli.main(["search", "red coat", "--version", "7"]) == 1
    assert "search" in capsys.readouterr().err


def test_a_version_finds_by_words_and_by_vectors_and_says_why(
    version: Small, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = told(capsys, "coat size M", "--beside", "challenger", "--top", "20")
    assert [row["place"] for row in rows] == list(range(1, 21)) == [row["in_3"] for row in rows]
    scores = [float(str(row["score"])) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(row["words"] or row["vectors"] for row in rows) and all(row["why"] for row in rows)
    assert told(capsys, "!!") == []
    page = tmp_path / "page.html"
    assert cli.main(["search", "coat <M>", "--html", str(page)]) == 0
    assert "coat &lt;M&gt;" in page.read_text(encoding="utf-8") and "<svg" in page.read_text(encoding="utf-8")


def test_a_filter_leaves_what_it_says(version: Small, capsys: pytest.CaptureFixture[str]) -> None:
    known = version.corpus.set_index("item_id")
    rows = told(capsys, "coat", "--filter", "category=coats", "--filter", "price=20..60", "--top", "200")
    ids = [str(row["item"]) for row in rows]
    assert ids and (known.loc[ids, "category"] == "coats").all() and known.loc[ids, "price"].between(20, 60).all()
    assert len(ids) == min(200, int(((known["category"] == "coats") & known["price"].between(20, 60)).sum()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["coat", "--locale", "xx"], "locale is none that the model knows"),
        (["x" * 201], "query is too long"),
        ([" "], "query is empty"),
        (["coat", "--filter", "colour=red"], "names no column that filters"),
        (["coat", "--filter", "price=cheap.."], "has no such bound"),
    ],
)
def test_what_it_cannot_ask_is_the_user_s_error(
    version: Small, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["search", *arguments]) == 2
    assert said in capsys.readouterr().err


class _Cluster:
    """The API server's proxy in front of two real servers: one of stable, one of a candidate that is given nothing yet."""

    def __init__(self, digest: str, servers: dict[str, Server]) -> None:
        self.digest, self._servers = digest, servers

    def live(self, name: str) -> dict[str, Any]:
        return {"metadata": {"name": name}}

    def pods(self, name: str) -> list[dict[str, Any]]:
        condition = [{"type": "Ready", "status": "True"}]
        env = [
            {"name": "HALLMARK_MODEL_DIGEST", "value": self.digest},
            {"name": "HALLMARK_MODEL_VERSION", "value": "3"},
        ]
        return [
            {
                "metadata": {"name": each, "labels": {object_labels.REVISION: each}},
                "spec": {"containers": [{"name": "kserve-container", "env": env}]},
                "status": {"conditions": condition},
            }
            for each in ("ended", *self._servers)
        ]

    def sidecar(self, pod: dict[str, Any], path: str, *, port: int, body: dict[str, Any]) -> bytes:
        assert port == 8080
        answer = self._servers[pod["metadata"]["name"]].client.post(f"/{path}", json=body)
        if answer.status_code != 200:
            raise Unavailable(answer.text)
        return answer.content


@pytest.fixture
def cluster(version: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Server]]:
    digest = bundle.read(version.folder, expected=None).digest
    monkeypatch.setattr(Registry, "resolve", lambda self, domain, asked: _Kept(version.folder, digest))
    env = {"HALLMARK_MODEL_DIGEST": digest, "HALLMARK_CHANGES": f"file://{tmp_path / 'changes'}"}
    found = {
        each: Server(version.folder, "search", notice=0, env=env, retrieval={"fresh": 1.0, "live": 0.01})
        for each in ("one", "two")
    }
    monkeypatch.setattr(clusters, "choose", lambda settings: clusters.ClusterChoice(here=True))
    monkeypatch.setattr(search_servers, "connected", lambda *_: _Cluster(digest, found))
    monkeypatch.setattr("hallmark.rollout.writer.variants", lambda live: {"two": "canary", "one": "stable"})
    for each in found.values():
        each.wait_ready()
    yield found
    for each in found.values():
        assert each.stop() == 0


@pytest.mark.slow
def test_live_servers_are_asked_stable_beside_the_candidate_with_what_changed_since(
    version: Small, cluster: dict[str, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    before = told(capsys, "coat", "--filter", "category=coats", "--top", "20")
    assert len(before) == 20 and all(row["title"] and row["why"] for row in before)
    of_the_index = told(capsys, "coat", "--filter", "category=coats", "--version", "3", "--beside", "3", "--top", "20")
    assert of_the_index == before, (
        "what a server answers is what its version's index gives, in the same order and for the same reasons"
    )
    gone = str(before[0]["item"])
    known = version.corpus.set_index("item_id", drop=False).loc[gone]
    put = {name: value for name, value in known.to_dict().items() if isinstance(value, str | int | float)}
    put |= {"item_id": "new-one", "listed_at": known["listed_at"].isoformat()}
    answer = cluster["one"].client.post("/v2/models/search/items", json={"put": [put], "delete": [gone]})
    assert answer.status_code == 200, answer.text
    after = told(capsys, "coat", "--filter", "category=coats", "--top", "20")
    ids = [row["item"] for row in after]
    assert gone not in ids and "new-one" in ids
    mine = after[ids.index("new-one")]
    assert mine["title"] is None and mine["why"] == "" and (mine["words"] or mine["vectors"])


@pytest.mark.slow
def test_a_server_that_does_not_answer_or_serves_another_version_is_told(
    version: Small, cluster: dict[str, Server], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["search", "coat", "--version", "3", "--context", "there"]) == 2
    monkeypatch.setattr(_Cluster, "sidecar", lambda *_, **__: b'{"predictions": []}')
    assert cli.main(["search", "coat"]) == 1
    assert "the stable server of search did not answer" in capsys.readouterr().err
    found = _Cluster("sha256:" + "0" * 64, cluster)
    monkeypatch.setattr(search_servers, "connected", lambda *_: found)
    assert cli.main(["search", "coat"]) == 3
    assert "is not the one that is served" in capsys.readouterr().err
