"""Knative mode: what the webhook of Knative Serving rejects of a revision's pod."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hallmark.lint.cluster import knative_config
from hallmark.lint.objects import LintContext
from hallmark.lint.pods import Pod
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import KNATIVE, RuleMatch, Severity, rule

_POD = KNATIVE + "pkg/apis/serving/k8s_validation.go"
_MASK = KNATIVE + "pkg/apis/serving/fieldmask.go"
_TAKEN = {
    8008: "profiling",
    8012: "HTTP",
    8013: "HTTP/2",
    8022: "its own health",
    8112: "HTTPS",
    9090: "the autoscaler's metrics",
    9091: "request metrics",
}
_ENV = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
_NEVER = (
    *("restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "nodeName", "hostname", "subdomain"),
    *("priority", "readinessGates"),
)
_NEVER_IN_CONTAINER = ("lifecycle", "stdin", "stdinOnce", "tty", "volumeDevices")
_FEATURES = {
    "affinity": "affinity",
    "topologySpreadConstraints": "topologyspreadconstraints",
    "hostAliases": "hostaliases",
    "nodeSelector": "nodeselector",
    "runtimeClassName": "runtimeclassname",
    "tolerations": "tolerations",
    "securityContext": "securitycontext",
    "shareProcessNamespace": "shareprocessnamespace",
    "priorityClassName": "priorityclassname",
    "schedulerName": "schedulername",
    "initContainers": "init-containers",
    "dnsPolicy": "dnspolicy",
    "dnsConfig": "dnsconfig",
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def _in_knative(pod: Pod) -> bool:
    """True if a revision is made of this pod: a Knative Service's, or an InferenceService's in Knative mode."""
    if pod.service is not None:
        return pod.service.mode == "Knative"
    return pod.owner.group == "serving.knative.dev"


@rule(
    "HM301",
    "Not exactly one port in Knative mode",
    on=Pod,
    reason="rejected: of all containers together one port is declared, and it is the one that requests go to",
    fix="declare ports in the model server's container alone, and one there; other ports need no declaration",
    link=_POD,
)
def one_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateContainersPorts: `Only a single port is allowed across all containers`; none is an error with two containers."""
    if not _in_knative(pod):
        return
    running = [each for each in pod.containers if each.kind == "containers"]
    ported = [each for each in running if listing(each.data, "ports")]
    count = sum(len(listing(each.data, "ports")) for each in ported)
    if count > 1:
        names = ", ".join(each.name or "the model's" for each in ported)
        yield ported[-1].hit(f"{count} ports are declared (containers {names})", "ports")
    elif not count and len(running) > 1:
        yield running[0].hit(f"{len(running)} containers, and none declares a port", "name")


@rule(
    "HM302",
    "A port that queue-proxy has",
    on=Pod,
    reason="queue-proxy in every revision's pod has 8012, 8013, 8022, 9090 and 9091 (and, asked to, 8008 and 8112): whoever binds last fails",
    fix="take another port",
    link=KNATIVE + "pkg/networking/constants.go",
)
def taken_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """k8s_validation.go, reservedPorts, for declared ones; the others fail when the container binds (flags such as --port=9090)."""
    if not _in_knative(pod):
        return
    for container in pod.containers:
        for index, port in enumerate(listing(container.data, "ports")):
            if (number := integer(port, "containerPort")) in _TAKEN:
                text = f"port {number} is queue-proxy's ({_TAKEN[number or 0]})"
                yield container.hit(text, "ports", index, "containerPort")
        for document, base, layer in container.layers:
            for index, flag in enumerate(listing(layer, "args")):
                match = re.fullmatch(r"--[\w-]*port[= ](\d+)", flag) if isinstance(flag, str) else None
                if match and int(match[1]) in _TAKEN:
                    text = f"{flag} is queue-proxy's port ({_TAKEN[int(match[1])]})"
                    yield RuleMatch(document, (*base, "args", index), text)


@rule(
    "HM307",
    "Fewer requests at once than workers",
    on=Pod,
    severity=Severity.warning,
    reason="queue-proxy lets that many requests in at once: the workers above it wait for ever, and cost what they cost",
    fix="raise containerConcurrency to the workers at least (a multiple lets batches form), or lower --workers",
    link=KNATIVE + "pkg/queue/breaker.go",
)
def workers(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """breaker.go: MaxConcurrency is containerConcurrency."""
    most = integer(pod.spec, "containerConcurrency")
    if not most or not _in_knative(pod):
        return
    for container in pod.containers:
        for flag in listing(container.data, "args"):
            match = re.fullmatch(r"--(?:num[-_])?workers[= ](\d+)", flag) if isinstance(flag, str) else None
            if match and int(match[1]) > most:
                yield pod.hit(f"containerConcurrency {most} with {flag}", "containerConcurrency")


@rule(
    "HM308",
    "A pod field that Knative never takes",
    on=Pod,
    reason="rejected: must not set the field(s)",
    fix="remove it; a revision's pod gets its timeout as grace period, and queue-proxy drains it",
    link=_MASK,
)
def never(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """fieldmask.go: PodSpecMask, ContainerMask."""
    if not _in_knative(pod):
        return
    for key in _NEVER:
        if pod.spec.get(key) is not None:
            yield pod.hit(f"{key} in Knative mode", key)
    if pod.spec.get("automountServiceAccountToken") is True:
        yield pod.hit(
            "automountServiceAccountToken: true in Knative mode, which takes false alone",
            "automountServiceAccountToken",
        )
    for container in pod.containers:
        for key in _NEVER_IN_CONTAINER:
            if container.data.get(key):
                yield container.hit(f"{key} of {container.name or 'the model'} in Knative mode", key)


@rule(
    "HM309",
    "A pod field that this Knative has switched off",
    on=Pod,
    reason="rejected unless config-features of the cluster switches the field on; all but emptyDir are off as Knative comes",
    fix="set the named feature to enabled where the platform configures Knative Serving",
    link=KNATIVE + "pkg/apis/config/features.go",
)
def feature(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """features.go, defaultFeaturesConfig; fieldmask.go, PodSpecMask. Features are read from the files: KnativeServing or ConfigMap."""
    if not _in_knative(pod):
        return
    features = knative_config(world, "features")

    def off(name: str, *, default: str = "disabled") -> bool:
        return str(features.get(name, default)).lower() not in {"enabled", "allowed"}

    for key, name in _FEATURES.items():
        if (pod.values(key) or pod.spec.get(key)) and off(f"kubernetes.podspec-{name}"):
            yield pod.hit(f"{key} needs kubernetes.podspec-{name}", key)
    for index, volume in enumerate(listing(pod.spec, "volumes")):
        for key, name, default in (
            ("persistentVolumeClaim", "persistent-volume-claim", "disabled"),
            ("emptyDir", "volumes-emptydir", "enabled"),
            ("csi", "volumes-csi", "disabled"),
        ):
            if key in mapping(volume) and off(f"kubernetes.podspec-{name}", default=default):
                yield pod.hit(f"a {key} volume needs kubernetes.podspec-{name}", "volumes", index, key)
    for container in pod.containers:
        for index, item in enumerate(listing(container.data, "env")):
            if dig(item, "valueFrom", "fieldRef") and off("kubernetes.podspec-fieldref"):
                yield container.hit("a fieldRef needs kubernetes.podspec-fieldref", "env", index, "valueFrom")


@rule(
    "HM310",
    "A probe of a sidecar in Knative mode",
    on=Pod,
    reason="rejected: only the container with the port may have probes, unless multi-container-probing is switched on",
    fix="remove the sidecar's probes, or set multi-container-probing: enabled in config-features",
    link=_POD,
)
def sidecar_probe(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateSidecarContainer."""
    running = [each for each in pod.containers if each.kind == "containers"]
    if not _in_knative(pod) or len(running) < 2:
        return
    if str(knative_config(world, "features").get("multi-container-probing")).lower() == "enabled":
        return
    for container in running:
        for key in _PROBES:
            if key in container.data and not listing(container.data, "ports"):
                yield container.hit(f"{key} of {container.name}", key)


@rule(
    "HM311",
    "A volume that Knative refuses",
    on=Pod,
    reason="rejected: every volume is mounted by somebody, and ConfigMaps, Secrets and projected volumes are mounted readOnly",
    fix="set readOnly: true on the mount; remove the volume that nobody mounts",
    link=_POD,
)
def mounts(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ValidateVolumes: `volume with name %q not mounted`; validateVolumeMounts: `volume mount should be readOnly`."""
    if not _in_knative(pod):
        return
    volumes = {text(item, "name"): mapping(item) for item in pod.values("volumes")}
    mounted = set()
    for container in pod.containers:
        for index, mount in enumerate(listing(container.data, "volumeMounts")):
            name = text(mount, "name")
            mounted.add(name)
            writable = {"emptyDir", "persistentVolumeClaim", "ephemeral"} & set(volumes.get(name, {}))
            if name in volumes and not writable and dig(mount, "readOnly") is not True:
                yield container.hit(f"the mount of {name} is not readOnly", "volumeMounts", index)
    if pod.service is not None and pod.runtime is None and pod.spec.get("model"):
        return
    for index, item in enumerate(listing(pod.spec, "volumes")):
        if text(item, "name") not in mounted:
            yield pod.hit(f"nobody mounts {text(item, 'name')}", "volumes", index)


@rule(
    "HM312",
    "An environment variable that Knative keeps for itself",
    on=Pod,
    reason="rejected: PORT, K_SERVICE, K_CONFIGURATION and K_REVISION are reserved",
    fix="rename it",
    link=_POD,
)
def reserved_env(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """reservedEnvVars; a sidecar may set PORT."""
    if not _in_knative(pod):
        return
    for container in pod.containers:
        for document, base, layer in container.layers:
            for index, item in enumerate(listing(layer, "env")):
                name = text(item, "name")
                sidecar = name == "PORT" and len(pod.containers) > 1 and not listing(container.data, "ports")
                if name in _ENV and not sidecar:
                    yield RuleMatch(document, (*base, "env", index, "name"), f"{name} is Knative's")
