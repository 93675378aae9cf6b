"""What the API server itself refuses of a pod, whoever makes it: resources, tolerations, spreading, probes, words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

from hallmark.lint.api_server import label_value, qualified, subdomain
from hallmark.lint.objects import CONTAINER, LintContext
from hallmark.lint.pod_remedies import remedy
from hallmark.lint.pods import Container, Pod
from hallmark.lint.reading import dig, integer, listing, mapping, quantity, text
from hallmark.lint.rules import Outcome, RuleMatch, Severity, rule
from hallmark.lint.source import Keys

_CORE = "https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go"
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
_WORDS = {
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "restartPolicy": ("Always", "OnFailure", "Never"),
    "preemptionPolicy": ("PreemptLowerPriority", "Never"),
}
_CONTAINER_WORDS = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FOREVER = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
_ENDING = frozenset({"Job", "CronJob"})
_WITH_VOLUMES = frozenset({"Pod", "Deployment", "DaemonSet", "ReplicaSet", "Job", "CronJob"})
"""Kinds whose volumes all stand in the pod's own spec."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SYSCTLS = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"),
        *("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
        *(f"net.ipv4.tcp_keepalive_{name}" for name in ("time", "intvl", "probes")),
    }
)
_SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_HEADER = re.compile(r"[-A-Za-z0-9]+")
MODELS = "/mnt/models"
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_FIELDS = frozenset(
    {
        *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
    }
)
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")


@rule(
    "HM515",
    "Resources that no node can give",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: a request is at most the limit, and of a GPU both are the same whole number",
    fix="raise the limit, lower the request; write a GPU under limits",
    link="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
)
def resources(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateContainerResourceRequirements, ValidateResourceRequirements."""
    for container in [*pod.containers, *([pod.unseen] if pod.unseen else [])]:
        limits, requests = (mapping(container.data, "resources", kind) for kind in ("limits", "requests"))
        for kind, found in (("limits", limits), ("requests", requests)):
            for key, value in found.items():
                amount, at = quantity(value), ("resources", kind, key)
                extended = "/" in key and not key.startswith("kubernetes.io/")
                if not (qualified(key) and ("/" in key or key.startswith("hugepages-") or key in _STANDARD)):
                    yield container.hit(f"there is no resource {key}", *at)
                elif amount is not None and (amount < 0 or (extended and amount != int(amount))):
                    yield container.hit(f"{key}: {value}", *at)
        for key, value in requests.items():
            asked, most = quantity(value), quantity(limits.get(key))
            extended = "/" in key and not key.startswith("kubernetes.io/")
            if asked is not None and ((most is not None and asked > most) or (extended and most != asked)):
                shown = "no limit" if most is None else f"a limit of {limits[key]}"
                # Named where the later layer wrote it, such as a model whose limit is below its runtime's request.
                own = mapping(container.layers[-1][2], "resources")
                kind = (
                    "limits"
                    if dig(own, "limits", key) is not None and dig(own, "requests", key) is None
                    else "requests"
                )
                yield container.hit(f"a request of {value} {key} with {shown}", "resources", kind, key)


_STANDARD = ("cpu", "memory", "ephemeral-storage")


@rule(
    "HM516",
    "A value of a pod that the API server refuses",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: none of the words or numbers that the field takes; what makes the pod says so, and goes on trying",
    fix="at the named key write what Kubernetes' reference of the Pod allows there; the finding itself says which words or numbers those are",
    link=_CORE,
)
def values(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ValidatePodSpec and what it calls."""
    for match in _values(pod):
        yield match.mended(remedy(match.path))


def _values(pod: Pod) -> Iterator[RuleMatch]:
    dropped = ("restartPolicy", "preemptionPolicy") if pod.in_knative else ()
    for key, words in _WORDS.items():
        if (found := pod.spec.get(key)) is not None and found not in words and key not in dropped:
            yield pod.hit(f"{key} {found!r} is none of {', '.join(words)}", key)
    if pod.spec.get("dnsPolicy") == "None" and not listing(pod.spec, "dnsConfig", "nameservers"):
        yield pod.hit("dnsPolicy None without nameservers", "dnsPolicy")
    if not pod.in_knative:
        yield from _priority(pod)
        for index, item in enumerate(listing(pod.spec, "volumes")):
            for said, *at in _volume(mapping(item)):
                yield pod.hit(str(said), "volumes", index, *at)
    for key in ("serviceAccountName", "priorityClassName", "schedulerName", "runtimeClassName"):
        if (name := text(pod.spec, key)) and not subdomain(name):
            yield pod.hit(f"{key} {name!r} is no name", key)
    for key, value in mapping(pod.spec, "nodeSelector").items():
        if not qualified(key) or not (isinstance(value, str) and label_value(value)):
            yield pod.hit(f"{key}: {value} is no label", "nodeSelector", key)
    for index, item in enumerate(listing(pod.spec, "tolerations")):
        if said := _toleration(mapping(item)):
            yield pod.hit(said, "tolerations", index)
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(listing(pod.spec, "topologySpreadConstraints")):
        if said := _spread(mapping(item), seen):
            yield pod.hit(said, "topologySpreadConstraints", index)
    for index, item in enumerate(listing(pod.spec, "volumes")):
        name = text(item, "name")
        if not _LABEL.fullmatch(name):
            yield pod.hit(f"the volume's name {name!r}", "volumes", index, "name")
        if (medium := dig(item, "emptyDir", "medium")) not in (None, "", "Memory") and not str(medium).startswith(
            "HugePages"
        ):
            yield pod.hit(f"medium {medium}", "volumes", index, "emptyDir", "medium")
    for key in ("affinity", "topologySpreadConstraints"):
        for path, item in _expressions(pod.spec.get(key)):
            if said := _expression(item, node="nodeAffinity" in path):
                yield pod.hit(said, key, *path)
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = dig(pod.spec, "affinity", "nodeAffinity", required)
    if isinstance(terms, dict) and not listing(terms, "nodeSelectorTerms"):
        yield pod.hit("no nodeSelectorTerms", "affinity", "nodeAffinity", required)
    for kind in ("podAffinity", "podAntiAffinity"):
        for index, item in enumerate(listing(pod.spec, "affinity", kind, required)):
            if not qualified(text(item, "topologyKey")):
                yield pod.hit(f"topologyKey {text(item, 'topologyKey')!r}", "affinity", kind, required, index)
    for index, item in enumerate(listing(pod.spec, "securityContext", "sysctls")):
        if text(item, "name") not in _SYSCTLS:
            said = f"the sysctl {text(item, 'name')!r}, which Pod Security refuses"
            yield pod.hit(said, "securityContext", "sysctls", index, "name")
    yield from _security(pod.spec, pod.hit)
    for container in pod.containers:
        yield from _container(pod, container)
        yield from _before(pod, container)
        if not pod.in_knative:
            grace = integer(pod.spec, "terminationGracePeriodSeconds")
            yield from _handlers(container, 30 if grace is None else grace)
            yield from _mounts(pod, container)
        yield from _paths(pod, container)


def _priority(pod: Pod) -> Iterator[RuleMatch]:
    """Fields that an admission controller computes from classes: without the class they may not be written."""
    if not text(pod.spec, "priorityClassName"):
        if integer(pod.spec, "priority"):
            yield pod.hit("priority without a priorityClassName", "priority")
        if pod.spec.get("preemptionPolicy") == "Never":
            yield pod.hit("preemptionPolicy without a priorityClassName", "preemptionPolicy")
    if pod.spec.get("overhead") and not text(pod.spec, "runtimeClassName"):
        yield pod.hit("overhead without a runtimeClassName", "overhead")
    if dig(pod.spec, "os", "name") not in (None, "linux"):
        yield pod.hit(f"os {dig(pod.spec, 'os', 'name')} with Linux' securityContext", "os", "name")
    for index, item in enumerate(listing(pod.spec, "resourceClaims")):
        if sum(bool(text(item, key)) for key in ("resourceClaimName", "resourceClaimTemplateName")) != 1:
            yield pod.hit("a resourceClaim names one claim or one template", "resourceClaims", index)


_VOLUME_NAMES = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}


def _volume(volume: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """What is wrong with a volume, and where in it; in Knative mode HM311 and HM312 know more."""
    kinds = [key for key in volume if key != "name" and volume[key] is not None]
    if len(kinds) > 1:
        yield (f"{' and '.join(kinds)} in one volume", kinds[1])
    for kind, key in _VOLUME_NAMES.items():
        if isinstance(volume.get(kind), dict) and not text(volume, kind, key):
            yield (f"{kind} without {key}", kind)
    size = dig(volume, "emptyDir", "sizeLimit")
    if size is not None and (quantity(size) or 0) < 0:
        yield (f"sizeLimit {size}", "emptyDir", "sizeLimit")
    for kind in ("configMap", "secret", "projected", "downwardAPI"):
        if not 0 <= (integer(volume, kind, "defaultMode") or 0) <= 0o777:
            yield (f"defaultMode {volume[kind]['defaultMode']}, expected 0 to 511 (0777)", kind, "defaultMode")
        for index, item in enumerate(listing(volume, kind, "items")):
            if _outside(text(item, "path")):
                yield (f"path {text(item, 'path')!r}", kind, "items", index, "path")


def _outside(path: str) -> bool:
    """True for a path that is not below where it begins."""
    return path.startswith("/") or ".." in path.split("/")


def _before(pod: Pod, container: Container) -> Iterator[RuleMatch]:
    """validateInitContainers: what comes first and ends is not asked how it is; Knative refuses restartPolicy too."""
    if container.kind == "initContainers" and (pod.in_knative or container.data.get("restartPolicy") != "Always"):
        for key in (*_PROBES, "lifecycle"):
            if isinstance(container.data.get(key), dict):
                yield container.hit(f"{key} of an init container", key)


def _handlers(container: Container, grace: int) -> Iterator[RuleMatch]:
    """Probes and hooks without exactly one handler; in Knative mode HM320 knows more. grace: seconds that the pod has to end."""
    for key in _PROBES:
        probe = container.data.get(key)
        found = [each for each in ("httpGet", "tcpSocket", "exec", "grpc") if dig(probe, each) is not None]
        if isinstance(probe, dict) and len(found) != 1:
            yield container.hit(f"{key} has {' and '.join(found) or 'no handler'}", key)
        for each in ("httpGet", "tcpSocket"):
            # Laid over its runtime's probe, one without a port has port 0.
            if (own := dig(container.layers[-1][2], key, each)) is not None and dig(own, "port") in (None, 0, ""):
                yield container.hit(f"{key} without a port", key, each)
    if dig(container.data, "readinessProbe", "terminationGracePeriodSeconds") is not None:
        yield container.hit(
            "terminationGracePeriodSeconds of a readinessProbe", "readinessProbe", "terminationGracePeriodSeconds"
        )
    for key in ("postStart", "preStop"):
        hook = dig(container.data, "lifecycle", key)
        found = [each for each in ("httpGet", "tcpSocket", "exec", "sleep") if dig(hook, each) is not None]
        if isinstance(hook, dict) and len(found) != 1:
            yield container.hit(f"{key} has {' and '.join(found) or 'no handler'}", "lifecycle", key)
        elif (seconds := integer(hook, "sleep", "seconds")) is not None and not 0 <= seconds <= grace:
            yield container.hit(f"{key} sleeps {seconds} s of {grace}", "lifecycle", key, "sleep", "seconds")
    for holder in (*_PROBES, "lifecycle.postStart", "lifecycle.preStop"):
        for each in ("httpGet", "tcpSocket"):
            at = (*holder.split("."), each, "port")
            if (named := text(container.data, *at)) and not _PORT_NAME.fullmatch(named):
                yield container.hit(f"the port {named!r} is neither a number nor a port's name", *at)


def _mounts(pod: Pod, container: Container) -> Iterator[RuleMatch]:
    """Mounts without a volume, or two at one path; in Knative mode HM311 knows more."""
    volumes = {text(item, "name") for item in pod.values("volumes")}
    known = pod.owner.kind in _WITH_VOLUMES or (pod.service is not None and pod.unseen is None)
    paths: set[str] = set()
    for index, mount in enumerate(listing(container.data, "volumeMounts")):
        name, path = text(mount, "name"), text(mount, "mountPath")
        if known and name not in volumes:
            yield container.hit(f"there is no volume {name!r}", "volumeMounts", index, "name")
        if not path or path in paths:
            yield container.hit(f"mountPath {path!r}", "volumeMounts", index, "mountPath")
        paths.add(path)
    for index, device in enumerate(listing(container.data, "volumeDevices")):
        if known and (name := text(device, "name")) not in volumes:
            yield container.hit(f"there is no volume {name!r}", "volumeDevices", index, "name")


def _paths(pod: Pod, container: Container) -> Iterator[RuleMatch]:
    """Mounts that no pod can have, whoever makes it."""
    fetched = (
        pod.service is not None and container.name in ("", CONTAINER) and bool(text(pod.spec, "model", "storageUri"))
    )
    for index, mount in enumerate(listing(container.data, "volumeMounts")):
        if _outside(text(mount, "subPath")):
            yield container.hit(f"subPath {text(mount, 'subPath')!r}", "volumeMounts", index, "subPath")
        if fetched and text(mount, "mountPath").rstrip("/") == MODELS:
            yield container.hit(f"KServe mounts the model at {MODELS} itself", "volumeMounts", index, "mountPath")
        unprivileged = dig(container.data, "securityContext", "privileged") is not True
        if text(mount, "mountPropagation") == "Bidirectional" and unprivileged:
            yield container.hit("mountPropagation Bidirectional", "volumeMounts", index, "mountPropagation")


def _toleration(item: dict[str, Any]) -> str:
    operator, key, effect = text(item, "operator") or "Equal", text(item, "key"), text(item, "effect")
    if operator not in ("Equal", "Exists"):
        return f"operator {operator!r} is neither Equal nor Exists"
    if operator == "Exists" and text(item, "value"):
        return "operator Exists with a value"
    if not key and operator != "Exists":
        return "no key, and the operator is not Exists"
    if (key and not qualified(key)) or (text(item, "value") and not label_value(text(item, "value"))):
        return f"{key}: {text(item, 'value')} is no taint"
    if effect not in _EFFECTS:
        return f"effect {effect!r} is none of {', '.join(_EFFECTS[1:])}"
    return "tolerationSeconds without NoExecute" if "tolerationSeconds" in item and effect != "NoExecute" else ""


def _spread(item: dict[str, Any], seen: set[tuple[str, str]]) -> str:
    key, otherwise = text(item, "topologyKey"), text(item, "whenUnsatisfiable")
    skew, domains = integer(item, "maxSkew") or 0, integer(item, "minDomains")
    if skew < 1:
        return f"maxSkew {skew}, expected 1 or more"
    if not key or not qualified(key):
        return f"topologyKey {key!r}"
    if otherwise not in ("DoNotSchedule", "ScheduleAnyway"):
        return f"whenUnsatisfiable {otherwise!r} is neither DoNotSchedule nor ScheduleAnyway"
    if (key, otherwise) in seen:
        return f"{key} with {otherwise} stands there twice"
    seen.add((key, otherwise))
    if domains is not None and (domains < 1 or otherwise != "DoNotSchedule"):
        return f"minDomains {domains} with {otherwise}"
    if listing(item, "matchLabelKeys") and item.get("labelSelector") is None:
        return "matchLabelKeys without labelSelector"
    return ""


def _expressions(data: Any) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The expressions of an affinity, with their paths."""
    waiting: list[tuple[Keys, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if "operator" in value:
                yield path, value
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]


def _expression(item: dict[str, Any], *, node: bool) -> str:
    operator, found = text(item, "operator"), listing(item, "values")
    if operator in ("In", "NotIn"):
        return "" if found else f"operator {operator} without values"
    if operator in ("Exists", "DoesNotExist"):
        return f"operator {operator} with values" if found else ""
    if node and operator in ("Gt", "Lt"):
        return "" if len(found) == 1 else f"operator {operator} with {len(found)} values"
    return f"operator {operator!r} is none of In, NotIn, Exists, DoesNotExist{', Gt, Lt' if node else ''}"


def _security(holder: dict[str, Any], hit: Any) -> Iterator[RuleMatch]:
    found = mapping(holder, "securityContext")
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if (number := integer(found, key)) is not None and not 0 <= number < 2**31:
            yield hit(f"{key} {number}", "securityContext", key)
    if dig(found, "windowsOptions", "hostProcess") is True:
        yield hit("hostProcess without hostNetwork", "securityContext", "windowsOptions", "hostProcess")
    if found.get("fsGroupChangePolicy") not in (None, "Always", "OnRootMismatch"):
        yield hit(f"fsGroupChangePolicy {found['fsGroupChangePolicy']}", "securityContext", "fsGroupChangePolicy")
    kind, local = dig(found, "seccompProfile", "type"), dig(found, "seccompProfile", "localhostProfile")
    if kind is not None and kind not in ("RuntimeDefault", "Localhost", "Unconfined"):
        yield hit(f"seccompProfile of type {kind}", "securityContext", "seccompProfile", "type")
    elif kind is not None and (kind == "Localhost") != bool(local):
        yield hit(f"seccompProfile of type {kind} with localhostProfile {local}", "securityContext", "seccompProfile")


def _confined(security: dict[str, Any], hit: Any) -> Iterator[RuleMatch]:
    """Pod Security Standards: /proc mount type, SELinux, AppArmor; what is left out is as it should be."""
    if security.get("procMount") not in (None, "Default"):
        yield hit(f"procMount {security['procMount']}", "securityContext", "procMount")
    options = mapping(security, "seLinuxOptions")
    if text(options, "user") or text(options, "role") or text(options, "type") not in _SELINUX:
        yield hit("seLinuxOptions that Pod Security refuses", "securityContext", "seLinuxOptions")
    if dig(security, "appArmorProfile", "type") not in (None, "RuntimeDefault", "Localhost"):
        yield hit(f"AppArmor {dig(security, 'appArmorProfile', 'type')}", "securityContext", "appArmorProfile", "type")


def _container(pod: Pod, container: Container) -> Iterator[RuleMatch]:
    nameless = not container.name and not pod.in_knative and container.data.get("image")
    if nameless or (container.name and not _LABEL.fullmatch(container.name)):
        yield container.hit(f"the container's name {container.name!r}", "name")
    for key, words in _CONTAINER_WORDS.items():
        if (found := container.data.get(key)) is not None and found not in words:
            yield container.hit(f"{key} {found!r} is none of {', '.join(words)}", key)
    for index, item in enumerate(map(mapping, listing(container.data, "env"))):
        source = mapping(item, "valueFrom")
        if "value" in item and item["value"] not in ("", None) and item.get("valueFrom") is not None:
            hit = container.hit("value beside valueFrom", "env", index, "valueFrom")
            # Merged with its runtime's container, as Kubernetes merges patches, it keeps the source.
            yield hit.warned(Outcome.dropped) if len(container.layers) > 1 else hit
        elif isinstance(item.get("valueFrom"), dict) and len(source) != 1:
            yield container.hit(f"valueFrom has {len(source)} sources", "env", index, "valueFrom")
        elif source and (said := _source(*next(iter(source.items())))):
            yield container.hit(said, "env", index, "valueFrom")
        if "=" in text(item, "name"):
            yield container.hit(f"the variable's name {text(item, 'name')!r}", "env", index, "name")
        if not pod.in_knative and not text(item, "name"):
            yield container.hit("a variable without a name", "env", index)
    for index, item in enumerate(listing(container.data, "envFrom")):
        refs = [key for key in ("configMapRef", "secretRef") if dig(item, key) is not None]
        if len(refs) != 1 or not subdomain(text(item, refs[0], "name")):
            yield container.hit(f"{' and '.join(refs) or 'no source'} without one name", "envFrom", index)
    for index, port in enumerate(listing(container.data, "ports")):
        number, name = integer(port, "containerPort"), text(port, "name")
        if number is not None and not 0 < number < 65536:
            yield container.hit(f"port {number}", "ports", index, "containerPort")
        if name and not _PORT_NAME.fullmatch(name):
            yield container.hit(f"the port's name {name!r}", "ports", index, "name")
        if text(port, "protocol") not in ("", "TCP", "UDP", "SCTP"):
            yield container.hit(f"the port's protocol {text(port, 'protocol')}", "ports", index, "protocol")
    for key in _PROBES:
        yield from _probe(container, key, mapping(container.data, key), knative=pod.in_knative)
    yield from _security(container.data, container.hit)
    if not pod.in_knative:  # a revision's schema drops them
        yield from _confined(mapping(container.data, "securityContext"), container.hit)
        yield from _confined(mapping(pod.spec, "securityContext"), pod.hit)
        claims = {text(item, "name") for item in listing(pod.spec, "resourceClaims")}
        for index, item in enumerate(listing(container.data, "resources", "claims")):
            if text(item, "name") not in claims:
                yield container.hit(f"there is no resourceClaim {text(item, 'name')!r}", "resources", "claims", index)


def _source(kind: str, holder: Any) -> str:
    """What is wrong with the source of a variable; empty where nothing is."""
    name, key = text(holder, "name"), text(holder, "key")
    field, resource = text(holder, "fieldPath"), text(holder, "resource")
    if kind in ("secretKeyRef", "configMapKeyRef"):
        return "" if subdomain(name) and _KEY.fullmatch(key) else f"{kind} of name {name!r} and key {key!r}"
    if kind == "fieldRef" and field not in _FIELDS and not _SUBSCRIPT.fullmatch(field):
        return f"there is no field {field!r} for a variable"
    known = resource.partition(".")[2] in _STANDARD or resource.partition(".")[2].startswith("hugepages-")
    if kind == "resourceFieldRef" and not (known and resource.startswith(("limits.", "requests."))):
        return f"there is no resource {resource!r} for a variable"
    return ""


def _probe(container: Container, key: str, probe: dict[str, Any], *, knative: bool) -> Iterator[RuleMatch]:
    for field, value in probe.items():
        number = integer(probe, field)
        if number is not None and number < 0:
            yield container.hit(f"{field} {value}", key, field)
    if key != "readinessProbe" and (integer(probe, "successThreshold") or 1) != 1:
        yield container.hit(f"successThreshold {probe['successThreshold']}, expected 1", key, "successThreshold")
    for handler in ("httpGet", "tcpSocket", "grpc"):
        port = dig(probe, handler, "port")
        least = 0 if knative else 1  # Knative writes its own port for 0
        if isinstance(port, int) and not isinstance(port, bool) and not least <= port < 65536:
            yield container.hit(f"port {port}", key, handler, "port")
    if dig(probe, "httpGet", "scheme") not in (None, "", "HTTP", "HTTPS"):
        yield container.hit(f"scheme {dig(probe, 'httpGet', 'scheme')}", key, "httpGet", "scheme")
    for index, header in enumerate(listing(probe, "httpGet", "httpHeaders")):
        if not _HEADER.fullmatch(text(header, "name")):
            yield container.hit(f"the header's name {text(header, 'name')!r}", key, "httpGet", "httpHeaders", index)


@rule(
    "HM517",
    "A pod that its workload cannot have",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: what keeps pods running restarts them always and without a deadline, what runs a job to its end does not restart it always",
    fix="remove restartPolicy and activeDeadlineSeconds; in a Job write restartPolicy: OnFailure or Never",
    link="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy",
)
def workload(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ValidateDeployment, ValidateJob. KServe makes a Deployment in Standard mode; in Knative mode both fields are dropped: HM321."""
    policy = pod.spec.get("restartPolicy")
    if pod.owner.kind in _ENDING and policy not in ("OnFailure", "Never"):
        yield pod.hit(f"restartPolicy {policy or 'Always by default'} of a {pod.owner.kind}", "restartPolicy")
    elif pod.owner.kind in _FOREVER or (pod.service is not None and pod.service.mode == "Standard"):
        if policy not in (None, "Always"):
            yield pod.hit(f"restartPolicy {policy}", "restartPolicy")
        if pod.spec.get("activeDeadlineSeconds") is not None:
            yield pod.hit("activeDeadlineSeconds", "activeDeadlineSeconds")


@rule(
    "HM518",
    "An amount of bytes without its unit",
    on=Pod,
    severity=Severity.warning,
    reason="accepted: 400m of memory is 0.4 bytes, and 512 are 512; a program with that limit is killed as it starts",
    fix="write bytes with a unit: 400Mi, 400M or 2Gi",
    link="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#meaning-of-memory",
)
def bytes_without_unit(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """warningsForPodSpecAndMeta warns of a fraction of a byte whoever makes the pod, which here is a controller."""
    for container in [*pod.containers, *([pod.unseen] if pod.unseen else [])]:
        for kind in ("limits", "requests"):
            for key, value in mapping(container.data, "resources", kind).items():
                if (key == "memory" and _tiny(value)) or (key in ("memory", "ephemeral-storage") and _split(value)):
                    yield container.hit(f"{key}: {value} is {_bytes(value)}", "resources", kind, key)
    for index, item in enumerate(listing(pod.spec, "volumes")):
        if _split(size := dig(item, "emptyDir", "sizeLimit")):
            said = f"sizeLimit: {size} is {_bytes(size)}"
            yield pod.hit(said, "volumes", index, "emptyDir", "sizeLimit")


_LEAST = 2**20
"""Bytes of memory in which nothing starts."""


def _tiny(value: Any) -> bool:
    amount = quantity(value)
    return amount is not None and 0 < amount < _LEAST


def _split(value: Any) -> bool:
    """True for a number of bytes that is not whole, in thousandths, as the API server counts."""
    amount = quantity(value)
    return amount is not None and isfinite(amount) and round(amount * 1000) % 1000 != 0


def _bytes(value: Any) -> str:
    amount = quantity(value)
    return f"{amount:g} {'byte' if amount == 1 else 'bytes'}"


@rule(
    "HM519",
    "A probe at a port that its container does not have",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="accepted: the kubelet finds no port of that name and asks nothing: never ready; a livenessProbe restarts nothing",
    fix="write the port's number, or that name under ports of the same container",
    link="https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/prober/worker.go",
)
def probed_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ResolveContainerPort, doProbe: an error is no result, so each probe keeps what it begins with. Knative refuses it: HM320."""
    if pod.in_knative or not (pod.service is not None or pod.owner.kind in _WHOLE):
        return
    for container in pod.containers:
        ports = {text(item, "name") for item in listing(container.data, "ports")}
        for key in _PROBES:
            for each in ("httpGet", "tcpSocket"):
                named = text(container.data, key, each, "port")
                if _PORT_NAME.fullmatch(named) and named not in ports:
                    has = ", ".join(sorted(filter(None, ports))) or "none with a name"
                    hit = container.hit(f"{key} asks at port {named!r}, the container has {has}", key, each, "port")
                    yield hit.warned() if key == "livenessProbe" else hit


_WHOLE = _WITH_VOLUMES | {"StatefulSet"}
"""Kinds whose containers say all of their ports themselves."""
