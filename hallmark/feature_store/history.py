"""What a view says of its entities over time: a row for each entity and moment from which it says something else.

That changes only where a row or a correction of it comes to be known, where an event leaves a window, and where the newest one grows older than
the time to live (docs/decisions/0036). A training frame answers each of these moments, so the newest row at or before a question is its answer.
"""
# ruff: noqa: S608 (names are quoted and values are literals of their kind: plan.quoted, plan.text)

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.feature_view import FeatureView
from hallmark.feature_store import offline
from hallmark.feature_store.plan import FOREVER, Plan, quoted, text, versions
from hallmark.feature_store.tiles import microseconds

if TYPE_CHECKING:
    from hallmark.declaration.source import Source

SINCE, KNOWN = "event_timestamp", "created_timestamp"
"""Columns of a history: from when on a question gets the row's values, and when they were known, which is the same moment."""
_ARRIVED = "_arrived"


def write(
    view: FeatureView,
    contract: Source,
    files: Sequence[Path],
    path: Path,
    *,
    until: datetime,
    limits: offline.Limits | None = None,
) -> int:
    """Write a view's history to a Parquet file, sorted by time; how many rows it has.

    files: those of the view's source, which may be none.   until: the time of the last row at most.

    The columns are the entity, `SINCE`, `KNOWN` and the view's. There is a row wherever something arrived, so none is older than its newest
    event; where only time passed there is one if it changed a value. What was known before a time never becomes another history of it.
    """
    limits = limits or offline.Limits()
    work = Path(tempfile.mkdtemp(prefix="history_", dir=limits.folder))
    try:
        files = list(files) or [_nothing(contract, work / "nothing.parquet")]
        asked = work / "moments.parquet"
        with offline.connected(work, limits) as connection:
            connection.execute(f"COPY ({_moments(view, files, until)}) TO {text(str(asked))} (FORMAT parquet)")
        parts = offline.training_frame(asked, [view], {view.source: files}, work / "answers", time=SINCE, limits=limits)
        with offline.connected(work, limits) as connection:
            found = connection.execute(f"COPY ({_changes(view, parts)}) TO {text(str(path))} (FORMAT parquet)")
            return int(found.fetchall()[0][0])
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _moments(view: FeatureView, files: Sequence[Path], until: datetime) -> str:
    """Each entity and moment from which a question may be answered otherwise, once, and whether something arrived then."""
    plan = Plan(view, offline.kinds(files))
    source = f"read_parquet([{', '.join(text(str(path)) for path in files)}])"
    ends = dict.fromkeys([*(plan.end(name) for name in view.computed), f"(e.happened + {microseconds(view.ttl) + 1})"])
    left = " UNION ALL ".join(
        f"SELECT whose, {end} AS moment, FALSE AS arrived FROM own AS e WHERE {end} BETWEEN e.since AND e.until"
        for end in ends
    )
    return f"""WITH {versions(plan, source)},
        own AS (SELECT * FROM (SELECT e.{plan.aliases[view.entity]} AS whose, e.happened, GREATEST(e.happened, e.known) + 1 AS since,
            COALESCE(e.until, {FOREVER}) AS until FROM events AS e) WHERE whose IS NOT NULL AND since <= until),
        moments AS (SELECT whose, since AS moment, TRUE AS arrived FROM own
            UNION ALL SELECT whose, until + 1, TRUE FROM own WHERE until < {FOREVER} UNION ALL {left})
        SELECT whose AS {quoted(view.entity)}, MAKE_TIMESTAMPTZ(moment) AS {quoted(SINCE)}, BOOL_OR(arrived) AS {quoted(_ARRIVED)}
        FROM moments WHERE moment <= EPOCH_US(TIMESTAMPTZ {text(until.isoformat())}) GROUP BY whose, moment ORDER BY whose, moment"""


def _changes(view: FeatureView, parts: Sequence[Path]) -> str:
    """The answers without those that only repeat the one before."""
    entity, since = quoted(view.entity), quoted(SINCE)
    columns = ", ".join(map(quoted, view.columns))
    own = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in view.columns)
    return f"""SELECT {entity}, {since}, {since} AS {quoted(KNOWN)}, {columns} FROM read_parquet([{", ".join(text(str(part)) for part in parts)}])
        QUALIFY {quoted(_ARRIVED)} OR STRUCT_PACK({own}) IS DISTINCT FROM LAG(STRUCT_PACK({own})) OVER (PARTITION BY {entity} ORDER BY {since})
        ORDER BY {since}, {entity}"""


def _nothing(contract: Source, path: Path) -> Path:
    """A source without rows."""
    import duckdb

    columns = ", ".join(
        f"CAST(NULL AS {COLUMN_TYPES[each.datatype].duckdb}) AS {quoted(name)}"
        for name, each in contract.columns.items()
    )
    duckdb.execute(f"COPY (SELECT {columns} WHERE FALSE) TO {text(str(path))} (FORMAT parquet)")
    return path
