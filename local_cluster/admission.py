"""What comes to the API, judged by lint's rules: what is refused, what is taken and never gets ready, what is dropped.

One declaration, two readers: a rule of hallmark/lint that says what a cluster does (`outcome`) is this API's too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from hallmark.declaration.traffic import Mode
from hallmark.lint import judge
from hallmark.lint.cluster import PLATFORM
from hallmark.lint.objects import ClusterOptions
from hallmark.lint.rules import LintFinding, Outcome
from hallmark.lint.shapes import Breach, Shape, shape
from hallmark.lint.source import Keys
from local_cluster.resources import Object, Resource
from local_cluster.schema import SchemaFault

_REASONS = {"HM802": "FieldValueTypeInvalid"}


class Admission:
    """The judgement of one object on a cluster in KServe's `mode`.

    before: what it replaces.   around: what its namespace and cluster hold besides.
    """

    def __init__(
        self, obj: Object, *, before: Object | None = None, around: Iterable[Object] = (), mode: Mode = "Knative"
    ) -> None:
        meta = obj.get("metadata") or {}
        key = (str(obj.get("kind")), str(meta.get("namespace", "")), str(meta.get("name", "")))
        self._found = judge.of_objects(
            [obj],
            background=[PLATFORM, *around],
            previous=None if before is None else {key: before},
            options=ClusterOptions(mode=mode),
        )

    @property
    def refusals(self) -> list[SchemaFault]:
        """Why it may not be kept."""
        return [
            SchemaFault(shown(each.path), _REASONS.get(each.code, "FieldValueInvalid"), f"{each.message} ({each.code})")
            for each in self._of(Outcome.refused)
        ]

    @property
    def never_ready(self) -> list[str]:
        """Why nothing that is made of it will ever get ready, field by field."""
        return [f"{shown(each.path)}: {each.message} ({each.code})" for each in self._of(Outcome.never_ready)]

    @property
    def warnings(self) -> list[str]:
        """What whoever writes it should hear at once."""
        dropped = [f"{shown(each.path)}: {each.message}: it has no effect" for each in self._of(Outcome.dropped)]
        return [*(f"taken, and never ready: {each}" for each in self.never_ready), *dropped]

    def _of(self, outcome: Outcome) -> Iterator[LintFinding]:
        # What a runtime in the background gets wrong is told about the runtime.
        return (each for each in self._found if each.outcome is outcome and each.file == "memory")


def shown(path: Keys) -> str:
    """A path as Kubernetes writes it: `spec.containers[0].image`, `metadata.labels[a/b]`."""
    text = ""
    for part in path:
        plain = isinstance(part, str) and part.replace("-", "").isalnum()
        text += f".{part}" if plain else f"[{part}]"
    return text.removeprefix(".")


def unknown(obj: Object, resource: Resource) -> list[str] | None:
    """The paths of fields that the kind does not have; None for a kind whose shape lint does not hold."""
    whole, metadata = _shapes(resource)
    if whole is None:
        return None
    found = [*whole.faults(_without_metadata(obj)), *metadata.faults(obj.get("metadata"), ("metadata",))]
    return [shown(fault.path) for fault in found if fault.breach is Breach.unknown]


def pruned(obj: Object, resource: Resource) -> Object | None:
    """The object without what the kind does not have and what is null; None for a kind whose shape lint does not hold."""
    whole, metadata = _shapes(resource)
    if whole is None:
        return None
    kept: Object = whole.pruned(_without_metadata(obj))
    if obj.get("metadata") is not None:
        kept["metadata"] = metadata.pruned(obj["metadata"])
    return kept


def _without_metadata(obj: Any) -> Any:
    return {key: value for key, value in obj.items() if key != "metadata"}


@cache
def _shapes(resource: Resource) -> tuple[Shape | None, Shape]:
    """The shape of a kind, and that of everybody's metadata."""
    config = shape("", "ConfigMap", "v1")
    if config is None:
        raise LookupError("hallmark/lint/schemas has no core/configmap_v1.json")
    return shape(resource.group, resource.kind, resource.version), config.at("metadata")
