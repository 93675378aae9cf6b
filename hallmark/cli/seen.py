"""What a new domain begins with: the first rows of a team's own table with its roles, or a small example of each task."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hallmark.cli.draft import EXAMPLE, Draft, Roles
from hallmark.errors import DeclarationError

if TYPE_CHECKING:
    import pandas as pd

ROWS = 200_000
_FEWEST = 50
KINDS = ("binary", "multiclass", "regression", "ranking", "retrieval", "uplift")
NEEDS: dict[str, tuple[str, ...]] = {
    "ranking": ("query",),
    "retrieval": ("query", "item"),
    "uplift": ("treatment",),
}
"""Roles that a task cannot do without, beside the label."""
READS: dict[str, tuple[str, ...]] = {"uplift": ("propensity",)}


def of_file(
    name: str,
    *,
    kind: str,
    file: Path,
    roles: Mapping[str, str],
    leave: Sequence[str],
    owner: Mapping[str, str],
    description: str,
) -> Draft:
    """The draft of a domain on the table in `file`; `DeclarationError` says which option is missing, wrong or not read."""
    from hallmark.data import columns, table

    given = {role: column for role, column in roles.items() if column}
    _whole(kind, given)
    frame = table.head(file, rows=ROWS, leave=leave)
    for role, column in given.items():
        columns.present(frame, column, option=f"--{role}")
    for column in leave:
        columns.present(frame, column, option="--leave")
    _apart(given)
    found = columns.read(frame, roles=tuple(given.values()), leave=leave)
    known = _typed(frame, kind, given)
    if len(known) < _FEWEST:
        raise DeclarationError(
            f"{file.name} has too few rows to learn from",
            expected=f"{_FEWEST} rows at least, some thousand to be of use",
            got=str(len(known)),
        )
    seen = f"the first {len(known)} rows of {file.name}"
    draft = Draft(name, kind, Roles(**given), found, known, owner, description, seen)
    _none_given_away(draft)
    return draft


def example(name: str, *, kind: str, owner: Mapping[str, str], description: str) -> Draft:
    """The draft of a domain of this kind on nothing but made-up rows."""
    from hallmark.data import columns

    frame, roles = _example(kind)
    given = {role: column for role, column in vars(roles).items() if column}
    found = columns.read(frame, roles=tuple(given.values()))
    return Draft(name, kind, roles, found, _typed(frame, kind, given), owner, description, EXAMPLE)


def _whole(kind: str, given: Mapping[str, str]) -> None:
    wanted = ("label", *NEEDS.get(kind, ()))
    missing = [role for role in wanted if role not in given]
    if missing:
        raise DeclarationError(
            f"a {kind} task on a table needs to know its {' and its '.join(missing)}",
            expected=" ".join(f"--{role} COLUMN" for role in wanted),
            got=", ".join(f"--{role} {column}" for role, column in given.items()) or "none of them",
            fix="add " + " ".join(f"--{role} COLUMN" for role in missing),
        )
    allowed = {*wanted, *READS.get(kind, ()), "entity", "time"}
    odd = [role for role in given if role not in allowed]
    if odd:
        raise DeclarationError(
            f"a {kind} task never reads --{odd[0]}",
            expected=", ".join(f"--{role}" for role in sorted(allowed)),
            got=f"--{odd[0]} {given[odd[0]]}",
            fix=f"take it away, or --leave {given[odd[0]]} to keep that column from the model",
        )


def _apart(given: Mapping[str, str]) -> None:
    """A column has one role, but for an entity that is the query or the item as well."""
    for role, column in given.items():
        also = [other for other, same in given.items() if same == column and other != role]
        if also and "entity" not in (role, *also):
            raise DeclarationError(
                f"{column} cannot be both --{role} and --{also[0]}", expected="a column for each", got=column
            )


def _none_given_away(draft: Draft) -> None:
    """`DeclarationError` names the columns that alone tell the answer, which training would refuse one by one."""
    import pandas as pd

    from hallmark.data import columns
    from hallmark.training import leakage

    frame, fields, _ = draft.frame, draft.found.fields, draft.targets
    plain = {each.field.name: columns.numbers(frame[each.field.name]) for each in fields if not each.field.categories}
    told = frame.assign(**{name: values.astype(float) for name, values in plain.items() if values is not None})
    last = pd.Series(np.arange(len(frame)) % 5 == 0, index=frame.index)
    found = leakage.telltales(
        draft.task, draft.columns, train=told[~last], test=told[last], fields=[each.field for each in fields]
    )
    if given_away := dict(found):
        label = draft.roles.label
        raise DeclarationError(
            f"{', '.join(given_away)}: {'each' if len(given_away) > 1 else 'this'} alone tells {label}",
            expected=f"fields that explain less than {draft.task.too_good} of it: what is known before never tells so much",
            got=", ".join(f"{name} explains {explained:.3f}" for name, explained in given_away.items()),
            fix=f"where it is filled in after {label} is known, add {' '.join(f'--leave {shlex.quote(name)}' for name in given_away)}",
        )


def _typed(frame: pd.DataFrame, kind: str, given: Mapping[str, str]) -> pd.DataFrame:
    """The columns of roles in their types, all other columns as they came."""
    from hallmark.data import table

    known = frame.copy()
    label = given["label"]
    if known[label].isna().any():
        empty = int(known[label].isna().sum())
        raise DeclarationError(
            f"label {label} is empty in {empty} of {len(known)} rows",
            expected="an answer in every row: what has none cannot be learnt from",
            got="nothing",
            fix="leave those rows out of the file",
        )
    if kind == "multiclass":
        known[label] = known[label].astype(str)
        classes = known[label].nunique()
        if classes > _FEWEST:
            raise DeclarationError(
                f"label {label} has too many values for classes", expected=f"2 to {_FEWEST}", got=str(classes),
                fix="--task regression, if it is a number",
            )  # fmt: skip
    else:
        known[label] = _numeric(known[label], kind, label)
    for role in ("treatment", "propensity"):
        if role in given:
            known[given[role]] = _numeric(known[given[role]], role, given[role])
    if "item" in given:
        whole = table.conformed(known[given["item"]], "INT64")
        known[given["item"]] = whole if whole.dtype.kind in "iu" else known[given["item"]].astype(str)
    if "time" in given:
        times = table.conformed(known[given["time"]], table.UTC)
        if times.dtype.kind != "M" or times.isna().any():
            raise DeclarationError(
                f"--time {given['time']} holds what is no time",
                expected="ISO 8601 in every row, such as 2026-10-31 or 2026-10-31T08:00:00+00:00",
                got=_first(known[given["time"]], times),
                fix="mend the file",
            )
        known[given["time"]] = times
    return known


def _numeric(values: pd.Series, kind: str, name: str) -> pd.Series:
    from hallmark.data import columns, table

    found = columns.numbers(values)
    expected = {
        "binary": "1 and 0, or true and false",
        "ranking": "whole numbers from 0 to 30: how relevant each row is",
        "retrieval": "whole numbers of 0 or more, 1 for a relevant item",
        "treatment": "1 for treated and 0 for not",
        "propensity": "chances above 0 and below 1",
    }.get(kind, "numbers")
    allowed = {"binary": (0.0, 1.0), "treatment": (0.0, 1.0)}.get(kind)
    wrong = found is None or not np.isfinite(found).all()
    if found is not None and not wrong:
        wrong = allowed is not None and not found.isin(allowed).all()
        if kind in ("ranking", "retrieval"):
            wrong = not (
                (found >= 0) & (found == found.round()) & (found <= (30 if kind == "ranking" else np.inf))
            ).all()
    if wrong or found is None:
        raise DeclarationError(
            f"column {name} is not what its role needs",
            expected=expected,
            got=_offenders(values, allowed),
            fix={
                "binary": "mend the file; --task multiclass where it holds classes, --task regression where it holds numbers",
                "regression": "mend the file; --task multiclass where it holds classes",
            }.get(kind, "mend the file"),
        )
    if kind == "binary" and table.conformed(values, "BOOL").dtype.kind == "b":
        return found.astype(bool)
    return found.astype("int64") if kind in ("binary", "ranking", "retrieval", "treatment") else found


def _offenders(values: pd.Series, allowed: tuple[float, ...] | None) -> str:
    """The first values that are no numbers, or none of those allowed, with their rows; and how many there are."""
    import pandas as pd

    found = pd.to_numeric(values, errors="coerce")
    wrong = found.isna() if allowed is None else ~found.isin(allowed)
    shown = [f"{values.loc[row]!r} in row {place + 1}" for place, row in enumerate(values.index) if wrong.loc[row]]
    if not shown:
        return ", ".join(list(dict.fromkeys(map(str, values.head(1000).tolist())))[:4])
    return f"{', '.join(shown[:3])}{', …' if len(shown) > 3 else ''}: {len(shown)} of {len(values)}"


def _first(values: pd.Series, times: pd.Series) -> str:
    import pandas as pd

    odd = values if times.dtype.kind != "M" else values[times.isna()]
    bad = odd[pd.to_datetime(odd, format="ISO8601", utc=True, errors="coerce").isna()]
    return repr(bad.iloc[0]) if len(bad) else str(values.dtype)


def _example(kind: str) -> tuple[pd.DataFrame, Roles]:
    import pandas as pd

    random, count = np.random.default_rng(7), 1200
    words = np.array(["coats", "dresses", "jeans", "shoes"], dtype=object)
    size, age = random.lognormal(3.5, 0.5, count).round(2), random.integers(0, 400, count)
    frame = pd.DataFrame(
        {
            "size": size,
            "age_days": age,
            "rating": random.uniform(1, 5, count).round(1),
            "category": random.choice(words, count, p=[0.2, 0.3, 0.4, 0.1]),
            "is_new": random.random(count) < 0.3,
            "at": pd.date_range("2026-09-01", periods=count, freq="36min", tz="UTC"),
            "customer": [f"c{number}" for number in random.integers(0, 300, count)],
        }
    )
    roles = {"entity": "customer", "time": "at"}
    signal = random.normal(0, 1, count)
    if kind == "binary":
        return frame.assign(answer=(signal > 0.8).astype(int)), Roles("answer", **roles)
    if kind == "multiclass":
        known = np.array(["large", "medium", "small"], dtype=object)
        return frame.assign(answer=known[random.choice(3, count, p=[0.2, 0.5, 0.3])]), Roles("answer", **roles)
    if kind == "regression":
        return frame.assign(answer=(20 + 8 * np.exp(signal / 2)).round(2)), Roles("answer", **roles)
    if kind == "uplift":
        told = frame.assign(treated=random.integers(0, 2, count), outcome=(signal > 0.3).astype(int))
        return told, Roles("outcome", treatment="treated", **roles)
    frame = frame.drop(columns="customer")
    query = [f"q{number // 8}" for number in range(count)]
    if kind == "ranking":
        frame = frame.assign(query=query, relevance=(signal > 0.8).astype(int) + (signal > 1.6))
        return frame, Roles("relevance", time="at", query="query")
    item = np.concatenate([random.permutation(60)[:8] for _ in range(count // 8)])
    frame = frame.assign(query=query, item=[f"i{number}" for number in item], relevant=1)
    return frame, Roles("relevant", time="at", query="query", item="item")
