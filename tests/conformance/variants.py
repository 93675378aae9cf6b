"""Variants of one InferenceService, and what the real API server, KServe and Knative's webhook make of each.

    python -m tests.conformance.variants          # asks about all of tests/variants.json, a quarter of an hour; writes what changed
    python -m tests.conformance.variants init-    # about those whose name begins so, in either mode, such as new ones

A variant is accepted where a pod of it could start, as far as admission goes: in Standard mode the pods that the Deployment makes, in Knative
mode the pod of the Service's template with Knative's own defaults, which no controller makes here.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hallmark.errors import HallmarkError
from hallmark.files import replace
from local_cluster.patch import json_patch
from tests import admission
from tests.conformance import build, installed, platform
from tests.conformance.api import Api, Refusal
from tests.conformance.control_plane import stack
from tests.conformance.stack import Stack

Object = dict[str, Any]
NAMESPACE = "variants"
_SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
_PATIENCE = 60.0
_CLONE_NEWNET = 0x40000000


class Asked(NamedTuple):
    """What became of a variant, and the words of whoever refused it."""

    outcome: str
    why: str = ""


def prepare(api: Api) -> None:
    """A namespace as tenants have it, without our policies, quota and limits."""
    restricted = "pod-security.kubernetes.io/enforce"
    labels = {restricted: "restricted", f"{restricted}-version": "v1.32"}
    labels["app.kubernetes.io/part-of"] = "hallmark"  # or our policy on namespaces refuses it
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    installed.argo_cd(api).apply(space)
    account = {"name": "predictor", "namespace": NAMESPACE}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    root = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    for each in api.get(root)["items"]:
        selector = (each["spec"].get("matchResources") or {}).get("namespaceSelector") or {}
        elsewhere = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [NAMESPACE]}
        selector["matchExpressions"] = [*selector.get("matchExpressions", []), elsewhere]
        body = {"spec": {"matchResources": {"namespaceSelector": selector}}}
        api.call("PATCH", f"{root}/{each['metadata']['name']}", body, content="application/merge-patch+json")
    free = {**admission.base(), "metadata": {**admission.base()["metadata"], "namespace": NAMESPACE}}
    installed.until(lambda: bool(api.create(free, dry_run=True)), what="our policies let the namespace be")


def ask(api: Api, service: Object, number: int) -> Asked:
    """Make one, look, and take it away again; `number` makes its name its own where the variant is not about the name."""
    wanted: Object = copy.deepcopy(service)
    meta = wanted["metadata"]
    meta["namespace"] = NAMESPACE
    if meta.get("name") == "case":
        meta["name"] = f"c{number}"
    group, kind = wanted["apiVersion"], wanted["kind"]
    plural = "inferenceservices" if kind == "InferenceService" else kind
    try:
        made = api.call("POST", f"/apis/{group}/namespaces/{NAMESPACE}/{plural}", wanted)
    except Refusal as error:
        return Asked("refused", error.message)
    try:
        return _became(api, made, number)
    finally:
        path = f"{_SERVICES}/{made['metadata']['name']}"
        api.call("PATCH", path, {"metadata": {"finalizers": None}}, content="application/merge-patch+json")
        api.call("DELETE", path)


def _became(api: Api, made: Object, number: int) -> Asked:
    """Wait for what KServe makes of it, and for the pods of that."""
    name, predictor = made["metadata"]["name"], made["spec"]["predictor"]
    knative = made["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode") == "Knative"
    root = f"/apis/{'serving.knative.dev/v1' if knative else 'apps/v1'}/namespaces/{NAMESPACE}"
    own = "-".join(filter(None, (name, "" if knative else predictor.get("name"), "predictor")))
    path = f"{root}/{'services' if knative else 'deployments'}/{own}"
    deadline, live, said = time.monotonic() + _PATIENCE, None, ""
    while live is None and not said and time.monotonic() < deadline:
        time.sleep(0.2)
        said = _said(api, made)
        live = _there(api, path)
    if live is None:
        return Asked("never ready", said or "nothing was made")
    refused = _revision(api, live, number) if knative else _replicas(api, live)
    return Asked("never ready", refused) if refused else Asked("accepted")


def _there(api: Api, path: str) -> Object | None:
    try:
        return api.get(path)
    except Refusal:
        return None


def _said(api: Api, made: Object) -> str:
    """What KServe says against it: in its status, or in an event that is not about two who write at once."""
    status = api.get(f"{_SERVICES}/{made['metadata']['name']}").get("status", {}).get("modelStatus", {})
    if status.get("transitionStatus") == "InvalidSpec":
        return str((status.get("lastFailureInfo") or {}).get("message", "InvalidSpec"))
    for event in _events(api, made["metadata"]["uid"]):
        if event["type"] == "Warning" and "object has been modified" not in event["message"]:
            return str(event["message"])
    return ""


def _events(api: Api, uid: str) -> list[Object]:
    return list(api.get(f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=involvedObject.uid={uid}")["items"])


def _replicas(api: Api, deployment: Object) -> str:
    """Why a Deployment gets no pods; empty where it does."""
    uid, deadline = deployment["metadata"]["uid"], time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        sets = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets")["items"]
        for each in sets:
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", [])):
                if each["status"].get("replicas") or not each["spec"].get("replicas"):
                    return ""
                for event in _events(api, each["metadata"]["uid"]):
                    if event["reason"] == "FailedCreate":
                        return str(event["message"])
        time.sleep(0.2)
    return "no replicas"


def _revision(api: Api, served: Object, number: int) -> str:
    """Why the pod of a revision may not be made; empty where it may."""
    template = copy.deepcopy(served["spec"]["template"])
    spec: Object = template["spec"]
    for key in ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        spec.pop(key, None)
    _secured(spec)
    labels = {**template["metadata"].get("labels", {}), "serving.kserve.io/inferenceservice": f"c{number}"}
    meta = {"name": f"p{number}", "labels": labels, "annotations": template["metadata"].get("annotations", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    try:
        api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
    except Refusal as error:
        return error.message
    return ""


def _secured(spec: Object) -> None:
    """What Knative writes into a revision's pod: secure-pod-defaults, and its own port into probes that name none."""
    of_pod = spec.setdefault("securityContext", {})
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        security = container["securityContext"] = container.get("securityContext") or {}
        security.setdefault("allowPrivilegeEscalation", False)
        security.setdefault("capabilities", {}).setdefault("drop", ["ALL"])
        for key, value in (("runAsNonRoot", True), ("seccompProfile", {"type": "RuntimeDefault"})):
            if key not in of_pod:
                security.setdefault(key, value)
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            for handler in ("httpGet", "tcpSocket", "grpc"):
                if (asked := (container.get(probe) or {}).get(handler)) is not None and not asked.get("port"):
                    asked["port"] = 8080


def record(on: Stack, path: Path, *, begin: tuple[str, ...] = ("",)) -> int:
    """Ask about the variants of the file whose names begin so, and write what became of each; gives how many changed."""
    prepare(on.api)
    held = json.loads(path.read_text(encoding="utf-8"))
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)

    def one(number: int) -> Object:
        if not held[number]["id"].removeprefix("std-").startswith(begin):
            return dict(held[number])
        found = ask(on.api, json_patch(admission.base(), held[number]["patch"]), number)
        if number % 50 == 0:
            sys.stderr.write(f"{number} of {len(held)}\n")
        why = {"why": found.why[:100]} if found.why else {}
        return {"id": held[number]["id"], "patch": held[number]["patch"], "outcome": found.outcome, **why}

    with ThreadPoolExecutor(8, initializer=lambda: libc.setns(namespace, _CLONE_NEWNET)) as pool:
        asked = list(pool.map(one, range(len(held))))
    os.close(namespace)
    replace(path, "[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in asked) + "\n]\n")
    return sum(a["outcome"] != b["outcome"] for a, b in zip(held, asked, strict=True))


def main() -> int:
    """Record all of them, or those that are named."""
    try:
        build.build()
        with tempfile.TemporaryDirectory() as folder, stack(Path(folder)) as on:
            platform.install(on)
            sys.stdout.write(f"{record(on, admission.VARIANTS, begin=tuple(sys.argv[1:]) or ('',))} outcomes changed\n")
    except HallmarkError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
