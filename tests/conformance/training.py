"""Kueue, JobSet and Kubeflow Trainer on the real cluster, each with the rights that its own account has, and Kueue with our configuration."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conformance import build, installed
from tests.conformance.platform import CLUSTER
from tests.conformance.stack import Stack, answers
from tests.manifests.builds import platform

Object = dict[str, Any]
_KUEUE, _JOBSET, _TRAINER = 9543, 9553, 9563
"""Each one's first port: of its webhooks; then its health and its metrics."""
_SETTLED = ("ServiceAccount", "Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_HOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


@contextlib.contextmanager
def controllers(stack: Stack) -> Iterator[None]:
    """The three of them, ready; with their webhooks they go at the end, since those fail closed."""
    hooks = [*_jobset(stack), *_trainer(stack), *_kueue(stack)]
    try:
        yield
    finally:
        for each in hooks:
            stack.api.delete(each)
        for name in ("kueue", "jobset", "trainer"):
            stack.stop(name)


def kueue_config() -> Object:
    """The configuration that our platform gives to Kueue."""
    (found,) = [
        each for each in platform(CLUSTER) if (each["kind"], each["metadata"]["name"]) == ("Application", "kueue")
    ]
    text = found["spec"]["source"]["helm"]["valuesObject"]["managerConfig"]["controllerManagerConfigYaml"]
    config: Object = yaml.safe_load(text)
    return config


def _kueue(stack: Stack) -> list[Object]:
    """Kueue makes its certificate by itself; that its Secret lies in a folder is a kubelet's part."""
    config, folder = kueue_config(), stack.folder / "kueue"
    # As the chart makes them: with our selector, and open where they fail for a kind that is not among our frameworks, so left out here.
    kinds = {each.rpartition("/")[2] for each in config["integrations"]["frameworks"]}
    hooks, space = [], "kueue-system"
    for each in _settled(stack, "sigs.k8s.io/kueue/config/default.json"):
        kept = []
        for hook in each["webhooks"]:
            hook["clientConfig"]["service"]["port"] = _KUEUE
            if "namespaceSelector" in hook:
                hook["namespaceSelector"] = config["managedJobsNamespaceSelector"]
            if "namespaceSelector" not in hook or hook["name"].partition(".")[0][1:] in kinds:
                kept.append(hook)
        hooks.append({**each, "webhooks": kept})
    service = {"type": "ExternalName", "externalName": "localhost"}
    name = {"name": "kueue-webhook-service", "namespace": space}
    stack.api.apply({"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": service})
    for each in hooks:
        stack.api.apply(each)
    config["webhook"] = {"host": "127.0.0.1", "port": _KUEUE, "certDir": str(folder)}
    # The visibility server would write into /visibility of this machine.
    config["featureGates"] = {"VisibilityOnDemand": False}
    _start(stack, "kueue", config, _KUEUE, account=(space, "kueue-controller-manager"), folder=folder)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kueue-webhook-server-cert", "namespace": space},
    }

    def mounted() -> bool:
        for key, value in (stack.api.live(secret).get("data") or {}).items():
            (folder / key).write_bytes(base64.b64decode(value))
        return (folder / "tls.key").is_file()

    stack.until("kueue", mounted)
    # It looks for the files in growing steps.
    stack.until("kueue", lambda: answers(f"http://127.0.0.1:{_KUEUE + 1}/readyz"), seconds=180)
    return hooks


def _jobset(stack: Stack) -> list[Object]:
    """As the part of Trainer's chart that it is there: in the namespace `trainer`."""
    hooks = _settled(stack, "sigs.k8s.io/jobset/config/default.json")
    made = str(stack.credentials.folder)
    config = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": _JOBSET, "certDir": made},
        "metrics": {"certDir": made},
    }
    _start(stack, "jobset", config, _JOBSET, account=("trainer", "jobset-controller-manager"))
    stack.until("jobset", lambda: answers(f"http://127.0.0.1:{_JOBSET + 1}/readyz"))
    return _applied(stack, hooks, _JOBSET)


def _trainer(stack: Stack) -> list[Object]:
    """With the chart's own configuration, but for its certificate and its ports."""
    account = "kubeflow-trainer-controller-manager"
    hooks = _settled(stack, "github.com/kubeflow/trainer/v2/manifests/base/*.json")
    config = {
        "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
        "kind": "Configuration",
        "certManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": _TRAINER},
    }
    _start(
        stack,
        "trainer",
        config,
        _TRAINER,
        account=("trainer", account),
        temporary=installed.certificates(stack, "trainer"),
    )
    stack.until("trainer", lambda: answers(f"http://127.0.0.1:{_TRAINER + 1}/readyz"))
    return _applied(stack, hooks, _TRAINER)


def _settled(stack: Stack, pattern: str) -> list[Object]:
    """Apply accounts and rights of an upstream part, in our namespaces, and give its webhooks back."""
    hooks = []
    for each in build.documents(pattern):
        each = json.loads(json.dumps(each).replace("jobset-system", "trainer"))
        if each["kind"] in _HOOKS:
            hooks.append(each)
        if each["kind"] not in _SETTLED:
            continue
        for subject in each.get("subjects") or []:
            subject.setdefault("namespace", "trainer")
        if not each["kind"].startswith("Cluster"):
            each["metadata"].setdefault("namespace", "trainer")
        stack.api.apply(each)
    assert len(hooks) == 2, pattern
    return hooks


def _applied(stack: Stack, hooks: list[Object], port: int) -> list[Object]:
    for each in hooks:
        stack.api.apply(installed.by_url(stack, each, port))
    return hooks


def _start(
    stack: Stack,
    name: str,
    config: Object,
    port: int,
    *,
    account: tuple[str, str],
    folder: Path | None = None,
    temporary: str = "",
) -> None:
    folder = folder or stack.folder / name
    folder.mkdir(exist_ok=True)
    config["health"] = {"healthProbeBindAddress": f"127.0.0.1:{port + 1}"}
    config["metrics"] = {**config.get("metrics", {}), "bindAddress": f"127.0.0.1:{port + 2}"}
    config["leaderElection"] = {"leaderElect": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    kubeconfig = installed.account_kubeconfig(stack, *account)
    environment = {"KUBECONFIG": str(kubeconfig)} | ({"TMPDIR": temporary} if temporary else {})
    stack.start(name, f"--config={folder / 'config.yaml'}", environment=environment)
