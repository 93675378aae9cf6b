"""Audit of a split for values that a model could not know when serving; it trusts nobody, `split` included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.features.fields import Field
    from hallmark.settings import Settings
    from hallmark.tasks.targets import TargetColumns
    from hallmark.tasks.task import BaseTask


def check(
    domain: Domain,
    *,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    as_of: datetime | None = None,
    settings: Settings | None = None,
) -> None:
    """`ContractBroken`, naming rows and column, where one of the parts knows too much."""
    parts = {"train": train, "validation": validation, "test": test}
    if as_of is not None and domain.data.event_time is not None:
        for name, part in parts.items():
            _no_late_label(domain, name, part, as_of)
    if domain.data.split == "time":
        _in_order(domain, parts)
    elif domain.data.split == "last":
        _each_in_order(domain, parts)
    else:
        _strangers(domain.data.entity, parts)
    if domain.data.query is not None:
        _strangers(domain.data.query, parts)
    _no_telltale(domain, train, test, domains.module(domain.name, "features", settings).FIELDS)


def _no_late_label(domain: Domain, name: str, part: pd.DataFrame, as_of: datetime) -> None:
    data = domain.data
    young = part[data.event_time] > as_of - data.label_delay
    late = part[data.label_time] > as_of if data.label_time is not None else young & False
    if young.any() or late.any():
        raise ContractBroken(
            f"{int((young | late).sum())} rows of the {name} part have a label that was not known at {as_of.isoformat()}",
            expected=f"{data.event_time} at least {data.label_delay.days} days before",
            got=f"{int(young.sum())} younger, {int(late.sum())} with a later {data.label_time}",
        )


def _in_order(domain: Domain, parts: dict[str, pd.DataFrame]) -> None:
    time, query = str(domain.data.event_time), domain.data.query
    # A query is asked once and answered as a whole: its time is that of its first row.
    times = {name: part[time] if query is None else part.groupby(query)[time].min() for name, part in parts.items()}
    for before, after in pairwise(parts):
        last, first = times[before].max(), times[after].min()
        if last >= first:
            raise ContractBroken(
                f"the {before} part reaches into the {after} part",
                expected=f"every {time} of {before} before the first of {after}, {first}",
                got=f"{int((times[before] >= first).sum())} {'rows' if query is None else 'queries'} up to {last}",
            )


def _each_in_order(domain: Domain, parts: dict[str, pd.DataFrame]) -> None:
    """Of each entity what is learnt from lies before what it is validated on, and that before its test."""
    data, time = domain.data, str(domain.data.event_time)
    entity, asked = data.entity, dict(parts)
    if data.query is not None:  # those in which nothing is relevant say nothing of what an entity wants
        for name, part in parts.items():
            wanted = part[part.groupby(data.query)[data.label].transform("max") > 0]
            asked[name] = wanted.groupby(data.query, sort=False).agg({entity: "first", time: "min"})
    for before, after in pairwise(parts):
        first = asked[after].groupby(entity)[time].min()
        last = asked[before].groupby(entity)[time].max().reindex(first.index)
        late = last > first
        if late.any():
            raise ContractBroken(
                f"the {before} part reaches into the {after} part",
                expected=f"every {time} of {before} up to the first of {after}, of each {entity}",
                got=f"{int(late.sum())} with later ones, such as {first.index[late.to_numpy()][0]}",
            )


def _strangers(column: str, parts: dict[str, pd.DataFrame]) -> None:
    seen: dict[str, str] = {}
    for name, part in parts.items():
        for value in part[column].astype(str).unique():
            if value in seen:
                raise ContractBroken(
                    f"one {column} is in the {seen[value]} and in the {name} part",
                    expected=f"every {column} in one part",
                    got=value,
                )
            seen[value] = name


def _no_telltale(domain: Domain, train: pd.DataFrame, test: pd.DataFrame, fields: tuple[Field, ...]) -> None:
    task, columns = domain.task, domain.data.target_columns
    for name, explained in telltales(task, columns, train=train, test=test, fields=fields):
        raise ContractBroken(
            f"field {name} alone tells the answer: it explains {explained:.3f} of 1",
            expected=f"below {task.too_good}: what is known before the answer never explains it this well",
            got=f"{len(test)} test rows ranked by {name}",
            fix=f"check whether {name} is filled in after {columns.label} is known",
        )


def telltales(
    task: BaseTask, columns: TargetColumns, *, train: pd.DataFrame, test: pd.DataFrame, fields: Sequence[Field]
) -> Iterator[tuple[str, float]]:
    """Fields that alone explain the answer in `test` better than what is known before it can, each with how well, 0..1."""
    import pandas as pd

    task = task.seen_in(pd.concat([train[[columns.label]], test[[columns.label]]]), columns)
    known, asked = task.targets(train, columns), task.targets(test, columns)
    for field in fields:
        if field.media is not None or field.shape:
            continue
        explained = task.telltale(asked, _plain(test, field), train=(known, _plain(train, field)))
        if explained is not None and explained >= task.too_good:
            yield field.name, explained


def _plain(frame: pd.DataFrame, field: Field) -> NDArray[Any]:
    if field.datatype != "BYTES":
        numbers = frame[field.name].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(numbers), -np.inf, numbers)  # of an optional field: missing ranks lowest
    return frame[field.name].astype(str).to_numpy(dtype=np.str_)
