"""A distributed training as a pipeline's step starts it: held by Kueue, made a JobSet by Trainer, its pods past our rules; they stay Pending.

No node here has a GPU, so nothing runs; what a running node does is tests/hallmark/training's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.training import distributed_job, pods
from tests.conformance import installed, training
from tests.conformance.api import Api, Refusal
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack
from tests.manifests import policies
from tests.manifests.builds import declared, platform

Object = dict[str, Any]
pytestmark = pytest.mark.timeout(900)
DOMAIN, OTHER = "authentication", "fraud"
"""A domain that declares several nodes, so has a LocalQueue, and one that declares one and has none."""
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{}/trainjobs"
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/workloads"
PRIORITY = "kueue.x-k8s.io/priority-class"
FLAVOR = "gpu-training"


@pytest.fixture(scope="module")
def queued(cluster: Stack) -> Iterator[Api]:
    """The API server with the three controllers, asked as the account of the domain's pipeline is."""
    with training.controllers(cluster):
        for each in platform(CLUSTER):  # what the webhooks of the three say to our own objects
            if each["apiVersion"].partition("/")[0] in ("kueue.x-k8s.io", "trainer.kubeflow.org"):
                installed.argo_cd(cluster.api).apply(each)
        ready = "/apis/kueue.x-k8s.io/v1beta2/clusterqueues/training"
        installed.until(lambda: condition(cluster.api.get(ready), "Active") == "True", what="the queue takes workloads")
        yield cluster.api


@pytest.fixture
def pipeline(queued: Api) -> Iterator[Api]:
    """The same; what a test started is gone after it."""
    account = f"system:serviceaccount:{DOMAIN}:{names.PIPELINE}"
    yield queued.as_(account, "system:serviceaccounts", f"system:serviceaccounts:{DOMAIN}", "system:authenticated")
    for domain in (DOMAIN, OTHER):
        for each in queued.get(JOBS.format(domain))["items"]:
            take_away(queued, domain, each["metadata"]["name"])
        # The garbage collector takes these a moment later, and the next test must not take them for its own, by their names.
        for kind in (
            WORKLOADS.format(domain),
            f"/api/v1/namespaces/{domain}/pods?labelSelector=%21hallmark.dev/decides",
        ):
            installed.until(lambda kind=kind: not queued.get(kind)["items"], what=f"nothing left in {kind}")


def domain() -> Domain:
    found: Domain = declared(DOMAIN)
    return found


def job(name: str, *, namespace: str = DOMAIN, priority: str = "") -> Object:
    """The TrainJob of the declaration, with an image of the cluster's registry."""
    made = distributed_job.train_job(
        domain(), name, image=f"{policies.REGISTRY}/training-python:0.1.0", arguments={"--seed": "1"}
    )
    made["metadata"]["namespace"] = namespace
    made["metadata"]["labels"] |= {names.DOMAIN_LABEL: namespace} | ({PRIORITY: priority} if priority else {})
    return made


def condition(each: Object, kind: str) -> str:
    """A condition's status; empty without it."""
    return next((one["status"] for one in each.get("status", {}).get("conditions") or [] if one["type"] == kind), "")


def workload(api: Api, name: str, *, namespace: str = DOMAIN) -> Object:
    """Kueue's Workload of a TrainJob or a pod; Refusal 404 before there is one."""
    for each in api.get(WORKLOADS.format(namespace))["items"]:
        if any(owner["name"] == name for owner in each["metadata"].get("ownerReferences") or []):
            return each
    raise Refusal(404, f"no Workload of {name}")


def told(api: Api, name: str, *, namespace: str = DOMAIN) -> str:
    """Why a TrainJob waits, as its Workload says it; empty where it does not."""
    for one in workload(api, name, namespace=namespace).get("status", {}).get("conditions") or []:
        if one["type"] == "QuotaReserved" and one["status"] == "False":
            return str(one["message"])
    return ""


def admitted(api: Api, name: str) -> bool:
    return condition(workload(api, name), "Admitted") == "True"


def pods_of(api: Api, name: str) -> list[Object]:
    found = api.get(f"/api/v1/namespaces/{DOMAIN}/pods?labelSelector=jobset.sigs.k8s.io/jobset-name={name}")
    return list(found["items"])


def take_away(api: Api, namespace: str, name: str) -> None:
    meta = {"name": name, "namespace": namespace}
    each = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": meta}
    api.delete(each)
    installed.until(lambda: installed.gone(api, each), what=f"{name} gone")


def test_a_training_becomes_a_job_set_whose_pods_keep_our_rules(queued: Api, pipeline: Api) -> None:
    pipeline.create(job("first"))
    count = domain().training.nodes
    installed.until(lambda: admitted(queued, "first") and len(pods_of(queued, "first")) == count, what="its pods")
    (given,) = workload(queued, "first")["status"]["admission"]["podSetAssignments"]
    assert (given["count"], set(given["flavors"].values())) == (count, {FLAVOR})
    made = queued.get(f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{DOMAIN}/jobsets/first")
    assert made["spec"].get("suspend") is not True
    for each in pods_of(queued, "first"):
        labels, spec = each["metadata"]["labels"], each["spec"]
        assert pods.labels(DOMAIN, names.TRAINING_JOB).items() <= labels.items()
        assert spec["nodeSelector"][names.POOL] == names.TRAINING_POOL
        kept = {(one["key"], one.get("value")) for one in spec["tolerations"]}
        assert {(names.GPU, None), (names.POOL, names.TRAINING_POOL)} <= kept
        assert (spec["serviceAccountName"], spec["restartPolicy"]) == (names.PIPELINE, "Never")
        (node,) = spec["containers"]
        assert node["command"][:3] == ["python", "-m", "torch.distributed.run"] and node["args"] == ["--seed", "1"]
        wanted = domain().training
        assert node["resources"]["limits"] == {"cpu": wanted.cpu, "memory": wanted.memory, names.GPU: "1"}
        assert {"PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR"} <= {one["name"] for one in node["env"]}
        assert each["status"]["phase"] == "Pending"


def test_what_is_over_the_quota_waits_and_says_why_and_comes_when_there_is_room(queued: Api, pipeline: Api) -> None:
    pipeline.create(job("first"))
    installed.until(lambda: admitted(queued, "first"), what="the first admitted")
    pipeline.create(job("second"))
    installed.until(lambda: names.GPU in told(queued, "second"), what="a reason")
    assert f"insufficient unused quota for {names.GPU} in flavor {FLAVOR}" in told(queued, "second")
    # What `hallmark` reads of it: in the queue, so its patience does not run.
    installed.until(
        lambda: condition(queued.live(job("second")), "Suspended") == "True", what="the job says that it waits"
    )
    assert queued.live(job("second"))["spec"]["suspend"] is True
    assert not pods_of(queued, "second")
    take_away(pipeline, DOMAIN, "first")
    installed.until(lambda: admitted(queued, "second"), what="the second admitted")


@pytest.mark.parametrize(
    ("running", "coming", "gives_way"), [("experiment", "drift", True), ("drift", "schedule", False)]
)
def test_what_matters_more_goes_first(queued: Api, pipeline: Api, running: str, coming: str, gives_way: bool) -> None:
    count = domain().training.nodes
    pipeline.create(job("running", priority=running))
    installed.until(lambda: len(pods_of(queued, "running")) == count, what="pods of the running one")
    pipeline.create(job("coming", priority=coming))
    if gives_way:
        installed.until(
            lambda: admitted(queued, "coming") and len(pods_of(queued, "coming")) == count, what="the other's pods"
        )
        installed.until(lambda: not pods_of(queued, "running"), what="the first one's pods gone")
        assert condition(workload(queued, "running"), "Evicted") == "True"
        assert queued.live(job("running"))["spec"]["suspend"] is True
    else:
        installed.until(lambda: names.GPU in told(queued, "coming"), what="a reason")
        assert admitted(queued, "running") and len(pods_of(queued, "running")) == count


def test_who_runs_the_platform_lets_one_that_waits_go_first(queued: Api, pipeline: Api) -> None:
    """By a label, as docs/runbooks/TrainingQueued.md says: nothing of ours sets one by itself."""
    pipeline.create(job("first"))
    installed.until(lambda: admitted(queued, "first"), what="the first admitted")
    pipeline.create(job("second"))
    installed.until(lambda: names.GPU in told(queued, "second"), what="a reason")
    with pytest.raises(Refusal, match="forbidden"):
        pipeline.patch(job("second"), {"metadata": {"labels": {PRIORITY: "drift"}}})
    queued.patch(job("second"), {"metadata": {"labels": {PRIORITY: "drift"}}})
    installed.until(lambda: admitted(queued, "second"), what="the second admitted")
    assert condition(workload(queued, "first"), "Evicted") == "True"


def test_a_domain_without_a_queue_of_its_own_uses_nobody_elses(queued: Api, pipeline: Api) -> None:
    argo_cd = installed.argo_cd(queued)
    # Not by its pipeline, which may not reach another namespace at all …
    with pytest.raises(Refusal, match="forbidden"):
        pipeline.create(job("stray", namespace=OTHER))
    # … and whoever may: a LocalQueue is its namespace's, and there is none.
    argo_cd.create(job("stray", namespace=OTHER))
    installed.until(lambda: bool(told(queued, "stray", namespace=OTHER)), what="a reason")
    assert "LocalQueue training doesn't exist" in told(queued, "stray", namespace=OTHER)
    assert queued.live(job("stray", namespace=OTHER))["spec"]["suspend"] is True
    with pytest.raises(Refusal, match="waits in the queue named training"):
        other = job("elsewhere")
        other["metadata"]["labels"][names.QUEUE_LABEL] = "another"
        argo_cd.create(other)


def test_a_pod_that_asks_for_the_queue_is_held_and_one_that_does_not_passes(queued: Api, pipeline: Api) -> None:
    """A step that trains on one GPU is a pod of Argo's with the label; a model's pod has none."""
    pipeline.create(job("first"))
    installed.until(lambda: admitted(queued, "first"), what="the quota of GPUs used up")
    argo_cd, held, free = installed.argo_cd(queued), policies.pod(DOMAIN), policies.pod(DOMAIN)
    held["metadata"] |= {"name": "held", "labels": {names.QUEUE_LABEL: names.QUEUE}}
    container = held["spec"]["containers"][0]
    for kind in ("requests", "limits"):
        container["resources"].setdefault(kind, {})[names.GPU] = "1"
    free["metadata"]["name"] = "free"
    try:
        for each in (held, free):
            argo_cd.create(each)
        assert "kueue.x-k8s.io/admission" in {one["name"] for one in queued.live(held)["spec"]["schedulingGates"]}
        assert "schedulingGates" not in queued.live(free)["spec"]
        installed.until(lambda: names.GPU in told(queued, "held"), what="a reason")
        take_away(pipeline, DOMAIN, "first")
        installed.until(lambda: not queued.live(held)["spec"].get("schedulingGates"), what="the gate opened")
        assert queued.live(held)["spec"]["nodeSelector"][names.POOL] == names.TRAINING_POOL
    finally:
        for each in (held, free):
            queued.delete(each)
            installed.until(lambda each=each: installed.gone(queued, each), what="the pod gone")
