"""Declarations of domains: what would be refused, or never be possible, on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from hallmark.declaration import condition, timeouts
from hallmark.declaration.condition import Beside
from hallmark.declaration.serving import Serving
from hallmark.lint.cluster import revision_limit
from hallmark.lint.environments import adapters
from hallmark.lint.objects import LintContext
from hallmark.lint.reading import dig, listing, mapping, quantity, text
from hallmark.lint.rules import KNATIVE, PIPELINES, RuleMatch, Severity, rule
from hallmark.lint.source import Document, Keys
from hallmark.section import contradictions_in, duration, spelled

_MONITOR = {"cpu": 0.5, "memory": 512 * 2**20}
"""Limits of the drift monitor beside each model server (the runtime's), where the runtime is not among the files."""
_TIMEOUT = Serving.model_fields["timeout"].default.total_seconds()
_DOCS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"


@dataclass(frozen=True, eq=False)
class Declaration:
    """A domain.yaml as it is written, valid or not."""

    document: Document
    data: dict[str, Any]

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the declaration."""
        return RuleMatch(self.document, path, text)

    @property
    def name(self) -> str:
        """The domain's name."""
        return text(self.data, "name")

    @cached_property
    def problems(self) -> tuple[tuple[Keys, str], ...]:
        """Problems that hallmark.declaration.domain finds: the key and the reason."""
        from hallmark.declaration.domain import Domain

        try:
            Domain.model_validate(self.data)
        except ValidationError as error:
            return tuple(each for item in error.errors() for each in _problems(item))
        return ()

    def seconds(self, *path: str) -> float | None:
        """A duration of the declaration in seconds."""
        try:
            return duration(dig(self.data, *path)).total_seconds()
        except ValueError:
            return None


def declaration_of(document: Document) -> Declaration | None:
    """The declaration that a document is, by the file's name."""
    if PurePosixPath(document.shown).name != "domain.yaml" or not isinstance(document.data, dict):
        return None
    return Declaration(document, document.data)


def _problems(item: Mapping[str, Any]) -> list[tuple[Keys, str]]:
    section = "".join(f"{part}." for part in item["loc"])  # what contradicts begins with the key below it
    if found := contradictions_in(item):
        return [(keys_of(key), told.removeprefix(f"{key.removeprefix(section)}: ")) for key, told in found]
    return [(tuple(item["loc"]), item["msg"].removeprefix("Value error, "))]


def keys_of(key: str) -> Keys:
    """A key's path."""
    return tuple(int(each) if each.isdigit() else each for each in key.split(".") if each)


def comparisons_in(declaration: Declaration) -> Iterator[tuple[Keys, Beside]]:
    """Every comparison with a value in the conditions of a decision, by the key of its condition; what is no condition is HM701."""
    for name, step in mapping(declaration.data, "decision", "steps").items():
        for at, route in enumerate(listing(step, "routes")):
            try:
                found = condition.parsed(text(route, "when"))
            except condition.Wrong:
                continue
            for each in condition.comparisons(found):
                yield ("decision", "steps", name, "routes", at, "when"), each


def _fields(declaration: Declaration) -> int:
    return len(text(declaration.data, "training", "schedule").split())


@rule(
    "HM701",
    "A declaration that is refused",
    on=Declaration,
    reason="every command that reads it fails: hallmark domains names each wrong key",
    fix="mend the key; your editor completes it from domains/domain.schema.json",
    link="https://docs.pydantic.dev/latest/errors/errors/",
)
def refused(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/domain.py; a cron of five fields is HM702."""
    for path, why in declaration.problems:
        if path != ("training", "schedule") or _fields(declaration) != 5:
            yield declaration.hit(f"{'.'.join(map(str, path)) or 'the whole'}: {why}", *path)
    folder = PurePosixPath(declaration.document.shown).parent
    if folder.parent.name == "domains" and declaration.name and folder.name != declaration.name:
        yield declaration.hit(f"name: expected {folder.name}, as its folder is called; got {declaration.name}", "name")


@rule(
    "HM702",
    "A schedule of five fields",
    on=Declaration,
    reason="Kubeflow reads seconds first and takes a missing sixth field for *: `0 3 * * *` runs every hour at 3 minutes past",
    fix='write six fields, seconds first: "0 0 3 * * *"',
    link=PIPELINES + "backend/src/apiserver/server/api_converter.go",
)
def cron(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """api_converter.go: robfig/cron v1.2 Parse, `day of week, optional`."""
    if _fields(declaration) == 5:
        text_ = f"{text(declaration.data, 'training', 'schedule')!r} has 5 fields"
        yield declaration.hit(text_, "training", "schedule")


@rule(
    "HM703",
    "A quota that one training and all that serves exceed",
    on=Declaration,
    reason="at full load the training waits for ever, or the last replicas are refused: exceeded quota",
    fix="raise the quota, or lower serving.replicas.maximum, training.nodes or what each of them takes",
    link=_DOCS,
)
def quota(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """Profile.spec.resourceQuotaSpec is made of `quota`; GPUs are held by the declaration itself."""
    if declaration.problems:
        return
    from hallmark.declaration import decision_pods
    from hallmark.declaration.domain import Domain

    domain = Domain.model_validate(declaration.data)
    deciding = decision_pods.of(domain)
    sidecars = _sidecars(world)
    serving, training, reviewer = domain.serving, domain.training, domain.reviewer
    for key in ("cpu", "memory"):
        served = serving.replicas.maximum * ((quantity(getattr(serving, key)) or 0) + sidecars[key])
        trained = training.nodes * (quantity(getattr(training, key)) or 0)
        reviewed = reviewer.replicas.maximum * (quantity(getattr(reviewer, key)) or 0) if reviewer else 0
        decided = {name: each.most * (quantity(getattr(each, key)) or 0) for name, each in deciding.items()}
        needed = served + trained + reviewed + sum(decided.values())
        have = quantity(getattr(domain.quota, key)) or 0
        if needed > have:
            shown = _gibibytes if key == "memory" else _cores
            parts = f"serving {shown(served)} + training {shown(trained)}"
            parts += f" + reviewer {shown(reviewed)}" if reviewed else ""
            parts += "".join(f" + {name} {shown(each)}" for name, each in decided.items())
            yield declaration.hit(f"{key}: {parts} = {shown(needed)} of {shown(have)}", "quota", key)


def _cores(value: float) -> str:
    return f"{value:g}"


def _gibibytes(value: float) -> str:
    return f"{value / 2**30:g}Gi"


def _sidecars(world: LintContext) -> dict[str, float]:
    """Limits of a pod's other containers, from the runtime that domains are served with."""
    found = world.runtimes.get(("", "hallmark-runtime"))
    if found is None:
        return dict(_MONITOR)
    others = [item for item in listing(found.data, "spec", "containers") if text(item, "name") != "kserve-container"]
    return {
        key: sum(quantity(mapping(item, "resources", "limits").get(key)) or 0 for item in others)
        for key in ("cpu", "memory")
    }


@rule(
    "HM704",
    "A timeout longer than the cluster allows",
    on=Declaration,
    reason="a revision's timeout is at most max-revision-timeout-seconds: no revision could be made",
    fix="lower serving.timeout, or raise the limit where the platform configures Knative Serving",
    link=KNATIVE + "pkg/apis/config/defaults.go",
)
def timeout(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """revision_validation.go, validateTimeoutSeconds."""
    found, most = declaration.seconds("serving", "timeout"), revision_limit(world)
    if found and (attempt := timeouts.of(timedelta(seconds=found)).attempt) > most:
        text_ = f"serving.timeout {spelled(timedelta(seconds=found))} gives the revision {attempt}s, at most {most}s"
        yield declaration.hit(text_, "serving", "timeout")


@rule(
    "HM705",
    "A latency objective that cannot be missed",
    on=Declaration,
    reason="whatever is slower than the timeout is cut off and counts as an error, so no answer is ever too slow",
    fix="set latency_objective below timeout",
    link="https://sre.google/sre-book/service-level-objectives/",
)
def objective(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """serving.latency_objective against serving.timeout, or its default."""
    wanted, most = declaration.seconds("serving", "latency_objective"), declaration.seconds("serving", "timeout")
    if wanted is not None and wanted >= (_TIMEOUT if most is None else most):
        text_ = f"latency_objective {dig(declaration.data, 'serving', 'latency_objective')} is not below the timeout"
        yield declaration.hit(text_, "serving", "latency_objective")


@rule(
    "HM706",
    "A caller that is no domain",
    on=Declaration,
    reason="the permission is for pods of a namespace that is not there, and whoever was meant stays out",
    fix="name declared domains in serving.callers",
    link="https://istio.io/latest/docs/reference/config/security/authorization-policy/",
)
def caller(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """AuthorizationPolicy matches source namespaces as text."""
    for index, name in enumerate(listing(declaration.data, "serving", "callers")):
        if world.domains is not None and isinstance(name, str) and name not in world.domains | {declaration.name}:
            yield declaration.hit(f"{name} is no declared domain", "serving", "callers", index)


@rule(
    "HM707",
    "A reviewer that nobody asks",
    on=Declaration,
    severity=Severity.warning,
    reason="its GPU is paid for while it runs, and none of the domain's answers ever comes from it",
    fix="take reviewer away until the domain's decisions ask it",
    link="https://sre.google/sre-book/simplicity/",
)
def reviewer(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/contradictions.py: what works, and is of no use."""
    if declaration.problems:
        return
    from hallmark.declaration import contradictions
    from hallmark.declaration.domain import Domain

    for key, text_ in contradictions.warnings(Domain.model_validate(declaration.data)):
        yield declaration.hit(f"{key}: {text_}", *key.split("."))


@rule(
    "HM708",
    "A rollout that an environment cannot carry out",
    on=Declaration,
    reason="its traffic has no such thing: the watch refuses the domain there",
    fix="add the key to rollout.optional, and the rollout does without where it must; or take it away",
    link="https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary",
)
def beyond(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/traffic.py, against the mode of each environment."""
    if declaration.problems:
        return
    from hallmark.declaration import traffic
    from hallmark.declaration.domain import Domain

    policy = Domain.model_validate(declaration.data).rollout
    found: dict[str, list[str]] = {}
    for environment, adapter in adapters(world).items():
        for key, text_ in traffic.beyond(policy, adapter):
            found.setdefault(key, []).append(f"{text_} ({environment})")
    for key, texts in found.items():
        yield declaration.hit(f"rollout.{key} {'; '.join(texts)}", "rollout", key)
