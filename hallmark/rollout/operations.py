"""Release, promote, roll back: each a few patches of one InferenceService, in the order that never sends traffic astray.

While a rollout runs, the live object owns the model and the share; its end is written back to release.yaml
(docs/decisions/0004-git-and-the-live-object.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.declaration.domain import Domain
from hallmark.errors import NotFound, Refused
from hallmark.render import inferenceservice
from hallmark.render.inferenceservice import Mode
from hallmark.rollout import standard
from hallmark.rollout.writer import (
    OVER,
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
from hallmark.settings import Settings

SECONDS = 120.0
Check = Callable[[Object], bool]


def release(
    writer: InferenceServiceWriter,
    domain: Domain,
    target: Target,
    *,
    percent: int,
    settings: Settings,
    note: Note,
    seconds: float = SECONDS,
    notes: Mapping[str, str | None] | None = None,
    mode: Mode = "Knative",
) -> Object:
    """Give version `target` `percent` of the traffic; the very first version of a domain gets all of it.

    notes: annotations that are written with it.   mode: KServe's, for a domain of which nothing is live yet.
    Refused while another candidate is being rolled out, or when `target` is the stable version already.
    """
    name = domain.name
    live = writer.live(name)
    resting = releases.read(name, settings)
    if live is None:
        return _first(writer, domain, target, resting, settings=settings, note=note, seconds=seconds, mode=mode)
    if standard.is_standard(live) and (notes or {}).get(SHADOW_NOTE):
        raise Refused(
            f"{name} is served in Standard mode, where nothing mirrors requests",
            expected="a share of the traffic",
            got="shadow",
            fix=f"`hallmark release {name} --candidate {target.version} --percent {domain.rollout.stages[0]}`",
        )
    current = live_target(live)
    rolling = share(live)
    if rolling is None and current == target:
        raise Refused(
            f"version {target.version} of {name} is stable already",
            expected="another version",
            got=str(target.version),
        )
    if rolling is not None and current != target:
        raise Refused(
            f"a rollout of version {current.version} is running at {rolling}%",
            expected=f"to go on with {current.version}, or to end it first",
            got=f"candidate {target.version}",
            fix=f"`hallmark rollback {name}` or `hallmark promote {name}`",
        )
    patched = writer.shift(live, percent=percent, target=None if current == target else target, notes=notes)
    note(f"asked for {percent}% to version {target.version}")
    moved = gets(percent) if current == target else _newer_than(live)
    what = f"{percent}% to version {target.version}"
    return _wait(writer, name, gets(percent), patched, seconds, what, moved=moved)


def promote(
    writer: InferenceServiceWriter, domain: Domain, *, settings: Settings, note: Note, seconds: float = SECONDS
) -> Target:
    """Give the candidate all of the traffic and the name of stable; writes release.yaml."""
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
    patched = writer.shift(live, percent=None, notes=OVER)
    _wait(writer, name, gets(100), patched, seconds, f"all traffic to version {target.version}")
    resting = releases.read(name, settings)
    previous = resting.stable if resting.stable != target else resting.previous
    releases.write(name, Release(stable=target, previous=previous), settings)
    note(f"version {target.version} is stable")
    return target


def rollback(
    writer: InferenceServiceWriter, domain: Domain, *, settings: Settings, note: Note, seconds: float = SECONDS
) -> Target | None:
    """Send all traffic back to the version before, at once, then settle on it; writes release.yaml.

    The first patch pins the revision that is still warm. Going on from there, removing the share while the newest
    revision is the bad one would send it everything, so the good model gets a revision of its own at 0% first.
    """
    name = domain.name
    live = _must(writer, name)
    resting = releases.read(name, settings)
    bad = live_target(live)
    good = resting.stable if resting.stable != bad else resting.previous
    component = predictor_status(live)
    if share(live) is None and good is None:
        raise Refused(
            f"there is nothing before version {bad.version} of {name}",
            expected="an earlier version",
            got="none",
            fix=f"`hallmark release {name} --candidate N`",
        )
    if standard.is_standard(live):
        return _rollback_standard(writer, domain, live, good, settings=settings, note=note, seconds=seconds)
    if share(live) is None and not component.get("previousRolledoutRevision"):
        assert good is not None  # noqa: S101 - the case above
        note(f"no warm revision to pin: releasing version {good.version} again")
    else:
        # The good model goes with the first patch where it can: a live object that is wrong in its model is mended by it.
        patched = writer.shift(live, percent=0, target=good if share(live) is not None else None, notes=OVER)
        live = _wait(writer, name, _pinned, patched, seconds, "all traffic back to the version before", failing=False)
        note(f"version {bad.version} gets nothing now")
    if good is None:
        return None
    live = _must(writer, name)
    patched = writer.shift(live, percent=0, target=good)
    _wait(writer, name, ready, patched, seconds, f"version {good.version} ready again", moved=_newer_than(live))
    finish(writer, domain, good, settings=settings, note=note, seconds=seconds)
    return good


def finish(
    writer: InferenceServiceWriter,
    domain: Domain,
    good: Target,
    *,
    settings: Settings,
    note: Note,
    seconds: float = SECONDS,
) -> None:
    """The last part of a roll-back, also of one that was cut off: all traffic to the good model's newest revision."""
    name = domain.name
    patched = writer.shift(_must(writer, name), percent=None, notes=OVER)
    _wait(writer, name, gets(100), patched, seconds, f"all traffic to version {good.version}")
    releases.write(name, Release(stable=good), settings)
    note(f"version {good.version} is stable")


def _rollback_standard(
    writer: InferenceServiceWriter,
    domain: Domain,
    live: Object,
    good: Target | None,
    *,
    settings: Settings,
    note: Note,
    seconds: float,
) -> Target | None:
    """The candidate to 0%, where its pods end what they have, then away; without one, the version before as a candidate.

    A promotion in Standard mode leaves nothing warm: KServe deletes the Deployment that is in the spec no more.
    """
    name, bad = domain.name, live_target(live)
    if share(live) is not None:
        stable = inferenceservice.target_of(live["spec"]["predictor"])
        patched = writer.shift(live, percent=0, notes=OVER)
        what = "all traffic back to the version before"
        live = _wait(writer, name, _drained, patched, seconds, what, failing=False)
        note(f"version {bad.version} gets nothing now")
        patched = writer.shift_away(live)
        _wait(writer, name, gets(100), patched, seconds, "the candidate gone", failing=False)
        if stable is None:
            return None
        releases.write(name, Release(stable=stable), settings)
        note(f"version {stable.version} is stable")
        return stable
    assert good is not None  # noqa: S101 - refused before
    note(f"nothing of version {good.version} is warm: releasing it again")
    patched = writer.shift(live, percent=0, target=good)
    _wait(writer, name, gets(0), patched, seconds, f"version {good.version} ready again")
    live = _crowd(writer, domain, _must(writer, name), note=note, seconds=seconds)
    finish(writer, domain, good, settings=settings, note=note, seconds=seconds)
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
    resting: Release,
    *,
    settings: Settings,
    note: Note,
    seconds: float,
    mode: Mode,
) -> Object:
    if resting.stable is not None and resting.stable != target:
        raise Refused(
            f"{domain.name} rests on version {resting.stable.version}, and nothing of it is live here",
            expected=f"version {resting.stable.version} live first",
            got=f"candidate {target.version}",
            fix=f"`hallmark apply {domain.name}`, then release {target.version} beside it",
        )
    first = Release(stable=target)
    for item in inferenceservice.objects(domain, first, mode):
        writer.apply(item)
    note(f"version {target.version} is the first of {domain.name}: it gets all of the traffic")
    live = _wait(writer, domain.name, gets(100), _must(writer, domain.name), seconds, f"version {target.version} ready")
    releases.write(domain.name, first, settings)
    return live


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
