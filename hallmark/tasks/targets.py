"""Targets: what the rows of a frame say is true, and the checks that a frame's columns have to pass before they are that."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_SHOWN = 3


@dataclass(frozen=True)
class TargetColumns:
    """Names of the columns that tell the answer and what it hangs on; None where a domain has none.

    query:      rows of one query are ranked among each other.   item: the id that a retrieval answers with.
    treatment:  0 for none, 1.. for which.                       propensity: chance of the treatment that the row got; of a
                                                                             ranking, that the row was looked at.
    judged:     a relevance that is not learnt from.             shares: chance of each treatment from 1 on, where no
                                                                         column says it and one lot was drawn for all.
    value:      money that an outcome brought.
    censored:   true where the label is only a bound.            entity: rows of one entity are not independent.
    """

    label: str
    query: str | None = None
    item: str | None = None
    treatment: str | None = None
    propensity: str | None = None
    censored: str | None = None
    entity: str | None = None
    weight: str | None = None
    judged: str | None = None
    shares: tuple[float, ...] = ()
    value: str | None = None


@dataclass(frozen=True, eq=False)
class Targets:
    """Columns of n rows, as numbers.

    labels:     (n,) 0 or 1, index of a class, number, relevance, or outcome of a treatment.
    groups:     (n,) code of the row's query, or of its entity: what is resampled together. None: each row alone.
    weights:    (n,) positive.     censored: (n,) the label is only a bound.     items: (n,) ids, int64 or str.
    treatment:  (n,) 0 for none.   propensity: (n,) chance, in (0, 1), of the treatment that the row got; of a ranking,
                in (0, 1], that the row was looked at.     values: (n,) money that the outcome brought.
    completed:  (n,) labels, those that are only bounds replaced by a draw of what they may hide; None: nobody can say.
    """

    labels: NDArray[Any]
    groups: Ints | None = None
    weights: Floats | None = None
    treatment: Ints | None = None
    propensity: Floats | None = None
    censored: Bools | None = None
    items: NDArray[Any] | None = None
    values: Floats | None = None
    completed: Floats | None = None

    def __post_init__(self) -> None:
        sizes = {field.name: len(value) for field in fields(self) if (value := getattr(self, field.name)) is not None}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"expected columns of one length, got {sizes}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Ints | Bools) -> Targets:
        """These rows only, by index or by mask; groups keep their codes."""
        others = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "labels"}
        taken = {name: value[rows] for name, value in others.items() if value is not None}
        return Targets(self.labels[rows], **taken)

    def grouped(self) -> tuple[Ints, int]:
        """(n,) number of each row's group, 0.., in rising order of the codes, and how many groups there are."""
        if self.groups is None:
            return np.arange(len(self), dtype=np.int64), len(self)
        codes, inverse = np.unique(self.groups, return_inverse=True)
        return inverse.reshape(-1).astype(np.int64), len(codes)

    def weighed(self) -> Floats:
        """(n,) weights, ones where none are given."""
        return np.ones(len(self)) if self.weights is None else self.weights


def present(frame: pd.DataFrame, name: str | None, *, role: str) -> pd.Series[Any]:
    """The column `name`; `ContractBroken` where none is declared or the frame has none."""
    if name is None:
        raise ContractBroken(
            f"no column is declared for the {role}",
            expected=f"data.{role}: the name of a column",
            got="none",
            fix=f"add data.{role} to domain.yaml",
        )
    if name not in frame.columns:
        raise ContractBroken(
            f"{role} column {name} is not in the data",
            expected=name,
            got=", ".join(map(str, frame.columns)),
            fix="mend the domain's data.py",
        )
    return frame[name]


def refuse_where(wrong: Bools, column: pd.Series[Any], *, role: str, expected: str, fix: str = "") -> None:
    """`ContractBroken` with the column's name and first bad values, where any of (n,) `wrong` is true."""
    if not wrong.any():
        return
    bad = list(dict.fromkeys(repr(value) for value in column[wrong].tolist()))
    raise ContractBroken(
        f"{role} column {column.name} holds {bad[0]}",
        expected=expected,
        got=f"{int(wrong.sum())} of {len(column)} rows with {', '.join(bad[:_SHOWN])}{', …' if len(bad) > _SHOWN else ''}",
        fix=fix or "mend the domain's data.py, or leave those rows out there",
    )


def numbers(frame: pd.DataFrame, name: str | None, *, role: str) -> Floats:
    """(n,) the column as finite numbers."""
    import pandas as pd

    column = present(frame, name, role=role)
    values = np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    refuse_where(~np.isfinite(values), column, role=role, expected="finite numbers")
    return values


def codes(frame: pd.DataFrame, name: str | None, *, role: str) -> Ints:
    """(n,) code of each value, in the order in which they first come; a missing value is refused."""
    import pandas as pd

    column = present(frame, name, role=role)
    refuse_where(column.isna().to_numpy(dtype=np.bool_), column, role=role, expected="a value in each row")
    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def flags(frame: pd.DataFrame, name: str | None, *, role: str) -> Bools:
    """(n,) the column as true or false, written so or as 1 and 0."""
    values = numbers(frame, name, role=role)
    refuse_where(~np.isin(values, (0.0, 1.0)), present(frame, name, role=role), role=role, expected="true or false")
    return np.asarray(values == 1)


def weights(frame: pd.DataFrame, columns: TargetColumns) -> Floats | None:
    """(n,) positive weights, where a column is declared for them."""
    if columns.weight is None:
        return None
    values = numbers(frame, columns.weight, role="weight")
    refuse_where(values <= 0, frame[columns.weight], role="weight", expected="numbers above 0")
    return values


def entities(frame: pd.DataFrame, columns: TargetColumns) -> Ints | None:
    """(n,) code of each row's entity, where a column is declared for it and some entity has two rows."""
    if columns.entity is None:
        return None
    found = codes(frame, columns.entity, role="entity")
    return found if len(found) and found.max() + 1 < len(found) else None
