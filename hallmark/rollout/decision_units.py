"""Release units of a decision as a rollout has them: one that decides, a candidate in shadow, the one before; each change in the history.

A released version of the model is a part, so it makes a candidate of the whole by itself. Which unit decides is changed by a person, who
is told what it costs; but where a model goes back to the version that the unit before was sealed for, that unit comes back with it.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.decision import candidate as candidates
from hallmark.decision import record, terms, unit
from hallmark.decision import share as shares
from hallmark.decision.candidate import CandidateVerdict, CostComparison
from hallmark.decision.record import Part
from hallmark.decision.share import CandidateShare, Stop
from hallmark.decision.unit import CANDIDATE, FOLDER, PREVIOUS, Unit
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError, HallmarkError, NotFound, Refused, TimedOut
from hallmark.registry import unit_prompts, units
from hallmark.reviews import audits
from hallmark.rollout.history import History

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.rollout.record import RolloutRecord
    from hallmark.settings import Settings

_SHORT = 12


class EndedShare:
    """Of one domain: a share of items that the service ended by itself is taken away, and said."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name, self._settings = name, settings

    def __call__(self) -> str:
        """What ended, in words; empty where nothing has."""
        place = shares.path(self._name, self._settings)
        told = shares.read(place)
        ended = _stopped(self._name, self._settings, told) if told is not None else None
        if told is None or ended is None:
            return ""
        shares.write(place, None)
        with contextlib.suppress(HallmarkError):  # `hallmark render` tells what ails it; this is told once
            _rendered(self._name, self._settings)
        return f"the candidate {shortened(told.candidate)} decides {told.percent:g}% of items no more: {ended.why}"


class CandidateUnit:
    """A follower of rollouts: whenever another version is stable its unit is a candidate, or the one before comes back."""

    name = "unit"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def follow(self, domain: str, record: RolloutRecord) -> list[str]:
        """Bring the units in line with the record; gives what was done, in words."""
        if record.stable is None:
            return []
        return follow(domain, self._settings, record.stable.version, stable=True, who="hallmark watch")


def short(found: Unit) -> str:
    """A unit in a table or a sentence."""
    return shortened(found.digest)


def shortened(digest: str) -> str:
    """The same of its digest."""
    return digest.removeprefix("sha256:")[:_SHORT]


def version_of(found: Unit) -> int | None:
    """Version of the domain's own model that a unit is of."""
    own = next((part.version for part in found.parts.values() if part.service == found.domain), "")
    return int(own) if own.isdigit() else None


def records_of(name: str, settings: Settings) -> Path:
    """Where a decision's records are looked for, unless a person says otherwise."""
    return settings.state / "decisions" / name


def follow(
    name: str, settings: Settings, version: int, *, stable: bool, rolled_back: bool = False, who: str = ""
) -> list[str]:
    """Once a version is released: seal its candidate, or bring the unit before back; gives what was done, in words.

    stable: it serves all traffic, and is not a candidate itself.   rolled_back: whatever was a candidate is none any more.
    """
    domain = domains.load(name, settings)
    decides = unit.there(name, settings) if domain.decision else None
    if decides is None:
        return []
    if version_of(decides) == version:
        left = unit.there(name, settings, CANDIDATE) if rolled_back else None
        return give_up(left, settings, who=who) if left is not None and version_of(left) != version else []
    before = unit.there(name, settings, PREVIOUS)
    if stable and before is not None and version_of(before) == version:
        return rollback(name, settings, why=f"version {version} of the model is stable again", who=who, whole=True)
    waits = unit.there(name, settings, CANDIDATE)
    if waits is not None and version_of(waits) == version and domain.decision == waits.decision:
        return []
    nodes, parts = decides.decision.nodes, decides.parts
    pins = {each: part.version for each, part in parts.items() if part.version and not part.digest}
    kept = {each: part for each, part in parts.items() if nodes[each].kind == "reviewer"}
    _, told = seal(domain, settings, version=version, pins=pins, kept=kept, who=who)
    return [
        *told,
        f"next: start the decision's service with --candidate, or commit; then hallmark decision compare {name}",
    ]


def seal(
    domain: Domain,
    settings: Settings,
    *,
    version: int | str,
    prompt: int | str = "champion",
    pins: dict[str, str] | None = None,
    kept: dict[str, Part] | None = None,
    why: str = "",
    who: str = "",
) -> tuple[Unit, list[str]]:
    """Seal a candidate beside the unit that decides; gives it and what was done, in words."""
    decides = unit.there(domain.name, settings)
    if decides is None:
        raise NotFound(
            f"nothing decides in {domain.name} yet, so there is nothing to compare a candidate with",
            expected=f"a sealed unit at {settings.shown(unit.place(domain.name, settings))}",
            got="none",
            fix=f"hallmark decision seal {domain.name}",
        )
    place = unit.place(domain.name, settings, CANDIDATE)
    made = units.seal(domain, settings, place, version=version, prompt=prompt, pins=pins, kept=kept)
    if made.digest == decides.digest:
        shutil.rmtree(place)
        raise Refused(
            f"the candidate is the unit that decides in {domain.name}",
            expected="another graph, version, prompt or thresholds",
            got=made.digest,
            fix="change a part first; --version and --prompt name others",
        )
    text = f"unit {short(made)} is a candidate beside {short(decides)}: {', '.join(differences(decides, made))}"
    with History(settings, domain.name).act("decision", text, why=why, who=who, version=version_of(made)):
        shares.write(shares.path(domain.name, settings), None)
        return made, [text, *_rendered(domain.name, settings)]


def differences(stable: Unit, candidate: Unit) -> list[str]:
    """Parts that are not the same, in words."""
    told = []
    for name in dict.fromkeys((*stable.parts, *candidate.parts)):
        old, new = stable.parts.get(name), candidate.parts.get(name)
        if old != new:
            said = [each.version or "any" if each else "none" for each in (old, new)]
            told.append(f"{name} {said[0]} to {said[1]}" if said[0] != said[1] else f"{name} of another digest")
    told += ["the graph"] if stable.decision != candidate.decision else []
    told += ["the thresholds"] if stable.thresholds != candidate.thresholds else []
    return told


def judged(
    name: str,
    settings: Settings,
    records: Path,
    *,
    since: float = 0.0,
    minimum: int = terms.MINIMUM,
    margin: float = terms.MARGIN,
    confidence: float = terms.CONFIDENCE,
    second_looks: bool = False,
) -> tuple[CostComparison, CandidateVerdict]:
    """What the candidate costs against the unit that decides, by records and final labels, and what becomes of it.

    second_looks: have a second person look at the cases on whose labels most hangs.
    """
    stable, waits = _both(name, settings)
    if not records.is_dir():
        raise NotFound(
            "there are no records of decisions",
            expected="the folder that the service was started with: --records",
            got=f"no folder {records}",
            fix="name it with --records; of a cluster's pod see docs/decision.md",
        )
    mine, verdicts = candidates.paired(record.read(records, since=since), stable=stable.digest, unit=waits)
    labels, persons = audits.final(settings.reviews, domain=name), waits.decision.nodes
    if second_looks:
        audits.look_again(
            settings.reviews, candidates.doubts(mine, verdicts, labels=labels, persons=persons), domain=name
        )
    found = candidates.compare(mine, verdicts, labels=labels, persons=persons, confidence=confidence)
    return found, candidates.verdict_on(found, minimum=minimum, margin=margin)


def share(
    name: str,
    settings: Settings,
    percent: float,
    found: CostComparison | None = None,
    verdict: CandidateVerdict | None = None,
    *,
    minimum: int = terms.MINIMUM,
    why: str = "",
) -> list[str]:
    """Have the candidate decide on so many percent of items; gives what was done, in words.

    found, verdict: of `judged`; without them it is not looked at whether it may. `TimedOut` where it has not decided on enough
    items in shadow, `Refused` where its decisions are dearer; whether they are need not be known yet.
    """
    _, waits = _both(name, settings)
    if not 0 <= percent <= terms.MOST:
        raise DeclarationError(
            f"no candidate decides {percent:g}% of items",
            expected=f"0 to {terms.MOST:g}",
            got=f"{percent:g}",
            fix=f"the rest is what it is judged by; hallmark decision promote {name} gives it all items",
        )
    place = shares.path(name, settings)
    if not percent:
        if not place.exists():
            return [f"unit {short(waits)} decides no share of items"]
        text = f"unit {short(waits)} decides no share of items any more"
    else:
        text = f"unit {short(waits)} decides {percent:g}% of items"
        if found is not None and verdict is not None:
            _check_share(waits, found, verdict, minimum=minimum)
    told = CandidateShare(candidate=waits.digest, percent=percent, since=datetime.now(UTC)) if percent else None
    with History(settings, name).act("decision", text, why=why, version=version_of(waits), percent=math.ceil(percent)):
        shares.write(place, told)
        return [text, *_rendered(name, settings)]


def _check_share(waits: Unit, found: CostComparison, verdict: CandidateVerdict, *, minimum: int) -> None:
    """Raise where the candidate has not decided on enough items in shadow, or is dearer."""
    message = f"the candidate {short(waits)} of {waits.domain} gets no items"
    wait = "let it decide on more items in shadow first; --unjudged gives it items as it is"
    if unseen := candidates.unseen_by(found, minimum=minimum):
        expected = f"{minimum} items that it decided on in shadow, and nine in ten of stable's"
        raise withheld(waits.domain, CandidateVerdict("wait", unseen), message, wait=wait, expected=expected)
    if verdict.outcome == "refuse":
        raise withheld(waits.domain, verdict, message, wait=wait)


def share_of(name: str, settings: Settings) -> tuple[CandidateShare | None, Stop | None]:
    """The share that is said for the candidate, and the end by itself of it, or of the candidate's last, as far as the records are here."""
    told = shares.read(shares.path(name, settings))
    if told is not None:
        return told, _stopped(name, settings, told)
    waits, last = unit.there(name, settings, CANDIDATE), shares.last_stop(_candidates(name, settings))
    return None, last if waits is not None and last is not None and last.share.candidate == waits.digest else None


def _stopped(name: str, settings: Settings, told: CandidateShare) -> Stop | None:
    return shares.stopped(_candidates(name, settings), told)


def _candidates(name: str, settings: Settings) -> Path:
    """Where the candidate's records are looked for."""
    return records_of(name, settings) / record.CANDIDATE


def withheld(name: str, verdict: CandidateVerdict, message: str, *, wait: str, expected: str = "") -> HallmarkError:
    """Why a candidate may not decide: `Refused` where it is dearer, `TimedOut` while that is not known; wait: what to do then.

    expected: of a candidate, if that is not what its decisions cost.
    """
    refused = verdict.outcome == "refuse"
    return (Refused if refused else TimedOut)(
        message,
        expected=expected or "final decisions that cost no more than stable's",
        got=verdict.why,
        fix=f"hallmark decision rollback {name} gives it up" if refused else wait,
    )


def promote(name: str, settings: Settings, verdict: CandidateVerdict | None, *, why: str = "") -> list[str]:
    """Let the candidate decide; the unit that did is the one before. `Refused` or `TimedOut` where the verdict says so; None: unjudged."""
    stable, made = _both(name, settings)
    if verdict is not None and verdict.outcome != "promote":
        raise withheld(
            name,
            verdict,
            f"the candidate {short(made)} of {name} is not promoted",
            wait="let it decide on more items, and people answer their cases; --unjudged promotes it as it is",
        )
    reason = "without a comparison" if verdict is None else verdict.why
    text = f"unit {short(made)} decides, and {short(stable)} no more: {reason}"
    with History(settings, name).act("decision", text, why=why, version=version_of(made)):
        _remove(unit.place(name, settings, PREVIOUS))
        unit.place(name, settings).rename(unit.place(name, settings, PREVIOUS))
        unit.place(name, settings, CANDIDATE).rename(unit.place(name, settings))
        shares.write(shares.path(name, settings), None)
        return [text, *_rendered(name, settings)]


def rollback(name: str, settings: Settings, *, why: str = "", who: str = "", whole: bool = False) -> list[str]:
    """Give the candidate up; where there is none, or `whole`, let the unit before decide again."""
    waits = unit.there(name, settings, CANDIDATE)
    told = give_up(waits, settings, why=why, who=who) if waits is not None else []
    if told and not whole:
        return told
    before, decides = unit.there(name, settings, PREVIOUS), unit.there(name, settings)
    if before is None:
        raise NotFound(
            f"{name} has neither a candidate nor a unit before",
            expected=f"{PREVIOUS}/ or {CANDIDATE}/ beside its release.yaml",
            got="neither",
            fix="Git has the units of earlier commits; `hallmark decision seal` makes one of any version",
        )
    left = f", and {short(decides)} no more" if decides else ""
    text = f"unit {short(before)} decides again{left}"
    with History(settings, name).act("decision", text, why=why, who=who, version=version_of(before)):
        _remove(unit.place(name, settings, FOLDER))
        unit.place(name, settings, PREVIOUS).rename(unit.place(name, settings))
        return [*told, text, *_rendered(name, settings)]


def give_up(candidate: Unit, settings: Settings, *, why: str = "", who: str = "") -> list[str]:
    """Take a candidate away; what decides goes on."""
    text = f"unit {short(candidate)} is no candidate any more"
    with History(settings, candidate.domain).act("decision", text, why=why, who=who, version=version_of(candidate)):
        _remove(unit.place(candidate.domain, settings, CANDIDATE))
        shares.write(shares.path(candidate.domain, settings), None)
        return [text, *_rendered(candidate.domain, settings)]


def _both(name: str, settings: Settings) -> tuple[Unit, Unit]:
    stable, waits = unit.there(name, settings), unit.there(name, settings, CANDIDATE)
    if stable is None or waits is None:
        raise NotFound(
            f"{name} has no candidate",
            expected=f"a unit in {FOLDER}/ and another in {CANDIDATE}/ beside its release.yaml",
            got="no unit at all" if stable is None else f"unit {short(stable)} alone",
            fix=f"hallmark decision seal {name}" + ("" if stable is None else " --candidate, once a part is another"),
        )
    return stable, waits


def _remove(place: Path) -> None:
    """Take a folder away at once, then its files: nobody reads half a unit."""
    if place.exists():
        gone = place.with_name(f".{place.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
        shutil.rmtree(gone)


def _rendered(name: str, settings: Settings) -> list[str]:
    from hallmark.render import files

    unit_prompts.tidy(name, settings)
    return [f"wrote {each.path}" for each in files.write(settings) if Path(each.path).parent.name == name]
