"""One table of rollouts with the outcome of each step: the local cluster and a real one are held to the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hallmark.artifacts.release import Target
from hallmark.declaration.domain import Domain
from hallmark.declaration.traffic import Mode
from hallmark.errors import HallmarkError
from hallmark.rollout import operations
from hallmark.rollout import record as records
from hallmark.rollout.record import RolloutRecord
from hallmark.rollout.writer import InferenceServiceWriter, live_target, share

BAD = 9
"""A version that does not load."""


class Outcome(NamedTuple):
    """What a step leaves: the newest version, its share of the traffic, the stable version, who answers, and the error that it ended with."""

    version: int
    share: int | None
    stable: int
    answering: frozenset[int]
    error: str = ""


class Step(NamedTuple):
    """release VERSION at PERCENT, promote or rollback, and what comes of it."""

    do: str
    outcome: Outcome
    version: int = 0
    percent: int = 0


def _only(stable: int, error: str = "") -> Outcome:
    return Outcome(stable, None, stable, frozenset({stable}), error)


def _both(version: int, percent: int, stable: int, error: str = "") -> Outcome:
    return Outcome(version, percent, stable, frozenset({version, stable}), error)


_FAILED = Outcome(BAD, 10, 1, frozenset({1}))
SCENARIO = (
    Step("release", _only(1), 1, 100),
    Step("release", _only(1, "Refused"), 1, 10),
    Step("release", _both(2, 20, 1), 2, 20),
    Step("release", _both(2, 50, 1), 2, 50),
    Step("release", _both(2, 50, 1, "Refused"), 3, 10),
    Step("promote", _only(2)),
    Step("promote", _only(2, "Refused")),
    Step("rollback", _only(1)),
    Step("rollback", _only(1, "Refused")),
    Step("release", _FAILED._replace(error="ModelRefused"), BAD, 10),
    Step("promote", _FAILED._replace(error="Refused")),
    Step("rollback", _only(1)),
    Step("release", Outcome(3, 100, 1, frozenset({3})), 3, 100),
    Step("rollback", _only(1)),
)


def play(
    writer: InferenceServiceWriter,
    domain: Domain,
    targets: Mapping[int, Target],
    *,
    mode: Mode | None,
    answering: Callable[[], frozenset[int]],
) -> list[Step]:
    """The scenario as it went.   answering: the versions that answer of a hundred requests now, each of which must be answered."""
    return [each._replace(outcome=_done(each, writer, domain, targets, mode, answering)) for each in SCENARIO]


def _done(
    step: Step,
    writer: InferenceServiceWriter,
    domain: Domain,
    targets: Mapping[int, Target],
    mode: Mode | None,
    answering: Callable[[], frozenset[int]],
) -> Outcome:
    error = ""
    try:
        if step.do == "release":
            target = targets[step.version]
            operations.release(writer, domain, target, percent=step.percent, note=_quiet, mode=mode)
        elif step.do == "promote":
            operations.promote(writer, domain, note=_quiet)
        else:
            operations.rollback(writer, domain, note=_quiet)
    except HallmarkError as raised:
        error = type(raised).__name__
    live = writer.live(domain.name)
    record = records.written(live) if live else None
    assert live is not None and record is not None and record.stable is not None
    return Outcome(live_target(live).version, share(live), record.stable.version, answering(), error)


def _quiet(_: str) -> None:
    """Nobody reads the progress."""


def at_rest(writer: InferenceServiceWriter, name: str) -> RolloutRecord | None:
    """The record, where nothing moves and it says what the object does."""
    live = writer.live(name)
    record = records.written(live) if live is not None else None
    if live is None or record is None or share(live) is not None or record != record.settled:
        return None
    assert record.stable == live_target(live)
    return record
