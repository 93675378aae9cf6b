"""Every pod spec of every kind, found by its shape, so that a kind nobody thought of is found too.

Out of reach: pods that a chart makes of an Argo CD Application's helm values, and what an LLMInferenceService takes from a
LLMInferenceServiceConfig of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hallmark.lint.objects import CONTAINER, ClusterObject, LintContext, Service
from hallmark.lint.reading import dig, listing, mapping, text
from hallmark.lint.rules import RuleMatch
from hallmark.lint.source import Document, Keys

PodSpec = dict[str, Any]
Layer = tuple[Document, Keys, dict[str, Any]]
"""A part of a merged container: where it stands, and what it says."""

_PATTERNS = frozenset({"kyverno.io", "policies.kyverno.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"})
"""Groups whose objects hold patterns of pods, or schemas of them, and no pods."""
_HOLDERS = frozenset({"template", "worker", "prefill"})
_KEYED = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
"""Lists of a container that are merged entry by entry, and by which key."""


def pod_specs(data: Any) -> Iterator[tuple[Keys, PodSpec]]:
    """The pod specs inside an object, with their paths: mappings with `containers` that have names, one at least with an image.

    Under a template a container without an image counts too: something will give it one.
    """
    if text(data, "apiVersion").rpartition("/")[0] in _PATTERNS:
        return
    skipped = {"status", "data", *(["helm"] if text(data, "kind").startswith("Application") else [])}
    # A TrainJob lays its parts over the runtime's: without an image they are no containers yet.
    partial = text(data, "kind") == "TrainJob"
    waiting: list[tuple[Keys, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if _is_pod(path, value, partial=partial):
                yield path, value
            waiting += [((*path, key), item) for key, item in value.items() if key not in skipped]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]


def _is_pod(path: Keys, value: dict[str, Any], *, partial: bool) -> bool:
    containers = value.get("containers")
    if not isinstance(containers, list) or not containers:
        return False
    named = all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in containers)
    held = any(isinstance(each, dict) and each.get("image") for each in containers)
    templated = bool(path) and (path[-1] in _HOLDERS or (path[-1] == "spec" and "template" in path[-2:]))
    return held or (named and templated and not partial)


@dataclass(frozen=True, eq=False)
class Container:
    """A container as it will run: the last layer wins, key by key, as KServe merges runtime and model."""

    layers: tuple[Layer, ...]
    kind: str = "containers"

    @cached_property
    def data(self) -> dict[str, Any]:
        """Layers merged into one; `args` are appended, entries of keyed lists replaced one by one."""
        merged: dict[str, Any] = {}
        for _, _, layer in self.layers:
            lists = {"args": [*listing(merged, "args"), *listing(layer, "args")]}
            for key, by in _KEYED.items():
                both = [*listing(merged, key), *listing(layer, key)]
                lists[key] = list({_key(item, by): item for item in both}.values()) if merged else both
            merged = _merged(merged, layer) | {key: value for key, value in lists.items() if value}
        return merged

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.data, "name")

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path`, in the layer that wins there; in the last layer that says anything near it."""
        for depth in range(len(path), 0, -1):
            for document, base, layer in reversed(self.layers):
                own = self._own(layer, path[:depth])
                if own is not None and dig(layer, *own) is not None:
                    return RuleMatch(document, (*base, *own), text)
        document, base, _ = self.layers[0]
        return RuleMatch(document, base, text)

    def _own(self, layer: dict[str, Any], path: Keys) -> Keys | None:
        """The path of a merged value in one layer, whose lists count on their own; None where the layer has no such entry."""
        if len(path) < 2 or path[0] not in (*_KEYED, "args") or len(self.layers) == 1:
            return path
        name, index = str(path[0]), path[1]
        wanted = dig(self.data, name, index)
        for own, item in enumerate(listing(layer, name)):
            if item == wanted:
                return (name, own, *path[2:])
        return None


def _key(item: Any, by: str) -> object:
    """What identifies an entry of a keyed list; the entry itself where it has no key."""
    found = mapping(item).get(by)
    return found if isinstance(found, str | int) else id(item)


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod spec and where it stands.

    whole:   false for a serving runtime, whose account and security belong to the InferenceService that names it.
    service: the InferenceService it is made of, where it is one's; `runtime` is the one it names, where that is among the files.
    unseen:  a model's container whose image and security only its runtime knows, which is not among the files.
    """

    owner: ClusterObject
    path: Keys
    spec: PodSpec
    containers: tuple[Container, ...]
    whole: bool = True
    service: Service | None = None
    runtime: ClusterObject | None = None
    unseen: Container | None = None

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the pod spec."""
        return self.owner.hit(text, *self.path, *path)

    @property
    def shown(self) -> str:
        """Whose pod it is, for messages."""
        return f"{self.owner.kind} {self.owner.name or '(no name)'}"

    @property
    def in_knative(self) -> bool:
        """True if a revision is made of this pod: a Knative Service's, or an InferenceService's in Knative mode."""
        return self.service.mode == "Knative" if self.service is not None else self.owner.group == "serving.knative.dev"

    @property
    def running(self) -> tuple[Container, ...]:
        """Its containers without those that come first and end."""
        return tuple(each for each in self.containers if each.kind == "containers")

    def values(self, key: str) -> list[Any]:
        """A list of the pod spec, such as tolerations or volumes, with the runtime's where there is one."""
        return [*listing(self.runtime.data if self.runtime else None, "spec", key), *listing(self.spec, key)]


def pods(each: ClusterObject, world: LintContext) -> Iterator[Pod]:
    """The pods of one object; of an InferenceService as they will be once merged with the runtimes among the files."""
    if isinstance(each, Service):
        for path, component in each.predictors:
            if pod := _component(each, path, component, world):
                yield pod
            if worker := mapping(component, "workerSpec"):
                yield _plain(each, (*path, "workerSpec"), worker)
        return
    whole = each.kind not in {"ServingRuntime", "ClusterServingRuntime"}
    for path, spec in pod_specs(each.data):
        yield _plain(each, path, spec, whole=whole)
    if each.kind == "TrainJob":
        yield from _training(each)


def _plain(each: ClusterObject, path: Keys, spec: PodSpec, *, whole: bool = True) -> Pod:
    containers = tuple(
        Container(((each.document, (*each.path, *path, kind, index), item),), kind)
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for index, item in enumerate(listing(spec, kind))
        if isinstance(item, dict)
    )
    return Pod(each, path, spec, containers, whole)


def _training(each: ClusterObject) -> Iterator[Pod]:
    """The nodes of a TrainJob that says itself what its pods are: its part of the runtime's pod, under what its trainer says."""
    trainer = mapping(each.data, "spec", "trainer")
    runs: dict[str, Any] = {key: trainer[key] for key in ("image", "args", "env") if key in trainer}
    if "resourcesPerNode" in trainer:
        runs["resources"] = trainer["resourcesPerNode"]
    over: Layer = (each.document, (*each.path, "spec", "trainer"), runs)
    waiting: list[tuple[Keys, Any]] = [(("spec", "runtimePatches"), dig(each.data, "spec", "runtimePatches"))]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if path[-2:] == ("template", "spec") and any(
                text(item, "name") == "node" for item in listing(value, "containers")
            ):
                plain = _plain(each, path, value)
                containers = [
                    Container((*one.layers, over), one.kind) if one.name == "node" else one for one in plain.containers
                ]
                yield Pod(each, path, value, tuple(containers))
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]


def _component(service: Service, path: Keys, component: dict[str, Any], world: LintContext) -> Pod | None:
    """Pod that KServe builds (predictor.go, buildPodSpec): the runtime's model container under the model's, then the others.

    A canary's predictor is merged into stable's first, lists replaced whole (buildCanaryPredictor).
    """
    model, at = mapping(component, "model"), (*service.path, *path, "model")
    stable = service.model
    if path[:2] == ("spec", "canary"):
        component = _merged(service.predictor, component)
    own = _plain(service, path, component)
    if not component.get("model"):
        return Pod(service, path, component, own.containers, service=service) if own.containers else None
    layers: list[Layer] = [(service.document, at, model)] if model else []
    if model is not stable and stable:
        layers.insert(0, (service.document, (*service.path, "spec", "predictor", "model"), stable))
    runtime = world.runtime(service, {**stable, **model})
    others: list[Container] = []
    if runtime is not None:
        for index, item in enumerate(listing(runtime.data, "spec", "containers")):
            layer: Layer = (runtime.document, (*runtime.path, "spec", "containers", index), mapping(item))
            if text(item, "name") == CONTAINER:
                layers.insert(0, layer)
            elif isinstance(item, dict):
                others.append(Container((layer,)))
    known = runtime is not None or any(layer.get("image") for _, _, layer in layers)
    modelled = Container(tuple(layers))
    return Pod(
        service,
        path,
        component,
        (*([modelled] if known else []), *others, *own.containers),
        service=service,
        runtime=runtime,
        unseen=None if known else modelled,
    )


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(under)
    for key, value in over.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both
