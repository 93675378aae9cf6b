"""What the API server itself refuses of a pod, whoever makes it: resources, tolerations, spreading, probes, words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hallmark.lint.api_server import label_value, qualified, subdomain
from hallmark.lint.objects import LintContext
from hallmark.lint.pods import Container, Pod
from hallmark.lint.reading import dig, integer, listing, mapping, quantity, text
from hallmark.lint.rules import Outcome, RuleMatch, rule
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
                yield container.hit(f"a request of {value} {key} with {shown}", "resources", "requests", key)


_STANDARD = ("cpu", "memory", "ephemeral-storage", "storage")


@rule(
    "HM516",
    "A value of a pod that the API server refuses",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: none of the words or numbers that the field takes; what makes the pod says so, and goes on trying",
    fix="write a value that the message allows",
    link=_CORE,
)
def values(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """ValidatePodSpec and what it calls."""
    dropped = ("restartPolicy", "preemptionPolicy") if pod.in_knative else ()
    for key, words in _WORDS.items():
        if (found := pod.spec.get(key)) is not None and found not in words and key not in dropped:
            yield pod.hit(f"{key} {found!r} is none of {', '.join(words)}", key)
    if pod.spec.get("dnsPolicy") == "None" and not listing(pod.spec, "dnsConfig", "nameservers"):
        yield pod.hit("dnsPolicy None without nameservers", "dnsPolicy")
    if not pod.in_knative and (integer(pod.spec, "terminationGracePeriodSeconds") or 0) < 0:
        text_ = f"terminationGracePeriodSeconds {pod.spec['terminationGracePeriodSeconds']}"
        yield pod.hit(text_, "terminationGracePeriodSeconds")
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
    for path, item in _expressions(pod.spec.get("affinity")):
        if said := _expression(item):
            yield pod.hit(said, "affinity", *path)
    yield from _security(pod.spec, pod.hit)
    for container in pod.containers:
        yield from _container(container)
        if not pod.in_knative:
            yield from _handlers(container)
            yield from _mounts(pod, container)


def _handlers(container: Container) -> Iterator[RuleMatch]:
    """Probes without exactly one handler; in Knative mode HM320 knows more."""
    for key in _PROBES:
        probe = container.data.get(key)
        found = [each for each in ("httpGet", "tcpSocket", "exec", "grpc") if dig(probe, each) is not None]
        if isinstance(probe, dict) and len(found) != 1:
            yield container.hit(f"{key} has {' and '.join(found) or 'no handler'}", key)


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


def _expression(item: dict[str, Any]) -> str:
    operator, found = text(item, "operator"), listing(item, "values")
    if operator in ("In", "NotIn"):
        return "" if found else f"operator {operator} without values"
    if operator in ("Exists", "DoesNotExist"):
        return f"operator {operator} with values" if found else ""
    if operator in ("Gt", "Lt"):
        return "" if len(found) == 1 else f"operator {operator} with {len(found)} values"
    return f"operator {operator!r} is none of In, NotIn, Exists, DoesNotExist, Gt, Lt"


def _security(holder: dict[str, Any], hit: Any) -> Iterator[RuleMatch]:
    found = mapping(holder, "securityContext")
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if (number := integer(found, key)) is not None and not 0 <= number < 2**31:
            yield hit(f"{key} {number}", "securityContext", key)
    kind, local = dig(found, "seccompProfile", "type"), dig(found, "seccompProfile", "localhostProfile")
    if kind is not None and kind not in ("RuntimeDefault", "Localhost", "Unconfined"):
        yield hit(f"seccompProfile of type {kind}", "securityContext", "seccompProfile", "type")
    elif kind is not None and (kind == "Localhost") != bool(local):
        yield hit(f"seccompProfile of type {kind} with localhostProfile {local}", "securityContext", "seccompProfile")


def _container(container: Container) -> Iterator[RuleMatch]:
    if container.name and not _LABEL.fullmatch(container.name):
        yield container.hit(f"the container's name {container.name!r}", "name")
    for key, words in _CONTAINER_WORDS.items():
        if (found := container.data.get(key)) is not None and found not in words:
            yield container.hit(f"{key} {found!r} is none of {', '.join(words)}", key)
    for index, item in enumerate(listing(container.data, "env")):
        if "value" in item and item["value"] not in ("", None) and item.get("valueFrom") is not None:
            yield container.hit("value beside valueFrom", "env", index, "valueFrom")
        elif isinstance(item.get("valueFrom"), dict) and len(item["valueFrom"]) != 1:
            yield container.hit(f"valueFrom has {len(item['valueFrom'])} sources", "env", index, "valueFrom")
        if "=" in text(item, "name"):
            yield container.hit(f"the variable's name {text(item, 'name')!r}", "env", index, "name")
    for index, port in enumerate(listing(container.data, "ports")):
        number, name = integer(port, "containerPort"), text(port, "name")
        if number is not None and not 0 < number < 65536:
            yield container.hit(f"port {number}", "ports", index, "containerPort")
        if name and not _PORT_NAME.fullmatch(name):
            yield container.hit(f"the port's name {name!r}", "ports", index, "name")
        if text(port, "protocol") not in ("", "TCP", "UDP", "SCTP"):
            yield container.hit(f"the port's protocol {text(port, 'protocol')}", "ports", index, "protocol")
    for key in _PROBES:
        yield from _probe(container, key, mapping(container.data, key))
    yield from _security(container.data, container.hit)


def _probe(container: Container, key: str, probe: dict[str, Any]) -> Iterator[RuleMatch]:
    for field, value in probe.items():
        number = integer(probe, field)
        if number is not None and number < 0:
            yield container.hit(f"{field} {value}", key, field)
    if key != "readinessProbe" and (integer(probe, "successThreshold") or 1) != 1:
        yield container.hit(f"successThreshold {probe['successThreshold']}, expected 1", key, "successThreshold")
    for handler in ("httpGet", "tcpSocket", "grpc"):
        port = dig(probe, handler, "port")
        if isinstance(port, int) and not isinstance(port, bool) and not 0 < port < 65536:
            yield container.hit(f"port {port}", key, handler, "port")
    if dig(probe, "httpGet", "scheme") not in (None, "", "HTTP", "HTTPS"):
        yield container.hit(f"scheme {dig(probe, 'httpGet', 'scheme')}", key, "httpGet", "scheme")


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
