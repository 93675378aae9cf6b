"""Examples in three parts, such that the test part says what serving will see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.training import leakage

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

FEWEST = 3
"""Examples that an entity needs for its last ones to be held back, where each entity's last is the test."""


@dataclass(frozen=True)
class Split:
    """The three parts, as frames with the columns they came with.

    immature: rows left out because their label was not final at training time.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    immature: int = 0


def split(
    domain: Domain,
    frame: pd.DataFrame,
    *,
    as_of: datetime | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
) -> Split:
    """`frame` in three parts, by event time, by entity or by what each did last, of what was known at `as_of`; checked for leaks.

    By time the test part is the latest `data.test` of them, so that the model is measured on days it has not seen. By entity a hash
    decides, so that an entity stays in its part for every data set: keep `seed` (the declared one) from run to run, or a
    champion is compared on people it was trained on. By last each entity's latest example is the test and the one before the
    validation; of a task by query a query in which nothing is relevant judges nothing, and is learnt from.
    """
    known = frame.reset_index(drop=True)
    if domain.data.event_time is not None:
        known = mature(domain, frame, as_of=as_of)
    if domain.data.split == "time":
        parts = _by_time(domain, known)
    elif domain.data.split == "last":
        parts = _by_last(domain, known)
    else:
        parts = _by_entity(domain, known, seed=domain.training.seed if seed is None else seed)
    train, validation, test = (part.reset_index(drop=True) for part in parts)
    made = Split(train=train, validation=validation, test=test, immature=len(frame) - len(known))
    _populated(domain, made, total=len(frame))
    leakage.check(domain, train=train, validation=validation, test=test, as_of=as_of, settings=settings)
    return made


def usual(domain: Domain, frame: pd.DataFrame) -> pd.DataFrame:
    """The latest of `frame` in which something is relevant, `data.test` of it: what is asked, of a domain whose test part is each entity's last.

    An entity's last example has more behind it than most, and those of whom there are few are in no test at all.
    """
    time = str(domain.data.event_time)
    asked = frame[frame[domain.data.label] > 0].sort_values(time, kind="stable")
    return asked.iloc[int(len(asked) * (1 - domain.data.test)) :].reset_index(drop=True)


def mature(domain: Domain, frame: pd.DataFrame, *, as_of: datetime | None) -> pd.DataFrame:
    """The rows whose label was final at `as_of`: old enough, and not told by anything learnt later."""
    if as_of is None or as_of.tzinfo is None:
        raise DeclarationError(
            "a split by time needs to know when training happens",
            expected="as_of with a time zone, such as 2026-10-01T00:00:00+00:00",
            got=str(as_of),
        )
    data = domain.data
    keep = frame[data.event_time] <= as_of - data.label_delay
    if data.label_time is not None:
        keep &= ~(frame[data.label_time] > as_of)
    return frame[keep].reset_index(drop=True)


def _learnt(domain: Domain) -> float:
    """Share of the examples that are learnt from."""
    return 1 - domain.data.validation - domain.data.test


def _by_time(domain: Domain, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    time = str(domain.data.event_time)
    ordered = frame.sort_values(time, kind="stable")
    times = ordered[time].to_numpy()
    if domain.data.query is not None:  # a query stays whole: it is where its first row is
        times = ordered.groupby(domain.data.query, sort=False)[time].transform("min").to_numpy()
    if not len(times):
        return ordered, ordered, ordered
    sorted_times = np.sort(times)
    # Rows of one moment stay together, so the cut is a time and not a row.
    first, second = (sorted_times[int(len(times) * share)] for share in (_learnt(domain), 1 - domain.data.test))
    return ordered[times < first], ordered[(times >= first) & (times < second)], ordered[times >= second]


def _by_last(domain: Domain, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    held = last(domain, frame)
    return frame[held == 0], frame[held == 2], frame[held == 1]


def last(domain: Domain, frame: pd.DataFrame) -> NDArray[np.int64]:
    """(n,) 1 for rows of an entity's last example, 2 for the one before, 0 for all others; a query is one example."""
    import pandas as pd

    data = domain.data
    unit = np.arange(len(frame)) if data.query is None else pd.factorize(frame[data.query])[0]
    told = pd.DataFrame(
        {"unit": unit, "entity": frame[data.entity].to_numpy(), "time": frame[data.event_time].to_numpy()}
    )
    if data.query is not None:
        told["judges"] = frame[data.label].to_numpy() > 0
        told = told[told.groupby("unit")["judges"].transform("any")]
    units = told.groupby("unit", sort=False).agg(entity=("entity", "first"), time=("time", "min")).reset_index()
    # Those of one moment stand in the order of the rows.
    units = units.sort_values(["time", "unit"], kind="stable")
    by_entity = units.groupby("entity", sort=False)["unit"]
    back = by_entity.cumcount(ascending=False).to_numpy() + 1
    held = np.where((back <= 2) & (by_entity.transform("size").to_numpy() >= FEWEST), back, 0)
    found = np.zeros(int(unit.max()) + 1 if len(unit) else 0, dtype=np.int64)
    found[units["unit"].to_numpy()] = held
    return found[unit]


def _by_entity(domain: Domain, frame: pd.DataFrame, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    entities = frame[domain.data.entity].astype(str)
    places = entities.map({entity: place(entity, seed=seed) for entity in entities.unique()}).to_numpy(dtype=np.float64)
    return (
        frame[places < _learnt(domain)],
        frame[(places >= _learnt(domain)) & (places < 1 - domain.data.test)],
        frame[places >= 1 - domain.data.test],
    )


def place(entity: str, *, seed: int) -> float:
    """Position of an entity in 0..1: the same in every run, on every machine, whoever else is in the data."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{entity}".encode()).digest()[:7], "big") / (1 << 56)


def _populated(domain: Domain, made: Split, *, total: int) -> None:
    days = domain.data.label_delay.days
    for name in ("train", "validation", "test"):
        part = getattr(made, name)
        task = domain.task.seen_in(part, domain.data.target_columns)
        reason = task.enough(task.targets(part, domain.data.target_columns))
        if reason is not None:
            young = f", of which {made.immature} are too young to have a final label" if days else ""
            raise ContractBroken(
                f"the {name} part, {len(part)} rows, cannot be learnt from or judged on: {reason}",
                expected=f"what a {domain.task.kind} task needs in every part",
                got=f"{total} rows{young}",
                fix="take more data" + (f", or data older than {days} days" if days else ""),
            )
