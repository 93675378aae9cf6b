"""Rollout record of a domain: who is stable, and how far a candidate is, in an annotation of its InferenceService.

It is written in the same patch as the model and the share, with the object's resourceVersion as compare-and-set, so that it and the
traffic never differ. release.yaml, the alias champion and the timeline follow it (followers.py); nobody reads them to learn who is stable.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from hallmark import object_labels
from hallmark.artifacts.release import Release, Target
from hallmark.render.inferenceservice import target_of
from hallmark.rollout import standard
from hallmark.rollout.evidence import RolloutProgress
from hallmark.rollout.timeline import Kind, TimelineEntry
from hallmark.rollout.writer import live_target, share
from hallmark.section import Frozen

Object = dict[str, Any]


PROMOTED_BY_HAND = "promoted by a person"
ROLLED_BACK_BY_HAND = "rolled back by a person"
CHANGES = 30
"""Changes by hand that a record holds: of annotations Kubernetes allows 256 KiB for one object."""


class RolloutRecord(Frozen):
    """State of a domain's releases.

    stable:    serves all traffic that a candidate does not; none where the object does not tell.
    previous:  was stable before, and is where a roll-back of stable leads; none after a roll-back.
    since:     when stable was made it.
    reasons:   why.
    rollout:   the rollout under way, as the watch has it; none for one that a person moves.
    returning: a roll-back is under way: stable has the traffic, and its model has yet to be the newest.
    pods:      most ready pods that stable had since the rollout began: they carry all of the traffic; 0 at rest.
    held:      until then stable keeps the pods that a promotion or roll-back scaled it to; none where it was not scaled.
    changes:   the newest that people asked for, in their order; each watch takes them into its timeline.
    """

    stable: Target | None = None
    previous: Target | None = None
    since: datetime | None = None
    reasons: tuple[str, ...] = ()
    rollout: RolloutProgress | None = None
    returning: bool = False
    pods: int = 0
    held: datetime | None = None
    changes: tuple[TimelineEntry, ...] = ()

    @property
    def release(self) -> Release:
        """The content of release.yaml that follows this record."""
        return Release(stable=self.stable, previous=self.previous)

    @property
    def note(self) -> dict[str, str | None]:
        """The annotation that holds it."""
        return {object_labels.ROLLOUT: self.model_dump_json(by_alias=True, exclude_defaults=True)}

    def moving(self, progress: RolloutProgress | None, *, pods: int = 0) -> RolloutRecord:
        """The record with this rollout under way; none: a person moves the candidate. pods: ready ones that stable has now."""
        most = max(self.pods, pods)
        return self.model_copy(update={"rollout": progress, "returning": False, "pods": most, "held": None})

    def changed(
        self, kind: Kind, text: str, *, by: str, at: datetime, version: int, percent: int | None = None, why: str = ""
    ) -> RolloutRecord:
        """The record with a change that person `by` asks for, and `why`; it belongs to the rollout under way, or begins one of its own."""
        entry = TimelineEntry(
            at=at,
            correlation=self.rollout.id if self.rollout else self.asked(version) or uuid.uuid4().hex,
            kind=kind,
            text=text,
            version=version,
            percent=percent,
            by=by,
            why=why,
        )
        return self.model_copy(update={"changes": (*self.changes, entry)[-CHANGES:]})

    def asked(self, version: int) -> str:
        """Correlation id of the release of this version that a person asked for last; empty where none is under way."""
        last = self.changes[-1] if self.changes else None
        return last.correlation if last and last.kind in ("shadow", "canary") and last.version == version else ""

    @property
    def told(self) -> bool:
        """Is how stable became it among the changes?"""
        return any(each.at == self.since for each in self.changes)

    def made_stable(self, target: Target, *, at: datetime, reasons: tuple[str, ...] = ()) -> RolloutRecord:
        """The record once `target` is stable, by a promotion or by a person's patch."""
        before = self.stable if self.stable != target else self.previous
        return RolloutRecord(stable=target, previous=before, since=at, reasons=reasons, changes=self.changes)

    def rolled_back(self, good: Target | None, *, at: datetime, reasons: tuple[str, ...] = ()) -> RolloutRecord:
        """The record of a roll-back to `good` that has begun."""
        changed = {} if good == self.stable else {"since": at, "stable": good}
        return self.model_copy(
            update={"previous": None, "rollout": None, "returning": True, "reasons": reasons, **changed}
        )

    @property
    def settled(self) -> RolloutRecord:
        """The record once nothing moves any more."""
        return self.model_copy(update={"rollout": None, "returning": False, "pods": 0})


def written(live: Object) -> RolloutRecord | None:
    """The record that the object holds; none where it holds none that can be read."""
    notes = live["metadata"].get("annotations") or {}
    try:
        return RolloutRecord.model_validate_json(notes.get(object_labels.ROLLOUT, ""))
    except ValidationError:
        return None


def read(live: Object, *, now: datetime) -> RolloutRecord:
    """The record of a live object as its traffic says: without a share its model is stable, whoever put it there."""
    found = written(live) or RolloutRecord()
    stable = live_target(live) if share(live) is None else found.stable
    if standard.is_standard(live):
        stable = target_of(live["spec"]["predictor"])
    if stable is None or stable == found.stable:
        return found if share(live) is not None else found.settled
    return found.made_stable(stable, at=now, reasons=("found on the InferenceService",)).moving(
        found.rollout if share(live) is not None else None
    )
