"""The reconciler on a real Envoy, with a fake model server: revisions, traffic, status, and faults 1, 2, 7."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import yaml
from real_model import configured, real_model

from hallmark import names
from inference_services.protocol.pb import protobufs
from local_cluster.pods import PORTS_ANNOTATION

Open = Callable[..., Any]
Runtime = Callable[..., dict[str, Any]]
ONE, TWO = "00001", "00002"
ROOT = Path(__file__).parents[2]


def test_a_first_release_serves_and_says_so_in_kserves_fields(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            answer = await c.infer()
            assert answer.status_code == 200
            assert answer.headers["x-hallmark-variant"] == "stable"
            assert answer.json()["revision"] == "fraud-predictor-00001"
            assert answer.json()["model_name"] == "fraud"
            status = c.status
            assert status["url"] == status["address"]["url"] == c.url
            assert status["observedGeneration"] == 1
            assert status["clusterServingRuntimeName"] == "fake"
            assert status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
            assert status["modelStatus"]["transitionStatus"] == "UpToDate"
            assert status["modelStatus"]["copies"] == {"failedCopies": 0, "totalCopies": 1}
            types = {t: c.condition(t)["status"] for t in (x["type"] for x in status["conditions"])}
            true = ("Ready", "PredictorReady", "PredictorConfigurationReady", "PredictorRouteReady")
            more = ("IngressReady", "RoutesReady", "LatestDeploymentReady")
            assert types == {**dict.fromkeys((*true, *more), "True"), "Stopped": "False"}
            pod = c.pod(1)
            assert pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == "fraud"
            assert pod["metadata"]["labels"]["endpoint"] == "stable"
            host, port = c.reconciler.address("fraud", pod["metadata"]["name"], 8080)
            env = (await c.client.get(f"http://{host}:{port}/env")).json()["env"]
            assert env["K_REVISION"] == "fraud-predictor-00001"
            assert env["K_SERVICE"] == env["K_CONFIGURATION"] == "fraud-predictor"
            assert b"ready" in c.reconciler.log("fraud", pod["metadata"]["name"], "kserve-container", 10)

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_hangs_in_a_candidate_that_is_rolled_back_still_ends_on_stable(cluster: Open) -> None:
    """The roll-back brings a third revision, so the hung one is no longer the canary while requests to it are under way."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1, timeout=1)
            await c.ready({ONE: 100})
            c.apply(2, percent=50, timeout=1)
            await c.ready({ONE: 50, TWO: 50})
            os.kill(c.pid(2), signal.SIGSTOP)
            try:
                async with c.load(clients=40, pause=0.02) as seen:
                    await asyncio.sleep(0.5)
                    c.apply(1, percent=0, timeout=1)
                    await c.ready({ONE: 100, "00003": 0})
                    await asyncio.sleep(1.5)
            finally:
                os.kill(c.pid(2), signal.SIGCONT)
            assert {status for status, _ in seen} == {200}, seen

    asyncio.run(scenario())


def test_a_candidate_is_split_promoted_and_rolled_back(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply(2, percent=10)
            await c.ready({ONE: 90, TWO: 10})
            assert c.pod(2)["metadata"]["labels"]["endpoint"] == "canary"
            c.patch(canaryTrafficPercent=0)
            await c.ready({ONE: 100, TWO: 0})
            assert c.revisions() == [1, 2], "the candidate that is pinned out stays warm"
            c.patch(canaryTrafficPercent=None)
            await c.ready({TWO: 100})
            assert c.predictor["previousRolledoutRevision"] == "fraud-predictor-00001"
            await c.until(lambda: c.revisions() == [2])
            assert (await c.infer()).headers["x-hallmark-variant"] == "stable"
            c.patch(canaryTrafficPercent=0)
            await c.ready({ONE: 100, TWO: 0})
            assert (await c.infer()).json()["revision"] == "fraud-predictor-00001"

    asyncio.run(scenario())


def test_only_a_changed_predictor_makes_a_revision(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.patch(canaryTrafficPercent=100)
            await c.reconciler.settled()
            assert c.predictor["latestCreatedRevision"] == "fraud-predictor-00001"
            c.patch(minReplicas=2)
            await c.ready({TWO: 100})

    asyncio.run(scenario())


def test_a_revision_that_fails_to_load_gets_no_traffic_and_status_says_why(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            bad = c.model(2, fail="ModelRefused: model.onnx of the model was changed")
            c.apply(bad, percent=50)
            await c.until(lambda: c.status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad")
            info = c.status["modelStatus"]["lastFailureInfo"]
            assert info["exitCode"] == 3
            assert info["message"] == "ModelRefused: model.onnx of the model was changed"
            assert info["reason"] == "ModelLoadFailed"
            assert info["modelRevisionName"] == "fraud-predictor-00002"
            assert c.condition("Ready")["status"] == "False"
            assert c.condition("Ready")["reason"] == "RevisionFailed"
            assert "model.onnx of the model was changed" in c.condition("PredictorConfigurationReady")["message"]
            assert c.condition("PredictorRouteReady")["status"] == "True"
            assert c.predictor["latestReadyRevision"] == "fraud-predictor-00001"
            answers = [await c.infer() for _ in range(30)]
            assert {(a.status_code, a.json()["revision"]) for a in answers} == {(200, "fraud-predictor-00001")}
            reasons = {e["reason"] for e in c.store.list("events")[0]}
            assert {"Created", "LatestCreatedFailed", "InferenceServiceReady"} <= reasons
            state = c.pod(2)["status"]["containerStatuses"][0]
            assert state["lastState"]["terminated"]["exitCode"] == 3
            c.apply(1)
            await c.ready({"00003": 100})
            assert "lastFailureInfo" not in c.status["modelStatus"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"model": {"runtime": "unknown"}}, "RuntimeNotRecognized", "'unknown'"),
        ({"model": {"modelFormat": {"name": "xgboost"}}}, "NoSupportingRuntime", "'xgboost'"),
        ({"model": {"protocolVersion": "v9"}}, "NoSupportingRuntime", "'v9'"),
        ({"model": {"storageUri": "s3://bucket/model"}}, "InvalidPredictorSpec", "s3://"),
        ({"model": {"storageUri": "pvc://models/../../etc"}}, "InvalidPredictorSpec", "within the volume"),
        ({"model": {"storageUri": "pvc://other/x"}}, "InvalidPredictorSpec", "'other'"),
        ({"model": {"storageUri": 7}}, "InvalidPredictorSpec", "pvc://"),
        ({"model": {"env": 7}}, "InvalidPredictorSpec", "wrong type"),
        ({"model": {"args": ["{{.Nope}}"]}}, "InvalidPredictorSpec", "{{.Nope}}"),
        (
            {"model": {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {}}}]}},
            "InvalidPredictorSpec",
            "secretKeyRef",
        ),
        ({"model": {"ports": [{"containerPort": "x"}]}}, "InvalidPredictorSpec", "wrong type"),
        ({"model": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}}, "InvalidPredictorSpec", "'v'"),
        ({"model": []}, "InvalidPredictorSpec", "model"),
        ({"predictor": 3}, "InvalidPredictorSpec", "mapping"),
        ({"canaryTrafficPercent": 101, "rolledOut": "fraud-predictor-00001"}, "InvalidPredictorSpec", "0 to 100"),
        ({"timeout": "soon"}, "InvalidPredictorSpec", "timeout"),
        ({"workerSpec": {"size": 2}}, "InvalidPredictorSpec", "workerSpec"),
        ({"transformer": {"containers": [{}]}}, "InvalidPredictorSpec", "transformer"),
        ({"explainer": {"x": 1}}, "InvalidPredictorSpec", "explainer"),
        ({"mode": "Standard"}, "InvalidPredictorSpec", "Standard"),
    ],
)
def test_what_cannot_be_served_is_a_condition_with_a_message(
    change: dict[str, Any], reason: str, said: str, fake_runtime: Runtime
) -> None:
    from local_cluster import predictor as predictors

    model = {"modelFormat": {"name": "onnx"}, "runtime": "fake", "storageUri": "pvc://models/fraud/1"}
    asked = change.get("model", {})
    predictor: Any = {"model": {**model, **asked} if isinstance(asked, dict) else asked}
    predictor |= {k: change[k] for k in ("canaryTrafficPercent", "timeout", "workerSpec") if k in change}
    spec = {"predictor": change.get("predictor", predictor)}
    spec |= {k: change[k] for k in ("transformer", "explainer") if k in change}
    mode = {"serving.kserve.io/deploymentMode": change["mode"]} if "mode" in change else {}
    service = {"metadata": {"name": "fraud", "namespace": "fraud", "annotations": mode}, "spec": spec}
    if "rolledOut" in change:
        service["status"] = {"components": {"predictor": {"latestRolledoutRevision": change["rolledOut"]}}}
    with pytest.raises(predictors.InvalidSpec) as caught:
        predictors.checked(service, [fake_runtime()])
    assert caught.value.reason == reason
    assert said in caught.value.message


def test_a_second_port_for_grpc_never_gets_ready_and_says_why(cluster: Open) -> None:
    """Row P3: gRPC as KServe's own runtimes are asked for it, at a port of its own; here it shares the one that there is."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            model = c.store.get("inferenceservices", "fraud", "fraud")["spec"]["predictor"]["model"]
            c.patch(model=model | {"ports": [{"containerPort": 8081, "name": "h2c", "protocol": "TCP"}]})
            await c.until(lambda: c.condition("PredictorConfigurationReady").get("status") == "False")
            assert "2 ports are declared" in c.condition("PredictorConfigurationReady")["message"]
            assert c.condition("Ready")["status"] == "False"
            assert c.revisions() == [1] and (await c.infer()).status_code == 200

    asyncio.run(scenario())


def test_what_knative_would_refuse_never_gets_ready_and_says_why(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply(2, affinity={"nodeAffinity": {}}, maxReplicas=60)
            await c.until(lambda: c.condition("PredictorConfigurationReady").get("status") == "False")
            said = c.condition("PredictorConfigurationReady")["message"]
            assert "spec.predictor.affinity: affinity needs kubernetes.podspec-affinity" in said
            assert "spec.predictor.maxReplicas: maxReplicas 60, at most 50" in said
            assert c.revisions() == [1] and (await c.infer()).status_code == 200
            c.apply(2)
            await c.ready({TWO: 100})

    asyncio.run(scenario())


def test_fields_that_a_revision_does_not_have_make_none(cluster: Open) -> None:
    """Knative mode drops them: the local cluster says so when they are applied, and serves on."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            model = {**c.store.get("inferenceservices", "fraud", "fraud")["spec"]["predictor"]["model"]}
            model["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "60"]}}}
            c.apply(1, terminationGracePeriodSeconds=60, restartPolicy="OnFailure", model=model)
            await c.until(lambda: c.status["observedGeneration"] == 2)
            assert c.revisions() == [1] and c.predictor["latestCreatedRevision"].endswith(ONE)

    asyncio.run(scenario())


def test_finalizers_of_a_real_cluster_are_let_go_of(cluster: Open) -> None:
    """An object exported from a KServe cluster, and its namespace, go as they do there, and so do its pods."""

    async def scenario() -> None:
        async with cluster() as c:
            made = c.apply(1)
            made["metadata"]["finalizers"] = ["inferenceservice.finalizers"]
            c.store.update(made)
            await c.ready({ONE: 100})
            c.store.delete("inferenceservices", "fraud", "fraud")
            await c.until(lambda: not c.store.list("inferenceservices")[0] and not c.revisions())
            made["metadata"] = {"name": "fraud", "namespace": "fraud", "finalizers": ["inferenceservice.finalizers"]}
            c.store.create({key: value for key, value in made.items() if key != "status"})
            await c.until(lambda: c.revisions() == [1])
            c.store.delete("namespaces", "", "fraud")
            await c.until(lambda: [each["metadata"]["name"] for each in c.store.list("namespaces")[0]] == ["default"])

    asyncio.run(scenario())


def test_an_invalid_change_leaves_what_serves_alone(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply("s3://bucket/model")
            await c.until(lambda: c.condition("Ready")["status"] == "False")
            assert c.status["modelStatus"]["transitionStatus"] == "InvalidSpec"
            assert "s3://" in c.status["modelStatus"]["lastFailureInfo"]["message"]
            assert "s3://" in c.condition("PredictorReady")["message"]
            assert c.shares == {ONE: 100}
            assert (await c.infer()).status_code == 200
            c.apply(1)
            await c.ready({ONE: 100})

    asyncio.run(scenario())


def test_a_folder_that_is_not_there_or_leads_outside_is_never_served(cluster: Open, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            secret = tmp_path / "secret"
            secret.mkdir()
            (tmp_path / "models" / "link").symlink_to(secret)
            c.apply("pvc://models/link")
            await c.until(lambda: "leads out of the volume" in c.condition("PredictorReady").get("message", ""))
            assert (await c.infer()).status_code == 503
            c.apply("pvc://models/fraud/9")
            await c.until(lambda: "is not there" in c.condition("PredictorReady").get("message", ""))
            assert c.status["modelStatus"]["lastFailureInfo"]["reason"] == "ModelLoadFailed"
            c.model(9)
            await c.ready({TWO: 100})

    asyncio.run(scenario())


def test_a_service_waits_for_its_runtime(cluster: Open, fake_runtime: Runtime) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.store.delete("clusterservingruntimes", "", "fake")
            c.apply(1)
            await c.until(lambda: c.condition("PredictorReady").get("reason") == "RuntimeNotRecognized")
            c.store.create(fake_runtime())
            await c.ready({ONE: 100})

    asyncio.run(scenario())


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_sidecars_volumes_and_ports_are_as_in_a_pod(cluster: Open, fake_runtime: Runtime) -> None:
    """The sidecar is reached at the address that the main container was told, and its ConfigMap follows changes."""

    async def scenario() -> None:
        async with cluster() as c:
            from_runtime = fake_runtime()["spec"]["containers"][0]
            sidecar = {
                "name": "monitor",
                "image": "fake:1",
                "command": from_runtime["command"],
                "args": ["--model-dir=/mnt/models", "--http-port=9090", "--peer=/etc/drift/drift.json"],
                "volumeMounts": [{"name": "drift", "mountPath": "/etc/drift"}],
            }
            container = {"args": [*from_runtime["args"], "--peer=http://127.0.0.1:9090/"]}
            volumes = [{"name": "drift", "configMap": {"name": "drift", "optional": True}}]
            c.store.update(fake_runtime(container=container, sidecars=[sidecar], volumes=volumes))
            c.apply(1)
            await c.ready({ONE: 100})
            meta = c.pod(1)["metadata"]
            pod = meta["name"]
            main, monitor = (c.reconciler.address("fraud", pod, port) for port in (8080, 9090))
            shown = f"8080={main[0]}:{main[1]}, 9090={monitor[0]}:{monitor[1]}"
            assert meta["annotations"][PORTS_ANNOTATION] == shown, "whoever has kubectl finds it"
            seen = (await c.client.get(f"http://{main[0]}:{main[1]}/env")).json()["argv"]
            assert f"--peer=http://127.0.0.1:{monitor[1]}/" in seen
            assert c.reconciler.address("fraud", pod, 22) is None
            await c.until(lambda: _listens(monitor))  # the pod is ready by its main container
            told = (await c.client.get(f"http://{monitor[0]}:{monitor[1]}/env")).json()["argv"]
            path = Path(next(a for a in told if a.startswith("--peer=")).removeprefix("--peer="))
            assert not path.exists()
            config = {"metadata": {"name": "drift", "namespace": "fraud"}, "data": {"drift.json": "{}"}}
            c.store.create({"apiVersion": "v1", "kind": "ConfigMap", **config})
            await c.until(lambda: path.is_file() and path.read_text() == "{}")
            os.kill(c.pid(1, "monitor"), signal.SIGKILL)
            await asyncio.sleep(0.1)
            assert (await c.infer()).status_code == 200, "a dead sidecar costs no answer"

    asyncio.run(scenario())


def test_the_gateway_says_who_answered_and_believes_no_client(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            forged = {
                "x-hallmark-variant": "canary",
                "x-hallmark-admin": "1",
                "x-hallmark-request-id": "mine",
                "x-hallmark-shadow": "1",
                "x-envoy-max-retries": "9",
                "x-mine": "1",
            }
            seen = (await c.client.get(f"{c.url}/headers", headers=forged)).json()["headers"]
            assert "x-mine" in seen
            ours = [name for name in seen if name.startswith(("x-hallmark", "x-envoy"))]
            assert ours == ["x-hallmark-request-id"]
            assert seen["x-hallmark-request-id"] != "mine"
            by_host = await c.client.get(
                f"http://127.0.0.1:{c.envoy.port}/v2/health/ready", headers={"host": "fraud.fraud.localhost"}
            )
            assert by_host.status_code == 200
            unknown = await c.client.get(f"http://127.0.0.1:{c.envoy.port}/serving/fraud/frau/v2")
            assert unknown.status_code == 404
            assert "no such service" in unknown.json()["error"]
            assert unknown.headers["x-hallmark-variant"] == "gateway"
            large = await c.client.post(f"{c.url}/v2/models/fraud/infer", content=b"x" * (17 << 20))
            assert large.status_code == 413
            assert large.json()["code"] == 413
            escaped = await c.client.get(f"{c.url}/..%2f..%2fetc")
            assert escaped.status_code == 400

    asyncio.run(scenario())


def test_stop_and_delete_leave_no_process(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            first = c.pid(1)

            def stop(service: dict[str, Any]) -> dict[str, Any]:
                service["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
                return service

            c.store.modify("inferenceservices", "fraud", "fraud", stop)
            await c.until(lambda: c.condition("Stopped").get("status") == "True")
            assert c.condition("Ready")["reason"] == "Stopped"
            await c.until(lambda: not psutil.pid_exists(first))
            assert (await c.infer()).status_code in (404, 503)
            c.apply(1)
            c.store.modify("inferenceservices", "fraud", "fraud", lambda s: (s["metadata"].pop("annotations", 0), s)[1])
            await c.ready({ONE: 100})
            second = c.pid(1)
            c.store.delete("inferenceservices", "fraud", "fraud")
            await c.until(lambda: not psutil.pid_exists(second))
            await c.until(lambda: not c.store.list("pods")[0])
            assert (await c.infer()).status_code == 404

    asyncio.run(scenario())


def test_a_deleted_pod_is_replaced(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            name = c.pod(1)["metadata"]["name"]
            c.store.delete("pods", "fraud", name)
            await c.until(lambda: c.pod(1)["metadata"]["name"] != name)
            await c.ready({ONE: 100})

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_split_survives_a_restart(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply(2, percent=30)
            await c.ready({ONE: 70, TWO: 30})
            before = c.predictor
        async with cluster() as c:
            await c.until(lambda: c.revisions() == [1, 2] and c.condition("Ready")["status"] == "True")
            assert {k: c.predictor[k] for k in before if "rl" not in k and k != "address"} == {
                k: v for k, v in before.items() if "rl" not in k and k != "address"
            }
            answers = [await c.infer() for _ in range(40)]
            assert {a.status_code for a in answers} == {200}
            assert {a.headers["x-hallmark-variant"] for a in answers} == {"stable", "canary"}
            c.apply(3, percent=30)
            await c.ready({ONE: 70, "00003": 30})

    asyncio.run(scenario())


def test_a_request_under_way_outlives_the_promotion(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(c.model(1, delay="1.5"))
            await c.ready({ONE: 100})
            slow = asyncio.create_task(c.infer())
            await asyncio.sleep(0.2)
            c.apply(2)
            await c.ready({TWO: 100})
            answer = await slow
            assert (answer.status_code, answer.json()["revision"]) == (200, "fraud-predictor-00001")
            await c.until(lambda: c.revisions() == [2])

    asyncio.run(scenario())


def test_a_killed_predictor_gets_nothing_before_it_is_ready_again(cluster: Open) -> None:
    """Fault 1."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(c.model(1, slow="0.5"))
            await c.ready({ONE: 100})
            pid = c.pid(1)
            async with c.load(clients=5, pause=0.02) as seen:
                os.kill(pid, signal.SIGKILL)
                await c.until(lambda: c.condition("Ready")["status"] != "True")
                await c.ready({ONE: 100}, seconds=15)
                answer = await c.infer()
                assert (answer.status_code, answer.headers["x-hallmark-variant"]) == (200, "stable")
            # The fake server answers 200 to infer before it is ready, so a 200 in between would have been counted.
            assert set(seen) <= {(200, "stable"), (503, "gateway")}
            gap = await c.client.get(f"{c.url}x")
            assert gap.status_code == 404
            status = c.pod(1)["status"]["containerStatuses"][0]
            assert status["restartCount"] == 1
            assert status["lastState"]["terminated"]["exitCode"] == 137

    asyncio.run(scenario())


def test_nothing_ready_is_503_with_retry_after(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(c.model(1, slow="30"))
            await c.until(lambda: c.revisions() == [1])
            await c.reconciler.settled()
            answer = await c.infer()
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "ready" in answer.json()["error"]
            assert c.condition("PredictorReady")["status"] == "Unknown"
            assert c.status["modelStatus"]["transitionStatus"] == "InProgress"

    asyncio.run(scenario())


def test_the_gateway_comes_back_when_it_is_killed(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            os.kill(c.envoy.pid, signal.SIGKILL)
            status = 0
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    status = (await c.infer()).status_code
                if status == 200:
                    break
                await asyncio.sleep(0.05)
            assert status == 200
            c.apply(2, percent=50)
            await c.ready({ONE: 50, TWO: 50})

    asyncio.run(scenario())


async def called(port: int, amount: float) -> tuple[list[float], str]:
    """Scores of a gRPC call at the gateway, which goes to the same port as REST, and the variant that answered."""
    asked = protobufs().ModelInferRequest(model_name="fraud")
    asked.inputs.add(name="amount", datatype="FP64", shape=[1]).contents.fp64_contents.append(amount)
    options = [("grpc.default_authority", "fraud.fraud.localhost"), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.unary_unary(f"{names.GRPC_PATH}ModelInfer")(asked.SerializeToString(), timeout=10)
        found = protobufs().ModelInferResponse.FromString(await call)
        metadata = dict(await call.initial_metadata())
    return list(found.outputs[0].contents.fp32_contents), str(metadata["x-hallmark-variant"])


def test_the_real_model_server_is_served_and_a_swapped_folder_is_refused(cluster: Open, tmp_path: Path) -> None:
    """Fault 11, through the whole path: the folder of a release is changed before its pod starts."""
    runtime = yaml.safe_load((ROOT / "inference_services" / "runtime" / "servingruntime.yaml").read_text())
    runtime["spec"]["containers"] = runtime["spec"]["containers"][:1]

    def predictor(c: Any, version: int, digest: str, percent: int | None, given: Any) -> dict[str, Any]:
        volumes, serving = given
        env = [{"name": "HALLMARK_MODEL_DIGEST", "value": digest}, serving]
        model = {"modelFormat": {"name": "onnx"}, "protocolVersion": "v2", "runtime": "hallmark-runtime", "env": env}
        model["storageUri"] = f"pvc://models/fraud/{version}"
        found: dict[str, Any] = c.apply(version, percent=percent, model=model, volumes=volumes)
        return found

    async def scenario() -> None:
        async with cluster() as c:
            c.store.create(runtime)
            given = configured(c.store)
            digest = real_model(tmp_path / "models" / "fraud" / "1")
            predictor(c, 1, digest, None, given)
            await c.ready({ONE: 100}, seconds=40)
            body = {"inputs": [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [0.0]}]}
            answer = await c.client.post(f"{c.url}/v2/models/fraud/infer", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"][0]["data"] == [0.5]
            assert answer.headers["x-hallmark-revision"] == "fraud-predictor-00001"
            assert await called(c.envoy.port, 0.0) == ([0.5], "stable")
            digest = real_model(tmp_path / "models" / "fraud" / "2")
            (tmp_path / "models" / "fraud" / "2" / "features.py").write_text("raise SystemExit\n")
            predictor(c, 2, digest, 50, given)
            await c.until(lambda: "lastFailureInfo" in c.status["modelStatus"], seconds=40)
            info = c.status["modelStatus"]["lastFailureInfo"]
            assert info["exitCode"] == 3
            assert "features.py of the model was changed" in info["message"]
            answers = [await c.client.post(f"{c.url}/v2/models/fraud/infer", json=body) for _ in range(20)]
            assert {(a.status_code, a.headers["x-hallmark-variant"]) for a in answers} == {(200, "stable")}

    asyncio.run(scenario())


@pytest.mark.serial
def test_forty_weight_changes_under_load_lose_nothing(cluster: Open) -> None:
    """Fault 7, and the measured share of the last weight within 3 points of the asked one."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply(2, percent=50)
            await c.ready({ONE: 50, TWO: 50})
            async with c.load() as seen:
                for turn in range(40):
                    percent = 10 + 20 * (turn % 4)
                    c.patch(canaryTrafficPercent=percent)
                    await c.ready({ONE: 100 - percent, TWO: percent}, seconds=20)
                    await asyncio.sleep(0.05)
            assert {status for status, _ in seen} == {200}
            assert seen.total() > 200
            c.patch(canaryTrafficPercent=25)
            await c.ready({ONE: 75, TWO: 25})
            async with c.load(pause=0) as seen:
                await c.until(lambda: seen.total() >= 2500, seconds=60)
            assert {status for status, _ in seen} == {200}
            assert abs(seen[200, "canary"] / seen.total() - 0.25) <= 0.03

    asyncio.run(scenario())


@pytest.mark.serial
def test_promotions_and_rollbacks_under_load_lose_nothing(cluster: Open) -> None:
    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            async with c.load() as seen:
                for turn in range(2, 6):
                    new, old = f"{turn:05d}", f"{turn - 1:05d}"
                    c.apply(turn, percent=50)
                    await c.ready({old: 50, new: 50})
                    await asyncio.sleep(0.2)
                    c.patch(canaryTrafficPercent=None)
                    await c.ready({new: 100})
                    await c.until(lambda turn=turn: c.revisions() == [turn])
                c.patch(canaryTrafficPercent=0)
                await c.ready({"00004": 100, "00005": 0})
            assert {status for status, _ in seen} == {200}, seen

    asyncio.run(scenario())


@pytest.mark.serial
def test_a_canary_killed_at_half_the_traffic_costs_no_client_an_answer(cluster: Open) -> None:
    """Fault 2: 20 clients, 10 requests a second each."""

    async def scenario() -> None:
        async with cluster() as c:
            c.apply(1)
            await c.ready({ONE: 100})
            c.apply(2, percent=50)
            await c.ready({ONE: 50, TWO: 50})
            async with c.load() as seen:
                await c.until(lambda: seen[200, "canary"] > 50)
                os.kill(c.pid(2), signal.SIGKILL)
                await c.until(lambda: c.condition("Ready")["status"] != "True")
                c.patch(canaryTrafficPercent=0)
                await c.until(lambda: c.shares == {ONE: 100, TWO: 0})
                await asyncio.sleep(1)
            assert {status for status, _ in seen} == {200}, seen

    asyncio.run(scenario())
