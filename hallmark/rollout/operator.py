"""The loop for one domain: drift of stable starts one training, its version a rollout, evidence moves that forward or back.

Everything is a small `tick`: read the live object, observe, decide, patch with its resourceVersion as compare-and-set. What must
outlive a restart is in two places: the rollout record in an annotation that is written with the share (record.py), counts and the
timeline in a ConfigMap (memory.py).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hallmark import cron
from hallmark.artifacts.release import Target
from hallmark.decision.guarantee import GuaranteeState
from hallmark.declaration import serving_config
from hallmark.declaration.domain import Domain
from hallmark.errors import Conflict, HallmarkError, foreseen
from hallmark.rollout import followers, mirror, operations, watch
from hallmark.rollout import record as records
from hallmark.rollout.capacity import RETURN_SECONDS, floors, pods_for
from hallmark.rollout.decision import Reason, RolloutDecision, decide
from hallmark.rollout.evidence import Evidence, Exposure, Phase, RequestCounts, RolloutProgress
from hallmark.rollout.followers import Follower
from hallmark.rollout.liveness import DomainCheck
from hallmark.rollout.memory import MemoryStore, SubmittedTraining
from hallmark.rollout.monitors import Monitors, Verdicts
from hallmark.rollout.observer import Observer, SampleSource
from hallmark.rollout.record import RolloutRecord
from hallmark.rollout.timeline import Kind, TimelineEntry, TimelinePoint, VariantState
from hallmark.rollout.writer import FENCE_NOTE, SHADOW_NOTE, live_target, predictor_status, share
from hallmark.training.submit import Run, Runner, RunRequest

if TYPE_CHECKING:
    from hallmark.registry.store import Registry
    from hallmark.rollout.writer import InferenceServiceWriter, Object

Tell = Callable[[TimelineEntry], None]
_KEEP_SECONDS = 5.0
_POINT_SECONDS = 2.0
_AGAIN = timedelta(seconds=10)
"""Time until a follower that failed is tried again."""
_REMIND_SECONDS = 300.0
"""A hold is said when its reasons change, and again after this long, with the numbers of then."""

_BROKEN = "a guarantee that no longer holds"
"""Begins the reason of a training that a decision's labels ask for."""


class Operator:
    """Watches one domain; `tick` it again and again, from one thread.

    source:    where counters come from.   runner: where training runs.   tell: receives every entry of the timeline.
    followers: what is written after a version was made stable; each is tried until it succeeds.
    training:  what every training run that drift starts is given besides, such as its `source`.
    scheduled: are the times of `training.schedule` kept here? On a cluster a recurring run of Kubeflow keeps them.
    guarantee: digest of the unit that decides, and what final labels say of its guarantee; none where nothing decides.
    share_ended: that a candidate's share of a decision's items ended, in words, once; empty where none did.
    fence:     the token of the lease that this operator holds; with a lower one than the live object's it changes nothing.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        writer: InferenceServiceWriter,
        source: SampleSource,
        registry: Registry,
        runner: Runner,
        tell: Tell,
        followers: Sequence[Follower] = (),
        training: Mapping[str, object] | None = None,
        scheduled: bool = False,
        guarantee: Callable[[], tuple[str, GuaranteeState] | None] | None = None,
        share_ended: Callable[[], str] = lambda: "",
        fence: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.domain = domain
        self.fence = fence
        self.check = DomainCheck()
        self._writer = writer
        self._source = source
        self._registry = registry
        self._runner = runner
        self._followers = tuple(followers)
        self._again = datetime.min.replace(tzinfo=UTC)
        self._tell = tell
        self._training = dict(training or {})
        self._scheduled = scheduled
        self._guarantee = guarantee
        self._share_ended = share_ended
        self._clock = clock
        self._record = MemoryStore(writer, domain.namespace)
        self._memory = self._record.read()
        self._observer: Observer | None = None
        self._monitors = Monitors(writer, domain.name)
        self._said: tuple[str, ...] = ()
        self._held_at = datetime.min.replace(tzinfo=UTC)
        self._kept = self._pointed = datetime.min.replace(tzinfo=UTC)
        self._dirty = False
        self._seen: Verdicts | None = None

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """Both variants' counts at each share of the rollout under way."""
        return self._memory.exposures

    def tick(self) -> None:
        """Check once, and do what is to be done. What fails is told, and tried again at the next tick."""
        now = self._clock()
        self.check = self.check.model_copy(update={"failed": False})
        try:
            live = self._writer.live(self.domain.name)
            if live is not None:
                self._catch_up(self._step(live, now), now)
                if told := self._share_ended():
                    self._say("decision", told, None, now)
        except Exception as error:  # noqa: BLE001  one domain's surprise ends neither its loop nor another's
            # A conflict too: somebody else changed the object, and the next tick sees what they did.
            self._trouble(foreseen(error), now)
        try:
            self._keep(now)
        except Conflict:
            raise  # somebody else watches this domain
        except HallmarkError as error:
            self._trouble(error, now)

    def close(self) -> None:
        """Write down what is not yet."""
        self._keep(self._clock(), must=True)

    def _step(self, live: Object, now: datetime) -> RolloutRecord:
        written = int((live["metadata"].get("annotations") or {}).get(FENCE_NOTE) or 0)
        if written > self.fence:
            raise Conflict(
                f"another watch has taken over {self.domain.name}",
                expected=f"fencing token {self.fence} or lower on the InferenceService",
                got=str(written),
            )
        if written < self.fence:
            # Before anything else, so that a watch that was only asleep finds out at its next write.
            live = self._writer.note(live, {FENCE_NOTE: str(self.fence)})
        if not mirror.share(live):
            self._mirror(live)
        percent = share(live)
        target = live_target(live)
        rolled_out = predictor_status(live).get("latestRolledoutRevision")
        record = operations.record_of(self._writer, live)
        self._hear(record)
        self.check = DomainCheck(revisions={"stable": str(rolled_out)} if rolled_out else {}, versions=self._versions())
        if percent is None or not rolled_out or percent >= 100:
            self._rest(live, record, str(rolled_out or ""), now)
        elif record.stable is not None and (
            record.returning or target == record.stable
        ):  # a roll-back that was cut off
            operations.settle(self._writer, self.domain, record.stable, record=record, note=_quiet)
        else:
            ended = self._roll(live, record, target, percent, now)
            left = self._writer.live(self.domain.name) if ended else None
            record = operations.record_of(self._writer, left) if left else record
        return record

    # A rollout under way.

    def _roll(self, live: Object, record: RolloutRecord, target: Target, percent: int, now: datetime) -> bool:
        """Observe and act; did the rollout end?"""
        progress = self._progress(live, record, target, percent, now)
        if progress is None:
            return False
        self.check = self._underway(live, progress)
        observer = self._observer_of(progress)
        evidence = observer.observe(live, progress, now=now, whole=record.pods)
        if evidence.pods is not None:
            record = record.model_copy(update={"pods": evidence.pods.whole})
        self._memory = self._memory.model_copy(
            update={"rollout": progress.id, "exposures": observer.exposures, "series": observer.series}
        )
        self._dirty = True
        self._point(observer, progress, now)
        self._copies(live, record, evidence)
        step = decide(self.domain.rollout, progress, evidence, now=now)
        if step.action == "hold":
            self._hold(live, record, progress, step, now)
        elif step.action == "shift":
            self._shift(live, record, progress, step, now)
        elif step.action == "promote":
            self._promote(progress, step, now)
        else:
            self._roll_back(progress, step, now)
        return step.action in ("promote", "rollback")

    def _progress(
        self, live: Object, record: RolloutRecord, target: Target, percent: int, now: datetime
    ) -> RolloutProgress | None:
        """Position of the rollout; one that a person began or moved is taken over as it stands, from now on."""
        notes = live["metadata"].get("annotations") or {}
        phase: Phase = "canary" if percent else "shadow"
        found = record.rollout
        begun = found is not None and (found.version, found.config, found.percent) == (
            target.version,
            target.config,
            percent,
        )
        if not percent and SHADOW_NOTE not in notes and not (begun and found and found.phase == "canary"):
            return None  # A person pinned stable.
        if begun:
            return found
        same = found is not None and (found.version, found.config) == (target.version, target.config)
        taken = RolloutProgress(
            id=found.id if found and same else record.asked(target.version) or _new_id(),
            version=target.version,
            config=target.config,
            phase=phase,
            percent=percent,
            started=found.started if found and same else now,
            since=now,
        )
        self._writer.note(live, self._notes(record.moving(taken)))
        what = "shadow, its answers are compared and not sent" if phase == "shadow" else f"{percent}% of the traffic"
        self._say(phase, f"{target.shown}: {what}; started manually, taken over", taken, now)
        return None

    def _copies(self, live: Object, record: RolloutRecord, evidence: Evidence) -> None:
        """Keep the copies of requests as the object says, where the candidate has the pods for them."""
        load = mirror.share(live)
        if load and evidence.pods is not None and evidence.pods.candidate < pods_for(load, record.pods):
            self._writer.hold(live, floors(now=0, then=load, whole=record.pods))
        elif load:
            self._mirror(live)

    def _mirror(self, live: Object) -> None:
        """One that cannot be made or taken away is told and holds nothing else up: without pairs a shadow ends at the deadline."""
        try:
            self._writer.mirror(live)
        except HallmarkError as error:
            self._trouble(error, self._clock())

    def _observer_of(self, progress: RolloutProgress) -> Observer:
        if self._observer is None or self._memory.rollout != progress.id:
            mine = self._memory.rollout == progress.id
            self._observer = Observer(
                self.domain,
                self._writer,
                self._source,
                since=progress.started,
                series=self._memory.series if mine else None,
                exposures=self._memory.exposures if mine else (),
            )
            self._said = ()
        return self._observer

    def _hold(
        self, live: Object, record: RolloutRecord, progress: RolloutProgress, step: RolloutDecision, now: datetime
    ) -> None:
        if step.percent is not None:  # nothing else is waited for
            self._writer.hold(live, floors(now=progress.percent, then=step.percent, whole=record.pods))
        waiting = tuple(sorted({reason.rule for reason in step.reasons if reason.outcome == "wait"}))
        late = (now - self._held_at).total_seconds() >= _REMIND_SECONDS
        if waiting != self._said or late:
            self._said, self._held_at = waiting, now
            where = "in shadow" if progress.phase == "shadow" else f"at {progress.percent}%"
            self._say("hold", f"holds {where}: {step.why}", progress, now, reasons=step.reasons)

    def _shift(
        self, live: Object, record: RolloutRecord, progress: RolloutProgress, step: RolloutDecision, now: datetime
    ) -> None:
        moved = progress.model_copy(update={"phase": "canary", "percent": step.percent, "since": now})
        notes = {**self._notes(record.moving(moved)), SHADOW_NOTE: None}
        percent = int(step.percent or 0)
        least = floors(now=percent, then=percent, whole=record.pods)
        shifted = self._writer.shift(live, percent=percent, notes=notes, floors=least)
        self._said = ()
        self._say("canary", f"{step.percent}% to version {moved.version}", moved, now, reasons=step.reasons)
        self._mirror(shifted)

    def _promote(self, progress: RolloutProgress, step: RolloutDecision, now: datetime) -> None:
        why = [each.text for each in step.reasons if each.rule in ("errors", "latency", "drift")]
        operations.promote(self._writer, self.domain, note=_quiet, reasons=tuple(why))
        self._say(
            "promote",
            f"version {progress.version} is stable: {'; '.join(why)}",
            progress,
            now,
            percent=100,
            reasons=step.reasons,
        )
        self._over(progress.version)

    def _roll_back(self, progress: RolloutProgress, step: RolloutDecision, now: datetime) -> None:
        late = all(reason.rule == "deadline" for reason in step.reasons if reason.outcome == "against")
        patience = RETURN_SECONDS if late else 0.0
        good = operations.rollback(self._writer, self.domain, note=_quiet, reasons=(step.why,), patience=patience)
        back = f"; version {good.version} serves everything" if good else ""
        self._say(
            "rollback", f"version {progress.version}: {step.why}{back}", progress, now, percent=0, reasons=step.reasons
        )
        self._over(good.version if good else 0)

    def _underway(self, live: Object, progress: RolloutProgress) -> DomainCheck:
        created = predictor_status(live).get("latestCreatedRevision")
        return DomainCheck(
            progress=progress,
            deadline=progress.started + self.domain.rollout.deadline,
            revisions={**self.check.revisions, **({"canary": str(created)} if created else {})},
            versions={**self.check.versions, "canary": progress.version},
        )

    def _versions(self) -> dict[str, int]:
        return {"stable": self._memory.stable} if self._memory.stable else {}

    def _over(self, stable: int) -> None:
        self.check = DomainCheck(revisions=self.check.revisions, versions={"stable": stable} if stable else {})
        self._memory = self._memory.model_copy(update={"stable": stable})
        self._observer, self._said, self._seen = None, (), None
        self._memory = self._memory.model_copy(update={"rollout": "", "exposures": (), "series": None})

    # At rest.

    def _rest(self, live: Object, record: RolloutRecord, revision: str, now: datetime) -> None:
        if record.held and now >= record.held:
            self._writer.let_go(live)
            record = record.model_copy(update={"held": None})
        if record != records.written(live):
            live = self._writer.note(live, self._notes(record))
        self._notice(record, now)
        running = next((run for run in self._memory.runs if run.state == "running"), None)
        seen = self._stable_verdict(revision)
        self._rest_point(seen, now)
        if running is not None:
            self._follow(live, running, now)
        elif seen is not None and seen.seen.state == "DRIFT" and self.domain.retrain.on_drift:
            self._retrain(live, seen, now)
        elif self._expired(live, now):
            pass
        elif self._scheduled:
            self._keep_schedule(live, now)

    def _notice(self, record: RolloutRecord, now: datetime) -> None:
        """Tell of a stable version that became it elsewhere and that no change by hand tells: by a patch, or by a watch that ended before it said so."""
        before, version = self._memory.stable, record.stable.version if record.stable else 0
        if version in (0, before):
            return
        self._memory = self._memory.model_copy(update={"stable": version})
        self._dirty = True
        if before and not record.told:
            kind: Kind = "rollback" if version < before else "promote"
            why = "; ".join(record.reasons) or "no reason is written"
            self._say(kind, f"version {version} is stable in the place of {before}: {why}", None, now, version=version)

    def _hear(self, record: RolloutRecord) -> None:
        """Take what people asked for since the last check into the timeline, with its time."""
        fresh = self._memory.news(record)
        if not fresh:
            return
        self._memory = self._memory.with_changes(record)
        self._dirty = True
        self._kept = datetime.min.replace(tzinfo=UTC)
        for entry in fresh:
            self._tell(entry)

    def _catch_up(self, record: RolloutRecord, now: datetime) -> None:
        """Let what follows the record follow it: release.yaml, the alias. One that fails is told, and tried again after a while."""
        if record.stable is None or now < self._again:
            return
        state = record.release.model_dump_json(by_alias=True)
        waiting = [each for each in self._followers if self._memory.followed.get(each.name) != state]
        if not waiting:
            return
        _, failed = followers.catch_up(waiting, self.domain.name, record)
        done = {each.name: state for each in waiting if each.name not in failed}
        self._memory = self._memory.model_copy(update={"followed": {**self._memory.followed, **done}})
        self._dirty = True
        for error in failed.values():
            self._again = now + _AGAIN
            self._trouble(error, now)

    def _stable_verdict(self, revision: str) -> Verdicts | None:
        pods = self._monitors.pods().get(revision, [])
        found = self._monitors.verdict(revision, pods) if pods else None
        before, broken = (self._seen.seen.state, self._seen.seen.broken) if self._seen else ("", False)
        if found is not None and (found.seen.state, found.seen.broken) != (before, broken):
            self._seen = found
            if found.seen.broken and not broken:
                why = "; ".join(found.seen.reasons) or "final labels do not keep it"
                self._say(
                    "guarantee", f"stable breaks its promise: {why}", None, self._clock(), correlation=found.trace
                )
            if found.seen.state != before and "DRIFT" in (found.seen.state, before):
                why = f": {'; '.join(found.seen.reasons)}" if found.seen.reasons else ""
                self._say("drift", f"stable {found.seen.state}{why}", None, self._clock(), correlation=found.trace)
        return found

    def _retrain(self, live: Object, seen: Verdicts, now: datetime) -> None:
        latest = max((run.at for run in self._memory.runs), default=None)
        if latest is not None and now - latest < self.domain.retrain.cooldown:
            return
        version = live_target(live).version
        columns = ", ".join((*seen.seen.inputs, *seen.seen.outputs)[:5])
        as_of = str(self._training.get("as_of") or _tomorrow(now))
        wish = {"champion": version, "as_of": as_of, "reason": "drift"}
        self._train(wish, f"drift of version {version}: {columns}", now, correlation=seen.trace)

    def _expired(self, live: Object, now: datetime) -> bool:
        """Train where final labels no longer keep a decision's guarantee: once for each unit. Was one started?"""
        found = self._guarantee() if self._guarantee else None
        if found is None or found[1].broken is None:
            return False
        unit, state = found
        if self._memory.expired == unit:
            return False
        # Remembered with the run: a watch that ends before it could ask asks again.
        why = f"{state.counterfeits} counterfeits among {state.labels} audited accepts of unit {unit[:19]}"
        correlation = _new_id()
        self._memory = self._memory.model_copy(update={"expired": unit})
        self._say("guarantee", f"the decision breaks its promise: {why}", None, now, correlation=correlation)
        as_of = str(self._training.get("as_of") or _tomorrow(now))
        wish = {"champion": live_target(live).version, "as_of": as_of, "reason": f"guarantee of {unit}"}
        self._train(wish, f"{_BROKEN}: {why}", now, correlation=correlation)
        return True

    def _keep_schedule(self, live: Object, now: datetime) -> None:
        """Train where `training.schedule` was due since it was looked at last: once, however often it was due while nobody watched."""
        before = self._memory.clock
        due = cron.latest(self.domain.training.schedule, before, now) if before else None
        if before is None or due is not None:
            self._memory = self._memory.model_copy(update={"clock": due or now})
            self._dirty = True
        if due is not None:
            wish = {"champion": live_target(live).version, "as_of": due.isoformat(), "reason": "schedule"}
            self._train(wish, f"the schedule, due {due:%Y-%m-%d %H:%M} UTC", now, due=due)

    def _train(
        self, wish: dict[str, Any], reason: str, now: datetime, *, correlation: str = "", due: datetime | None = None
    ) -> None:
        """Start a training that is wanted for this: the same wish is the same run."""
        window = self.domain.model_dump(mode="json")["training"]["window"]
        key, as_of, correlation = (
            run_key(self.domain.name, window=window, **wish),
            wish["as_of"],
            correlation or _new_id(),
        )
        given = {name: value for name, value in self._training.items() if name != "as_of"}
        request = RunRequest(
            key=key,
            domain=self.domain.name,
            as_of=as_of,
            window=str(given.pop("window", window)),
            reason=reason,
            correlation=correlation,
            **given,  # type: ignore[arg-type]
        )
        # Remembered before it is asked for: a watch that ends in between finds the run by its key and starts no second one.
        self._memory = self._memory.with_run(
            SubmittedTraining(key=key, correlation=correlation, at=now, reason=request.reason, due=due)
        )
        self._dirty = True
        self._keep(now, must=True)
        self._runner.submit(request)
        self._say("training", f"started for {request.reason}", None, now, correlation=correlation)

    def _follow(self, live: Object, running: SubmittedTraining, now: datetime) -> None:
        run = self._runner.find(running.key, self.domain.name)
        if run is None:
            # It was remembered, and the watch ended before it was asked for, or could not ask.
            others = tuple(each for each in self._memory.runs if each.key != running.key)
            # What the clock wanted is due still: it is asked for at the next check, under the same key.
            clock = running.due - timedelta(seconds=1) if running.due else self._memory.clock
            expired = "" if running.reason.startswith(_BROKEN) else self._memory.expired
            self._memory = self._memory.model_copy(update={"runs": others, "clock": clock, "expired": expired})
            self._dirty = True
            return
        if run.state == "running":
            return
        self._memory = self._memory.with_run(running.model_copy(update={"state": run.state, "version": run.version}))
        self._dirty = True
        self._ended(live, running, run, now)

    def _ended(self, live: Object, running: SubmittedTraining, run: Run, now: datetime) -> None:
        if run.state != "succeeded" or run.version is None:
            text = f"{run.state}: {run.message or 'no message'}"
            self._say("training", text, None, now, correlation=running.correlation)
            return
        text = f"registered version {run.version}"
        self._say("candidate", text, None, now, correlation=running.correlation, version=run.version)
        target = Target.of(
            self._registry.resolve(self.domain.name, run.version), serving_config.of(self.domain).reference
        )
        if target == live_target(live):
            text = "the same model and serving config as those that serve: nothing to roll out"
            self._say("hold", text, None, now, correlation=running.correlation, version=run.version)
            return
        self.begin(target, correlation=running.correlation)

    def begin(self, target: Target, *, correlation: str = "") -> None:
        """Begin the rollout of a version: in shadow where the policy has one, else at its first step."""
        now = self._clock()
        live = self._writer.live(self.domain.name)
        shadow, adapter = self.domain.rollout.shadow, self._writer.adapter(live)
        skipped = (
            "" if shadow is None or adapter.mirrors else f"; no shadow before it, {adapter.name} mirrors no requests"
        )
        watch.allowed(self.domain, adapter)
        shadow = shadow if adapter.mirrors else None
        percent = 0 if shadow else self.domain.rollout.stages[0]
        phase: Phase = "shadow" if shadow else "canary"
        progress = RolloutProgress(
            id=correlation or _new_id(),
            version=target.version,
            config=target.config,
            phase=phase,
            percent=percent,
            started=now,
            since=now,
        )
        notes: dict[str, str | None] = {FENCE_NOTE: str(self.fence)}
        if shadow:
            notes[SHADOW_NOTE] = f"{100 * shadow.share:g}"
        what = "shadow, its answers are compared and not sent" if shadow else f"{percent}% of the traffic{skipped}"
        self._say(phase, f"{target.shown}: {what}", progress, now)
        operations.release(
            self._writer,
            self.domain,
            target,
            percent=percent,
            note=_quiet,
            notes=notes,
            progress=progress,
        )

    # Telling and remembering.

    def _notes(self, record: RolloutRecord) -> dict[str, str | None]:
        return {**record.note, FENCE_NOTE: str(self.fence)}

    def _say(
        self,
        kind: Kind,
        text: str,
        progress: RolloutProgress | None,
        now: datetime,
        *,
        correlation: str = "",
        version: int | None = None,
        percent: int | None = None,
        reasons: tuple[Reason, ...] = (),
    ) -> None:
        entry = TimelineEntry(
            at=now,
            correlation=progress.id if progress else correlation,
            kind=kind,
            text=text,
            version=progress.version if progress else version,
            percent=progress.percent if progress and percent is None else percent,
            reasons=reasons,
        )
        self._memory = self._memory.model_copy(update={"timeline": self._memory.timeline.with_entry(entry)})
        self._dirty = True
        self._kept = datetime.min.replace(tzinfo=UTC)
        self._tell(entry)

    def _trouble(self, error: HallmarkError, now: datetime) -> None:
        self.check = self.check.model_copy(update={"failed": True})
        last = self._memory.timeline.entries[-1:]
        text = error.message + (f": {error.got}" if error.got else "")
        if last and last[0].kind == "trouble" and last[0].text == text:
            return
        self._say("trouble", text, None, now, correlation=self._memory.rollout)

    def _point(self, observer: Observer, progress: RolloutProgress, now: datetime) -> None:
        if not observer.latest:
            return
        sides = {
            name: _side(observer.latest[name], observer.verdicts.get(name), observer.means.get(name))
            for name in ("stable", "canary")
        }
        point = TimelinePoint(at=now, percent=progress.percent, version=progress.version, **sides)
        self._memory = self._memory.model_copy(update={"timeline": self._memory.timeline.with_point(point)})

    def _rest_point(self, seen: Verdicts | None, now: datetime) -> None:
        if (now - self._pointed).total_seconds() < _POINT_SECONDS * 5:
            return
        self._pointed = now
        point = TimelinePoint(at=now, stable=_side(RequestCounts(), seen, None))
        self._memory = self._memory.model_copy(update={"timeline": self._memory.timeline.with_point(point)})
        self._dirty = True

    def _keep(self, now: datetime, *, must: bool = False) -> None:
        if not self._dirty or (not must and (now - self._kept).total_seconds() < _KEEP_SECONDS):
            return
        self._record.write(self._memory.model_copy(update={"fence": self.fence}))
        self._kept, self._dirty = now, False


def run_key(domain: str, *, champion: int, as_of: str, window: str, reason: str) -> str:
    """The name of a training run that is wanted for this: the same wish is the same run."""
    wish = "\n".join((domain, str(champion), as_of, window, reason))
    return f"{domain}-{hashlib.sha256(wish.encode()).hexdigest()[:16]}"


def _side(counts: RequestCounts, seen: Verdicts | None, mean: float | None) -> VariantState:
    return VariantState(
        requests=counts.requests,
        failed=counts.failed,
        slow=counts.slow,
        score=mean,
        drift=seen.seen.state if seen else "",
        psi=seen.psi if seen else None,
    )


def _new_id() -> str:
    return uuid.uuid4().hex


def _tomorrow(now: datetime) -> str:
    """The day after, so that the training's data ends with today's."""
    return (now + timedelta(days=1)).date().isoformat()


def _quiet(_: str) -> None:
    return
