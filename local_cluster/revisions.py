"""Revisions: the templates that an InferenceService had, each under a number, kept on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark.files import replace
from local_cluster.predictor import COMPONENT, InvalidSpec, retention

Json = dict[str, Any]

KEPT = 20


class Revision(BaseModel):
    """A template under a number: what its pods are made from, now and after a restart.

    deployment: in Standard mode the Deployment that it is a template of, one after the other; empty in Knative mode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    number: int
    template: Json
    created: str
    deployment: str = ""

    @property
    def workload(self) -> str:
        """What a rollout calls the revision: in Standard mode the Deployment."""
        return self.deployment or self.name


class RevisionHistory(BaseModel):
    """The revisions of one InferenceService (`uid`), oldest first, and the number that the next one gets.

    idle: since when the former stable revision has no traffic, in seconds of the epoch, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uid: str
    next_number: int = 1
    revisions: tuple[Revision, ...] = ()
    idle: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """Their names, oldest first."""
        return [r.name for r in self.revisions]

    def find(self, name: str) -> Revision | None:
        """The revision called `name`."""
        return next((r for r in self.revisions if r.name == name), None)

    def with_template(self, name: str, template: Json, *, created: str) -> RevisionHistory:
        """The history with a new revision of service `name`, or itself when its newest one has that template already."""
        if self.revisions and self.revisions[-1].template == template:
            return self
        made = Revision(
            name=f"{name}-{COMPONENT}-{self.next_number:05d}",
            number=self.next_number,
            template=template,
            created=created,
        )
        return self.model_copy(update={"next_number": self.next_number + 1, "revisions": (*self.revisions, made)})

    def with_idle(self, name: str, *, now: float) -> RevisionHistory:
        """The history with revision `name` noted as idle from now on, or since it was first noted; with none for an empty name."""
        return self.model_copy(update={"idle": {name: self.idle.get(name, now)} if name else {}})

    def warm_until(self, name: str) -> float:
        """End of the standby of an idle revision's pod, in seconds of the epoch; 0 for one that is not kept."""
        revision = self.find(name)
        if revision is None or name not in self.idle:
            return 0.0
        try:
            return self.idle[name] + retention(revision.template)
        except InvalidSpec:
            return 0.0

    def without_old(self, needed: frozenset[str]) -> RevisionHistory:
        """The history with the newest revisions and those `needed`; the rest are forgotten."""
        kept = tuple(r for i, r in enumerate(reversed(self.revisions)) if i < KEPT or r.name in needed)
        return self.model_copy(update={"revisions": tuple(reversed(kept))})


class RevisionStore:
    """The histories on disk, one file per service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, namespace: str, name: str, *, uid: str) -> RevisionHistory:
        """The history of a service; a new one when there is none, or it belongs to an earlier service of that name."""
        try:
            history = RevisionHistory.model_validate_json(self._path(namespace, name).read_bytes())
        except (OSError, ValidationError):
            return RevisionHistory(uid=uid)
        return history if history.uid == uid else RevisionHistory(uid=uid)

    def write(self, namespace: str, name: str, history: RevisionHistory) -> None:
        """Keep the history of a service."""
        replace(self._path(namespace, name), history.model_dump_json(indent=1))

    def drop(self, namespace: str, name: str) -> None:
        """Forget the history of a service that was deleted or stopped."""
        self._path(namespace, name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, namespace: str, name: str) -> Path:
        return self._folder / namespace / f"{name}.json"


def digest(value: Json) -> str:
    """Ten characters that stand for a template."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
