"""A domain's examples, from wherever they are: the synthetic marketplace, or a path of the team's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SYNTHETIC = "synthetic"


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
    """The examples of `domain` that happened from `start` until before `end`; all of them where they have no time.

    source: "synthetic", or the path of a file or folder.
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
    return _inside(frame, time, start=start, end=end, now=now or datetime.now(UTC), shown=source) if time else frame


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
