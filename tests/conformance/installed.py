"""What a cluster has before ours comes: KServe's manager, Knative's webhook, and Argo CD's account."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
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
_REVIEWERS_PORT = 9446  # and the two after it


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


def watch_token(stack: Stack) -> str:
    """A token of the watch's own account, as its pod has one."""
    return account_token(stack, names.SYSTEM, "watch")


def watch_kubeconfig(stack: Stack) -> Path:
    """A kubeconfig with it."""
    return account_kubeconfig(stack, names.SYSTEM, "watch")


def account_token(stack: Stack, namespace: str, account: str) -> str:
    """A token of a service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return str(stack.api.call("POST", path, asked)["status"]["token"])


def account_kubeconfig(stack: Stack, namespace: str, account: str) -> Path:
    """A kubeconfig with a token of a service account."""
    return stack.credentials.kubeconfig_of(account, account_token(stack, namespace, account))


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
    stack.start(
        "kserve-manager",
        f"--webhook-port={_KSERVE_PORT}",
        # Its own ports would be a model server's on every address of this namespace.
        f"--metrics-addr=127.0.0.1:{_KSERVE_METRICS}",
        f"--health-probe-addr=127.0.0.1:{_KSERVE_HEALTH}",
        environment={
            "KUBECONFIG": str(made.kubeconfig("system:serviceaccount:kserve:kserve-controller-manager")),
            "POD_NAMESPACE": "kserve",
            "TMPDIR": certificates(stack, "kserve"),
        },
    )
    stack.until("kserve-manager", lambda: answers(f"http://127.0.0.1:{_KSERVE_HEALTH}/readyz"))
    for each in build.documents(f"{KSERVE}/config/webhook/manifests.json"):
        api.apply(by_url(stack, each, _KSERVE_PORT))


def serve_reviewers(stack: Stack) -> None:
    """Start KServe's controller of LLMInferenceServices beside its manager, with KServe's own templates."""
    api, name = stack.api, "kserve-llm-manager"
    for each in build.documents(f"{KSERVE}/config/llmisvcconfig/*.json"):
        each["metadata"]["namespace"] = "kserve"
        api.apply(each)
    stack.start(
        name,
        f"--webhook-port={_REVIEWERS_PORT}",
        f"--metrics-addr=127.0.0.1:{_REVIEWERS_PORT + 1}",
        f"--health-probe-addr=127.0.0.1:{_REVIEWERS_PORT + 2}",
        environment={
            "KUBECONFIG": str(stack.credentials.kubeconfig("system:serviceaccount:kserve:kserve-controller-manager")),
            "POD_NAMESPACE": "kserve",
            "TMPDIR": certificates(stack, name),
        },
    )
    stack.until(name, lambda: answers(f"http://127.0.0.1:{_REVIEWERS_PORT + 2}/readyz"))
    for each in build.documents(f"{KSERVE}/config/webhook/llmisvc/manifests.json"):
        api.apply(by_url(stack, each, _REVIEWERS_PORT))


def certificates(stack: Stack, name: str) -> str:
    """A folder for TMPDIR of a program that looks there for the certificate of its webhooks."""
    place = stack.folder / name / "k8s-webhook-server" / "serving-certs"
    place.mkdir(parents=True)
    for path in (stack.credentials.certificate, stack.credentials.key):
        (place / path.name).write_bytes(path.read_bytes())
    return str(stack.folder / name)


def by_url(stack: Stack, hooks: Object, port: int) -> Object:
    """A configuration of webhooks that are reached at a port of this machine instead of a Service."""
    authority = base64.b64encode(stack.credentials.authority.read_bytes()).decode()
    hooks["metadata"].pop("creationTimestamp", None)
    for hook in hooks["webhooks"]:
        path = hook["clientConfig"]["service"]["path"]
        hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
    return hooks


def until(ready: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """Wait until `ready`, while the API server may still refuse, and a pod not listen yet."""
    deadline, last = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if ready():
                return
            last = "not yet"
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
