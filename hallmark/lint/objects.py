"""Kubernetes objects, InferenceServices, and everything that is judged together with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Source
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import RuleMatch
from hallmark.lint.source import Document, Keys
from hallmark.prompts.prompt import Prompt

if TYPE_CHECKING:
    from hallmark.training.check import Finding

Mode = Literal["Knative", "Standard"]
MODE = "serving.kserve.io/deploymentMode"
LEGACY: dict[str, Mode] = {"Serverless": "Knative", "RawDeployment": "Standard"}
"""Old names of the two modes that KServe still takes; its validator compares the text as written."""
KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
COMPONENTS = ("predictor", "transformer", "explainer")
CONTAINER = "kserve-container"
FRAMEWORKS = (
    *("sklearn", "tensorflow", "xgboost", "pytorch", "triton"),
    *("onnx", "huggingface", "pmml", "lightgbm", "paddle"),
)
"""Older fields of a predictor, in the order of KServe's webhook: it turns the first that is there into `model` with that format."""


class ClusterOptions(BaseModel):
    """Facts about the cluster from the command line; None where the files state them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode | None = None
    kserve: str | None = None
    gateway_api: bool | None = None


@dataclass(frozen=True, eq=False)
class ClusterObject:
    """One object of the Kubernetes API; `path` leads to it in its document (a List holds several)."""

    document: Document
    data: dict[str, Any]
    path: Keys = ()

    @property
    def kind(self) -> str:
        """Its kind."""
        return text(self.data, "kind")

    @property
    def group(self) -> str:
        """Its API group; empty for the core one."""
        group, slash, _ = text(self.data, "apiVersion").rpartition("/")
        return group if slash else ""

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        return text(self.data, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its namespace; empty where it names none."""
        return text(self.data, "metadata", "namespace")

    @property
    def annotations(self) -> dict[str, Any]:
        """Its annotations."""
        return mapping(self.data, "metadata", "annotations")

    def get(self, *path: str | int) -> Any:
        """The value at `path`, or None."""
        return dig(self.data, *path)

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of this object."""
        return RuleMatch(self.document, (*self.path, *path), text)


@dataclass(frozen=True, eq=False)
class Canary:
    """An entry of spec.canary: its place, its share (None: not a number) and its predictor."""

    path: Keys
    percent: int | None
    predictor: dict[str, Any]

    @property
    def name(self) -> str:
        """The predictor's name."""
        return text(self.predictor, "name")


@dataclass(frozen=True, eq=False)
class Service(ClusterObject):
    """An InferenceService."""

    asked: Mode | None = None

    @property
    def written(self) -> str:
        """The deployment mode as its annotation has it; empty without one."""
        found = self.annotations.get(MODE)
        return found if isinstance(found, str) else ""

    @property
    def mode(self) -> str:
        """The mode it will run in: Knative or Standard; what was asked for where it does not say, else empty."""
        return LEGACY.get(self.written, self.written) if self.written else self.asked or ""

    @property
    def predictor(self) -> dict[str, Any]:
        """spec.predictor."""
        return mapping(self.data, "spec", "predictor")

    @property
    def model(self) -> dict[str, Any]:
        """spec.predictor.model."""
        return mapping(self.predictor, "model")

    @property
    def implementation(self) -> tuple[str, dict[str, Any]]:
        """The field of the predictor that says what the model is, and what it holds: an older framework's goes before `model`."""
        found = [key for key in (*FRAMEWORKS, "model") if isinstance(self.predictor.get(key), dict)]
        return (found[0], mapping(self.predictor, found[0])) if found else ("model", {})

    @cached_property
    def components(self) -> tuple[tuple[Keys, dict[str, Any]], ...]:
        """The components that are there, with their paths: predictor, transformer, explainer."""
        return tuple((("spec", name), part) for name in COMPONENTS if (part := mapping(self.data, "spec", name)))

    @cached_property
    def canaries(self) -> tuple[Canary, ...]:
        """The entries of spec.canary."""
        return tuple(
            Canary(("spec", "canary", index), integer(entry, "trafficPercent") or 0, mapping(entry, "predictor"))
            for index, entry in enumerate(listing(self.data, "spec", "canary"))
            if isinstance(entry, dict)
        )

    @property
    def predictors(self) -> Iterator[tuple[Keys, dict[str, Any]]]:
        """Every component and every canary's predictor, with its path."""
        yield from self.components
        for canary in self.canaries:
            yield (*canary.path, "predictor"), canary.predictor


class ViewReaders(NamedTuple):
    """Versions of feature views, name@version: those that are declared, those that a domain or a released model names.

    complete: False where a released model lies on another machine, and what it reads is not known.
    """

    declared: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    complete: bool = True


class DeclaredField(NamedTuple):
    """A field of FIELDS, and its line."""

    name: str
    datatype: str
    has_shape: bool
    line: int


class DeclaredFields(NamedTuple):
    """The fields that a features.py declares."""

    file: str
    fields: tuple[DeclaredField, ...]


@dataclass(frozen=True, eq=False)
class LintContext:
    """All that is judged together: what was asked about, and what the rest of the checkout says.

    domains:  the declared names; None where no checkout is known.
    previous: the objects as they were, by kind, namespace and name; None where nothing is compared with.
    sources:  data contracts by name@version, None of one that is refused.
    declared: feature views by name@version, None of one that is refused.   fields: of each folder of a domain, what its features.py declares.
    checked:  by a domain.yaml's name as it is shown, what `hallmark check` finds beside the domain's code; empty where no code was run.
    views:    which versions of feature views there are, and which are read.   models: the folder of registered models on this machine.
    prompts:  by name, None of one that is refused.
    """

    options: ClusterOptions
    objects: tuple[ClusterObject, ...] = ()
    domains: frozenset[str] | None = None
    previous: dict[tuple[str, str, str], dict[str, Any]] | None = None
    sources: Mapping[str, Source | None] = field(default_factory=dict)
    declared: Mapping[str, FeatureView | None] = field(default_factory=dict)
    fields: Mapping[str, DeclaredFields] = field(default_factory=dict)
    views: ViewReaders = field(default_factory=ViewReaders)
    models: Path | None = None
    checked: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    prompts: Mapping[str, Prompt | None] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[ClusterObject]:
        """The objects of these kinds, each kind in the order of the files."""
        return [each for kind in kinds for each in self._by_kind.get(kind, ())]

    @cached_property
    def _by_kind(self) -> dict[str, list[ClusterObject]]:
        found: dict[str, list[ClusterObject]] = {}
        for each in self.objects:
            found.setdefault(each.kind, []).append(each)
        return found

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """The namespaces that something among the files makes: Namespaces, Profiles, and where Applications put their charts."""
        made = {each.name for each in self.of("Namespace", "Profile")}
        return frozenset(
            made | {text(each.data, "spec", "destination", "namespace") for each in self.of("Application")}
        )

    def before(self, each: ClusterObject) -> dict[str, Any] | None:
        """The object as it was, where there is something to compare with and it was there."""
        return (self.previous or {}).get((each.kind, each.namespace, each.name))

    @cached_property
    def runtimes(self) -> dict[tuple[str, str], ClusterObject]:
        """Serving runtimes by namespace (empty: of the cluster) and name."""
        found = {("", each.name): each for each in self.of("ClusterServingRuntime")}
        return found | {(each.namespace, each.name): each for each in self.of("ServingRuntime")}

    def runtime(self, service: Service, model: dict[str, Any]) -> ClusterObject | None:
        """The runtime that a model names: the namespace's own before the cluster's, as KServe looks it up."""
        name = text(model, "runtime")
        return self.runtimes.get((service.namespace, name)) or self.runtimes.get(("", name))


def is_contract(data: Any) -> bool:
    """Is it a data contract? They too have a kind and an apiVersion, of another standard."""
    return text(data, "kind") == "DataContract" and "/" not in text(data, "apiVersion")


def objects(document: Document) -> Iterator[ClusterObject]:
    """The Kubernetes objects of a document: itself, or what its List holds."""
    data = document.data
    if PurePosixPath(document.shown).name in KUSTOMIZATIONS and isinstance(data, dict):
        # Kustomize fills both in where they are left out.
        data = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **data}
    if not isinstance(data, dict) or not text(data, "kind") or not text(data, "apiVersion"):
        return
    if is_contract(data):
        return
    if text(data, "kind").endswith("List") and isinstance(data.get("items"), list):
        for index, item in enumerate(data["items"]):
            if isinstance(item, dict) and text(item, "kind") and text(item, "apiVersion"):
                yield ClusterObject(document, item, ("items", index))
        return
    yield ClusterObject(document, data)


def service_of(each: ClusterObject, options: ClusterOptions) -> Service | None:
    """The object as an InferenceService, where it is one."""
    if each.kind == "InferenceService" and each.group == "serving.kserve.io":
        return Service(each.document, each.data, each.path, options.mode)
    return None
