"""A domain's examples, from wherever they are: the synthetic marketplace, or a path of the team's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError
from hallmark.settings import SYNTHETIC as SYNTHETIC
from hallmark.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.artifacts.model_card import FeatureOrigin
    from hallmark.declaration.domain import Domain


class Shift(Protocol):
    """One named change of what comes in, as a domain's synthetic.py lists it."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...


def load(
    domain: str,
    *,
    source: str,
    start: datetime,
    end: datetime,
    seed: int,
    shift: str | None = None,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """The examples of `domain` that happened from `start` until before `end`, with all the fields that a model reads.

    All of them where they have no time. source, now: as of `rows`.
    """
    return traced(domain, source=source, start=start, end=end, seed=seed, shift=shift, settings=settings, now=now)[0]


def traced(
    domain: str,
    *,
    source: str,
    start: datetime,
    end: datetime,
    seed: int,
    shift: str | None = None,
    settings: Settings | None = None,
    now: datetime | None = None,
    held: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, FeatureOrigin | None]:
    """What `load` gives, and where the fields come from that feature views give; none where all are sent.

    held: what `view_join.held` said of the rows that are stored; `Conflict` where they are others by now.
    """
    declared = domains.load(domain, settings)
    frame = rows(domain, source=source, start=start, end=end, seed=seed, shift=shift, settings=settings, now=now)
    if declared.features is None or frame.empty:
        return frame, None
    from hallmark.training import view_join

    settings = settings or Settings.load()
    if source != SYNTHETIC:
        _check(declared, frame, shown=source, settings=settings)
    return view_join.joined(declared, frame, source=source, seed=seed, shift=shift, settings=settings, held=held)


def rows(
    domain: str,
    *,
    source: str,
    start: datetime,
    end: datetime,
    seed: int,
    shift: str | None = None,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """The examples as the domain's data.py gives them: without the fields that feature views give.

    source: "synthetic", or the path of a file or folder, which is taken whole until `end` where each entity's last is the test.
    now:    own data must not have happened later; the clock's where it is not given.
    """
    declared = domains.load(domain, settings)
    code = domains.module(domain, "data", settings)
    if source == SYNTHETIC:
        drawn: pd.DataFrame = code.draw(start=start, end=end, seed=seed, shift=shift)
        return drawn
    if shift:
        raise DeclarationError(
            "a shift can only be put into synthetic data",
            expected=f"--data {SYNTHETIC}, or no --shift",
            got=f"{source} with {shift}",
        )
    frame: pd.DataFrame = code.read(Path(source))
    time = declared.data.event_time
    if declared.data.split == "last":
        start = datetime.min.replace(tzinfo=UTC)
    return _inside(frame, time, start=start, end=end, now=now or datetime.now(UTC), shown=source) if time else frame


def corpus(
    domain: str, *, source: str, at: datetime, seed: int, shift: str | None = None, settings: Settings | None = None
) -> pd.DataFrame:
    """The items that answers are taken from at a time, as the domain's data.py reads them, by the contract that retrieval names.

    source: "synthetic", or the path of a file or folder.   `ContractBroken` where a row breaks the contract, or there is none.
    """
    from hallmark.declaration import source as contracts
    from hallmark.feature_store import source_batch

    declared = domains.load(domain, settings)
    read = getattr(domains.module(domain, "data", settings), "corpus", None)
    if declared.retrieval is None or read is None:
        raise DeclarationError(
            f"{domain} has no items",
            expected=f"retrieval: in its domain.yaml, and corpus(source, at=, seed=, shift=) in domains/{domain}/data.py",
            got="no retrieval:" if declared.retrieval is None else "no corpus",
            fix="write it, as domains/search has it (docs/retrieval.md)",
        )
    own = None if source == SYNTHETIC else Path(source)
    frame: pd.DataFrame = read(own, at=at, seed=seed, shift=shift)
    contract = contracts.load(declared.retrieval.corpus, settings)
    shown = "the synthetic marketplace" if own is None else source
    if frame.empty:
        raise ContractBroken(
            f"there are no items at {at:%Y-%m-%d %H:%M}", expected="at least one to answer with", got=f"none in {shown}"
        )
    return source_batch.checked(contract, frame, shown=f"the items of {shown}")


def _check(declared: Domain, frame: pd.DataFrame, *, shown: str, settings: Settings) -> None:
    """`ContractBroken` where what data.py read breaks the domain's contract, the fields that views give left out."""
    from hallmark.artifacts import views
    from hallmark.data import contract

    fields = domains.module(declared.name, "features", settings).FIELDS
    schema = domains.module(declared.name, "data", settings).contract()
    given = {name for use in views.uses(declared, fields, settings) for name in use.fields}
    contract.check(schema.remove_columns([name for name in schema.columns if name in given]), frame, shown)


def shifts(domain: str, settings: Settings) -> Sequence[Shift]:
    """The named shifts that can be injected into synthetic data of `domain`; none where it has no synthetic.py."""
    if not (settings.domains / domain / "synthetic.py").is_file():
        return ()
    found: Sequence[Shift] = domains.module(domain, "synthetic", settings).SHIFTS
    return found


def _inside(
    frame: pd.DataFrame, time: str, *, start: datetime, end: datetime, now: datetime, shown: str
) -> pd.DataFrame:
    """The rows of the window; what has no time in UTC stays, for the contract to name."""
    import pandas as pd

    from hallmark.data import contract

    found = contract.past(frame, time, now=now)
    if found:
        contract.broken(found, shown=shown, rows=len(frame))
    if time not in frame.columns or not isinstance(frame[time].dtype, pd.DatetimeTZDtype):
        return frame
    kept = frame[~((frame[time] < start) | (frame[time] >= end))].reset_index(drop=True)
    if kept.empty and len(frame):
        raise HallmarkError(
            f"no row of {shown} is of the time asked for",
            expected=f"{time} from {start:%Y-%m-%d} until before {end:%Y-%m-%d}",
            got=f"{len(frame)} rows from {frame[time].min():%Y-%m-%d} to {frame[time].max():%Y-%m-%d}",
            fix="name the day to train as of with --until, after the last row by as much as labels are late",
        )
    return kept
