"""Release, promote, roll back: each a few patches of one InferenceService, in the order that never sends traffic astray.

Each patch carries the rollout record (record.py) beside the traffic that it describes. What follows the record, such as release.yaml,
is not written here (followers.py; docs/decisions/0019-one-rollout-record.md).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hallmark.artifacts.release import Release, Target
from hallmark.declaration.domain import Domain
from hallmark.declaration.serving import Replicas, Serving
from hallmark.declaration.traffic import Mode
from hallmark.errors import HallmarkError, NotFound, Refused, TimedOut
from hallmark.render import inferenceservice
from hallmark.rollout import record as records
from hallmark.rollout import standard
from hallmark.rollout.capacity import HELD, Floors, floors, pods_for
from hallmark.rollout.evidence import RolloutProgress
from hallmark.rollout.record import RolloutRecord
from hallmark.rollout.writer import (
    SHADOW_NOTE,
    InferenceServiceWriter,
    Note,
    Object,
    gets,
    live_target,
    predictor_status,
    ready,
    revisions,
    share,
)

SECONDS = 120.0
Check = Callable[[Object], bool]
Notes = dict[str, str | None]


def release(
    writer: InferenceServiceWriter,
    domain: Domain,
    target: Target,
    *,
    percent: int,
    note: Note,
    resting: Release | None = None,
    seconds: float = SECONDS,
    notes: Mapping[str, str | None] | None = None,
    progress: RolloutProgress | None = None,
    mode: Mode | None = None,
    by: str = "",
    why: str = "",
) -> Object:
    """Give version `target` `percent` of the traffic; the very first version of a domain gets all of it.

    resting:  what Git says is released, for a domain of which nothing is live yet.   mode: KServe's, for such a one; the cluster's own by default.
    notes:    annotations that are written with it.
    progress: the rollout that it is part of, where the watch moves it.   by, why: the person who asks for it, where one does, and their reason.
    Refused while another candidate is being rolled out, or when `target` is the stable version already.
    """
    name = domain.name
    live = writer.live(name)
    if live is None:
        mode = mode or writer.adapter(None).mode
        return _first(writer, domain, target, resting, note=note, seconds=seconds, mode=mode, by=by, why=why)
    if (notes or {}).get(SHADOW_NOTE) and not (adapter := writer.adapter(live)).mirrors:
        raise Refused(
            f"{name} is served in {adapter.name}, where nothing mirrors requests",
            expected="a share of the traffic",
            got="shadow",
            fix=f"`hallmark release {name} --candidate {target.version} --percent {domain.rollout.stages[0]}`",
        )
    current = live_target(live)
    rolling = share(live)
    if rolling is None and current == target:
        raise Refused(
            f"{target.shown} of {name} is stable already",
            expected="another version, or another serving config",
            got=str(target.version),
        )
    if rolling is not None and current != target:
        raise Refused(
            f"a rollout of version {current.version} is running at {rolling}%",
            expected=f"to go on with {current.version}, or to end it first",
            got=f"candidate {target.version}",
            fix=f"`hallmark rollback {name}` or `hallmark promote {name}`",
        )
    config = inferenceservice.config_map(domain)
    if target.config is not None and target.config.name == config["metadata"]["name"]:
        writer.provide(config)
    record = record_of(writer, live)
    if by:
        shadow = bool((notes or {}).get(SHADOW_NOTE))
        text = f"{target.shown}: asked for {'a shadow' if shadow else f'{percent}% of the traffic'}"
        record = record.changed(
            "shadow" if shadow else "canary", text, by=by, why=why, at=_now(), version=target.version, percent=percent
        )
    record = record.moving(progress, pods=writer.count_ready(name, revisions(live).stable))
    notes = {**(notes or {}), **record.note}
    load = percent or math.ceil(float(notes.get(SHADOW_NOTE) or 0))  # copies are work like any other
    needed = pods_for(load, record.pods)
    what = f"{percent}% to version {target.version}"
    if current != target:
        asked = percent if needed <= _first_pods(live) else 0
        if asked != percent:
            begun = progress.model_copy(update={"percent": 0}) if progress else None
            notes |= record.moving(begun).note
            note(f"version {target.version} gets nothing before its {needed} pods are ready")
        wanted = floors(now=0, then=load, whole=record.pods)
        patched = writer.shift(live, percent=asked, target=target, notes=notes, floors=wanted)
        note(f"asked for {asked}% to {target.shown}")
        live = _wait(writer, name, gets(asked), patched, seconds, what, moved=_newer_than(live))
        if asked == percent:
            if load > percent:
                carried(writer, live, load, record=record, note=note, seconds=seconds)
                try:
                    writer.mirror(_must(writer, name))
                except Refused as error:
                    note(f"copies of requests are left to the watch: {error.message}")
            return live
        notes |= record.note
    carried(writer, live, load, record=record, note=note, seconds=seconds)
    least = floors(now=percent, then=percent, whole=record.pods)
    patched = writer.shift(_must(writer, name), percent=percent, notes=notes, floors=least)
    note(f"asked for {percent}% to {target.shown}")
    live = _wait(writer, name, gets(percent), patched, seconds, what)
    writer.mirror(live)
    return live


@dataclass(frozen=True)
class Undeclared:
    """A domain whose declaration cannot be read, as its live object has it: all that a roll-back needs to know."""

    name: str
    serving: Serving

    @classmethod
    def of(cls, writer: InferenceServiceWriter, name: str) -> Undeclared:
        """The domain as it is live; `NotFound` where it is not."""
        least = int(_must(writer, name)["spec"]["predictor"].get("minReplicas") or 1)
        replicas = Replicas(minimum=least, maximum=max(1, least))
        return cls(name, Serving(replicas=replicas, latency_objective=timedelta(seconds=1)))


def promote(
    writer: InferenceServiceWriter,
    domain: Domain,
    *,
    note: Note,
    seconds: float = SECONDS,
    reasons: tuple[str, ...] = (records.PROMOTED_BY_HAND,),
    by: str = "",
    why: str = "",
) -> Target:
    """Give the candidate all of the traffic, and in the same write the name of stable.   by, why: the person who asks for it, where one does, and their reason."""
    name = domain.name
    live = _must(writer, name)
    target = live_target(live)
    if share(live) is None:
        raise Refused(
            f"no rollout of {name} is running",
            expected="a candidate",
            got=f"version {target.version}, stable",
            fix=f"`hallmark release {name} --candidate N --percent 10`",
        )
    if not ready(live):
        raise Refused(
            f"version {target.version} of {name} is not ready",
            expected="a ready candidate",
            got="one that does not load",
            fix=f"`hallmark rollback {name}`",
        )
    before, now = record_of(writer, live), _now()
    record = before
    if by:
        place = f" in the place of {before.stable.version}" if before.stable else ""
        record = before.changed(
            "promote", f"{target.shown} is stable{place}", by=by, why=why, at=now, version=target.version, percent=100
        )
    record = record.made_stable(target, at=now, reasons=reasons)
    make_stable(writer, domain, live, target, before=before, record=record, note=note, seconds=seconds)
    return target


def make_stable(
    writer: InferenceServiceWriter,
    domain: Domain | Undeclared,
    live: Object,
    target: Target,
    *,
    before: RolloutRecord,
    record: RolloutRecord,
    note: Note,
    seconds: float,
) -> None:
    """Give `target`, the newest, all of the traffic, and write `record` in the same patch: the one place where a version becomes stable.

    It has the pods for it `before`. In Standard mode it gets everything while it is a candidate: named stable first, it would have to wait
    for an autoscaler.
    """
    name, minimum = domain.name, max(1, domain.serving.replicas.minimum)
    whole = carried(writer, live, 100, record=before, note=note, seconds=seconds)
    live = _must(writer, name)
    if standard.is_standard(live) and share(live) != 100:
        patched = writer.shift(live, percent=100)
        live = _wait(writer, name, gets(100), patched, seconds, f"100% to version {target.version}")
        note(f"100% to version {target.version}")
        writer.mirror(live)
    elif not standard.is_standard(live) and whole > domain.serving.replicas.minimum:
        record = record.model_copy(update={"held": _now() + HELD})
    patched = writer.shift(live, percent=None, notes=_over(record), floors=Floors(candidate=0, stable=minimum))
    _wait(writer, name, gets(100), patched, seconds, f"all traffic to version {target.version}")
    note(f"{target.shown} is stable")


def carried(
    writer: InferenceServiceWriter, live: Object, percent: int, *, record: RolloutRecord, note: Note, seconds: float
) -> int:
    """Wait until the newest revision has the ready pods that `percent` needs, scaled first where it has fewer; gives those that 100 need.

    `TimedOut` where they do not come, as under a quota: then no share was moved.
    """
    name = live["metadata"]["name"]
    newest = str(predictor_status(live).get("latestCreatedRevision"))
    whole = max(record.pods, writer.count_ready(name, revisions(live).stable))
    needed = pods_for(percent, whole)
    if (ready := writer.count_ready(name, newest)) >= needed:
        return whole
    note(f"waits for {needed} ready pods, {ready} are, before {percent}%")
    held = writer.hold(live, floors(now=share(live) or 0, then=percent, whole=whole))
    try:
        _wait(writer, name, lambda _: writer.count_ready(name, newest) >= needed, held, seconds, f"{needed} ready pods")
    except TimedOut as error:
        error.got = f"{writer.count_ready(name, newest)} of {needed} ready pods for {percent}%"
        error.fix = f"`kubectl get events -n {name}`: a quota or a full cluster keeps them away; the share is as it was"
        raise
    return whole


def record_of(writer: InferenceServiceWriter, live: Object) -> RolloutRecord:
    """The record of a live object; where a person began the first rollout by hand, stable is what its pods say."""
    record = records.read(live, now=_now())
    if record.stable is None:
        served = writer.served(live["metadata"]["name"], str(predictor_status(live).get("latestRolledoutRevision")))
        return record.model_copy(update={"stable": served})
    return record


def rollback(
    writer: InferenceServiceWriter,
    domain: Domain | Undeclared,
    *,
    note: Note,
    seconds: float = SECONDS,
    reasons: tuple[str, ...] = (records.ROLLED_BACK_BY_HAND,),
    patience: float = 0.0,
    by: str = "",
    why: str = "",
) -> Target | None:
    """Send all traffic back to the version before, at once, then settle on it.

    by, why: the person who asks for it, where one does, and their reason.
    patience: seconds to wait first for the pods with which stable carries everything, where it has lost some; they are asked for in any case.
    The first patch pins the revision that is still warm. Going on from there, removing the share while the newest
    revision is the bad one would send it everything, so the good model gets a revision of its own at 0% first.
    """
    name = domain.name
    live = _must(writer, name)
    record = record_of(writer, live)
    bad = live_target(live)
    good = record.stable if record.stable != bad else record.previous
    component = predictor_status(live)
    if share(live) is None and good is None:
        raise Refused(
            f"there is nothing before version {bad.version} of {name}",
            expected="an earlier version",
            got="none",
            fix=f"`hallmark release {name} --candidate N`",
        )
    now = _now()
    if by:
        back_to = f"; version {good.version} serves everything" if good else ""
        text = f"version {bad.version}: rolled back{back_to}"
        record = record.changed("rollback", text, by=by, why=why, at=now, version=bad.version, percent=0)
    if standard.is_standard(live):
        return _rollback_standard(
            writer, domain, live, good, record, note=note, seconds=seconds, reasons=reasons, patience=patience, at=now
        )
    live, record = _scaled_back(writer, live, record, note=note, patience=patience)
    back = record.rolled_back(good, at=now, reasons=reasons)
    if share(live) is None and not component.get("previousRolledoutRevision"):
        assert good is not None  # noqa: S101 - the case above
        note(f"no warm revision to pin: releasing version {good.version} again")
    else:
        # The good model goes with the first patch where it can: a live object that is wrong in its model is mended by it.
        to = good if share(live) is not None else None
        patched = writer.shift(live, percent=0, target=to, notes=_over(back))
        live = _wait(writer, name, _pinned, patched, seconds, "all traffic back to the version before", failing=False)
        note(f"version {bad.version} gets nothing now")
    if good is None:
        return None
    settle(writer, domain, good, record=back, note=note, seconds=seconds)
    return good


def settle(
    writer: InferenceServiceWriter,
    domain: Domain | Undeclared,
    good: Target,
    *,
    record: RolloutRecord,
    note: Note,
    seconds: float = SECONDS,
) -> None:
    """The last part of a roll-back, also of one that was cut off: the good model as the newest revision, then all traffic to it."""
    name = domain.name
    live = _must(writer, name)
    patched = writer.shift(live, percent=0, target=good, notes=_over(record))
    _wait(writer, name, ready, patched, seconds, f"version {good.version} ready again", moved=_newer_than(live))
    live = _must(writer, name)
    make_stable(writer, domain, live, good, before=record, record=record.settled, note=note, seconds=seconds)


def _rollback_standard(
    writer: InferenceServiceWriter,
    domain: Domain | Undeclared,
    live: Object,
    good: Target | None,
    record: RolloutRecord,
    *,
    note: Note,
    seconds: float,
    reasons: tuple[str, ...],
    patience: float,
    at: datetime,
) -> Target | None:
    """The candidate to 0%, where its pods end what they have, then away; without one, the version before as a candidate.

    A promotion in Standard mode leaves nothing warm: KServe deletes the Deployment that is in the spec no more.
    """
    name, bad = domain.name, live_target(live)
    if share(live) is not None:
        stable = inferenceservice.target_of(live["spec"]["predictor"])
        live, record = _scaled_back(writer, live, record, note=note, patience=patience)
        back = record.rolled_back(stable, at=at, reasons=reasons)
        whole = Floors(candidate=1, stable=max(1, record.pods))
        patched = writer.shift(live, percent=0, notes=_over(back), floors=whole)
        what = "all traffic back to the version before"
        live = _wait(writer, name, _drained, patched, seconds, what, failing=False)
        writer.mirror(live)
        note(f"version {bad.version} gets nothing now")
        minimum = max(1, domain.serving.replicas.minimum)
        patched = writer.shift_away(live, notes=back.settled.note, minimum=minimum)
        _wait(writer, name, gets(100), patched, seconds, "the candidate gone", failing=False)
        if stable is None:
            return None
        note(f"{stable.shown} is stable")
        return stable
    assert good is not None  # noqa: S101 - refused before
    note(f"nothing of version {good.version} is warm: releasing it again")
    record = record.moving(None, pods=writer.count_ready(name, revisions(live).stable))
    wanted = floors(now=0, then=100, whole=record.pods)
    patched = writer.shift(live, percent=0, target=good, notes=record.note, floors=wanted)
    _wait(writer, name, gets(0), patched, seconds, f"version {good.version} ready again")
    live, before = _must(writer, name), record
    back = record.rolled_back(good, at=at, reasons=reasons).settled
    make_stable(writer, domain, live, good, before=before, record=back, note=note, seconds=seconds)
    return good


def _scaled_back(
    writer: InferenceServiceWriter, live: Object, record: RolloutRecord, *, note: Note, patience: float
) -> tuple[Object, RolloutRecord]:
    """Ask for the pods with which stable carries everything, where its autoscaler took some away; nothing that fails here stops a roll-back."""
    name, stable = live["metadata"]["name"], revisions(live).stable
    ready = writer.count_ready(name, stable)
    record = record.model_copy(update={"pods": max(record.pods, ready)})
    if share(live) is None or ready >= record.pods:
        return live, record
    beside = max(1, writer.count_ready(name, str(predictor_status(live).get("latestCreatedRevision"))))
    with contextlib.suppress(HallmarkError):
        held = writer.hold(live, Floors(candidate=beside, stable=record.pods))
        note(f"asked for {record.pods} pods of the version before, {ready} are ready")
        if patience:
            what, enough = f"{record.pods} ready pods", lambda _: writer.count_ready(name, stable) >= record.pods
            _wait(writer, name, enough, held, patience, what, failing=False)
    return _must(writer, name), record


def _first_pods(live: Object) -> int:
    """Pods that a candidate certainly has where its status says ready: in Standard mode that is said of the first one."""
    return 1 if standard.is_standard(live) else max(1, int(live["spec"]["predictor"].get("minReplicas") or 1))


def _first(
    writer: InferenceServiceWriter,
    domain: Domain,
    target: Target,
    resting: Release | None,
    *,
    note: Note,
    seconds: float,
    mode: Mode,
    by: str,
    why: str,
) -> Object:
    if resting is not None and resting.stable not in (None, target):
        raise Refused(
            f"{domain.name} rests on version {resting.stable.version}, and nothing of it is live here",
            expected=f"version {resting.stable.version} live first",
            got=f"candidate {target.version}",
            fix=f"`hallmark apply {domain.name}`, then release {target.version} beside it",
        )
    record, now = RolloutRecord(), _now()
    if by:
        text = f"{target.shown} is the first: it gets all of the traffic"
        record = record.changed("promote", text, by=by, why=why, at=now, version=target.version, percent=100)
    record = record.made_stable(target, at=now, reasons=("the first version",))
    for item in inferenceservice.objects(domain, record.release, mode):
        if item["kind"] == "InferenceService":
            item["metadata"]["annotations"] = {**item["metadata"].get("annotations", {}), **record.note}
        writer.apply(item)
    note(f"{target.shown} is the first of {domain.name}: it gets all of the traffic")
    return _wait(writer, domain.name, gets(100), _must(writer, domain.name), seconds, f"version {target.version} ready")


def _over(record: RolloutRecord) -> Notes:
    """Annotations of an object on which no rollout runs any more."""
    return {SHADOW_NOTE: None, **record.note}


def _now() -> datetime:
    return datetime.now(UTC)


def _wait(
    writer: InferenceServiceWriter,
    name: str,
    settled: Check,
    patched: Object,
    seconds: float,
    what: str,
    *,
    failing: bool = True,
    moved: Check | None = None,
) -> Object:
    generation = int(patched["metadata"].get("generation") or 0)
    return writer.wait(
        name, settled, generation=generation, seconds=seconds, what=what, failing=failing, moved=moved or settled
    )


def _newer_than(before: Object) -> Check:
    """Does the status know a revision that was not there `before`?"""
    known = predictor_status(before).get("latestCreatedRevision")
    return lambda live: predictor_status(live).get("latestCreatedRevision") != known


def _drained(live: Object) -> bool:
    """In Standard mode: does the candidate get nothing any more?"""
    newest = predictor_status(live).get("latestCreatedRevision")
    traffic = predictor_status(live).get("traffic") or []
    told = (live.get("status") or {}).get("canaryStatuses") or []
    asked = all(not int(each.get("trafficPercent") or 0) for each in told)
    return asked and not any(item["percent"] for item in traffic if item["revisionName"] == newest)


def _pinned(live: Object) -> bool:
    component = predictor_status(live)
    rolled_out = component.get("latestRolledoutRevision")
    traffic = component.get("traffic") or []
    routed = {str(item.get("revisionName")): int(item.get("percent") or 0) for item in traffic if item.get("percent")}
    return routed == {rolled_out: 100} and rolled_out != component.get("latestCreatedRevision")


def _must(writer: InferenceServiceWriter, name: str) -> Object:
    live = writer.live(name)
    if live is None:
        raise NotFound(
            f"no InferenceService {name} in namespace {name}",
            fix=f"`hallmark apply {name}`, or `hallmark release {name} --candidate N`",
        )
    return live
