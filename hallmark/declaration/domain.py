"""A domain's declaration: one `domain.yaml`, read by the pipeline, the renderer, the drift monitor, the tenant and AWS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import model_validator

from hallmark import key_value
from hallmark.declaration import contradictions, folders
from hallmark.declaration.batch import Batch
from hallmark.declaration.code import module as module
from hallmark.declaration.data import Data
from hallmark.declaration.decision import Decision
from hallmark.declaration.drift import Drift
from hallmark.declaration.drill import Drill
from hallmark.declaration.features import Features
from hallmark.declaration.folders import names as names
from hallmark.declaration.gate import Gate
from hallmark.declaration.notify import Notify
from hallmark.declaration.policy import Policy
from hallmark.declaration.retrieval import Retrieval
from hallmark.declaration.rollout import Retrain, Rollout
from hallmark.declaration.serving import Reviewer, Serving
from hallmark.declaration.tenant import Owner, Quota
from hallmark.declaration.training import Training
from hallmark.errors import DeclarationError
from hallmark.names import outside, taken
from hallmark.section import Name, Section, contradicting, validated
from hallmark.settings import Settings
from hallmark.tasks.kinds import Task


class Domain(Section):
    """One domain: what it predicts from which data, and how it is trained, served, rolled out and watched."""

    name: Name
    owner: Owner
    description: str
    task: Task
    data: Data
    training: Training
    gate: Gate
    serving: Serving
    features: Features | None = None
    retrieval: Retrieval | None = None
    policy: Policy | None = None
    batch: Batch | None = None
    decision: Decision | None = None
    rollout: Rollout = Rollout()
    retrain: Retrain = Retrain()
    drift: Drift = Drift()
    reviewer: Reviewer | None = None
    quota: Quota = Quota()
    notify: Notify | None = None
    drill: Drill | None = None

    @model_validator(mode="after")
    def _whole(self) -> Domain:
        if taken(self.name):
            raise ValueError(
                f"{self.name} is, or looks like, a namespace of the platform, or a word of Python or YAML: choose another name"
            )
        if self.reviewer and (reason := outside(self.name, self.reviewer.model)):
            raise ValueError(f"reviewer.model: {reason}")
        if self.quota.gpu < self.gpus:
            raise ValueError(
                f"quota.gpu is {self.quota.gpu}, and training, serving and reviewer together take up to {self.gpus}:"
                f" raise it, or lower serving.replicas.maximum or training.nodes"
            )
        if self.name in self.serving.callers:
            raise ValueError(
                "serving.callers names the domain itself, which may always call its own model: leave it out"
            )
        if self.data.split != "entity" and self.data.event_time is None:
            raise ValueError(
                f"data.split is {self.data.split}, so data.event_time is needed: the column with an example's time"
            )
        if self.data.label_delay and self.data.event_time is None:
            raise ValueError("data.label_delay is set, so data.event_time is needed: the delay counts from it")
        if self.drift.history and self.data.event_time is None:
            raise ValueError("drift.history is set, so data.event_time is needed: it says which part of the year")
        return self

    @model_validator(mode="after")
    def _workable(self) -> Domain:
        if found := list(contradictions.of(self)):
            raise contradicting(found)
        return self

    @property
    def given(self) -> dict[str, Any]:
        """The keys that the declaration gives, as JSON. Defaults are left out: some keys may not be given together."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def gpus(self) -> int:
        """GPUs that training, serving and reviewer take together, each at its largest."""
        reviewer = self.reviewer.gpu * self.reviewer.replicas.maximum if self.reviewer else 0
        return self.training.gpu + self.serving.gpu * self.serving.replicas.maximum + reviewer

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace: the domain's name."""
        return self.name


def load(name: str, settings: Settings | None = None) -> Domain:
    """The declaration of one domain; `DeclarationError` names file, key, expected and got."""
    settings = settings or Settings.load()
    path = folders.path(name, settings)
    return parse(path, shown=str(path.relative_to(settings.root)))


def parse(path: Path, *, shown: str | None = None) -> Domain:
    """The declaration in the file at `path`, which errors call `shown`."""
    shown = shown or str(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{shown}:{mark.line + 1}:{mark.column + 1}" if mark else shown
        raise DeclarationError(
            f"{where} is not YAML", expected="a YAML mapping", got=str(error.problem), fix="mend that line"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{shown} is not YAML", expected="a YAML mapping in UTF-8", got=str(error), fix="mend the file"
        ) from error
    if not isinstance(raw, dict):
        raise DeclarationError(
            f"{shown} is not a mapping", expected="keys such as name, owner, data", got=type(raw).__name__
        )
    domain = validated(Domain, raw, shown)
    if domain.name != path.parent.name:
        raise DeclarationError(
            f"{shown}: name", expected=f"{path.parent.name!r}, the folder's name", got=repr(domain.name)
        )
    return domain


def overridden(domain: Domain, changes: Sequence[str]) -> Domain:
    """The declaration with keys set for this once: each of `changes` is KEY=VALUE, such as rollout.dwell=3s."""
    raw = domain.given
    for change in changes:
        key, equals, value = change.partition("=")
        section, *path = key.split(".")
        if not equals or not path or not all((section, *path)):
            raise DeclarationError(
                "--set is not KEY=VALUE",
                expected="a key of a section of domain.yaml and its value",
                got=repr(change),
                fix="write it as in --set rollout.dwell=3s",
            )
        place = raw
        for part in (section, *path[:-1]):
            found = place.get(part)
            place[part] = place = dict(found) if isinstance(found, dict) else {}
        place[path[-1]] = key_value.read("--set", key, value)
    return validated(Domain, raw, f"{domain.name} with --set", place="what --set says")


def json_schema() -> str:
    """The JSON Schema of `domain.yaml`, for editors."""
    schema = Domain.model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated from hallmark/declaration/domain.py by `hallmark domains --schema`.",
        **schema,
    }
    return json.dumps(schema, indent=2) + "\n"
