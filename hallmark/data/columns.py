"""Columns of a table as the fields of a request: what its first rows show, and what cannot be told from them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hallmark.data import table
from hallmark.errors import DeclarationError
from hallmark.features.fields import Datatype, Field
from hallmark.section import EXACT

MOST_CATEGORIES = 50
QUANTILES = 21
_LONGEST = 64
_ID = re.compile(r"(?i)^(id|uuid|guid|index|unnamed: \d+)$|_(id|uuid|guid)$")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


@dataclass(frozen=True)
class Seen:
    """One field, and how its values are spread in the rows that were seen.

    quantiles: of a number, evenly spaced, from the least to the most.   shares: of categories, in their order; of false and true.
    missing:   share of rows without a value.
    """

    field: Field
    quantiles: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    missing: float = 0.0


@dataclass
class Found:
    """The fields of a table, and why its other columns are none, by name."""

    fields: list[Seen] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def read(frame: pd.DataFrame, *, roles: Collection[str], leave: Collection[str] = ()) -> Found:
    """The columns of `frame` but for those that have a role, such as the label's, and those to `leave` out.

    Ids, times and what is empty or always the same are left out too. `DeclarationError` names every column of which
    nothing can be told from its values, so that a person decides.
    """
    found, unclear = Found(), {}
    for name in [name for name in frame.columns if name not in roles]:
        told: Seen | str | None = "named with --leave"
        if name not in leave:
            told = _told(str(name), frame[name])
        if isinstance(told, Seen):
            found.fields.append(told)
        elif isinstance(told, str):
            found.left[str(name)] = told
        else:
            unclear[str(name)] = _shown(frame[name])
    if unclear:
        raise DeclarationError(
            "of some columns it cannot be told what they are to a model",
            expected="numbers, true and false, words of a closed set, an id or a time",
            got="; ".join(f"{name}: {shown}" for name, shown in unclear.items()),
            fix="leave them out with "
            + " ".join(f"--leave {_quoted(name)}" for name in unclear)
            + ", or mend the file",
        )
    if not found.fields:
        raise DeclarationError(
            "no column is left for a request to hold",
            expected="numbers or words that are known before the answer",
            got="; ".join(f"{name}: {why}" for name, why in found.left.items()) or "only the columns named for a role",
        )
    return found


def present(frame: pd.DataFrame, name: str, *, option: str) -> pd.Series:
    """The column that an option names; `DeclarationError` names the nearest where there is none."""
    if name not in frame.columns:
        near = difflib.get_close_matches(name, list(map(str, frame.columns)), n=1)
        raise DeclarationError(
            f"{option} names a column that the file does not have",
            expected=", ".join(map(str, frame.columns)),
            got=name,
            fix=f"{option} {_quoted(near[0])}" if near else "",
        )
    return frame[name]


def numbers(values: pd.Series) -> pd.Series | None:
    """The column as numbers, true and false as 1 and 0; None where it holds anything else."""
    for kind in ("BOOL", "FP64"):
        made = table.conformed(values, kind)
        if made.dtype.kind in "biuf":
            return made.astype("float64")
    return None


def quantiles(values: Any) -> tuple[float, ...]:
    """Evenly spaced quantiles, with four significant digits."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return tuple(float(f"{value:.4g}") for value in np.quantile(known, np.linspace(0, 1, QUANTILES)))


def _told(name: str, values: pd.Series) -> Seen | str | None:
    """The field; the reason why it is none; or None where nothing can be told."""
    known = values.dropna()
    if not _NAME.fullmatch(name):
        return None
    if not len(known):
        return "empty"
    if _ID.search(name):
        return "an id"
    try:
        if known.nunique() == 1:
            return "the same in every row"
    except TypeError:  # lists, dictionaries
        return None
    missing = float(values.isna().mean())
    truths = table.conformed(known, "BOOL")
    if truths.dtype.kind == "b":
        yes = float(truths.mean())
        made = Field(name=name, datatype="BOOL", optional=missing > 0)
        return Seen(made, shares=(round(1 - yes, 4), round(yes, 4)), missing=round(missing, 4))
    if isinstance(known.dtype, pd.DatetimeTZDtype) or known.dtype.kind in "mM":
        return "a time"
    given = _as_numbers(known)
    if given is not None:
        return _of_numbers(name, given, missing)
    return _of_words(name, table.conformed(known, "BYTES"), missing)


def _as_numbers(known: pd.Series) -> pd.Series | None:
    for kind in ("INT64", "FP64"):
        made = table.conformed(known, kind)
        if made.dtype.kind in "iuf" and np.isfinite(made.to_numpy(dtype=np.float64)).all():
            return made
    return None


def _of_numbers(name: str, known: pd.Series, missing: float) -> Seen | str:
    values = known.to_numpy(dtype=np.float64)
    whole = bool((values == np.floor(values)).all() and np.abs(values).max() < EXACT)
    if whole and len(values) > 20 and len(np.unique(values)) == len(values) and np.ptp(values) == len(values) - 1:
        return "the number of the row"
    low, high = float(values.min()), float(values.max())
    room = high - low
    least = 0.0 if low >= 0 else _rounded(low - room, up=False)
    most = 0.0 if high <= 0 else _rounded(high + room, up=True)
    datatype: Datatype = "INT64" if whole and known.dtype.kind in "iu" else "FP64"
    made = Field(name=name, datatype=datatype, minimum=least, maximum=most, optional=missing > 0)
    return Seen(made, quantiles=quantiles(values), missing=round(missing, 4))


def _of_words(name: str, known: pd.Series, missing: float) -> Seen | str | None:
    if not known.map(lambda value: isinstance(value, str)).all():
        dated = known.map(lambda value: hasattr(value, "isoformat")).all()
        return "a time" if dated else None
    if pd.to_datetime(known, format="ISO8601", utc=True, errors="coerce").notna().all():
        return "a time"
    shares = known.value_counts(normalize=True)
    words = sorted(shares.index)
    rare = len(words) > max(2, len(known) // 5)
    if len(words) > MOST_CATEGORIES or rare or any(len(word) > _LONGEST or not word.strip() for word in words):
        return "an id: another word in every row" if len(words) == len(known) and not _spaced(known) else None
    made = Field(name=name, datatype="BYTES", categories=tuple(words), optional=missing > 0)
    return Seen(made, shares=tuple(round(float(shares[word]), 4) for word in words), missing=round(missing, 4))


def _spaced(known: pd.Series) -> bool:
    """Whether this looks like written text, whose words have blanks between them."""
    return bool(known.str.contains(" ").mean() > 0.5)


def _rounded(value: float, *, up: bool) -> float:
    """Two significant digits, away from what was seen."""
    if value == 0:
        return 0.0
    size = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{(math.ceil if up else math.floor)(value / size) * size:.12g}")


def _shown(values: pd.Series) -> str:
    known = values.dropna()
    some = list(dict.fromkeys(map(str, known.head(200).tolist())))
    counted = pd.to_numeric(known, errors="coerce").notna().mean() if known.dtype == object and len(known) else 0.0
    if 0.5 < counted < 1:
        odd = known[pd.to_numeric(known, errors="coerce").isna()].iloc[0]
        return f"{counted:.1%} numbers, and {odd!r}"
    return f"{len(set(map(str, known)))} different values, such as {_cut(some)}"


def _cut(some: Sequence[str]) -> str:
    return ", ".join(repr(each if len(each) <= 24 else each[:21] + "...") for each in some[:3])


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else repr(name)
