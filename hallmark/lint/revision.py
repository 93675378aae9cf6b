"""Knative mode: what the webhook of Knative Serving rejects of a revision's pod."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from hallmark.lint.cluster import knative_config
from hallmark.lint.objects import LintContext
from hallmark.lint.pods import Pod
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import KNATIVE, Outcome, RuleMatch, Severity, rule
from hallmark.lint.shapes import Breach, Shape, shape
from hallmark.lint.source import Keys

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
    "hostIPC": "hostipc",
    "hostNetwork": "hostnetwork",
    "hostPID": "hostpid",
}
_POINTERS = ("affinity", "dnsConfig", "shareProcessNamespace")
"""Fields that are there as soon as they are written, whatever they say."""
_VOLUMES = {
    "persistentVolumeClaim": "persistent-volume-claim",
    "emptyDir": "volumes-emptydir",
    "hostPath": "volumes-hostpath",
    "csi": "volumes-csi",
    "ephemeral": "volumes-ephemeral",
    "image": "volumes-image",
}
_ON = frozenset({"kubernetes.podspec-volumes-emptydir"})
"""Features that are on as Knative comes; all others are off."""
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_POD_SECURITY = ("fsGroup", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile", "supplementalGroups")
_ELSEWHERE = ("allowPrivilegeEscalation", "capabilities", "privileged", "procMount", "readOnlyRootFilesystem")
"""Fields of a container's securityContext: of a pod's they are unknown, and dropped (HM805)."""
_RESERVED_PATHS = ("/", "/dev", "/dev/log")
_SOURCES = frozenset({*_VOLUMES, "secret", "configMap", "projected"})


@rule(
    "HM301",
    "Not exactly one port in Knative mode",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: of all containers together one port is declared, and it is the one that requests go to",
    fix="declare ports in the model server's container alone, and one there; other ports need no declaration",
    link=_POD,
)
def one_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateContainersPorts: `Only a single port is allowed across all containers`; none is an error with two containers."""
    if not pod.in_knative:
        return
    running = pod.running
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
    outcome=Outcome.never_ready,
    reason="queue-proxy in every revision's pod has 8012, 8013, 8022, 9090 and 9091 (and, asked to, 8008 and 8112): whoever binds last fails",
    fix="take another port",
    link=KNATIVE + "pkg/networking/constants.go",
)
def taken_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """k8s_validation.go, reservedPorts, for declared ones; the others fail when the container binds (flags such as --port=9090)."""
    if not pod.in_knative:
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
    if not most or not pod.in_knative:
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
    outcome=Outcome.never_ready,
    reason="rejected: must not set the field(s)",
    fix="remove it",
    link=_MASK,
)
def never(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """fieldmask.go: PodSpecMask, PodSecurityContextMask, SecurityContextMask; validateInitContainer."""
    if not pod.in_knative:
        return
    if pod.spec.get("automountServiceAccountToken") is True:
        text = "automountServiceAccountToken: true in Knative mode, which takes false alone"
        yield pod.hit(text, "automountServiceAccountToken")
    for key, value in mapping(pod.spec, "securityContext").items():
        if key not in (*_POD_SECURITY, *_ELSEWHERE) and value is not None:
            yield pod.hit(f"{key} of the pod in Knative mode", "securityContext", key)
    for container in pod.containers:
        if dig(container.data, "securityContext", "privileged") is True:
            yield container.hit(f"{container.name} is privileged in Knative mode", "securityContext", "privileged")
        if container.kind == "initContainers":
            for key in (*_PROBES, "lifecycle"):
                if container.data.get(key) is not None:
                    yield container.hit(f"{key} of the init container {container.name}", key)


@rule(
    "HM321",
    "A pod field that a revision does not have",
    on=Pod,
    severity=Severity.warning,
    outcome=Outcome.dropped,
    reason="KServe writes it into the Knative Service, whose schema does not have it: it is dropped without a word",
    fix="remove it; a revision's pod has its timeout as grace period, and queue-proxy drains it",
    link=KNATIVE + "config/core/300-resources/service.yaml",
)
def lost(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """Fields of a pod that are not in the schema of serving.knative.dev/v1 Service; of a Knative Service itself HM805 tells them."""
    revision, plain = shape("serving.knative.dev", "Service", "v1"), shape("", "Pod", "v1")
    if not pod.in_knative or pod.service is None or revision is None or plain is None:
        return
    template, known = revision.at("spec", "template", "spec"), plain.at("spec")
    own = {key: pod.spec[key] for key in known.fields & set(pod.spec) if key not in ("containers", "initContainers")}
    for path in _unknown(template, own):
        yield pod.hit(f"{'.'.join(map(str, path))} in Knative mode", *path)
    fields = known.at("containers", "[]").fields
    for container in pod.running:
        data = {key: container.data[key] for key in fields & set(container.data)}
        for path in _unknown(template.at("containers", "[]"), data):
            yield container.hit(f"{'.'.join(map(str, path))} of {container.name or 'the model'} in Knative mode", *path)


def _unknown(of: Shape, value: dict[str, Any]) -> Iterator[Keys]:
    """Paths of what is set in `value` and not named by the shape."""
    for fault in of.faults(value):
        if fault.breach is Breach.unknown and dig(value, *fault.path):
            yield fault.path


@rule(
    "HM309",
    "A pod field that this Knative has switched off",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected unless config-features of the cluster switches the field on; all but emptyDir are off as Knative comes",
    fix="set the named feature to enabled where the platform configures Knative Serving",
    link=KNATIVE + "pkg/apis/config/features.go",
)
def feature(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """features.go, defaultFeaturesConfig; fieldmask.go, PodSpecMask. Features are read from the files: KnativeServing or ConfigMap."""
    if not pod.in_knative:
        return
    features = knative_config(world, "features")

    def off(name: str) -> bool:
        default = "enabled" if name in _ON else "disabled"
        return str(features.get(name, default)).lower() not in {"enabled", "allowed"}

    for key, name in _FEATURES.items():
        written = pod.spec.get(key) is not None if key in _POINTERS else bool(pod.spec.get(key))
        if (pod.values(key) or written) and off(f"kubernetes.podspec-{name}"):
            yield pod.hit(f"{key} needs kubernetes.podspec-{name}", key)
    for index, volume in enumerate(listing(pod.spec, "volumes")):
        for key, name in _VOLUMES.items():
            if key in mapping(volume) and off(f"kubernetes.podspec-{name}"):
                yield pod.hit(f"a {key} volume needs kubernetes.podspec-{name}", "volumes", index, key)
        claim = mapping(volume, "persistentVolumeClaim")
        if claim and not claim.get("readOnly") and off("kubernetes.podspec-persistent-volume-write"):
            text = "a claim that is not readOnly needs kubernetes.podspec-persistent-volume-write"
            yield pod.hit(text, "volumes", index, "persistentVolumeClaim")
    secure = not off("secure-pod-defaults") or str(features.get("secure-pod-defaults")).lower() == "allowrootbounded"
    for container in pod.containers:
        for index, item in enumerate(listing(container.data, "env")):
            for key in ("fieldRef", "resourceFieldRef"):
                if dig(item, "valueFrom", key) and off("kubernetes.podspec-fieldref"):
                    yield container.hit(f"a {key} needs kubernetes.podspec-fieldref", "env", index, "valueFrom")
        for index, item in enumerate(listing(container.data, "volumeMounts")):
            if dig(item, "mountPropagation") and off("kubernetes.podspec-volumes-mount-propagation"):
                text = "mountPropagation needs kubernetes.podspec-volumes-mount-propagation"
                yield container.hit(text, "volumeMounts", index, "mountPropagation")
        at = ("securityContext", "capabilities", "add")
        added = listing(container.data, *at)
        if added and not (secure and added == ["NET_BIND_SERVICE"]) and off("kubernetes.containerspec-addcapabilities"):
            yield container.hit("added capabilities need kubernetes.containerspec-addcapabilities", *at)


@rule(
    "HM310",
    "A probe of a sidecar in Knative mode",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: only the container with the port may have probes, unless multi-container-probing is switched on",
    fix="remove the sidecar's probes, or set multi-container-probing: enabled in config-features",
    link=_POD,
)
def sidecar_probe(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateSidecarContainer."""
    running = pod.running
    if not pod.in_knative or len(running) < 2:
        return
    if str(knative_config(world, "features").get("multi-container-probing")).lower() == "enabled":
        return
    for container in running:
        for key in _PROBES:
            if key in container.data and not listing(container.data, "ports"):
                yield container.hit(f"{key} of {container.name}", key)


@rule(
    "HM311",
    "A volume or mount that Knative refuses",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: every volume has one source and is mounted by somebody, every mount has a volume and an absolute path of its own",
    fix="mount the volume at a path below /, once; remove the volume that nobody mounts",
    link=_POD,
)
def mounts(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ValidateVolumes, validateVolumeMounts. Mounts that must be readOnly become so by default, but for those of init containers."""
    if not pod.in_knative:
        return
    volumes = {text(item, "name"): mapping(item) for item in pod.values("volumes")}
    whole = pod.service is None or pod.runtime is not None or not pod.service.implementation[1]
    mounted = set()
    for container in pod.containers:
        paths: set[str] = set()
        for index, mount in enumerate(listing(container.data, "volumeMounts")):
            name, at = text(mount, "name"), ("volumeMounts", index)
            mounted.add(name)
            if whole and name not in volumes:
                yield container.hit(f"there is no volume {name!r}", *at, "name")
            if said := _bad_path(text(mount, "mountPath"), paths):
                yield container.hit(said, *at, "mountPath")
            claim = mapping(volumes.get(name), "persistentVolumeClaim")
            sealed = not {"emptyDir", "persistentVolumeClaim", "ephemeral"} & set(volumes.get(name, {}))
            sealed = (sealed and container.kind == "initContainers") or claim.get("readOnly") is True
            if name in volumes and sealed and dig(mount, "readOnly") is not True:
                yield container.hit(f"the mount of {name} is not readOnly", *at)
    for index, item in enumerate(listing(pod.spec, "volumes")):
        name, sources = text(item, "name"), [key for key in mapping(item) if key in _SOURCES]
        if whole and name not in mounted:
            yield pod.hit(f"nobody mounts {name}", "volumes", index, "name")
        if len(sources) != 1:
            yield pod.hit(f"volume {name} has {' and '.join(sources) or 'no source'}", "volumes", index)


def _bad_path(path: str, taken: set[str]) -> str:
    """What is wrong with a mountPath; `taken` are the container's others, to which it is added."""
    clean = posixpath.normpath(path) if path else ""
    said = ""
    if not path.startswith("/"):
        said = f"mountPath {path!r} is not absolute"
    elif clean in _RESERVED_PATHS:
        said = f"mountPath {path} is reserved"
    elif clean in taken:
        said = f"mountPath {path} is taken twice"
    taken.add(clean)
    return said


@rule(
    "HM312",
    "An environment variable that Knative keeps for itself",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: PORT, K_SERVICE, K_CONFIGURATION and K_REVISION are reserved, and every variable has a name",
    fix="rename it",
    link=_POD,
)
def reserved_env(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """reservedEnvVars; a sidecar may set PORT."""
    if not pod.in_knative:
        return
    for container in pod.containers:
        for document, base, layer in container.layers:
            for index, item in enumerate(listing(layer, "env")):
                name = text(item, "name")
                beside = container.kind == "initContainers" or (
                    len(pod.running) > 1 and not listing(container.data, "ports")
                )
                if not name or (name in _ENV and not (name == "PORT" and beside)):
                    said = f"{name} is Knative's" if name else "a variable without a name"
                    yield RuleMatch(document, (*base, "env", index, "name"), said)
