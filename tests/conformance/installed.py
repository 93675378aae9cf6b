"""What a cluster has before ours comes: definitions of custom resources, KServe's manager, Knative's webhook, and Argo CD's account."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hallmark import names
from hallmark.errors import TimedOut, Unavailable
from tests.conformance import build
from tests.conformance.api import Api, Refusal
from tests.conformance.stack import Stack, answers
from tests.manifests.policies import ARGO_CD

Object = dict[str, Any]
KSERVE, KNATIVE = "github.com/kserve/kserve", "knative.dev/serving"
_KSERVE_PORT, _KNATIVE_PORT = 9443, 8443
_KSERVE_METRICS, _KSERVE_HEALTH = 9444, 9445


def argo_cd(api: Api) -> Api:
    """The same, asked by the account that applies what is in Git; it may do everything, as in a cluster."""
    namespace = ARGO_CD.split(":")[2]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return api.as_(ARGO_CD, *groups)


def grant_argo_cd(api: Api) -> None:
    """Bind Argo CD's account to cluster-admin."""
    _, _, namespace, name = ARGO_CD.split(":")
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        }
    )


def watch_kubeconfig(stack: Stack) -> Path:
    """A kubeconfig with a token of the watch's own account, as its pod has one."""
    path = f"/api/v1/namespaces/{names.SYSTEM}/serviceaccounts/watch/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return stack.credentials.kubeconfig_of("watch", stack.api.call("POST", path, asked)["status"]["token"])


def definitions() -> Iterator[Object]:
    """Every CustomResourceDefinition that tests/conformance/definitions.yaml names."""
    for each in build.documents("**/*.json"):
        if each["kind"] == "CustomResourceDefinition":
            yield each


def define(api: Api) -> None:
    """Create the definitions, and wait until each version of each is served."""
    found = list(definitions())
    for each in found:
        each.pop("status", None)
        api.create(each)
    for each in found:
        spec = each["spec"]
        for version in (one["name"] for one in spec["versions"] if one["served"]):
            served = {"apiVersion": f"{spec['group']}/{version}", "kind": spec["names"]["kind"]}
            until(lambda served=served: api.known(served), what=f"{served} is served")


def serve_knative(stack: Stack, config: dict[str, dict[str, str]]) -> None:
    """Start Knative's webhook on Knative's own ConfigMaps. config: keys of ours, by the map's name without `config-`."""
    api, space = stack.api, "knative-serving"
    for each in build.documents(f"{KNATIVE}/config/core/configmaps/*.json"):
        each["data"] = {k: v for k, v in (each.get("data") or {}).items() if not k.startswith("_")}
        each["data"] |= config.get(each["metadata"]["name"].removeprefix("config-"), {})
        each["metadata"].pop("annotations", None)
        api.apply(each)
    service = {"type": "ExternalName", "externalName": "localhost"}
    api.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhook", "namespace": space}, "spec": service}
    )
    for each in build.documents(f"{KNATIVE}/config/core/webhooks/*.json"):
        for hook in each.get("webhooks") or []:
            hook["clientConfig"]["service"]["port"] = _KNATIVE_PORT
        api.apply(each)
    stack.start(
        "knative-webhook",
        environment={
            "KUBECONFIG": str(stack.credentials.kubeconfig("system:serviceaccount:knative-serving:controller")),
            "SYSTEM_NAMESPACE": space,
            "POD_NAME": "webhook",
            "CONFIG_LOGGING_NAME": "config-logging",
            "CONFIG_OBSERVABILITY_NAME": "config-observability",
            "WEBHOOK_NAME": "webhook",
            "WEBHOOK_PORT": str(_KNATIVE_PORT),
        },
    )
    hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/webhook.serving.knative.dev"

    def ready() -> bool:
        return all("caBundle" in each["clientConfig"] for each in api.get(hooks)["webhooks"]) and answers(
            f"https://localhost:{_KNATIVE_PORT}"
        )

    stack.until("knative-webhook", ready)


def serve_kserve(stack: Stack, config: Object) -> None:
    """Start KServe's manager with `config`, the ConfigMap that it reads; its webhooks are reached by URL."""
    api, made = stack.api, stack.credentials
    api.apply(config)
    place = stack.folder / "kserve" / "k8s-webhook-server" / "serving-certs"
    place.mkdir(parents=True)
    for path in (made.certificate, made.key):
        (place / path.name).write_bytes(path.read_bytes())
    stack.start(
        "kserve-manager",
        f"--webhook-port={_KSERVE_PORT}",
        # Its own ports would be a model server's on every address of this namespace.
        f"--metrics-addr=127.0.0.1:{_KSERVE_METRICS}",
        f"--health-probe-addr=127.0.0.1:{_KSERVE_HEALTH}",
        environment={
            "KUBECONFIG": str(made.kubeconfig("system:serviceaccount:kserve:kserve-controller-manager")),
            "POD_NAMESPACE": "kserve",
            "TMPDIR": str(stack.folder / "kserve"),
        },
    )
    stack.until("kserve-manager", lambda: answers(f"http://127.0.0.1:{_KSERVE_HEALTH}/readyz"))
    authority = base64.b64encode(made.authority.read_bytes()).decode()
    for each in build.documents(f"{KSERVE}/config/webhook/manifests.json"):
        each["metadata"].pop("creationTimestamp", None)
        for hook in each["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{_KSERVE_PORT}{path}", "caBundle": authority}
        api.apply(each)


def until(ready: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """Wait until `ready`, while the API server may still refuse, and a pod not listen yet."""
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (Refusal, Unavailable) as error:
            last = str(error)
        time.sleep(0.1)
    raise TimedOut(f"{what} did not happen in {seconds:g} s", got=last)


def gone(api: Api, each: Object) -> bool:
    """Is an object deleted, its finalizers done?"""
    try:
        api.live(each)
    except Refusal as error:
        return error.code == 404
    return False
