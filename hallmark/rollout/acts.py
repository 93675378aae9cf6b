"""Acts of people on what is served: release, promote, roll back, each written into the history and followed by what hangs on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.errors import HallmarkError, ModelRefused, Refused
from hallmark.rollout import operations
from hallmark.rollout.followers import follow
from hallmark.rollout.history import ActKind, History
from hallmark.rollout.operations import Undeclared

if TYPE_CHECKING:
    from hallmark.artifacts.release import Target
    from hallmark.declaration.domain import Domain
    from hallmark.declaration.traffic import Mode
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings


class Deed(NamedTuple):
    """An act that has been asked for.

    do:   called with a writer, note= and by=; gives the version that is stable by it, if any.
    text: what the history is told before it begins.
    """

    domain: str
    kind: ActKind
    text: str
    do: Callable[..., Target | None]
    why: str = ""
    version: int | None = None
    percent: int | None = None


def release(
    domain: Domain,
    settings: Settings,
    candidate: str,
    *,
    percent: int,
    shadow: bool = False,
    mode: Mode | None = None,
    why: str = "",
    seconds: float,
) -> Deed:
    """Give a registered version a share of the traffic, or a shadow; the first of a domain gets all of it.

    candidate: a version or an alias; `NotFound` where the registry has none.
    """
    from hallmark.artifacts import release as releases
    from hallmark.artifacts.release import Target
    from hallmark.declaration import serving_config
    from hallmark.registry.store import Registry
    from hallmark.rollout.writer import SHADOW_NOTE
    from hallmark.rollout.writer import share as share_of

    target = Target.of(Registry(settings).resolve(domain.name, candidate), serving_config.of(domain).reference)
    mirrored = 100 * domain.rollout.shadow.share if domain.rollout.shadow else 100

    def do(writer: InferenceServiceWriter, **given: Any) -> Target | None:
        live = operations.release(
            writer,
            domain,
            target,
            percent=0 if shadow else percent,
            resting=releases.read(domain.name, settings),
            seconds=seconds,
            notes={SHADOW_NOTE: f"{mirrored:g}" if shadow else None},
            mode=mode,
            why=why,
            **given,
        )
        return target if share_of(live) is None else None

    asked = "a shadow" if shadow else f"{percent}% of the traffic"
    text, kind = f"{target.shown}: asked for {asked}", "shadow" if shadow else "canary"
    return Deed(domain.name, kind, text, do, why, target.version, percent)  # type: ignore[arg-type]


def promote(domain: Domain, *, why: str = "", seconds: float) -> Deed:
    """Make the candidate the stable version."""
    do = partial(operations.promote, domain=domain, seconds=seconds, why=why)
    return Deed(domain.name, "promote", "asked to make the candidate stable", do, why)


def rollback(name: str, domain: Domain | None, *, why: str = "", seconds: float) -> Deed:
    """Send all traffic back to the version before; without a declaration by what the live object says."""

    def do(writer: InferenceServiceWriter, **given: Any) -> Target | None:
        return operations.rollback(writer, domain or Undeclared.of(writer, name), seconds=seconds, why=why, **given)

    return Deed(name, "rollback", "asked to roll back", do, why)


def carry_out(
    deed: Deed, writer: InferenceServiceWriter, settings: Settings, *, note: Callable[[str], None]
) -> Target | None:
    """Do it, write it into the history, and let release.yaml and the registry follow which version it made stable; gives that."""
    person = writer.person()
    try:
        with History(settings, deed.domain).act(
            deed.kind,
            deed.text,
            who=person,
            why=deed.why,
            cluster=str(writer.host),
            version=deed.version,
            percent=deed.percent,
        ) as notes:
            stable = deed.do(writer, note=note, by=person)
            notes.version = stable.version if stable is not None else None
            if stable is not None and deed.kind == "canary":
                notes.percent = 100  # the first of a domain gets all of it, whatever was asked for
            notes.text = f"{stable.shown} is stable" if stable is not None else ""
    except ModelRefused:
        raise  # It does not serve, so nothing follows it.
    except Refused:
        # What was asked for may be done, and only what follows is not: an operation that was cut off is finished by the same command.
        told = follow(writer, deed.domain, settings) if writer.live(deed.domain) else []
        if not told:
            raise
        for line in told:
            note(line)
        return None
    if stable is not None:
        for line in follow(writer, deed.domain, settings):
            note(line)
    version = stable.version if stable is not None else deed.version
    if version is not None:
        _candidate(deed, settings, version, stable=stable is not None, note=note)
    return stable


def _candidate(deed: Deed, settings: Settings, version: int, *, stable: bool, note: Callable[[str], None]) -> None:
    """A decision's part is another by now: its candidate follows. What cannot be sealed is said, and undoes nothing."""
    from hallmark.rollout import decision_units

    try:
        told = decision_units.follow(deed.domain, settings, version, stable=stable, rolled_back=deed.kind == "rollback")
    except HallmarkError as error:
        told = [f"no candidate of the decision was sealed: {error.message}; {error.fix}"]
    for line in told:
        note(line)
