"""The API server: kinds that it does not have, values that no decoder or schema takes, names and labels that it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from hallmark.lint.kustomizations import patched
from hallmark.lint.objects import ClusterObject, LintContext, Service
from hallmark.lint.reading import listing, mapping, text
from hallmark.lint.rules import Outcome, RuleMatch, Severity, rule
from hallmark.lint.shapes import KSERVE_GROUP, SERVED, Breach, Shape, ShapeFault, shape
from hallmark.lint.source import Keys

_CRD = "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/"
_NAMES = "https://kubernetes.io/docs/concepts/overview/working-with-objects/"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_FREE_NAMES = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
_ANNOTATIONS = 256 << 10
_KSERVE_KINDS = frozenset(kind.lower() for kinds in SERVED[KSERVE_GROUP].values() for kind in kinds.split())


def subdomain(name: str) -> bool:
    """True for a name of at most 253 small letters, digits, dashes and dots, as most objects have."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def qualified(key: str) -> bool:
    """True for the key of a label or annotation: an optional DNS name and a slash, then at most 63 characters."""
    prefix, slash, name = key.rpartition("/")
    return _PART.fullmatch(name) is not None and (not slash or subdomain(prefix))


def label_value(value: str) -> bool:
    """True for the value of a label: at most 63 letters, digits, dashes, underscores and dots, or nothing."""
    return _VALUE.fullmatch(value) is not None


def version_of(each: ClusterObject) -> str:
    """The version in its apiVersion."""
    return text(each.data, "apiVersion").rpartition("/")[2]


def shape_of(each: ClusterObject) -> Shape | None:
    """The shape of its kind; None where that is not known."""
    return shape(each.group, each.kind, version_of(each))


@rule(
    "HM801",
    "A kind that no API server has",
    on=ClusterObject,
    outcome=Outcome.refused,
    reason="rejected: no matches for kind; kinds are compared letter by letter, and each is served in some versions only",
    fix="write apiVersion and kind as the definition of the kind has them",
    link=_CRD,
)
def unknown_kind(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """Only of the groups that are known whole (shapes.SERVED), of KServe's kinds in any group, and of kinds whose schema is here."""
    group, version = each.group, version_of(each)
    known = shape_of(each)
    if known is not None:
        if known.kind != each.kind:
            yield each.hit(f"there is no kind {each.kind}: {known.kind}?", "kind")
        return
    served = SERVED.get(group)
    if served is None:
        if each.kind.lower() in _KSERVE_KINDS:
            yield each.hit(f"{group} has no kind {each.kind}: {KSERVE_GROUP}?", "apiVersion")
        return
    if each.kind in served.get(version, "").split():
        return
    others = [other for other, kinds in served.items() if each.kind in kinds.split()]
    named = sorted({kind for kinds in served.values() for kind in kinds.split()})
    near = get_close_matches(each.kind, named, 1)
    if others:
        yield each.hit(f"{each.kind} is served as {' and '.join(others)}, not as {version}", "apiVersion")
    else:
        yield each.hit(f"{group or 'v1'} has no kind {each.kind}{f': {near[0]}?' if near else ''}", "kind")


@lru_cache(maxsize=8)
def _faults(each: ClusterObject) -> tuple[ShapeFault, ...]:
    """Every breach of the kind's schema; metadata has one schema for all kinds."""
    found: list[ShapeFault] = []
    metadata = shape("", "ConfigMap", "v1")
    if metadata is not None and isinstance(each.data.get("metadata"), dict):
        found += metadata.at("metadata").faults(each.data["metadata"], ("metadata",))
    known = shape_of(each)
    if known is not None and known.kind == each.kind:
        # A status that somebody writes is left out; of the kinds that a webhook decodes first its types count.
        left = ("metadata",) if known.filled else ("metadata", "status")
        said = {key: value for key, value in each.data.items() if key not in left}
        found += known.faults(said)
    return tuple(found)


@rule(
    "HM802",
    "A value of the wrong type",
    on=ClusterObject,
    outcome=Outcome.refused,
    reason="rejected: whoever decodes the object stops there; text is no number, a number no text, true no word, and one value no list",
    fix="write the type that is expected; what YAML takes for a number or for true and shall be text needs quotes",
    link=_CRD,
)
def wrong_type(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """The strict schemas under hallmark/lint/schemas; Go's decoders read the same types (KServe's webhooks, typed kinds)."""
    yield from (each.hit(fault.text, *fault.path) for fault in _faults(each) if fault.breach is Breach.wrong_type)


@rule(
    "HM803",
    "A value that the schema refuses",
    on=ClusterObject,
    outcome=Outcome.refused,
    reason="rejected by the kind's schema: none of the allowed words, out of range, twice in a list with keys, or missing",
    fix="at the named key write a word or number that the message lists; add a key that is needed; of two entries with one name take one away",
    link=_CRD,
)
def refused_value(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """The strict schemas under hallmark/lint/schemas: enum, pattern, range, required (which a kustomization's patch may add), list-map-keys."""
    for fault in _faults(each):
        if fault.breach is Breach.value or (fault.breach is Breach.missing and not patched(each, world)):
            yield each.hit(fault.text, *fault.path).mended(fault.fix)


@rule(
    "HM804",
    "A name, label or annotation that Kubernetes refuses",
    on=ClusterObject,
    outcome=Outcome.refused,
    reason="rejected: names are small letters, digits, dashes (and dots); keys and values of labels have at most 63 characters",
    fix="rename it: letters, digits and dashes, with a letter or digit at both ends",
    link=_NAMES + "names/",
)
def refused_name(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """apimachinery: ValidateObjectMeta, ValidateLabels, ValidateAnnotations. KServe's own rule for names is HM114."""
    unnamed = each.get("metadata", "name") in (None, "") and not text(each.data, "metadata", "generateName")
    if unnamed and shape_of(each) is not None and not patched(each, world):
        yield each.hit("neither a name nor a generateName", "metadata")
    if each.name and each.kind not in _FREE_NAMES and not _named(each):
        yield each.hit(f"the name {each.name!r}", "metadata", "name")
    if each.namespace and not _LABEL.fullmatch(each.namespace):
        yield each.hit(f"the namespace {each.namespace!r}", "metadata", "namespace")
    yield from bad_marks(each, mapping(each.data, "metadata"), ("metadata",))
    for index, name in enumerate(listing(each.data, "metadata", "finalizers")):
        if isinstance(name, str) and not qualified(name):
            yield each.hit(f"the finalizer {name!r}", "metadata", "finalizers", index)


def bad_marks(each: ClusterObject, holder: dict[str, Any], path: Keys) -> Iterator[RuleMatch]:
    """The labels and annotations of `holder` that Kubernetes refuses."""
    for key, value in mapping(holder, "labels").items():
        if not qualified(key):
            yield each.hit(f"the label's key {key!r}", *path, "labels", key)
        elif isinstance(value, str) and not label_value(value):
            shown = f"{value!r}" if len(value) <= 63 else f"of {len(value)} characters"
            yield each.hit(f"the value {shown} of label {key}", *path, "labels", key)
    annotations = mapping(holder, "annotations")
    for key in annotations:
        if not qualified(key.lower()):
            yield each.hit(f"the annotation's key {key!r}", *path, "annotations", key)
    size = sum(len(key) + len(value) for key, value in annotations.items() if isinstance(value, str))
    if size > _ANNOTATIONS:
        yield each.hit(f"{size} bytes of annotations, at most {_ANNOTATIONS}", *path, "annotations")


def _named(each: ClusterObject) -> bool:
    if isinstance(each, Service):
        return len(each.name) <= 253
    if each.group == "" and each.kind == "Namespace":
        return _LABEL.fullmatch(each.name) is not None
    if each.group == "" and each.kind == "Service":
        return _SERVICE.fullmatch(each.name) is not None
    return subdomain(each.name)


@rule(
    "HM805",
    "A field that the kind does not have",
    on=ClusterObject,
    severity=Severity.warning,
    outcome=Outcome.dropped,
    reason="kubectl's strict validation refuses it; every other client loses it without a word: the value has no effect",
    fix="mend the spelling, or move the field to where it belongs",
    link=_CRD,
)
def unknown_field(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """The strict schemas under hallmark/lint/schemas; the API server prunes what they do not name."""
    known = shape_of(each)
    for fault in _faults(each):
        if fault.breach is Breach.unknown:
            near = get_close_matches(str(fault.path[-1]), _siblings(known, fault.path), 1)
            yield each.hit(f"{fault.text}{f': {near[0]}?' if near else ''}", *fault.path)


def _siblings(known: Shape | None, path: Keys) -> frozenset[str]:
    """The fields that stand where an unknown one was written."""
    try:
        steps = ("[]" if isinstance(step, int) else step for step in path[:-1])
        return known.at(*steps).fields if known is not None else frozenset()
    except KeyError:
        return frozenset()
