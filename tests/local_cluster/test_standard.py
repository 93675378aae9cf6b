"""The local cluster in KServe's Standard mode: Deployments, HTTPRoutes, shares, a shadow by our own route, and what the API refuses."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hallmark import object_labels
from hallmark.declaration.traffic import STANDARD
from hallmark.lint import judge
from hallmark.rollout import mirror, standard
from local_cluster import api, httproutes
from local_cluster.store import ObjectStore
from tests import admission
from tests.local_cluster.test_admission import TOKEN, NoPods

Open = Callable[..., Any]
Json = dict[str, Any]
KEY = ("fraud", "fraud")
OWN, OTHER = "fraud-predictor", "fraud-v2-predictor"


def model(uri: str, *, version: int) -> Json:
    env = [{"name": "HALLMARK_MODEL_VERSION", "value": str(version)}, {"name": "HALLMARK_MODEL_DIGEST", "value": "d"}]
    return {"modelFormat": {"name": "onnx"}, "runtime": "fake", "storageUri": uri, "env": env}


def canary(c: Any, version: int, percent: int, **predictor: Any) -> Json:
    """An entry of spec.canary, as `hallmark release` writes it."""
    uri = predictor.pop("uri", None) or c.model(version)
    named = {"name": "kserve-container", **model(uri, version=version)}
    return {
        "trafficPercent": percent,
        "predictor": {"name": f"v{version}", "model": named, "minReplicas": 1} | predictor,
    }


def change(c: Any, **spec: Any) -> None:
    """Merge this into the spec, as a patch does."""

    def changed(service: Json) -> Json:
        service["metadata"].setdefault("annotations", {})[object_labels.MODE] = "Standard"
        for key, value in spec.items():
            service["spec"][key] = value if isinstance(value, list) else {**service["spec"].get(key, {}), **value}
        return service

    c.store.modify("inferenceservices", *KEY, changed)


def route(c: Any, name: str = "fraud") -> Json:
    found: Json = c.store.get("httproutes", "fraud", name)
    return found


def weights(c: Any) -> dict[str, int]:
    return {each["name"]: each["weight"] for each in route(c)["spec"]["rules"][0]["backendRefs"]}


def pods(c: Any) -> dict[str, str]:
    """Each pod's Deployment by its name."""
    return {each["metadata"]["name"]: object_labels.revision_of(each) for each in c.store.list("pods")[0]}


async def begun(c: Any) -> None:
    c.apply(1, model=model(c.model(1), version=1))
    change(c)
    await c.until(lambda: c.condition("Ready")["status"] == "True" and weights(c) == {OWN: 100})


async def routed(c: Any, wanted: dict[str, int]) -> None:
    await c.until(lambda: weights(c) == wanted and c.condition("Ready")["status"] == "True")
    await c.reconciler.settled()


async def who(c: Any, count: int = 60) -> Counter[str]:
    """Deployments that answered so many requests, of which none may fail."""
    answers = [await c.infer() for _ in range(count)]
    assert {each.status_code for each in answers} == {200}
    return Counter(re.sub(r"-[0-9a-z]+-[0-9a-z]+$", "", each.json()["revision"]) for each in answers)


def scenario(cluster: Open, play: Callable[[Any], Any]) -> None:
    async def run() -> None:
        async with cluster(mode="Standard") as c:
            await begun(c)
            await play(c)

    asyncio.run(run())


def test_a_first_version_has_a_deployment_two_routes_and_a_host_of_its_own(cluster: Open) -> None:
    async def play(c: Any) -> None:
        status = c.status
        assert status["deploymentMode"] == "Standard" and "canaryStatuses" not in status
        assert status["url"] == f"http://fraud.fraud.localhost:{c.envoy.port}" and status["address"]["url"] == c.url
        assert status["modelStatus"]["transitionStatus"] == "UpToDate"
        assert {c.condition(kind)["status"] for kind in ("PredictorReady", "IngressReady", "Ready")} == {"True"}
        assert [route(c, each)["spec"]["hostnames"] for each in ("fraud", "fraud-predictor")] == [
            ["fraud.fraud.localhost"],
            ["fraud-predictor.fraud.localhost"],
        ]
        (pod,) = c.store.list("pods")[0]
        assert pod["metadata"]["labels"]["app"] == "isvc.fraud-predictor"
        assert "serving.knative.dev/revision" not in pod["metadata"]["labels"]
        host, port = c.reconciler.address("fraud", pod["metadata"]["name"], 8080)
        env = (await c.client.get(f"http://{host}:{port}/env")).json()["env"]
        assert env["HOSTNAME"] == pod["metadata"]["name"] and "K_REVISION" not in env
        for name in ("fraud.fraud.localhost", "fraud-predictor.fraud.localhost"):
            gateway = f"http://127.0.0.1:{c.envoy.port}/v2/models/fraud/infer"
            answer = await c.client.post(gateway, json={"inputs": []}, headers={"host": name})
            assert answer.status_code == 200
        c.store.delete("inferenceservices", *KEY)
        await c.until(lambda: not c.store.list("httproutes")[0] and not c.store.list("pods")[0])

    scenario(cluster, play)


def test_a_candidate_gets_its_share_and_stables_place_without_a_restart_or_a_lost_request(cluster: Open) -> None:
    async def play(c: Any) -> None:
        first = set(pods(c))
        async with c.load(clients=4, pause=0.02) as seen:
            change(c, canary=[canary(c, 2, 30)])
            await routed(c, {OWN: 70, OTHER: 30})
            (told,) = c.status["canaryStatuses"]
            assert (told["name"], told["ready"], told["trafficPercent"]) == ("v2", True, 30)
            assert c.condition("CanaryPredictorReady")["status"] == "True" and first < set(pods(c))
            found = await who(c, 200)
            assert 25 < found[OTHER] < 100 and found.keys() == {OWN, OTHER}
            second = set(pods(c)) - first
            change(c, predictor={"name": "v2", "model": {**model(c.model(2), version=2)}, "minReplicas": 3}, canary=[])
            await routed(c, {OTHER: 100})
            await c.until(lambda: set(pods(c)) == second)
            assert "canaryStatuses" not in c.status and await who(c) == {OTHER: 60}
        assert {status for status, _ in seen} == {200}, seen

    scenario(cluster, play)


def test_a_candidate_that_is_not_ready_is_left_out_and_its_pod_says_why(cluster: Open) -> None:
    async def play(c: Any) -> None:
        bad = c.model(2, fail="ModelRefused: model.onnx of the model was changed")
        change(c, canary=[canary(c, 2, 50, uri=bad)])

        def crashed() -> bool:
            told = c.store.list("pods", labels={"app": f"isvc.{OTHER}"})[0][0]["status"]["containerStatuses"][0]
            ended = told["lastState"].get("terminated", {})
            return told["state"]["waiting"]["reason"] == "CrashLoopBackOff" and "was changed" in ended["message"]

        await c.until(crashed)
        (told,) = c.status["canaryStatuses"]
        assert not told["ready"] and told["modelStatus"] == {"transitionStatus": ""}, "KServe says no more"
        assert weights(c) == {OWN: 100} and c.condition("Ready")["status"] == "True"
        assert await who(c) == {OWN: 60}
        change(c, canary=[])
        await c.until(lambda: OTHER not in pods(c).values())

    scenario(cluster, play)


def test_a_candidate_at_0_percent_without_replicas_gets_no_pod_and_is_never_ready(cluster: Open) -> None:
    async def play(c: Any) -> None:
        change(c, canary=[canary(c, 2, 0, minReplicas=None)])
        await c.until(lambda: "canaryStatuses" in c.status)
        await c.reconciler.settled()
        assert set(pods(c).values()) == {OWN} and not c.status["canaryStatuses"][0]["ready"]

    scenario(cluster, play)


def test_our_route_comes_before_kserves_mirrors_its_share_and_holds_a_share_back(cluster: Open) -> None:
    async def copies(c: Any) -> list[Json]:
        (pod,) = c.store.list("pods", labels={"app": f"isvc.{OTHER}"})[0]
        _, port = c.reconciler.address("fraud", pod["metadata"]["name"], 8080)
        found = (await c.client.get(f"http://127.0.0.1:{port}/received")).json()["received"]
        return list(found)

    async def play(c: Any) -> None:
        change(c, canary=[canary(c, 2, 0)])
        await routed(c, {OWN: 100, OTHER: 0})
        assert not await copies(c), "a share of 0 copies nothing"
        live = c.store.get("inferenceservices", *KEY)
        live["metadata"]["annotations"][object_labels.SHADOW] = "50"
        made = c.store.create(mirror.route(route(c), live))
        await c.until(lambda: c.reconciler._services[KEY].backends[1].shadow == 50)
        await c.reconciler.settled()
        assert await who(c, 200) == {OWN: 200}
        await asyncio.sleep(0.2)
        got = await copies(c)
        assert 60 < len(got) < 140
        assert all("x-hallmark-shadow" not in each and each["x-hallmark-request-id"] for each in got)
        change(c, canary=[canary(c, 2, 40)])
        await routed(c, {OWN: 60, OTHER: 40})
        assert await who(c) == {OWN: 60}, "whoever leaves the route there leaves the share behind it"
        c.store.delete("httproutes", "fraud", made["metadata"]["name"])
        await c.until(lambda: not c.reconciler._services[KEY].backends[1].shadow)
        await c.reconciler.settled()
        assert (await who(c)).keys() == {OWN, OTHER}

    scenario(cluster, play)


def test_another_model_in_place_replaces_the_pod_once_it_is_ready(cluster: Open) -> None:
    async def play(c: Any) -> None:
        before = set(pods(c))
        async with c.load(clients=4, pause=0.02) as seen:
            change(c, predictor={"model": model(c.model(2, slow="0.5"), version=2)})
            await c.until(lambda: len(pods(c)) == 2)
            assert c.condition("Ready")["status"] == "True", "the Deployment is available all the time"
            await c.until(lambda: len(pods(c)) == 1 and not before & set(pods(c)))
        assert {status for status, _ in seen} == {200}, seen
        assert set(pods(c).values()) == {OWN}

    scenario(cluster, play)


def test_a_broken_spec_leaves_what_serves_and_says_so(cluster: Open) -> None:
    async def play(c: Any) -> None:
        change(c, predictor={"model": {**model(c.model(2), version=2), "runtime": "nobody"}})
        await c.until(lambda: c.condition("Ready")["status"] == "False")
        assert (
            c.status["modelStatus"]["transitionStatus"] == "InvalidSpec" and "nobody" in c.condition("Ready")["message"]
        )
        assert await who(c) == {OWN: 60}
        change(c, predictor={"model": model(c.model(1), version=1)})
        await c.until(lambda: c.condition("Ready")["status"] == "True")

    scenario(cluster, play)


def test_the_status_reads_as_a_rollout_wants_it(cluster: Open) -> None:
    async def play(c: Any) -> None:
        change(c, canary=[canary(c, 2, 25)])
        await routed(c, {OWN: 75, OTHER: 25})
        await c.until(
            lambda: c.status["canaryStatuses"][0]["trafficPercent"] == 25 and c.status["canaryStatuses"][0]["ready"]
        )
        component = standard.component(c.store.get("inferenceservices", *KEY))
        assert component["latestReadyRevision"] == OTHER and component["latestRolledoutRevision"] == OWN
        assert component["traffic"] == [{"revisionName": OWN, "percent": 75}, {"revisionName": OTHER, "percent": 25}]

    scenario(cluster, play)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """POSTs to an API in Standard mode; what is made is not kept."""
    store = ObjectStore(tmp_path_factory.mktemp("api") / "objects.db")
    store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fraud"}})
    store.create(admission.runtime())
    app = api.app(store, pods=NoPods(), token=TOKEN, adapter=STANDARD)

    def post(plural: str, found: Json) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            headers = {"authorization": f"Bearer {TOKEN}"}
            group = found["apiVersion"]
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1", headers=headers) as client:
                return await client.post(f"/apis/{group}/namespaces/fraud/{plural}?dryRun=All", json=found)

        return asyncio.run(ask())

    yield post
    store.close()


def served(*canaries: Json, **predictor: Any) -> Json:
    stable = {"model": model("pvc://models/fraud/1", version=1), "minReplicas": 2, **predictor}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fraud", "namespace": "fraud", "annotations": {object_labels.MODE: "Standard"}},
        "spec": {"predictor": stable, **({"canary": list(canaries)} if canaries else {})},
    }


def entry(name: str, percent: int, **predictor: Any) -> Json:
    named = {"name": "kserve-container", **model("pvc://models/fraud/2", version=2)}
    return {"trafficPercent": percent, "predictor": {"name": name, "model": named, **predictor}}


@pytest.mark.parametrize(
    ("canaries", "told"),
    [
        ([entry("v2", 60), entry("v2", 10)], "another canary"),
        ([entry("v2", 60), entry("v3", 50)], "110%"),
        ([entry("v2", 101)], "101%"),
        ([entry("", 10)], "without predictor.name"),
        ([entry("v2", 10, minReplicas=3)], "has minReplicas 3"),
        ([entry("v2", 10, maxReplicas=4)], "sets maxReplicas"),
        ([entry("v2", 10, scaleTarget=5)], "sets scaleTarget"),
        ([entry("v2", 10, scaleMetric="rps")], "sets scaleMetric"),
        ([entry("v2", 10, autoScaling={})], "sets autoScaling"),
    ],
)
def test_kserves_rules_for_canaries_are_the_apis(asked: Any, canaries: list[Json], told: str) -> None:
    answer = asked("inferenceservices", served(*canaries))
    assert answer.status_code in (400, 403, 422) and told in answer.json()["message"], answer.text


def test_a_good_canary_is_taken_and_a_knative_share_without_a_word_but_lints(asked: Any) -> None:
    assert asked("inferenceservices", served(entry("v2", 10))).status_code == 201
    ignored = served(canaryTrafficPercent=10)
    answer = asked("inferenceservices", ignored)
    assert answer.status_code == 201 and "canaryTrafficPercent" not in answer.headers.get("warning", "")
    assert "HM201" in {each.code for each in judge.of_objects([ignored])}


def test_an_http_route_is_taken_and_a_broken_one_is_not(asked: Any) -> None:
    service = served()
    service["metadata"]["uid"] = "u"
    for each in httproutes.made(service, {OWN: 100}, seconds=2):
        assert asked("httproutes", each).status_code == 201
    each["spec"]["rules"][0]["backendRefs"][0]["weight"] = "all"
    assert asked("httproutes", each).status_code == 422


def test_of_two_routes_for_a_host_a_prefix_comes_first_and_then_the_older_one() -> None:
    def made(name: str, kind: str, value: str, at: str) -> Json:
        rule = {"matches": [{"path": {"type": kind, "value": value}}], "backendRefs": [{"name": name, "weight": 3}]}
        spec = {"hostnames": ["a"], "rules": [{**rule, "timeouts": {"request": "250ms"}}]}
        return {"metadata": {"name": name, "creationTimestamp": at}, "spec": spec}

    kserves, ours = made("kserve", "RegularExpression", "^/.*$", "1"), made("ours", "PathPrefix", "/", "2")
    younger, partial = made("younger", "PathPrefix", "/", "3"), made("partial", "PathPrefix", "/v2", "0")

    def first(*routes: Json, host: str = "a") -> str | None:
        found = httproutes.rule(routes, host)
        assert found is None or found.seconds == 0.25
        return next(iter(found.weights)) if found else None

    assert first(kserves, ours, younger, partial) == "ours" and first(younger, kserves) == "younger"
    assert first(kserves, partial) == "kserve" and first(partial) is None and first(ours, host="b") is None
