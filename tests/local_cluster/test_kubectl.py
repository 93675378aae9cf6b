"""The real kubectl, the kubernetes client and KServe's SDK on the API, over TLS, unpatched."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml

from local_cluster import api, kubeconfig
from local_cluster.access import ApiAccess
from local_cluster.store import Missing, ObjectStore
from tests.web import serve

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
GROUP = ("serving.kserve.io", "v1beta1")


class Pods:
    """Nobody runs these pods; their log is one line."""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return None

    def log(self, namespace: str, pod: str, container: str, tail_lines: int | None = None) -> bytes:
        return f"{namespace}/{pod}/{container}\n".encode()


class Cluster:
    """An API that is served, and its kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ObjectStore(folder / "objects.db")
        access = ApiAccess.open(folder)
        config = uvicorn.Config(
            api.app(self.store, pods=Pods(), token=access.token.get_secret_value()),
            host="127.0.0.1",
            port=0,
            ssl_certfile=str(access.certificate),
            ssl_keyfile=str(access.key),
            log_level="critical",
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(serve(self.server)))
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"
        self.access = access
        self.kubeconfig = folder / "kubeconfig"
        kubeconfig.write(self.kubeconfig, server=self.url, access=access)

    def stop(self) -> None:
        self.store.end_watches()
        self.server.should_exit = True
        self.thread.join(10)
        self.store.close()

    def run(self, *words: str, stdin: Any = None, code: int = 0, env: dict[str, str] | None = None) -> str:
        """kubectl with these words; its output, once its exit code is the expected one."""
        given = stdin if stdin is None or isinstance(stdin, str) else yaml.safe_dump(stdin)
        done = subprocess.run(
            [str(KUBECTL), *words], input=given, capture_output=True, text=True, timeout=60, env=self.environment(env)
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        home = {
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "cache"),
        }
        return {**os.environ, **home, **(more or {})}

    def live(self, name: str = "fraud", kind: str = "inferenceservices") -> Any:
        return self.store.get(kind, "fraud", name)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("api"))
    yield made
    made.stop()


@pytest.fixture
def cluster(served: Cluster) -> Cluster:
    """The API with an empty namespace `fraud`."""
    with contextlib.suppress(Missing):
        served.store.delete("namespaces", "", "fraud")
    served.store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fraud"}})
    return served


def service(name: str = "fraud", **predictor: Any) -> dict[str, Any]:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    model = {
        "modelFormat": {"name": "onnx", "version": "1"},
        "protocolVersion": "v2",
        "runtime": "hallmark-runtime",
        "storageUri": "pvc://models/fraud/1",
        "env": env,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "fraud",
            "annotations": {"serving.kserve.io/deploymentMode": "Knative"},
        },
        "spec": {"predictor": {"minReplicas": 1, "model": model, **predictor}},
    }


READY = {
    "url": "http://127.0.0.1:8080/serving/fraud/fraud",
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True"}],
    "components": {
        "predictor": {
            "traffic": [
                {"latestRevision": True, "percent": 10, "revisionName": "fraud-predictor-00002"},
                {"latestRevision": False, "tag": "prev", "percent": 90, "revisionName": "fraud-predictor-00001"},
            ]
        }
    },
}
PREDICTOR = ("patch", "isvc", "fraud", "-n", "fraud")


@needs_kubectl
def test_kubectl_finds_what_is_served(cluster: Cluster) -> None:
    listed = [line.split() for line in cluster.run("api-resources", "--no-headers").splitlines()]
    assert ["inferenceservices", "isvc", "serving.kserve.io/v1beta1", "true", "InferenceService"] in listed
    assert ["clusterservingruntimes", "serving.kserve.io/v1alpha1", "false", "ClusterServingRuntime"] in listed
    assert "Server Version: v1.32" in cluster.run("version")


@needs_kubectl
def test_kubectl_applies_without_switching_validation_off(cluster: Cluster) -> None:
    assert "created" in cluster.run("apply", "-f", "-", stdin=service())
    assert "unchanged" in cluster.run("apply", "-f", "-", stdin=service())
    assert "configured" in cluster.run("apply", "-f", "-", stdin=service(minReplicas=2, timeout=5))
    assert "configured" in cluster.run("apply", "-f", "-", stdin=service(minReplicas=2))
    assert "timeout" not in cluster.live()["spec"]["predictor"]
    assert cluster.live()["metadata"]["generation"] == 3
    assert "minReplicas: 3" in cluster.run("diff", "-f", "-", stdin=service(minReplicas=3), code=1)


@needs_kubectl
def test_kubectl_hears_of_a_misspelt_field(cluster: Cluster) -> None:
    said = cluster.run("apply", "-f", "-", stdin=service(canaryTrafficPercnt=10), code=1)
    assert 'strict decoding error: unknown field "spec.predictor.canaryTrafficPercnt"' in said
    said = cluster.run("apply", "--validate=warn", "-f", "-", stdin=service(canaryTrafficPercnt=10))
    assert 'Warning: unknown field "spec.predictor.canaryTrafficPercnt"' in said


@needs_kubectl
def test_kubectl_get_has_the_columns_of_kserve(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service())
    cluster.store.update_status("inferenceservices", "fraud", "fraud", READY)
    head, row = cluster.run("get", "isvc", "-A").splitlines()
    assert head.split() == [
        "NAMESPACE",
        "NAME",
        "URL",
        "READY",
        "PREV",
        "LATEST",
        "PREVROLLEDOUTREVISION",
        "LATESTREADYREVISION",
        "AGE",
    ]
    assert row.split()[2:8] == [READY["url"], "True", "90", "10", "fraud-predictor-00001", "fraud-predictor-00002"]


@needs_kubectl
def test_kubectl_patches_in_every_way_that_fits(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service())
    cluster.run(*PREDICTOR, "--type=merge", "-p", '{"spec":{"predictor":{"canaryTrafficPercent":25}}}')
    assert cluster.live()["spec"]["predictor"]["canaryTrafficPercent"] == 25
    cluster.run(*PREDICTOR, "--type=json", "-p", '[{"op":"remove","path":"/spec/predictor/canaryTrafficPercent"}]')
    assert "canaryTrafficPercent" not in cluster.live()["spec"]["predictor"]
    said = cluster.run(*PREDICTOR, "--type=merge", "-p", '{"spec":{"predictor":{"minReplicas":-1}}}', code=1)
    assert "is invalid: spec.predictor.minReplicas: minReplicas -1" in said
    said = cluster.run(*PREDICTOR, "-p", '{"spec":{}}', code=1)
    assert "strategic-merge-patch+json is not supported" in said
    cluster.run("label", "isvc", "fraud", "-n", "fraud", "team=trust")
    cluster.run("annotate", "isvc", "fraud", "-n", "fraud", "why=test")
    assert cluster.live()["metadata"]["labels"] == {"team": "trust"}
    assert cluster.live()["metadata"]["generation"] == 3


@needs_kubectl
def test_kubectl_applies_on_the_server_and_takes_away_what_it_no_longer_says(cluster: Cluster) -> None:
    cluster.run("apply", "--server-side", "-f", "-", stdin=service(maxReplicas=3))
    cluster.run("apply", "--server-side", "-f", "-", stdin=service())
    assert "maxReplicas" not in cluster.live()["spec"]["predictor"]
    cluster.run(*PREDICTOR, "--type=merge", "-p", '{"spec":{"predictor":{"minReplicas":5}}}')
    said = cluster.run("apply", "--server-side", "-f", "-", stdin=service(), code=1)
    assert 'conflict with "kubectl-patch"' in said
    assert ".spec.predictor.minReplicas" in said
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=service())
    assert cluster.live()["spec"]["predictor"]["minReplicas"] == 1


@needs_kubectl
def test_kubectl_moves_from_client_side_to_server_side_apply(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service(maxReplicas=3))
    cluster.run("apply", "--server-side", "-f", "-", stdin=service(maxReplicas=3))
    cluster.run("apply", "--server-side", "-f", "-", stdin=service())
    assert "maxReplicas" not in cluster.live()["spec"]["predictor"]


@needs_kubectl
def test_kubectl_edits_and_replaces(cluster: Cluster) -> None:
    cluster.run("create", "-f", "-", stdin=service())
    editor = 'sed -i "s/minReplicas: 1/minReplicas: 4/"'
    assert "edited" in cluster.run("edit", "isvc", "fraud", "-n", "fraud", env={"KUBE_EDITOR": editor})
    assert cluster.live()["spec"]["predictor"]["minReplicas"] == 4
    cluster.run("replace", "-f", "-", stdin=service(minReplicas=6))
    assert cluster.live()["spec"]["predictor"]["minReplicas"] == 6
    stale = {**service(), "metadata": {**service()["metadata"], "resourceVersion": "1"}}
    assert "the object has been modified" in cluster.run("replace", "-f", "-", stdin=stale, code=1)


@needs_kubectl
def test_kubectl_describes_with_events(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service())
    for _ in range(3):
        cluster.store.record(cluster.live(), "Warning", "ModelLoadFailed", "the digest is another")
    said = cluster.run("describe", "isvc", "fraud", "-n", "fraud")
    assert "ModelLoadFailed" in said
    assert "x3 over" in said
    assert "the digest is another" in cluster.run("events", "-n", "fraud")
    assert "inferenceservice/fraud" in cluster.run("get", "events", "-n", "fraud")


@needs_kubectl
def test_kubectl_explains(cluster: Cluster) -> None:
    assert "canaryTrafficPercent <integer>" in cluster.run("explain", "isvc.spec.predictor.canaryTrafficPercent")
    assert "storageUri\t<string>" in cluster.run("explain", "isvc.spec.predictor.model")
    assert "data\t<map[string]string>" in cluster.run("explain", "configmap")


@needs_kubectl
def test_kubectl_waits_for_ready_and_watches(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service())
    watch = subprocess.Popen(
        [str(KUBECTL), "get", "isvc", "-n", "fraud", "-w", "--no-headers"],
        stdout=subprocess.PIPE,
        text=True,
        env=cluster.environment(),
    )
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline().startswith("fraud")
        timer = threading.Timer(0.5, lambda: cluster.store.update_status("inferenceservices", "fraud", "fraud", READY))
        timer.start()
        said = cluster.run("wait", "--for=condition=Ready", "isvc/fraud", "-n", "fraud", "--timeout=20s")
        assert "condition met" in said
        assert "True" in watch.stdout.readline()
    finally:
        watch.kill()
        watch.communicate()
    assert "timed out" in cluster.run(
        "wait", "--for=condition=Other", "isvc/fraud", "-n", "fraud", "--timeout=1s", code=1
    )


@needs_kubectl
def test_kubectl_deletes_and_sees_it_gone(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=service())
    assert "deleted" in cluster.run("delete", "isvc", "fraud", "-n", "fraud", "--timeout=10s")
    assert "NotFound" in cluster.run("get", "isvc", "fraud", "-n", "fraud", code=1)
    cluster.run("apply", "-f", "-", stdin=service())
    cluster.run("delete", "isvc", "--all", "-n", "fraud", "--timeout=10s")
    cluster.run("apply", "-f", "-", stdin=service())
    cluster.run("delete", "ns", "fraud", "--timeout=10s")
    assert "No resources found" in cluster.run("get", "isvc", "-A")


@needs_kubectl
def test_kubectl_creates_core_kinds_in_its_own_encoding(cluster: Cluster) -> None:
    cluster.run("create", "configmap", "c", "--from-literal=key=välue", "-n", "fraud")
    cluster.run("create", "secret", "generic", "s", "--from-literal=key=value", "-n", "fraud")
    cluster.run("create", "serviceaccount", "predictor", "-n", "fraud")
    assert cluster.live("c", "configmaps")["data"] == {"key": "välue"}
    assert cluster.live("s", "secrets")["data"] == {"key": "dmFsdWU="}
    cluster.run("patch", "cm", "c", "-n", "fraud", "-p", '{"data":{"more":"1"}}')
    assert cluster.live("c", "configmaps")["data"] == {"key": "välue", "more": "1"}
    assert "configmap/c" in cluster.run("get", "cm,secret,sa", "-n", "fraud")
    cluster.run("create", "namespace", "fraud", code=1)


@needs_kubectl
def test_kubectl_applies_a_framework_field_twice(cluster: Cluster) -> None:
    old = service()
    old["spec"]["predictor"] = {"sklearn": {"storageUri": "pvc://models/fraud/1"}}
    assert "created" in cluster.run("apply", "-f", "-", stdin=old)
    made = cluster.live()["spec"]
    assert made["predictor"] == {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "pvc://models/fraud/1"}}
    cluster.run("apply", "-f", "-", stdin=old)
    assert cluster.live()["spec"] == made and cluster.live()["metadata"]["generation"] == 1
    old["spec"]["predictor"]["sklearn"]["storageUri"] = "pvc://models/fraud/2"
    cluster.run("apply", "-f", "-", stdin=old)
    assert cluster.live()["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/fraud/2"


@needs_kubectl
def test_kubectl_applies_the_list_that_it_printed(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("a", "b"):
        cluster.run("create", "configmap", name, "--from-literal=key=1", "-n", "fraud")
    printed = tmp_path / "list.yaml"
    printed.write_text(cluster.run("get", "cm", "a", "b", "-n", "fraud", "-o", "yaml").replace('key: "1"', 'key: "2"'))
    assert "kind: List" in printed.read_text()
    assert cluster.run("replace", "-f", str(printed)).count("replaced") == 2
    cluster.run("delete", "-f", str(printed))
    fresh = tmp_path / "fresh.yaml"
    of_the_server = ('resourceVersion: "', "uid:", "creationTimestamp:")
    lines = [line for line in printed.read_text().splitlines() if not any(word in line for word in of_the_server)]
    fresh.write_text("\n".join(lines))
    assert cluster.run("apply", "-f", str(fresh)).count("created") == 2
    assert cluster.run("apply", "-f", str(fresh)).count("unchanged") == 2
    assert cluster.run("diff", "-f", str(fresh)) == ""
    cluster.run("delete", "-f", str(fresh))
    assert cluster.run("create", "-f", str(fresh)).count("created") == 2
    assert cluster.live("b", "configmaps")["data"] == {"key": "2"}


@needs_kubectl
def test_kubectl_says_of_a_kind_that_is_not_served_that_there_is_none(cluster: Cluster) -> None:
    for kind, version in (("Deployment", "apps/v1"), ("Inferenceservice", "serving.kserve.io/v1beta1")):
        wrong = {"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "fraud"}}
        for word in ("apply", "create"):
            assert f'no matches for kind "{kind}" in version "{version}"' in cluster.run(
                word, "-f", "-", stdin=wrong, code=1
            )


@needs_kubectl
def test_kubectl_finds_each_group_once_with_all_its_versions(cluster: Cluster) -> None:
    groups = json.loads(cluster.run("get", "--raw", "/apis"))["groups"]
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names))
    kserve = groups[names.index("serving.kserve.io")]
    assert [each["version"] for each in kserve["versions"]] == ["v1beta1", "v1alpha1"]
    assert kserve["preferredVersion"]["version"] == "v1beta1"
    assert json.loads(cluster.run("get", "--raw", "/apis/serving.kserve.io")) == kserve
    known = cluster.run("api-resources", "--api-group=serving.kserve.io", "-o", "name").split()
    assert known == ["clusterservingruntimes.serving.kserve.io", "inferenceservices.serving.kserve.io"]


@needs_kubectl
def test_kubectl_is_told_what_is_taken_and_never_gets_ready(cluster: Cluster) -> None:
    said = cluster.run("apply", "-f", "-", stdin=service(affinity={"nodeAffinity": {}}, timeout=700))
    assert "created" in said
    assert (
        "Warning: taken, and never ready: spec.predictor.affinity: affinity needs kubernetes.podspec-affinity" in said
    )
    assert "timeout 700s, at most 110s (HM305)" in said
    refused = cluster.run("apply", "-f", "-", stdin=service("other", nodeSelector={"gpu": True}), code=1)
    assert "spec.predictor.nodeSelector.gpu: expected a text, got true (HM802)" in refused


def delete_options(**fields: bytes) -> bytes:
    """DeleteOptions as client-go encodes them: four magic bytes, the type, and the options."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    kind = field(1, b"coordination.k8s.io/v1") + field(2, b"DeleteOptions")
    numbers = {"preconditions": 2, "propagationPolicy": 4, "dryRun": 5}
    body = b"".join(field(numbers[name], value) for name, value in fields.items())
    return b"k8s\x00" + field(1, kind) + field(2, body)


def test_client_go_deletes_with_options_in_its_own_encoding(cluster: Cluster) -> None:
    cluster.store.create(lease(holderIdentity="one"))
    path = f"{cluster.url}/apis/coordination.k8s.io/v1/namespaces/fraud/leases/watch"
    headers = {
        "authorization": f"Bearer {cluster.access.token.get_secret_value()}",
        "content-type": "application/vnd.kubernetes.protobuf",
    }

    def delete(body: bytes) -> int:
        return httpx.request("DELETE", path, content=body, headers=headers, verify=False).status_code  # noqa: S501

    other = b"\x0a\x05other"
    assert delete(delete_options(preconditions=other, propagationPolicy=b"Background")) == 409
    assert delete(delete_options(dryRun=b"All")) == 200
    assert cluster.live("watch", "leases")
    assert delete(delete_options(propagationPolicy=b"Background")) == 200
    assert cluster.store.list("leases", namespace="fraud")[0] == []


def lease(**spec: Any) -> dict[str, Any]:
    meta = {"name": "watch", "namespace": "fraud"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


@needs_kubectl
def test_kubectl_knows_leases(cluster: Cluster) -> None:
    cluster.run("apply", "-f", "-", stdin=lease(holderIdentity="one", leaseDurationSeconds=15))
    header, row = cluster.run("get", "lease", "-n", "fraud").splitlines()
    assert header.split() == ["NAME", "HOLDER", "AGE"]
    assert row.split()[:2] == ["watch", "one"]
    assert "leases.coordination.k8s.io" in cluster.run("api-resources", "-o", "name")
    assert "Lease" in cluster.run("explain", "lease.spec.holderIdentity")
    refused = cluster.run("apply", "-f", "-", stdin=lease(leaseDurationSeconds=0, leaseTransitions=-1), code=1)
    assert "spec.leaseDurationSeconds" in refused
    assert "spec.leaseTransitions" in refused
    assert "holder" in cluster.run("apply", "-f", "-", stdin=lease(holder="one"), code=1)
    cluster.run("delete", "lease", "watch", "-n", "fraud")


def test_a_lease_changes_hands_once_by_its_version(cluster: Cluster) -> None:
    """The client's own typed calls: of two who take an expired lease, one gets 409, and so does who renews a lost one."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as made:
        leases = client.CoordinationV1Api(made)
        now = datetime.now(UTC)
        spec = client.V1LeaseSpec(holder_identity="one", lease_duration_seconds=15, acquire_time=now, renew_time=now)
        meta = client.V1ObjectMeta(name="watch", namespace="fraud")
        leases.create_namespaced_lease("fraud", client.V1Lease(metadata=meta, spec=spec))
        with pytest.raises(client.ApiException) as exists:
            leases.create_namespaced_lease("fraud", client.V1Lease(metadata=meta, spec=spec))
        assert exists.value.status == 409
        seen = [leases.read_namespaced_lease("watch", "fraud") for _ in range(2)]
        assert seen[0].spec.renew_time == now
        outcomes = []
        for number, found in enumerate(seen):
            found.spec.holder_identity, found.spec.lease_transitions = f"taker-{number}", 1
            try:
                leases.replace_namespaced_lease("watch", "fraud", found)
                outcomes.append(200)
            except client.ApiException as error:
                assert json.loads(error.body)["reason"] == "Conflict"
                outcomes.append(error.status)
        assert outcomes == [200, 409]
        assert leases.read_namespaced_lease("watch", "fraud").spec.holder_identity == "taker-0"


@needs_kubectl
def test_kubectl_shows_pods_and_their_logs(cluster: Cluster) -> None:
    containers = [{"name": "kserve-container", "image": "x"}, {"name": "drift-monitor", "image": "y"}]
    meta = {"name": "p", "namespace": "fraud", "labels": {"serving.kserve.io/inferenceservice": "fraud"}}
    status = {"phase": "Running", "containerStatuses": [{"name": each["name"], "ready": True} for each in containers]}
    cluster.store.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}, "status": status}
    )
    assert "2/2" in cluster.run("get", "pods", "-n", "fraud", "-l", "serving.kserve.io/inferenceservice=fraud")
    assert "drift-monitor:" in cluster.run("describe", "pod", "p", "-n", "fraud")
    assert cluster.run("logs", "p", "-n", "fraud", "-c", "drift-monitor") == "fraud/p/drift-monitor\n"
    cluster.run("delete", "pod", "p", "-n", "fraud", "--timeout=10s")


@needs_kubectl
def test_kubectl_with_another_token_is_kept_out(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    said = cluster.run("get", "isvc", "-A", code=1, env={"KUBECONFIG": str(tmp_path / "kubeconfig")})
    assert "must be logged in" in said or "Unauthorized" in said


def test_a_stranger_without_the_certificate_does_not_connect(cluster: Cluster) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{cluster.url}/version", trust_env=False)


def test_the_kubernetes_client_works(cluster: Cluster) -> None:
    from kubernetes import client, config, watch

    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    with client.ApiClient(configuration) as made:
        custom, core = client.CustomObjectsApi(made), client.CoreV1Api(made)
        where = (*GROUP, "fraud", "inferenceservices")
        since = custom.list_namespaced_custom_object(*where)["metadata"]["resourceVersion"]
        custom.create_namespaced_custom_object(*where, service())
        live = custom.get_namespaced_custom_object(*where, "fraud")
        change = {
            "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
            "spec": {"predictor": {"canaryTrafficPercent": 10}},
        }
        custom.patch_namespaced_custom_object(*where, "fraud", change)
        with pytest.raises(client.ApiException) as refused:
            custom.patch_namespaced_custom_object(*where, "fraud", change)
        assert refused.value.status == 409
        assert json.loads(refused.value.body)["reason"] == "Conflict"
        custom.patch_namespaced_custom_object_status(*where, "fraud", {"status": READY})
        custom.delete_namespaced_custom_object(*where, "fraud")
        stream = watch.Watch().stream(
            custom.list_namespaced_custom_object, *where, resource_version=since, timeout_seconds=2
        )
        assert [event["type"] for event in stream] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        cluster.store.record({**live}, "Normal", "Created", "made")
        assert [event.message for event in core.list_namespaced_event("fraud").items] == ["made"]
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="c"), data={"a": "1"})
        core.create_namespaced_config_map("fraud", body)
        core.patch_namespaced_config_map("c", "fraud", {"data": {"b": "2"}})
        assert core.read_namespaced_config_map("c", "fraud").data == {"a": "1", "b": "2"}
        assert core.list_namespaced_pod("fraud").items == []
        assert "fraud" in [each.metadata.name for each in core.list_namespace().items]


def test_the_sdk_of_kserve_works(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        # What the SDK itself imports warns; what it asks of us does not.
        warnings.simplefilter("ignore")
        import kserve
        from kubernetes import client

        sdk = kserve.KServeClient(config_file=str(cluster.kubeconfig))

    def wanted(uri: str) -> Any:
        model = kserve.V1beta1ModelSpec(model_format=kserve.V1beta1ModelFormat(name="onnx"), storage_uri=uri)
        return kserve.V1beta1InferenceService(
            api_version="serving.kserve.io/v1beta1",
            kind="InferenceService",
            metadata=client.V1ObjectMeta(name="sdk", namespace="fraud"),
            spec=kserve.V1beta1InferenceServiceSpec(predictor=kserve.V1beta1PredictorSpec(model=model)),
        )

    assert sdk.create(wanted("pvc://models/1"))["metadata"]["generation"] == 1
    assert sdk.get("sdk", namespace="fraud")["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/1"
    assert sdk.patch("sdk", wanted("pvc://models/2"))["metadata"]["generation"] == 2
    assert sdk.replace("sdk", wanted("pvc://models/3"))["metadata"]["generation"] == 3
    done = {**READY, "observedGeneration": 3}
    timer = threading.Timer(0.3, lambda: cluster.store.update_status("inferenceservices", "fraud", "sdk", done))
    timer.start()
    sdk.wait_isvc_ready("sdk", namespace="fraud", timeout_seconds=20, polling_interval=1, expected_generation=3)
    sdk.wait_isvc_ready("sdk", namespace="fraud", timeout_seconds=20, watch=True)
    assert "True" in capsys.readouterr().out
    sdk.delete("sdk", namespace="fraud")
    with pytest.raises(RuntimeError, match="404"):
        sdk.get("sdk", namespace="fraud")


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_the_api_ends_although_a_client_holds_its_connection(tmp_path: Path) -> None:
    """A client that does not read never answers the end of TLS; what it left is closed, not left to the collector."""
    ended = Cluster(tmp_path)
    address = ("127.0.0.1", int(ended.url.rpartition(":")[2]))
    with ssl.create_default_context(cafile=str(ended.access.certificate)).wrap_socket(
        socket.create_connection(address), server_hostname="127.0.0.1"
    ) as held:
        held.sendall(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        assert held.recv(1 << 16).startswith(b"HTTP/1.1 ")
        ended.stop()
    assert not ended.thread.is_alive()
    gc.collect()
