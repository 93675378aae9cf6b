"""A domain's trainings by the clock: one recurring run of Kubeflow, brought to what is declared, one small step after another.

Kubeflow has no way to change a recurring run, and no unique names. So what is there is looked at, one call is made that brings it
nearer, and it is looked at again: whoever is killed at any call, or runs beside somebody else, leaves something that the next one
ends well. A new recurring run is made asleep and is awake before the old one is put to sleep, so that the clock is never without
one; it is made when neither is due for a minute, so that nothing is trained twice. Only a process that is killed between
the two leaves both awake: then a training too many may run, which registers nothing twice; one too few would go unseen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any

from pydantic import ValidationError

from hallmark import cron
from hallmark.declaration.batch import Batch
from hallmark.declaration.domain import Domain
from hallmark.errors import Conflict, DeclarationError, NotFound
from hallmark.names import PIPELINE
from hallmark.section import Frozen
from hallmark.training.graph import Kind
from hallmark.training.kubeflow_api import KubeflowApi, Reference, named

QUIET = timedelta(seconds=60)
"""A recurring run is not exchanged for another while one of them is due within this."""
_ROUNDS = 40


class Recurring(Frozen):
    """A recurring run as Kubeflow tells it. `mark` names all that was asked for; two with one mark do the same."""

    id: str
    mark: str
    cron: str
    version: str
    created: datetime
    status: str

    @property
    def awake(self) -> bool:
        """True if it starts runs."""
        return self.status == "ENABLED"


class ScheduleCall(StrEnum):
    """Effect of one call."""

    make_awake = "make one"
    make_asleep = "make one that sleeps"
    wake = "enable"
    sleep = "disable"
    delete = "delete"


ScheduleAction = tuple[ScheduleCall, Recurring | None]


def next_action(found: Sequence[Recurring], mark: str, *, now: datetime) -> ScheduleAction | None:
    """The one call that brings what is there nearer to one recurring run, awake, with this mark; none where that is so.

    One that slept through a time at which it was due would do it the moment it wakes: it is not woken, but made anew.
    """
    fresh = [each for each in found if each.mark == mark and (each.awake or _slept_through_nothing(each, now))]
    keep = min(fresh, key=lambda each: (not each.awake, each.created, each.id), default=None)
    others = [each for each in found if keep is None or each.id != keep.id]
    if keep is None:
        return (ScheduleCall.make_asleep if any(each.awake for each in found) else ScheduleCall.make_awake), None
    if not keep.awake:
        return ScheduleCall.wake, keep
    for each in others:
        if each.awake:
            return ScheduleCall.sleep, each
    return (ScheduleCall.delete, others[0]) if others else None


def _slept_through_nothing(each: Recurring, now: datetime) -> bool:
    first = cron.due(each.cron, each.created)
    return each.status == "DISABLED" and (first is None or first > now)


class Schedules:
    """The recurring runs of domains, each in its domain's experiment, under the name of its graph; others are left alone."""

    def __init__(
        self,
        api: KubeflowApi,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._api, self._now, self._sleep, self._say = api, now, sleep, say

    def on(self, domain: Domain, graph: Reference, *, records: str = "") -> Recurring:
        """Have this graph run by the domain's schedule; says what it does, and changes nothing where that is so.

        records: address of what a batch scores; none: a training.
        """
        experiment = self._api.experiment_made(domain.name)
        body, waited = wanted(domain, graph, experiment, records=records), False
        clock = body["trigger"]["cron_schedule"]["cron"]
        for _ in range(_ROUNDS):
            found = self._found(body["display_name"], experiment)
            step = next_action(found, body["description"], now=self._now())
            if step is None:
                return next(each for each in found if each.mark == body["description"])
            act, which = step
            if act is ScheduleCall.make_asleep and not waited:
                waited = True
                if self._waited([clock, *(each.cron for each in found if each.awake)]):
                    continue
            self._do(act, which, body)
        raise _restless(domain.name)

    def off(self, domain: str, *, kind: Kind = "training") -> int:
        """Put all of the domain's recurring runs of this kind to sleep; gives how many were awake."""
        for count in range(_ROUNDS):
            awake = [each for each in self.found(domain, kind=kind) if each.awake]
            if not awake:
                return count
            self._do(ScheduleCall.sleep, awake[0], {})
        raise _restless(domain)

    def found(self, domain: str, *, kind: Kind = "training") -> list[Recurring]:
        """The domain's recurring runs of this kind, the oldest first."""
        experiment = self._api.experiment(domain)
        return self._found(f"{domain}-{kind}", experiment) if experiment else []

    def _do(self, act: ScheduleCall, which: Recurring | None, body: dict[str, Any]) -> None:
        self._say(
            f"{act}: {which.version} at {which.cron}" if which else f"{act}: {body['trigger']['cron_schedule']['cron']}"
        )
        if which is None:
            mode = "ENABLE" if act is ScheduleCall.make_awake else "DISABLE"
            self._api.ask("POST", "/recurringruns", body={**body, "mode": mode})
            return
        try:
            if act is ScheduleCall.delete:  # and leave what it has started alone: a training may be under way
                self._api.ask("DELETE", f"/recurringruns/{which.id}", query={"propagation_policy": "ORPHAN"})
            else:
                self._api.ask(
                    "POST", f"/recurringruns/{which.id}:{'enable' if act is ScheduleCall.wake else 'disable'}"
                )
        except NotFound:  # somebody else has deleted it; what is there is looked at again
            return

    def _waited(self, schedules: Sequence[str]) -> bool:
        """Wait until what is due soon has begun; whether there was something to wait for."""
        now = self._now()
        soon = [when for text in schedules if text and (when := cron.due(text, now)) and when - now < QUIET]
        if soon:
            self._say(f"a run is due at {max(soon):%H:%M:%S}: the exchange waits for it")
            self._sleep((max(soon) - now).total_seconds() + QUIET.total_seconds() / 2)
        return bool(soon)

    def _found(self, name: str, experiment: str) -> list[Recurring]:
        query = {"experiment_id": experiment, "filter": named(name)}
        listed = [
            it for it in self._api.all("/recurringruns", "recurringRuns", query) if it.get("display_name") == name
        ]
        try:
            read = [_read(each) for each in listed]
        except (ValidationError, KeyError) as error:
            raise self._api.remote.unavailable(f"another form of answer: {error}") from error
        return sorted(read, key=lambda each: (each.created, each.id))


def wanted(domain: Domain, graph: Reference, experiment: str, *, records: str = "") -> dict[str, Any]:
    """The recurring run of a domain, as Kubeflow is asked for it, but for whether it is awake: of its training, or of a batch of `records`.

    The graph leaves `as_of` to the time that was scheduled, so that no run is a cache hit. Pipeline and version are both named:
    a recurring run that names only the pipeline would train with whatever was uploaded last.
    """
    kind: Kind = "batch" if records else "training"
    parameters = {"window": domain.model_dump(mode="json")["training"]["window"]}
    if records:
        parameters = {"records": records, "version": declared_batch(domain).version}
    told = {
        "display_name": f"{domain.name}-{kind}",
        "experiment_id": experiment,
        "pipeline_version_reference": dict(graph),
        "runtime_config": {"parameters": parameters},
        "service_account": PIPELINE,
        "max_concurrency": "1",
        "no_catchup": True,
        "trigger": {"cron_schedule": {"cron": clock(domain, kind)}},
    }
    mark = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return {**told, "description": f"hallmark pipeline schedule {domain.name}{' --batch' if records else ''}: {mark}"}


def clock(domain: Domain, kind: Kind) -> str:
    """The schedule that is declared."""
    return declared_batch(domain).schedule if kind == "batch" else domain.training.schedule


def declared_batch(domain: Domain) -> Batch:
    """What the domain says of its batches; `DeclarationError` where it says nothing."""
    if domain.batch is None:
        raise DeclarationError(
            f"{domain.name} scores no file by the clock",
            expected="batch.schedule in its domain.yaml",
            got="no batch",
            fix='declare it, such as batch: {schedule: "0 0 6 * * MON"}; a single file: `hallmark predict`',
        )
    return domain.batch


def times(domain: Domain, *, after: datetime, count: int = 5, kind: Kind = "training") -> list[datetime]:
    """Next times of the domain's schedule."""
    return list(islice(cron.upcoming(clock(domain, kind), after), count))


def _read(told: dict[str, Any]) -> Recurring:
    reference = told.get("pipeline_version_reference") or {}
    return Recurring(
        id=told["recurring_run_id"],
        mark=told.get("description") or "",
        cron=((told.get("trigger") or {}).get("cron_schedule") or {}).get("cron") or "",
        version=reference.get("pipeline_version_id") or "",
        created=told["created_at"],
        status=told.get("status") or "STATUS_UNSPECIFIED",
    )


def _restless(domain: str) -> Conflict:
    return Conflict(
        f"the recurring runs of {domain} change as fast as they are changed",
        expected=f"one recurring run after {_ROUNDS} calls",
        got="another state each time",
        fix="see who else schedules this domain, and run it again",
    )
