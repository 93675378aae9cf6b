"""The Kubernetes API in process: what is refused and how, discovery, reads, writes, watches, pods."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_cluster import api, body, openapi, resources
from local_cluster.problems import ApiProblem
from local_cluster.store import Missing, ObjectStore

TOKEN = "t" * 40
ISVCS = "/apis/serving.kserve.io/v1beta1/namespaces/fraud/inferenceservices"
CONFIGMAPS = "/api/v1/namespaces/fraud/configmaps"
PODS = "/api/v1/namespaces/fraud/pods"
MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}


class Pods:
    """Pods whose port 9090 is `port` of this machine."""

    port = 1

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return ("127.0.0.1", self.port) if (namespace, pod, port) == ("fraud", "p", 9090) else None

    def log(self, namespace: str, pod: str, container: str, tail_lines: int | None = None) -> bytes:
        if container == "silent":
            raise Missing("there is nothing")
        lines = [f"{container} {number}\n".encode() for number in range(5)]
        return b"".join(lines if tail_lines is None else lines[len(lines) - tail_lines :])


class Kube:
    """A client of an API on a fresh store."""

    def __init__(self, store: ObjectStore, pods: Pods, client: httpx.AsyncClient) -> None:
        self.store = store
        self.pods = pods
        self.client = client

    async def __call__(self, method: str, path: str, content: Any = None, **more: Any) -> tuple[int, Any]:
        if content is not None and not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        answer = await self.client.request(method, path, content=content, headers=headers, **more)
        return answer.status_code, answer.json() if answer.text and "json" in answer.headers.get(
            "content-type", ""
        ) else answer.text


@asynccontextmanager
async def kube(folder: Path) -> AsyncIterator[Kube]:
    store, pods = ObjectStore(folder / "objects.db"), Pods()
    if not any(each["metadata"]["name"] == "fraud" for each in store.list("namespaces")[0]):
        store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fraud"}})
    app = api.app(store, pods=pods, token=TOKEN)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        headers = {"authorization": f"Bearer {TOKEN}", "user-agent": "tests/1"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1", headers=headers) as client:
            try:
                yield Kube(store, pods, client)
            finally:
                store.close()


def service(name: str = "fraud", **predictor: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "fraud"},
        "spec": {
            "predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/1"}, **predictor}
        },
    }


def config(name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "fraud"}, "data": data}


def pod(name: str = "p") -> dict[str, Any]:
    containers = [{"name": "kserve-container"}, {"name": "drift-monitor", "ports": [{"containerPort": 9090}]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "fraud", "labels": {"app": "x"}},
        "spec": {"containers": containers},
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"host": "rebound.example:1"}, 403),
        ({"host": "127.0.0.1.rebound.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:8"}, 200),
        ({"host": "[::1]:8"}, 200),
    ],
)
def test_only_this_users_programs_get_in(tmp_path: Path, headers: dict[str, str], code: int) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            got, answer = await call("GET", "/api/v1/namespaces", headers=headers)
            assert got == code
            if code != 200:
                assert answer["kind"] == "Status"
                assert answer["code"] == code

    asyncio.run(scenario())


def test_health_is_open_and_says_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            assert await call("GET", "/readyz", headers={"authorization": ""}) == (200, "ok")
            assert (await call("GET", "/readyz", headers={"origin": "http://x"}))[0] == 403

    asyncio.run(scenario())


DEEP = b"[" * 100_000
MALFORMED = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"{}",
    DEEP,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"\xff\xfe",
    b'{"kind": "InferenceService"}',
    b'{"kind": 7, "apiVersion": []}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": 7}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": 7}}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "a", "labels": []}}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "a"}, "spec": 7}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "a"}, "spec": {}}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "a"}, "spec": {"predictor": null}}',
    b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "a"}, "spec": {"predictor": {"model": []}}}',
    json.dumps(service(canaryTrafficPercent=1)).replace("1}", "NaN}").encode(),
    json.dumps(service(canaryTrafficPercent=1)).replace("1}", "1e999}").encode(),
    json.dumps(service(canaryTrafficPercent=1)).replace("1}", "9" * 5000 + "}").encode(),
    json.dumps(service(canaryTrafficPercent=1)).replace("1}", str(2**63) + "}").encode(),
    json.dumps(service("Upper")).encode(),
    json.dumps(service("../../etc")).encode(),
    json.dumps(service("x" * 254)).encode(),
    json.dumps(service("\ud800")).encode(),
]


@pytest.mark.parametrize("media", ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])
def test_malformed_objects_are_refused_with_a_status(tmp_path: Path, media: str) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            for raw in MALFORMED:
                code, answer = await call("POST", ISVCS, raw, headers={"content-type": media})
                assert code in (400, 422), (raw[:200], answer)
                assert (answer["kind"], answer["code"]) == ("Status", code)
                assert call.store.list("inferenceservices")[0] == []

    asyncio.run(scenario())


YAMLS = [
    b"a: &a [x, x]\nb: [*a, *a]",
    b"a: !!python/object:os.system {}",
    b"? [a]\n: b",
    b"a: 1\na: 2",
    b"1: 2",
    b"a: .nan",
    b"a: !!binary aGVsbG8=",
    b"a: !!set {x}",
    b"\t- a",
]


@pytest.mark.parametrize("raw", YAMLS, ids=range(len(YAMLS)))
def test_yaml_that_is_more_than_an_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiProblem) as refused:
        body.parse(raw, media="application/yaml")
    assert refused.value.code == 400


def test_yaml_dates_stay_text() -> None:
    assert body.parse(b"a: 2026-01-01\nb: yes", media="application/yaml").value == {"a": "2026-01-01", "b": True}


PATCHES: list[tuple[str, bytes, int]] = [
    ("application/merge-patch+json", b"[]", 400),
    ("application/merge-patch+json", b"7", 400),
    ("application/merge-patch+json", b"null", 400),
    ("application/merge-patch+json", b'{"metadata": null}', 422),
    ("application/merge-patch+json", b'{"metadata": []}', 422),
    ("application/merge-patch+json", b'{"metadata": {"name": "other"}}', 422),
    ("application/merge-patch+json", b'{"metadata": {"namespace": "other"}}', 400),
    ("application/merge-patch+json", b'{"metadata": {"labels": {"a": 1}}}', 400),
    ("application/merge-patch+json", b'{"metadata": {"resourceVersion": "1"}}', 409),
    ("application/merge-patch+json", b'{"metadata": {"uid": "1"}}', 409),
    ("application/merge-patch+json", b'{"kind": "Pod"}', 400),
    ("application/merge-patch+json", b'{"spec": null}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"canaryTrafficPercent": 2.5}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"canaryTrafficPercent": "10"}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"canaryTrafficPercent": true}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"minReplicas": 3, "maxReplicas": 2}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"model": null}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"model": {"args": ["--workers", 2]}}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"predictor": {"nodeSelector": {"gpu": true}}}}', 422),
    ("application/merge-patch+json", b'{"spec": {"canary": [{"trafficPercent": 10}]}}', 422),
    ("application/json-patch+json", b"{}", 400),
    ("application/json-patch+json", b'[{"op": "remove", "path": "/spec/none"}]', 422),
    ("application/json-patch+json", b'[{"op": "remove", "path": ""}]', 422),
    ("application/json-patch+json", b'[{"op": "replace", "path": "", "value": 7}]', 422),
    ("application/json-patch+json", b'[{"op": "test", "path": "/kind", "value": "Pod"}]', 422),
    ("application/apply-patch+yaml", b"{}", 400),
    ("application/apply-patch+yaml", b"- a", 400),
    ("application/strategic-merge-patch+json", b"{}", 415),
    ("text/plain", b"{}", 415),
    ("application/json", b"{}", 415),
]


def test_patches_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            await call("POST", ISVCS, service())
            before = call.store.get("inferenceservices", "fraud", "fraud")
            path = f"{ISVCS}/fraud?fieldManager=tests"
            for media, raw, code in PATCHES:
                got, answer = await call("PATCH", path, raw, headers={"content-type": media})
                assert (got, answer["code"]) == (code, code), (media, raw, answer)
                assert call.store.get("inferenceservices", "fraud", "fraud") == before

    asyncio.run(scenario())


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "metadata",
                    "spec",
                    "predictor",
                    "model",
                    "labels",
                    "name",
                    "env",
                    "status",
                    "op",
                    "path",
                    "value",
                    "$patch",
                    "x",
                ]
            ),
            below,
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEDIA = st.sampled_from([*sorted({media for media, _, _ in PATCHES})])


REQUESTS = st.tuples(
    st.sampled_from(["PATCH", "PUT", "POST", "DELETE"]),
    st.sampled_from([ISVCS, CONFIGMAPS, "/api/v1/namespaces"]),
    st.sampled_from(["", "/fraud", "/fraud/status"]),
    MEDIA,
    JSONS,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REQUESTS, min_size=10, max_size=40))
def test_whatever_comes_is_never_our_error(tmp_path_factory: pytest.TempPathFactory, requests: Any) -> None:
    async def scenario() -> None:
        async with kube(tmp_path_factory.mktemp("fuzz")) as call:
            for method, base, rest, media, value in requests:
                if not call.store.list("inferenceservices")[0]:
                    await call("POST", ISVCS, service())
                path = f"{base}{rest}?fieldManager=tests&force=true"
                code, answer = await call(method, path, json.dumps(value), headers={"content-type": media})
                assert code < 500, answer

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", 404),
        ("/api/v2", 404),
        ("/api/v1/nodes", 404),
        ("/apis/apps/v1/deployments", 404),
        ("/api/v1/namespaces/fraud/configmaps/none", 404),
        ("/api/v1/configmaps/c", 404),
        ("/api/v1/namespaces/fraud/configmaps/c/status", 404),
        ("/api/v1/namespaces//configmaps", 404),
        ("/api/v1/namespaces/%ff/configmaps", 400),
        ("/api/v1/namespaces/fraud/configmaps?labelSelector=a%20b%20c", 400),
        ("/api/v1/namespaces/fraud/configmaps?fieldSelector=data.a%3D1", 400),
        ("/api/v1/namespaces/fraud/configmaps?watch=1&resourceVersion=x", 400),
        ("/api/v1/namespaces/fraud/configmaps?watch=1&resourceVersion=1", 410),
        ("/api/v1/namespaces/fraud/configmaps?watch=1&timeoutSeconds=-1", 400),
        ("/openapi/v3/api/v2", 404),
    ],
)
def test_what_is_not_there_is_a_status(tmp_path: Path, path: str, code: int) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            got, answer = await call("GET", path)
            assert (got, answer["code"], answer["kind"]) == (code, code, "Status")

    asyncio.run(scenario())


def test_large_bodies_are_refused_before_they_are_read_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 65536

        async with kube(tmp_path) as call:
            assert (await call("POST", ISVCS, b" " * (body.LIMIT + 1)))[0] == 413
            answer = await call.client.post(ISVCS, content=endless(), headers={"content-type": "application/json"})
            assert answer.status_code == 413

    asyncio.run(scenario())


def test_a_misspelt_field_is_refused_strictly_and_warned_of_otherwise(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            wrong = service(canaryTrafficPercnt=10)
            code, answer = await call("POST", f"{ISVCS}?fieldValidation=Strict", wrong)
            assert code == 400
            assert 'strict decoding error: unknown field "spec.predictor.canaryTrafficPercnt"' in answer["message"]
            twice = json.dumps(service(minReplicas=1)).replace('"minReplicas": 1', '"minReplicas": 1, "minReplicas": 2')
            code, answer = await call("POST", f"{ISVCS}?fieldValidation=Strict", twice)
            assert (code, 'duplicate field "minReplicas"' in answer["message"]) == (400, True)
            warned = await call.client.post(ISVCS, json=wrong)
            assert warned.status_code == 201
            assert warned.headers["warning"] == '299 - "unknown field \\"spec.predictor.canaryTrafficPercnt\\""'
            assert "canaryTrafficPercnt" not in warned.text
            assert (await call("POST", f"{ISVCS}?fieldValidation=Loose", service("b")))[0] == 400

    asyncio.run(scenario())


def test_faults_are_causes_of_one_status(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            code, answer = await call("POST", ISVCS, service(maxReplicas=-1, minReplicas="2"))
            assert (code, answer["reason"]) == (422, "Invalid")
            fields = {cause["field"]: cause["reason"] for cause in answer["details"]["causes"]}
            assert fields == {
                "spec.predictor.maxReplicas": "FieldValueInvalid",
                "spec.predictor.minReplicas": "FieldValueTypeInvalid",
            }
            assert answer["message"].startswith('InferenceService.serving.kserve.io "fraud" is invalid: [')

    asyncio.run(scenario())


def test_an_older_framework_field_becomes_the_model(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            old = service()
            old["spec"]["predictor"] = {"sklearn": {"storageUri": "pvc://models/1"}}
            _, made = await call("POST", ISVCS, old)
            assert made["spec"]["predictor"] == {
                "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "pvc://models/1"}
            }
            both = service("both", sklearn={"storageUri": "pvc://models/2"})
            _, replaced = await call("POST", ISVCS, both)
            assert replaced["spec"]["predictor"]["model"] == {
                "modelFormat": {"name": "sklearn"},
                "storageUri": "pvc://models/2",
            }
            two = service("two", sklearn={"storageUri": "pvc://models/1"}, xgboost={"storageUri": "pvc://models/1"})
            assert (await call("POST", ISVCS, two))[0] == 422

    asyncio.run(scenario())


def test_another_mode_is_taken_with_a_warning(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            for mode, words in (("RawDeployment", "Knative mode only"), ("Serverless", "")):
                asked = service(f"a-{mode.lower()}")
                asked["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": mode}
                answer = await call.client.post(ISVCS, json=asked)
                assert words in answer.headers.get("warning", "")
            assert answer.json()["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"

    asyncio.run(scenario())


def test_the_last_writer_with_an_old_version_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            _, made = await call("POST", ISVCS, service())
            mine = {**made, "spec": service(minReplicas=2)["spec"]}
            code, updated = await call("PUT", f"{ISVCS}/fraud", mine)
            assert (code, updated["metadata"]["generation"]) == (200, 2)
            code, answer = await call("PUT", f"{ISVCS}/fraud", mine)
            assert (code, answer["reason"]) == (409, "Conflict")
            assert "the object has been modified" in answer["message"]
            code, answer = await call("PUT", f"{ISVCS}/fraud", service())
            assert (code, answer["details"]["causes"][0]["field"]) == (422, "metadata.resourceVersion")

    asyncio.run(scenario())


def test_of_twenty_patches_of_one_version_one_is_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            await call("POST", ISVCS, service())
            for round_ in range(5):
                version = call.store.get("inferenceservices", "fraud", "fraud")["metadata"]["resourceVersion"]
                patches = [
                    {
                        "metadata": {"resourceVersion": version},
                        "spec": {"predictor": {"canaryTrafficPercent": round_ * 20 + number}},
                    }
                    for number in range(20)
                ]
                codes = await asyncio.gather(
                    *(call("PATCH", f"{ISVCS}/fraud", each, headers=MERGE) for each in patches)
                )
                assert sorted(code for code, _ in codes) == [200] + [409] * 19

    asyncio.run(scenario())


def test_status_is_written_through_its_subresource_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            _, made = await call("POST", ISVCS, {**service(), "status": {"url": "http://forged"}})
            assert "status" not in made
            _, same = await call("PATCH", f"{ISVCS}/fraud", {"status": {"url": "http://forged"}}, headers=MERGE)
            assert same == made
            change = {"status": {"url": "http://x"}, "spec": {"predictor": {"minReplicas": 7}}}
            _, told = await call("PATCH", f"{ISVCS}/fraud/status", change, headers=MERGE)
            assert (told["status"], told["metadata"]["generation"]) == ({"url": "http://x"}, 1)
            assert told["spec"] == made["spec"]
            code, _ = await call("PATCH", f"{ISVCS}/fraud/status", {"status": {"conditions": 7}}, headers=MERGE)
            assert code == 422

    asyncio.run(scenario())


def test_applies_own_what_they_say_and_conflict_over_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            path = f"{ISVCS}/fraud?fieldManager="
            code, made = await call("PATCH", path + "ci", service(minReplicas=1, maxReplicas=2), headers=APPLY)
            assert (code, made["metadata"]["generation"]) == (201, 1)
            code, again = await call("PATCH", path + "ci", service(minReplicas=1, maxReplicas=2), headers=APPLY)
            assert (code, again) == (200, made)
            code, fewer = await call("PATCH", path + "ci", service(minReplicas=1), headers=APPLY)
            assert "maxReplicas" not in fewer["spec"]["predictor"]
            code, answer = await call("PATCH", path + "other", service(minReplicas=3), headers=APPLY)
            assert (code, answer["details"]["causes"][0]["field"]) == (409, ".spec.predictor.minReplicas")
            code, forced = await call("PATCH", path + "other&force=true", service(minReplicas=3), headers=APPLY)
            assert forced["spec"]["predictor"]["minReplicas"] == 3
            assert (await call("PATCH", path, service(), headers=APPLY))[0] == 422

    asyncio.run(scenario())


def test_a_dry_run_answers_and_keeps_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            code, made = await call("POST", f"{ISVCS}?dryRun=All", service())
            assert (code, made["metadata"]["name"]) == (201, "fraud")
            await call("POST", ISVCS, service())
            before = call.store.get("inferenceservices", "fraud", "fraud")
            change = {"spec": {"predictor": {"minReplicas": 4}}}
            _, told = await call("PATCH", f"{ISVCS}/fraud?dryRun=All", change, headers=MERGE)
            assert told["spec"]["predictor"]["minReplicas"] == 4
            assert (await call("DELETE", f"{ISVCS}/fraud?dryRun=All"))[0] == 200
            assert (await call("DELETE", f"{ISVCS}/fraud", {"kind": "DeleteOptions", "dryRun": ["All"]}))[0] == 200
            assert call.store.get("inferenceservices", "fraud", "fraud") == before
            assert (await call("DELETE", f"{ISVCS}/fraud?dryRun=Some"))[0] == 422

    asyncio.run(scenario())


def test_selectors_pick_what_they_say(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            for name, labels in (("a", {"tier": "x"}), ("b", {"tier": "y", "old": "1"}), ("c", {})):
                made = config(name)
                made["metadata"]["labels"] = labels
                await call("POST", CONFIGMAPS, made)

            async def names(**query: str) -> str:
                _, listed = await call("GET", CONFIGMAPS, params=query)
                return "".join(each["metadata"]["name"] for each in listed["items"])

            assert await names(labelSelector="tier=x") == "a"
            assert await names(labelSelector="tier!=x") == "bc"
            assert await names(labelSelector="tier in (x, y),!old") == "a"
            assert await names(labelSelector="tier notin (x)") == "bc"
            assert await names(labelSelector="tier") == "ab"
            assert await names(fieldSelector="metadata.name=b") == "b"
            assert await names(fieldSelector="metadata.name!=b,metadata.namespace=fraud") == "ac"
            code, gone = await call("DELETE", CONFIGMAPS, params={"labelSelector": "tier"})
            assert (code, len(gone["items"]), await names()) == (200, 2, "c")

    asyncio.run(scenario())


async def watched(call: Kube, path: str, count: int, *, during: Any = None) -> list[tuple[str, Any]]:
    """The first events of a watch, read from the app itself: ASGITransport would wait for its end."""
    sent: asyncio.Queue[bytes] = asyncio.Queue()
    over = asyncio.Event()

    async def receive() -> Any:
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await sent.put(message.get("body", b""))

    where, _, query = path.partition("?")
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {TOKEN}".encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": where,
        "raw_path": where.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "scheme": "http",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
    }
    app = call.client._transport.app  # type: ignore[attr-defined]
    task = asyncio.create_task(app(scope, receive, send))
    await asyncio.sleep(0.02)
    if during is not None:
        during()
    lines = b""
    while lines.count(b"\n") < count:
        lines += await asyncio.wait_for(sent.get(), 5)
    over.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    events = [json.loads(line) for line in lines.splitlines()]
    return [(event["type"], event["object"]) for event in events]


def test_a_watch_tells_of_what_enters_and_leaves_its_selection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            await call("POST", CONFIGMAPS, config("before"))

            def during() -> None:
                def label(value: str) -> Any:
                    def change(obj: Any) -> Any:
                        obj["metadata"]["labels"] = {"on": value}
                        return obj

                    return change

                for value in ("1", "1", "0"):
                    call.store.modify("configmaps", "fraud", "before", label(value))
                call.store.modify("configmaps", "fraud", "before", label("1"))
                call.store.delete("configmaps", "fraud", "before")

            seen = await watched(call, f"{CONFIGMAPS}?watch=1&labelSelector=on%3D1", 4, during=during)
            assert [kind for kind, _ in seen] == ["ADDED", "DELETED", "ADDED", "DELETED"]
            versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
            assert versions == sorted(set(versions))

    asyncio.run(scenario())


def test_a_watch_can_begin_with_what_there_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            await call("POST", CONFIGMAPS, config("a"))
            path = f"{CONFIGMAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
            first, end = await watched(call, path, 2)
            assert (first[0], first[1]["metadata"]["name"]) == ("ADDED", "a")
            assert end[0] == "BOOKMARK"
            assert end[1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert end[1]["kind"] == "ConfigMap"

    asyncio.run(scenario())


def test_a_watch_ends_in_its_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            code, text = await call("GET", f"{CONFIGMAPS}?watch=1&timeoutSeconds=1")
            assert (code, text) == (200, "")
            assert call.store._feeds == []

    asyncio.run(scenario())


def test_logs_and_ports_of_pods_are_reached(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked = head.decode()
        body_ = asked.encode()
        writer.write(b"HTTP/1.1 203 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body_) + body_)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with kube(tmp_path) as call:
            call.pods.port = server.sockets[0].getsockname()[1]
            call.store.create(pod())
            code, asked = await call("GET", f"{PODS}/p:9090/proxy/verdict/a%2Fb?variant=x%20y")
            assert code == 203
            assert asked.startswith("GET /verdict/a%2Fb?variant=x%20y HTTP/1.1")
            assert TOKEN not in asked
            code, asked = await call(
                "POST", f"{PODS}/p:9090/proxy/labels", [{"request": "1"}], headers={"x-forwarded-for": "9.9.9.9"}
            )
            assert asked.startswith("POST /labels HTTP/1.1")
            assert "content-length: 18" in asked.lower()
            # A pod is told that this came through a proxy, and by nobody else where from.
            assert asked.count("x-forwarded-for: ") == 1
            assert "9.9.9.9" not in asked
            assert (await call("GET", f"{PODS}/p:9090/proxy"))[1].startswith("GET / HTTP/1.1")
            assert (await call("GET", f"{PODS}/p:8080/proxy/x"))[0] == 503
            assert (await call("GET", f"{PODS}/p:http/proxy/x"))[0] == 400
            assert (await call("GET", f"{PODS}/https:p:9090/proxy/x"))[0] == 400
            assert (await call("GET", f"{PODS}/q:9090/proxy/x"))[0] == 404
            server.close()
            await server.wait_closed()
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                call.pods.port = free.getsockname()[1]
            assert (await call("GET", f"{PODS}/p:9090/proxy/x"))[0] == 503
            assert await call("GET", f"{PODS}/p/log?tailLines=1") == (200, "kserve-container 4\n")
            assert await call("GET", f"{PODS}/p/log?container=drift-monitor&tailLines=0") == (200, "")
            assert (await call("GET", f"{PODS}/p/log?container=none"))[0] == 400
            assert (await call("POST", PODS, pod("q")))[0] == 405

    asyncio.run(scenario())


def test_events_are_told_in_both_versions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            _, made = await call("POST", ISVCS, service())
            call.store.record(made, "Warning", "Failed", "it does not load")
            where = "/api/v1/namespaces/fraud/events?fieldSelector=involvedObject.name%3Dfraud,involvedObject.kind%3DInferenceService"
            _, core = await call("GET", where + f",involvedObject.uid%3D{made['metadata']['uid']}")
            assert [event["message"] for event in core["items"]] == ["it does not load"]
            _, new = await call("GET", "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dfraud")
            assert [(event["note"], event["regarding"]["kind"]) for event in new["items"]] == [
                ("it does not load", "InferenceService")
            ]

    asyncio.run(scenario())


def test_discovery_names_what_is_served_in_both_forms(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            plain: set[str] = set()
            for path in (
                "/api/v1",
                "/apis/serving.kserve.io/v1beta1",
                "/apis/serving.kserve.io/v1alpha1",
                "/apis/events.k8s.io/v1",
                "/apis/coordination.k8s.io/v1",
                "/apis/gateway.networking.k8s.io/v1",
            ):
                _, listed = await call("GET", path)
                plain |= {f"{listed['groupVersion']}/{each['name']}" for each in listed["resources"]}
            accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
            found: set[str] = set()
            for path in ("/api", "/apis"):
                _, listed = await call("GET", path, headers=accept)
                for group in listed["items"]:
                    for version in group["versions"]:
                        whole = "/".join(filter(None, (group["metadata"].get("name"), version["version"])))
                        for each in version["resources"]:
                            subs = [f"{each['resource']}/{sub['subresource']}" for sub in each["subresources"]]
                            found |= {f"{whole}/{name}" for name in (each["resource"], *subs)}
            assert found == plain
            assert "serving.kserve.io/v1beta1/inferenceservices/status" in plain

    asyncio.run(scenario())


def test_openapi_is_whole_and_says_how_to_patch() -> None:
    for path in openapi.index()["paths"]:
        group, _, version = path.partition("/")[2].rpartition("/")
        whole = openapi.document(group, version)
        text = json.dumps(whole)
        for ref in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
            assert ref.removeprefix("#/components/schemas/") in whole["components"]["schemas"]
    custom = openapi.document("serving.kserve.io", "v1beta1")["paths"]
    patch = custom["/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}"]["patch"]
    assert {each["name"] for each in patch["parameters"]} == {"dryRun", "fieldManager", "fieldValidation"}
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "#/components" not in json.dumps(openapi.version_two())


def test_state_survives_the_api(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            _, made = await call("POST", ISVCS, service())
        async with kube(tmp_path) as call:
            assert (await call("GET", f"{ISVCS}/fraud"))[1] == made

    asyncio.run(scenario())


def test_every_kind_that_is_kept_can_be_listed_as_a_table(tmp_path: Path) -> None:
    async def scenario() -> None:
        accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
        async with kube(tmp_path) as call:
            call.store.create(pod())
            await call("POST", ISVCS, service())
            for item in resources.RESOURCES:
                base = f"/apis/{item.group}/{item.version}" if item.group else f"/api/{item.version}"
                code, listed = await call("GET", f"{base}/{item.plural}", headers=accept)
                assert (code, listed["kind"]) == (200, "Table")
                for row in listed["rows"]:
                    assert len(row["cells"]) == len(listed["columnDefinitions"])
                    assert row["object"]["kind"] == "PartialObjectMetadata"

    asyncio.run(scenario())


def test_a_long_list_comes_in_parts_that_together_are_the_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            for number in range(7):
                call.store.create(config(f"c{number}"))
            path, names, token = "/api/v1/configmaps", list[str](), ""
            for left in (4, 1, None):
                code, part = await call("GET", f"{path}?limit=3&continue={token}")
                assert code == 200 and part["metadata"].get("remainingItemCount") == left
                names += [each["metadata"]["name"] for each in part["items"]]
                token = part["metadata"].get("continue", "")
            assert (names, token) == ([f"c{number}" for number in range(7)], "")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("limit=many", 400, "limit"),
        ("continue=nothing", 400, "continue key is not valid"),
        ("resourceVersionMatch=Newest&resourceVersion=1", 400, "Exact, NotOlderThan"),
        ("resourceVersionMatch=Exact", 400, "unless resourceVersion"),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=99999999", 504, "Too large resource version"),
        ("resourceVersionMatch=Exact&resourceVersion=1", 410, "too old"),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", 200, ""),
    ],
)
def test_how_a_list_is_asked_for_is_obeyed_or_refused(tmp_path: Path, query: str, code: int, words: str) -> None:
    async def scenario() -> None:
        async with kube(tmp_path) as call:
            call.store.create(config())
            got, answer = await call("GET", f"/api/v1/configmaps?{query}")
            assert got == code and words in answer.get("message", "")

    asyncio.run(scenario())
