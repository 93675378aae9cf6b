"""Names that have to be there, budgets that have to be possible, and secrets that have no place in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hallmark import names
from hallmark.lint.kustomizations import namespaced
from hallmark.lint.objects import ClusterObject, LintContext
from hallmark.lint.reading import integer, mapping
from hallmark.lint.rules import RuleMatch, rule
from hallmark.lint.source import Document, Keys

_CLUSTER_WIDE = frozenset(
    """
    Namespace Node PersistentVolume StorageClass PriorityClass RuntimeClass IngressClass CustomResourceDefinition APIService
    ClusterRole ClusterRoleBinding ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding MutatingWebhookConfiguration
    ValidatingWebhookConfiguration ClusterServingRuntime ClusterStorageContainer ClusterTrainingRuntime ClusterIssuer
    ClusterSecretStore ClusterExternalSecret ClusterQueue Cohort ResourceFlavor WorkloadPriorityClass ClusterPolicy GatewayClass
    NodePool NodeClaim EC2NodeClass Profile LocalModelCache LocalModelNodeGroup Topology AdmissionCheck ClusterCleanupPolicy
    Kustomization Component GlobalContextEntry DeviceClass CSIDriver VolumeAttachment FlowSchema PriorityLevelConfiguration
    """.split()  # noqa: SIM905
)
_WORKLOADS = ("Deployment", "StatefulSet", "ReplicaSet")
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_SECRET = re.compile(r"(?i)aws_?secret_?access_?key['\"]?\s*[:=]\s*['\"]?[A-Za-z0-9/+=]{30,}")
_ARN = re.compile(r"\barn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:\d{12}:\S+")
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_EMPTY = ("", None)


@rule(
    "HM601",
    "No namespace",
    on=ClusterObject,
    reason="it lands wherever the one who applies it happens to be",
    fix="set metadata.namespace, or namespace in the kustomization that lists the file",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
)
def no_namespace(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """Kinds of the whole cluster are known by name; a kustomization that lists the file may give the namespace."""
    never_applied = each.annotations.get("config.kubernetes.io/local-config") == "true"
    if each.kind in _CLUSTER_WIDE or each.namespace or never_applied:
        return
    if not namespaced(each, world):
        yield each.hit(f"{each.kind} {each.name} names no namespace", "metadata")


@rule(
    "HM602",
    "A namespace of nobody",
    on=ClusterObject,
    reason="no declaration makes it: the object is refused, or lands beside every quota and policy",
    fix="name a declared domain (hallmark domains), or a namespace of the platform",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
)
def unknown_namespace(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """Domains, hallmark.names.taken, and Namespaces, Profiles and Applications' destinations among the files."""
    namespace = each.namespace
    if world.domains is None or not namespace or namespace in world.domains:
        return
    if namespace not in world.namespaces and (namespace == "default" or not names.taken(namespace)):
        yield each.hit(f"{namespace} is no declared domain", "metadata", "namespace")


def _whole(value: Any, of: int, *, up: bool) -> int | None:
    """A number of pods, or a percentage of them as the disruption controller rounds it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d+%", value):
        return -(-of * int(value[:-1]) // 100) if up else of * int(value[:-1]) // 100
    return None


def _matched(budget: ClusterObject, world: LintContext) -> int | None:
    """The least pods that what the budget selects has: a workload's replicas, or an InferenceService's minReplicas."""
    wanted = mapping(budget.data, "spec", "selector", "matchLabels")
    if not wanted:
        return None
    for each in world.of(*_WORKLOADS, "InferenceService"):
        if each.namespace != budget.namespace:
            continue
        if each.kind == "InferenceService":
            if wanted.get("serving.kserve.io/inferenceservice") == each.name:
                least = integer(each.data, "spec", "predictor", "minReplicas")
                return 1 if least is None else least
            continue
        labels = mapping(each.data, "spec", "template", "metadata", "labels")
        if all(labels.get(key) == value for key, value in wanted.items()):
            replicas = integer(each.data, "spec", "replicas")
            return 1 if replicas is None else replicas
    return None


@rule(
    "HM603",
    "A disruption budget that allows none",
    on=ClusterObject,
    reason="no pod may ever be evicted: nodes cannot be drained, upgraded or consolidated, and each upgrade waits for a person",
    fix="let one pod go: maxUnavailable: 1, or a minAvailable below the least replicas",
    link="https://kubernetes.io/docs/tasks/run-application/configure-pdb/",
)
def budget(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """pkg/controller/disruption: percentages are rounded up, both ways."""
    if each.kind != "PodDisruptionBudget":
        return
    pods = _matched(each, world)
    least, most = each.get("spec", "minAvailable"), each.get("spec", "maxUnavailable")
    if most in (0, "0", "0%"):
        yield each.hit(f"maxUnavailable: {most}", "spec", "maxUnavailable")
    elif least == "100%":
        yield each.hit("minAvailable: 100%", "spec", "minAvailable")
    elif pods and (needed := _whole(least, pods, up=True)) is not None and needed >= pods:
        yield each.hit(f"minAvailable: {least} of {pods} pods", "spec", "minAvailable")


def _strings(data: Any) -> Iterator[tuple[Keys, str]]:
    waiting: list[tuple[Keys, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]


@rule(
    "HM604",
    "A key in a file",
    on=ClusterObject,
    reason="who reads the repository, its history or the object has the account; taking it out again does not take it back",
    fix="revoke it now; use Pod Identity for AWS and an ExternalSecret for the rest",
    link="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
)
def key(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """AWS access keys by their form, private keys by their first line, and a Secret's own values."""
    for path, value in _strings(each.data):
        whole = f"{path[-1] if path else ''}: {value}"
        if _KEY_ID.search(value) or _SECRET.search(whole) or _PRIVATE.search(value):
            yield each.hit("an AWS key or private key in the clear", *path)
    if each.kind == "Secret":
        for holder in ("data", "stringData"):
            for name, value in mapping(each.data, holder).items():
                if value not in _EMPTY and not _KEY_ID.search(str(value)) and not _PRIVATE.search(str(value)):
                    yield each.hit(f"the Secret's value of {name} in the clear", holder, name)


@rule(
    "HM605",
    "An ARN in a file",
    on=ClusterObject,
    reason="it ties the file to one AWS account: the same file cannot be applied to dev, staging and production",
    fix="bind accounts by Pod Identity (terraform), and let each cluster's settings replace what differs",
    link="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
)
def arn(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """ARNs with an account's number; those of AWS itself have none."""
    for path, value in _strings(each.data):
        if found := _ARN.search(value):
            yield each.hit(found[0], *path)


@rule(
    "HM606",
    "A key written twice",
    on=Document,
    reason="the last one wins without a word in some readers, and others refuse the file",
    fix="keep one of the two",
    link="https://yaml.org/spec/1.2.2/#mapping",
)
def twice(document: Document, world: LintContext) -> Iterator[RuleMatch]:
    """YAML 1.2: keys of a mapping are unique; sigs.k8s.io/yaml refuses it in strict mode only."""
    for name, line, column, first in document.twice:
        yield RuleMatch(document, (), f"{name} stands in line {first} already", (line, column))


@rule(
    "HM607",
    "The same object in two files",
    on=LintContext,
    reason="whichever is applied last wins, and Argo CD reports both as out of sync in turn",
    fix="keep one; let clusters differ by patches",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/names/",
)
def same_object(_: LintContext, world: LintContext) -> Iterator[RuleMatch]:
    """Kustomize refuses it inside one build; across builds nobody does. Clusters' own folders are never applied together."""
    seen: dict[tuple[str, ...], ClusterObject] = {}
    for each in world.objects:
        if each.kind in {"Kustomization", "Component"} or not each.name:
            continue
        place = re.search(r"(?:^|/)clusters/([^/]+)/", each.document.shown)
        identity = (each.group, each.kind, each.namespace, each.name, place[1] if place else "")
        first = seen.setdefault(identity, each)
        if first is not each and not (first.document.background and each.document.background):
            text_ = f"{each.kind} {each.name} stands in {first.document.shown} already"
            yield each.hit(text_, "metadata", "name")
