"""Pod Security at restricted and our own stricter rules, for every pod spec of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hallmark import names
from hallmark.lint.cluster import knative_config
from hallmark.lint.objects import LintContext
from hallmark.lint.pipelines import pinned
from hallmark.lint.pods import Container, Pod
from hallmark.lint.reading import dig, integer, listing, mapping, quantity, text
from hallmark.lint.rules import POD_SECURITY, Outcome, RuleMatch, Severity, rule

_HOST = ("hostNetwork", "hostPID", "hostIPC")
_VOLUMES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
_GPU = names.GPU
_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_ACCOUNTS = "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"


def _security(pod: Pod, container: Container, world: LintContext) -> dict[str, Any]:
    """The container's security context over the pod's, with what Knative fills in where secure-pod-defaults is on.

    revision_defaults.go, defaultSecurityContext: it fills in what is unset, and changes nothing that is written.
    """
    of_pod, own = mapping(pod.spec, "securityContext"), dict(mapping(container.data, "securityContext"))
    secure = str(knative_config(world, "features").get("secure-pod-defaults", "")).lower() if pod.in_knative else ""
    if secure in {"enabled", "allowrootbounded"}:
        filled: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        if not dig(of_pod, "seccompProfile", "type") and not dig(own, "seccompProfile", "type"):
            filled["seccompProfile"] = {"type": "RuntimeDefault"}
            own.pop("seccompProfile", None)
        if secure == "enabled" and of_pod.get("runAsNonRoot") is None:
            filled["runAsNonRoot"] = True
        own = filled | {key: value for key, value in own.items() if value is not None}
    inherited = {key: of_pod[key] for key in ("runAsUser", "runAsNonRoot", "seccompProfile") if key in of_pod}
    return inherited | own


def _platform(pod: Pod, hit: RuleMatch) -> RuleMatch:
    """A rule of our platform's: KServe takes an InferenceService that breaks it, so there it is a warning."""
    return hit.warned() if pod.service is not None else hit


def _name(container: Container) -> str:
    return container.name or "the model's container"


@rule(
    "HM501",
    "A privileged container",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="it has the node, or may take more rights than it began with",
    fix="set securityContext.allowPrivilegeEscalation: false, and no privileged",
    link=POD_SECURITY,
)
def privileged(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: Privileged Containers, Privilege Escalation."""
    for container in pod.containers:
        found = _security(pod, container, world)
        if found.get("privileged") is True:
            yield container.hit(f"{_name(container)} is privileged", "securityContext", "privileged")
        elif found.get("allowPrivilegeEscalation") is not False:
            text = f"{_name(container)} may escalate its privileges"
            yield container.hit(text, "securityContext", "allowPrivilegeEscalation")


@rule(
    "HM502",
    "A container that may run as root",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="root in a container is root on the node once it gets out",
    fix="set runAsNonRoot: true for the pod or the container, and no runAsUser: 0",
    link=POD_SECURITY,
)
def root(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: Running as Non-root, Running as Non-root user; what the pod itself says counts, whatever its containers say."""
    of_pod = mapping(pod.spec, "securityContext")
    if of_pod.get("runAsUser") == 0:
        yield pod.hit("the pod runs as root", "securityContext", "runAsUser")
    elif of_pod.get("runAsNonRoot") is False:
        yield pod.hit("the pod may run as root", "securityContext", "runAsNonRoot")
    for container in pod.containers:
        found = _security(pod, container, world)
        if found.get("runAsUser") == 0:
            yield container.hit(f"{_name(container)} runs as root", "securityContext", "runAsUser")
        elif found.get("runAsNonRoot") is not True:
            yield container.hit(f"{_name(container)} may run as root", "securityContext", "runAsNonRoot")


@rule(
    "HM503",
    "A volume of the node",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="restricted refuses it: a hostPath reads and writes the node's files, other kinds carry credentials in the clear",
    fix="use emptyDir, configMap, secret, projected, a persistentVolumeClaim or a CSI volume",
    link=POD_SECURITY,
)
def volumes(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: HostPath Volumes, Volume Types."""
    for index, item in enumerate(listing(pod.spec, "volumes")):
        for key in mapping(item):
            if key != "name" and key not in _VOLUMES:
                yield pod.hit(f"volume {text(item, 'name')} is a {key}", "volumes", index, key)


@rule(
    "HM504",
    "A pod in the node's namespaces",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="it sees the node's network, processes or memory, and passes NetworkPolicies by",
    fix="remove hostNetwork, hostPID, hostIPC and hostPort; a Service or Gateway makes a port reachable",
    link=POD_SECURITY,
)
def host(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: Host Namespaces, Host Ports."""
    for key in _HOST:
        if pod.spec.get(key) is True:
            yield pod.hit(f"{key}: true", key)
    for container in pod.containers:
        for index, port in enumerate(listing(container.data, "ports")):
            if integer(port, "hostPort") and not pod.in_knative:  # a revision does not have it: HM321
                yield container.hit(f"{_name(container)} takes the node's port", "ports", index, "hostPort")


@rule(
    "HM505",
    "Capabilities that are not dropped",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="restricted asks for drop: [ALL], and lets NET_BIND_SERVICE alone be added",
    fix="set securityContext.capabilities.drop: [ALL]",
    link=POD_SECURITY,
)
def capabilities(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: Capabilities."""
    for container in pod.containers:
        at, found = ("securityContext", "capabilities"), _security(pod, container, world)
        if "ALL" not in listing(found, "capabilities", "drop"):
            yield container.hit(f"{_name(container)} does not drop ALL", *at, "drop")
        elif added := [str(each) for each in listing(found, "capabilities", "add") if each != "NET_BIND_SERVICE"]:
            yield container.hit(f"{_name(container)} adds {', '.join(added)}", *at, "add")


@rule(
    "HM506",
    "No seccomp profile",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="without one every system call of the kernel is open to the container",
    fix="set seccompProfile: {type: RuntimeDefault} for the pod or the container",
    link=POD_SECURITY,
)
def seccomp(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Pod Security Standards: Seccomp; what the pod itself says counts, whatever its containers say."""
    of_pod = dig(pod.spec, "securityContext", "seccompProfile", "type")
    if of_pod not in (None, "RuntimeDefault", "Localhost"):
        yield pod.hit(f"the pod's seccomp profile is {of_pod}", "securityContext", "seccompProfile", "type")
    for container in pod.containers:
        if dig(_security(pod, container, world), "seccompProfile", "type") not in ("RuntimeDefault", "Localhost"):
            yield container.hit(f"{_name(container)} has no seccomp profile", "securityContext", "seccompProfile")


@rule(
    "HM507",
    "A root file system that can be written",
    on=Pod,
    reason="what breaks in can leave its tools there and change the program; and writes there fill the node's disk",
    fix="set readOnlyRootFilesystem: true, and mount an emptyDir with a sizeLimit where it has to write",
    link="https://kubernetes.io/docs/tasks/configure-pod-container/security-context/",
)
def writable(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Ours (contract of the platform), beyond restricted."""
    for container in pod.containers:
        if dig(container.data, "securityContext", "readOnlyRootFilesystem") is not True:
            text = f"{_name(container)} can write its root file system"
            yield _platform(pod, container.hit(text, "securityContext", "readOnlyRootFilesystem"))


@rule(
    "HM508",
    "No limits",
    on=Pod,
    reason="a leak takes the node's memory and its neighbours with it; a quota refuses pods without limits",
    fix="set resources.limits.cpu and resources.limits.memory",
    link=_RESOURCES,
)
def limits(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """A ResourceQuota on limits.* refuses pods without (Profile.spec.resourceQuotaSpec)."""
    for container in pod.containers:
        found = mapping(container.data, "resources", "limits")
        missing = [key for key in ("cpu", "memory") if quantity(found.get(key)) is None]
        if missing:
            text = f"{_name(container)} has no limit of {' and '.join(missing)}"
            yield _platform(pod, container.hit(text, "resources", "limits", missing[0]))


@rule(
    "HM509",
    "An image without a version",
    on=Pod,
    reason="the next node pulls another program under the same name, and a roll-back does not bring the old one back",
    fix="name a tag that is never moved, or a digest",
    link="https://kubernetes.io/docs/concepts/containers/images/",
)
def image(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """imagePullPolicy is Always for latest and no tag."""
    for container in pod.containers:
        found = text(container.data, "image")
        if found and not pinned(found):
            yield container.hit(f"{_name(container)} runs {found}", "image")


@rule(
    "HM510",
    "The default service account",
    on=Pod,
    reason="every pod of the namespace that names none shares it: a right given to one is given to all",
    fix="set serviceAccountName to an account made for this job",
    link=_ACCOUNTS,
)
def account(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Kubernetes fills in `default`."""
    found = text(pod.spec, "serviceAccountName")
    if pod.whole and found in {"", "default"}:
        said = "runs as the default account" if found else "names no service account"
        yield _platform(pod, pod.hit(f"{pod.shown} {said}", "serviceAccountName"))


@rule(
    "HM511",
    "A token that nobody asked for",
    on=Pod,
    reason="a model server has no business with the API server, and its token is there for whoever breaks into it",
    fix="set automountServiceAccountToken: false; true where the program really calls the API server",
    link=_ACCOUNTS,
)
def token(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """A predictor says false; another pod has to say which. What its account says, among the files, holds where it does not."""
    found = pod.spec.get("automountServiceAccountToken")
    account = (pod.owner.namespace, text(pod.spec, "serviceAccountName"))
    for each in world.of("ServiceAccount") if found is None else []:
        if (each.namespace, each.name) == account:
            found = each.get("automountServiceAccountToken")
    serves = pod.service is not None or pod.owner.kind == "LLMInferenceService"
    if pod.whole and not (found is False or (found is True and not serves)):
        yield _platform(pod, pod.hit(f"{pod.shown} mounts its token", "automountServiceAccountToken"))


def _gpus(pod: Pod) -> Iterator[tuple[Container, str]]:
    for container in [*pod.containers, *([pod.unseen] if pod.unseen else [])]:
        for kind in ("limits", "requests"):
            if (quantity(mapping(container.data, "resources", kind).get(_GPU)) or 0) > 0:
                yield container, kind
                break


def _tolerates(pod: Pod) -> list[int]:
    found = []
    for index, item in enumerate(listing(pod.spec, "tolerations")):
        key = mapping(item).get("key")
        if key == _GPU or (key is None and text(item, "operator") == "Exists"):
            found.append(index)
    return found


@rule(
    "HM512",
    "A GPU without a toleration",
    on=Pod,
    reason="the nodes with GPUs are tainted nvidia.com/gpu=true:NoSchedule: the pod waits for ever",
    fix="add the toleration {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}",
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/",
)
def untolerated(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """manifests/platform: the node pools gpu-inference and gpu-training."""
    tolerations = pod.values("tolerations")
    good = any(
        mapping(item).get("key") == _GPU or (mapping(item).get("key") is None and text(item, "operator") == "Exists")
        for item in tolerations
    )
    if pod.whole and not good:
        for container, kind in _gpus(pod):
            said = f"{_name(container)} asks for a GPU, and the pod tolerates no GPU node"
            yield container.hit(said, "resources", kind, _GPU)


@rule(
    "HM513",
    "A toleration of GPU nodes without a GPU",
    on=Pod,
    severity=Severity.warning,
    reason="it may land on a node of several dollars an hour and keep it from scaling down",
    fix="remove the toleration, or ask for the GPU",
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/",
)
def needless(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """DaemonSets of the GPU nodes themselves are meant to."""
    if not pod.whole or pod.owner.kind in {"DaemonSet", "ClusterTrainingRuntime", "TrainJob"} or any(_gpus(pod)):
        return
    for index in _tolerates(pod):
        yield pod.hit(f"{pod.shown} tolerates {_GPU} and asks for none", "tolerations", index)


@rule(
    "HM514",
    "An account that is not there",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="no pod is made: the admission of pods looks the account up",
    fix="name an account of the namespace, such as predictor or pipeline",
    link=_ACCOUNTS,
)
def unknown_account(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Only for namespaces whose ServiceAccounts are among the files."""
    name, namespace = text(pod.spec, "serviceAccountName"), pod.owner.namespace
    known = {each.name for each in world.of("ServiceAccount") if each.namespace == namespace}
    if name and name != "default" and known and name not in known:
        yield pod.hit(f"{name} is no account of {namespace}: {', '.join(sorted(known))}", "serviceAccountName")
