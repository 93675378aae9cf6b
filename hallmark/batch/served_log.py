"""A log of choices that were really made: what a batch has written, with what was known and what came of it joined to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.errors import ContractBroken, DeclarationError

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.registry.store import ServableVersion

TREATMENT, PROPENSITY = "treatment", "propensity"
"""Columns of a batch's output, which a log may have instead of the domain's own."""


def read(
    domain: Domain, reader: Callable[[Path], pd.DataFrame], *, log: Sequence[Path], more: Sequence[Path] = ()
) -> tuple[pd.DataFrame, int]:
    """The rows of `log` with the columns of `more` joined by the entity, and how many rows were left out since nothing else could have been done.

    Columns of a batch's output take the names that the domain has for them. `ContractBroken` where a file to join has an entity twice.
    """
    import pandas as pd

    data, entity = domain.data, domain.data.entity
    frame = pd.concat([reader(each) for each in log], ignore_index=True)
    for path in more:
        beside = reader(path)
        for name, part in (("the log", frame), (path.name, beside)):
            if entity not in part.columns:
                raise ContractBroken(
                    f"{name} does not say whom its rows are about, by which --join joins",
                    expected=f"a column {entity}",
                    got=", ".join(map(str, part.columns)),
                    fix="add it, or name it in data.yaml beside the file (docs/data.md)",
                )
        if beside[entity].duplicated().any():
            raise ContractBroken(
                f"{path.name} has {entity} {beside.loc[beside[entity].duplicated(), entity].iloc[0]!r} twice",
                expected="a row an entity: which of two belongs to a row of the log, nobody can tell",
                got=f"{int(beside[entity].duplicated().sum()):,} rows too many",
                fix="leave one of each, or join it yourself and give one --log",
            )
        kept = [name for name in beside.columns if name == entity or name not in frame.columns]
        frame = frame.merge(beside[kept], on=entity, how="left", validate="many_to_one")
    named = {TREATMENT: data.treatment}
    if isinstance(data.propensity, str):
        named[PROPENSITY] = data.propensity
    frame = frame.rename(
        columns={theirs: ours for theirs, ours in named.items() if ours and theirs in frame and ours not in frame}
    )
    for role, column in (("treatment", data.treatment), ("label", data.label)):
        if column and column not in frame.columns:
            raise DeclarationError(
                f"the log does not say what {'was done' if role == 'treatment' else 'came of it'}",
                expected=f"a column {column}{' (or treatment, as `hallmark predict` writes it)' if role == 'treatment' else ''}",
                got=", ".join(map(str, frame.columns)),
                fix="add it, or give the file that has it with --join",
            )
    if data.event_time and data.event_time not in frame.columns:
        frame[data.event_time] = pd.Timestamp.now("UTC").floor("s")
    left = 0
    if isinstance(data.propensity, str) and data.propensity in frame.columns:
        sure = frame[data.propensity].eq(1.0) | (frame[data.propensity].isna() & ("reason" in frame.columns))
        frame, left = frame[~sure].reset_index(drop=True), int(sure.sum())
    return frame, left


def learnt(domain: Domain, version: ServableVersion, frame: pd.DataFrame) -> int:
    """Rows that the version has learnt from; 0 where neither it nor the frame says."""
    import pandas as pd

    from hallmark.training import rows_seen

    if any(name not in frame.columns for name in rows_seen.identity(domain)):
        return 0
    time = domain.data.event_time
    if time is not None and domain.data.split != "entity" and not isinstance(frame[time].dtype, pd.DatetimeTZDtype):
        frame = frame.assign(**{time: pd.to_datetime(frame[time], format="ISO8601", utc=True, errors="coerce")})
    new = rows_seen.unseen(domain, version.fetch(), frame)
    return 0 if new is None else int((~new).sum())
