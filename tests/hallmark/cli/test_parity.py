"""`hallmark features parity|freshness` and `hallmark explain`: what they say, their exit codes, and the report that rollouts are held by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hallmark.cli import main
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.stream import encoded
from hallmark.registry.store import Registry, ServableVersion
from hallmark.rollout.parity import NAME
from inference_services.drift_monitor.lookups import LookupRing
from tests.hallmark.feature_store.shop import DECLARED, HOUR, MINUTE, ROOT, SOURCE, VIEW, Shop
from tests.inference_services.runtime.served import linear, write_folder
from tests.web import serving

POD = "fraud-predictor-00001-abc"


class Cluster:
    """An API server with one pod, whose monitor holds `ring`, and the ConfigMaps of its namespace."""

    def __init__(self) -> None:
        self.ring: LookupRing | None = None
        self.maps: dict[str, dict[str, Any]] = {}
        self.given: tuple[str, str] = ("", "")
        self.forbids = False

    async def pods(self, request: Request) -> Response:
        labels = {"serving.knative.dev/revision": "fraud-predictor-00001", "hallmark.dev/model-version": "7"}
        meta = {"name": POD, "namespace": request.path_params["name"], "labels": labels}
        return JSONResponse({"items": [{"metadata": meta}]})

    async def lookups(self, request: Request) -> Response:
        assert self.ring is not None
        query = request.query_params
        if "request" in query:
            found = self.ring.of(query["request"])
        else:
            found = self.ring.after(int(query["after"]), limit=int(query["limit"]))
        return Response(found.model_dump_json(), media_type="application/json")

    async def read(self, request: Request) -> Response:
        found = self.maps.get(request.path_params["map"])
        return JSONResponse(found or {"code": 404}, status_code=200 if found else 404)

    async def write(self, request: Request) -> Response:
        if self.forbids:
            return JSONResponse({"code": 403, "message": "no"}, status_code=403)
        made = json.loads(await request.body())
        made["metadata"]["resourceVersion"] = str(len(self.maps) + 1)
        self.maps[made["metadata"]["name"]] = made
        return JSONResponse(made)

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.maps[NAME]["data"]["report.json"])
        return found

    @property
    def app(self) -> Starlette:
        base = "/api/v1/namespaces/{name}"
        return Starlette(
            routes=[
                Route(f"{base}/pods", self.pods),
                Route(f"{base}/pods/{POD}:9191/proxy/lookups", self.lookups),
                Route(f"{base}/configmaps", self.write, methods=["POST"]),
                Route(f"{base}/configmaps/{{map}}", self.read, methods=["GET"]),
                Route(f"{base}/configmaps/{{map}}", self.write, methods=["PUT"]),
            ]
        )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose domain fraud looks features up, and search does not."""
    found = Shop(tmp_path)
    for name in ("fraud", "search"):
        folder = found.settings.domains / name
        shutil.copytree(ROOT / "domains" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = found.settings.domains / "fraud" / "domain.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "features": {"views": [VIEW]}}))
    found.ingest(
        found.order(1, "anna", ago=50 * MINUTE, amount=30.0),
        found.order(2, "anna", ago=2 * HOUR, amount=10.0),
        found.order(3, "bob", ago=10 * MINUTE, amount=7.0),
    )
    found.run()
    for key, value in {**found.settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    return found


@pytest.fixture
def cluster(shop: Shop, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster()
    with serving(found.app) as url:
        context = {"name": "c", "context": {"cluster": "here", "user": "me"}}
        whole = {"current-context": "c", "users": [{"name": "me", "user": {}}], "contexts": [context]}
        whole |= {"clusters": [{"name": "here", "cluster": {"server": url}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        found.given = ("--kubeconfig", str(tmp_path / "kubeconfig"))
        yield found


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    got = main([*arguments, "-o", "json"])
    captured = capsys.readouterr()
    assert got == code, captured.err
    return json.loads(captured.out)


def asked(shop: Shop, count: int = 40) -> LookupRing:
    return shop.ring(*((f"r{number}", ("anna", "bob")[number % 2]) for number in range(count)))


def test_answers_that_are_what_is_known_burn_nothing_and_are_counted_once(
    shop: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.ring = asked(shop)
    found = told(capsys, "features", "parity", "fraud", *cluster.given)
    assert (found["compared"], found["answers"], found["differ"], found["burns"]) == (40, 40, 0, False)
    assert found["mismatches"] == [] and 0 < found["high"] < 0.2
    again = told(capsys, "features", "parity", "fraud", *cluster.given)
    assert (again["compared"], again["answers"]) == (0, 40)
    assert cluster.report["domain"] == "fraud" and cluster.report["burns"] is False
    assert main(["features", "parity", "fraud", *cluster.given]) == 0
    assert "no feature differs" in capsys.readouterr().err
    cluster.forbids = True
    assert main(["features", "parity", "fraud", *cluster.given]) == 0
    assert "counts for no rollout" in capsys.readouterr().err, "who may look and not write gets the result"


def test_a_budget_that_burns_exits_3_names_the_cause_and_is_kept_for_rollouts(
    shop: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.ingest(shop.order(4, "anna", ago=MINUTE, amount=1.0))
    cluster.ring = asked(shop)
    shop.run()
    found = told(capsys, "features", "parity", "fraud", *cluster.given, code=3)
    assert (found["differ"], found["burns"], cluster.report["burns"]) == (20, True, True)
    assert {(each["column"], each["cause"], each["values"]) for each in found["mismatches"]} == {
        (name, "late", 20) for name in ("orders_1h", "spent_30d", "last_amount")
    }
    cluster.ring = asked(shop)
    assert main(["features", "parity", "fraud", *cluster.given]) == 3
    shown = capsys.readouterr()
    assert "late" in shown.out and "the row was known, and had not reached the online store" in shown.out
    assert "parity budget burns" in shown.err and "at most 0.10%" in shown.err


def test_a_sample_and_a_span_are_compared_alone_and_a_file_is_not_counted(
    shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole = asked(shop).after(0, limit=100)
    path = tmp_path / "captured.jsonl"
    path.write_text(whole.model_dump_json() + "\n")
    given = ("features", "parity", "fraud", "--captured", str(path))
    assert told(capsys, *given, "--sample", "7")["compared"] == 7
    old = tuple(each.model_copy(update={"read_at": each.read_at - 7_200_000_000}) for each in whole.lookups[:30])
    path.write_text(whole.model_copy(update={"lookups": (*old, *whole.lookups[30:])}).model_dump_json())
    assert told(capsys, *given, "--since", "1h")["compared"] == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], "looks no features up"),
        (["fraud", "--captured", "nowhere.json"], "kubectl get --raw"),
        (["fraud", "--captured", str(Path(__file__))], "no captured lookups"),
        (["fraud", "--captured", str(Path(__file__)), "--since", "soon"], "--since"),
        (["nobody"], "no domain"),
    ],
)
def test_what_cannot_be_compared_is_usage(
    shop: Shop, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", "parity", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_one_answer_is_explained_by_its_request_id(
    shop: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ingest(shop.order(4, "anna", ago=MINUTE, amount=1.0))
    cluster.ring = asked(shop, 4)
    shop.run()
    (found,) = told(capsys, "explain", "r2", *cluster.given)
    assert (found["domain"], found["version"], found["views"]) == ("fraud", "7", [VIEW])
    by_column = {each["column"]: each for each in found["features"]}
    assert (by_column["orders_1h"]["served"], by_column["orders_1h"]["recomputed"]) == (1, 2)
    assert (by_column["orders_1h"]["cause"], by_column["orders_1h"]["events"]) == ("late", 3)
    assert by_column["orders_1h"]["age"] == pytest.approx(3000, abs=60)
    assert found["outputs"] == {"score": 0.25} and found["recomputed_outputs"] is None
    assert "fraud" in found["not_recomputed"]
    (well,) = told(capsys, "explain", "r1", *cluster.given)
    assert {each["cause"] for each in well["features"]} == {None}
    assert main(["explain", "r1", *cluster.given]) == 0
    shown = capsys.readouterr()
    assert "version 7" in shown.out and "equal" in shown.out and "score: 0.25" in shown.out
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["explain", "r1", *cluster.given]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_score_is_recomputed_by_the_model_that_answered(
    shop: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = """
import numpy as np


def encode(columns):
    given = [np.nan_to_num(columns[name].astype(np.float32)) for name in ("amount", "orders_1h", "spent_30d", "last_amount")]
    return np.stack(given, axis=1)
"""
    folder, made = tmp_path / "model", shop.signature()
    digest = write_folder(
        folder,
        model=linear(4, 1),
        fields=made.fields,
        outputs=made.outputs,
        features=encode,
        signature={"views": made.views},
    )
    version = ServableVersion(domain="fraud", version=7, storage_uri="pvc://models/fraud/7", digest=digest, path=folder)
    monkeypatch.setattr(Registry, "resolve", lambda *_: version)
    cluster.ring = shop.ring(("r1", "anna"), digest=digest)
    (found,) = told(capsys, "explain", "r1", *cluster.given)
    raw = np.array([5.0, 1.0, 40.0, 30.0]) @ np.random.default_rng(7).normal(0, 0.1, (4, 1)).astype(np.float32)
    assert found["recomputed_outputs"] == {"score": pytest.approx(float(1 / (1 + np.exp(-raw[0]))), rel=1e-5)}
    assert found["outputs"] == {"score": 0.25} and not found["not_recomputed"]


def test_a_request_that_nobody_captured_is_said_with_what_there_is(
    shop: Shop, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.ring = asked(shop, 4)
    assert main(["explain", "not-there", *cluster.given]) == 1
    error = capsys.readouterr().err
    assert "4 records since" in error and "20,000" in error
    assert main(["explain", "r1", "--domain", "search", *cluster.given]) == 2
    assert "looks no features up" in capsys.readouterr().err


def test_freshness_is_judged_by_the_newest_event_of_what_is_applied(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = told(capsys, "features", "freshness")
    assert (row["view"], row["state"], row["fresh"], row["limit"], row["late_share"]) == (
        VIEW,
        "applied",
        True,
        900.0,
        0.0,
    )
    assert row["age"] == pytest.approx(600, abs=60)
    with FileLog(shop.settings.state / "features" / "log" / SOURCE) as log:
        log.append("0", [encoded(shop.order(9, "dora", ago=2 * MINUTE))])  # by who sends events, and not by `ingest`
    shop.run()
    (newer,), (listed,) = told(capsys, "features", "freshness"), told(capsys, "features", "list")
    assert newer["age"] == pytest.approx(120, abs=60)
    assert (listed["newest_event"], listed["fresh"]) == (newer["newest_event"], newer["fresh"])
    path = shop.settings.features / "buyers" / "v1.yaml"
    path.write_text(path.read_text().replace("freshness: 15m", "freshness: 1m"))
    assert told(capsys, "features", "freshness", code=3)[0]["fresh"] is False
    assert main(["features", "freshness"]) == 3
    assert "buyers@1: 2." in capsys.readouterr().err
    assert main(["features", "freshness", "nobody@1"]) == 2


def test_a_source_that_is_silent_for_longer_than_a_view_looks_back_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(tmp_path)
    for key, value in shop.settings.environment().items():
        monkeypatch.setenv(key, value)
    brief = {**DECLARED, "ttl": "1h", "columns": {"orders_1h": DECLARED["columns"]["orders_1h"]}}
    (shop.settings.features / "buyers/v1.yaml").write_text(yaml.safe_dump(brief))
    shop.ingest(shop.order(1, "anna", ago=72 * HOUR))
    shop.run()
    (row,) = told(capsys, "features", "freshness", code=3)
    assert (row["state"], row["fresh"], row["age"]) == ("applied", False, pytest.approx(72 * 3600, abs=60))
