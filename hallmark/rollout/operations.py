"""Release, promote, roll back: each a few patches of one InferenceService, in the order that never sends traffic astray.

Each patch carries the rollout record (record.py) beside the traffic that it describes. What follows the record, such as release.yaml,
is not written here (followers.py; docs/decisions/0019-one-rollout-record.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from hallmark.artifacts.release import Release, Target
from hallmark.declaration.domain import Domain
from hallmark.errors import NotFound, Refused
from hallmark.render import inferenceservice
from hallmark.render.inferenceservice import Mode
from hallmark.rollout import record as records
from hallmark.rollout import standard
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
    mode: Mode = "Knative",
) -> Object:
    """Give version `target` `percent` of the traffic; the very first version of a domain gets all of it.

    resting:  what Git says is released, for a domain of which nothing is live yet.   mode: KServe's, for such a one.
    notes:    annotations that are written with it.
    progress: the rollout that it is part of, where the watch moves it.
    Refused while another candidate is being rolled out, or when `target` is the stable version already.
    """
    name = domain.name
    live = writer.live(name)
    if live is None:
        return _first(writer, domain, target, resting, note=note, seconds=seconds, mode=mode)
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
    record = record_of(writer, live).moving(progress)
    notes = {**(notes or {}), **record.note}
    patched = writer.shift(live, percent=percent, target=None if current == target else target, notes=notes)
    note(f"asked for {percent}% to version {target.version}")
    moved = gets(percent) if current == target else _newer_than(live)
    what = f"{percent}% to version {target.version}"
    return _wait(writer, name, gets(percent), patched, seconds, what, moved=moved)


def promote(
    writer: InferenceServiceWriter,
    domain: Domain,
    *,
    note: Note,
    seconds: float = SECONDS,
    reasons: tuple[str, ...] = ("promoted by a person",),
) -> Target:
    """Give the candidate all of the traffic, and in the same write the name of stable."""
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
    if standard.is_standard(live):
        live = _crowd(writer, domain, live, note=note, seconds=seconds)
    record = record_of(writer, live).made_stable(target, at=_now(), reasons=reasons)
    make_stable(writer, live, target, record=record, note=note, seconds=seconds)
    return target


def make_stable(
    writer: InferenceServiceWriter, live: Object, target: Target, *, record: RolloutRecord, note: Note, seconds: float
) -> None:
    """Give `target`, the newest, all of the traffic, and write `record` in the same patch: the one place where a version becomes stable."""
    patched = writer.shift(live, percent=None, notes=_over(record))
    name = live["metadata"]["name"]
    _wait(writer, name, gets(100), patched, seconds, f"all traffic to version {target.version}")
    note(f"version {target.version} is stable")


def record_of(writer: InferenceServiceWriter, live: Object) -> RolloutRecord:
    """The record of a live object; where a person began the first rollout by hand, stable is what its pods say."""
    record = records.read(live, now=_now())
    if record.stable is None:
        served = writer.served(live["metadata"]["name"], str(predictor_status(live).get("latestRolledoutRevision")))
        return record.model_copy(update={"stable": served})
    return record


def rollback(
    writer: InferenceServiceWriter,
    domain: Domain,
    *,
    note: Note,
    seconds: float = SECONDS,
    reasons: tuple[str, ...] = ("rolled back by a person",),
) -> Target | None:
    """Send all traffic back to the version before, at once, then settle on it.

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
    if standard.is_standard(live):
        return _rollback_standard(writer, domain, live, good, record, note=note, seconds=seconds, reasons=reasons)
    back = record.rolled_back(good, at=_now(), reasons=reasons)
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
    domain: Domain,
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
    make_stable(writer, _must(writer, name), good, record=record.settled, note=note, seconds=seconds)


def _rollback_standard(
    writer: InferenceServiceWriter,
    domain: Domain,
    live: Object,
    good: Target | None,
    record: RolloutRecord,
    *,
    note: Note,
    seconds: float,
    reasons: tuple[str, ...],
) -> Target | None:
    """The candidate to 0%, where its pods end what they have, then away; without one, the version before as a candidate.

    A promotion in Standard mode leaves nothing warm: KServe deletes the Deployment that is in the spec no more.
    """
    name, bad = domain.name, live_target(live)
    if share(live) is not None:
        stable = inferenceservice.target_of(live["spec"]["predictor"])
        back = record.rolled_back(stable, at=_now(), reasons=reasons)
        patched = writer.shift(live, percent=0, notes=_over(back))
        what = "all traffic back to the version before"
        live = _wait(writer, name, _drained, patched, seconds, what, failing=False)
        note(f"version {bad.version} gets nothing now")
        patched = writer.shift_away(live, notes=back.settled.note)
        _wait(writer, name, gets(100), patched, seconds, "the candidate gone", failing=False)
        if stable is None:
            return None
        note(f"version {stable.version} is stable")
        return stable
    assert good is not None  # noqa: S101 - refused before
    note(f"nothing of version {good.version} is warm: releasing it again")
    patched = writer.shift(live, percent=0, target=good, notes=record.moving(None).note)
    _wait(writer, name, gets(0), patched, seconds, f"version {good.version} ready again")
    live = _crowd(writer, domain, _must(writer, name), note=note, seconds=seconds)
    back = record.rolled_back(good, at=_now(), reasons=reasons).settled
    make_stable(writer, live, good, record=back, note=note, seconds=seconds)
    return good


def _crowd(writer: InferenceServiceWriter, domain: Domain, live: Object, *, note: Note, seconds: float) -> Object:
    """All traffic to the candidate while it is one, and as many pods of it as stable has at least: then it may be stable.

    As a candidate it has a fixed number of pods, its share of the stable ones; promoted first, few would get everything.
    """
    name, target = domain.name, live_target(live)
    if share(live) != 100:
        patched = writer.shift(live, percent=100)
        live = _wait(writer, name, gets(100), patched, seconds, f"100% to version {target.version}")
        note(f"100% to version {target.version}")
    newest = str(predictor_status(live)["latestCreatedRevision"])
    wanted = int(live["spec"]["predictor"].get("minReplicas") or 1)

    def enough(now: Object) -> bool:
        return gets(100)(now) and writer.count_ready(name, newest) >= wanted

    return _wait(writer, name, enough, live, seconds, f"{wanted} pods of version {target.version} ready")


def _first(
    writer: InferenceServiceWriter,
    domain: Domain,
    target: Target,
    resting: Release | None,
    *,
    note: Note,
    seconds: float,
    mode: Mode,
) -> Object:
    if resting is not None and resting.stable not in (None, target):
        raise Refused(
            f"{domain.name} rests on version {resting.stable.version}, and nothing of it is live here",
            expected=f"version {resting.stable.version} live first",
            got=f"candidate {target.version}",
            fix=f"`hallmark apply {domain.name}`, then release {target.version} beside it",
        )
    record = RolloutRecord().made_stable(target, at=_now(), reasons=("the first version",))
    for item in inferenceservice.objects(domain, record.release, mode):
        if item["kind"] == "InferenceService":
            item["metadata"]["annotations"] = {**item["metadata"].get("annotations", {}), **record.note}
        writer.apply(item)
    note(f"version {target.version} is the first of {domain.name}: it gets all of the traffic")
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
