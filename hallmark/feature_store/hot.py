"""Window columns of entities with very many events and questions, without a pair of each event with each question.

An event counts for the questions of its entity from one position to another, in order of their time. Such a stretch is cut into at most
two blocks of every length 1, 2, 4, ..; what the blocks hold is added up, and a question takes together the one block of every length
that it lies in. Nothing is ever taken away again, so a sum of floats is as good as that of the pairs.
"""
# ruff: noqa: S608 (names are quoted and values are literals of their kind: plan.quoted, plan.text, plan.literal)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hallmark.feature_store.plan import Plan
from hallmark.feature_store.tiles import microseconds

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Part:
    """What is added up under a name: an aggregate of a value of the events."""

    name: str
    call: str
    value: str


def windows(connection: duckdb.DuckDBPyConnection, plan: Plan, events: str, columns: Sequence[str]) -> str:
    """A query of `k` and `columns` for the questions in table `hot` (k, whose, moment, position), from the events of their entities."""
    _stretches(connection, plan, events)
    parts = _kinds(plan, columns)
    for place, (end, held) in enumerate(parts):
        added = [each for name in held for each in _sums(plan, name)]
        apart = held[0] if plan.view.columns[held[0]].take == "distinct" else None
        _blocks(connection, plan, f"part_{place}", end=end, parts=added, apart=apart)
    _blocks(connection, plan, "part_newest", end=f"(e.happened + {microseconds(plan.view.ttl) + 1})")
    found = ", ".join(_whole(plan, name) for name in columns)
    joins = " ".join(f"LEFT JOIN part_{place} USING (k)" for place in range(len(parts)))
    return f"SELECT k, {found} FROM part_newest {joins}"


def newest(connection: duckdb.DuckDBPyConnection, plan: Plan, events: str) -> str:
    """A query of `k` and the event time of each group's newest event, for the questions in table `hot`."""
    _stretches(connection, plan, events)
    for group in plan.newest:
        first = group.columns[0]
        part = Part(group.name, "MAX", f"CASE WHEN {plan.condition(first)} THEN e.happened END")
        _blocks(connection, plan, f"part_{group.name}", end=plan.end(first), parts=[part])
    joins = " ".join(f"LEFT JOIN part_{group.name} USING (k)" for group in plan.newest)
    return f"SELECT hot.k, {', '.join(group.name for group in plan.newest)} FROM hot {joins}"


def _stretches(connection: duckdb.DuckDBPyConnection, plan: Plan, events: str) -> None:
    """Table `hot_events`: events with the first question that sees them."""
    key = plan.aliases[plan.view.entity]
    connection.execute(f"""CREATE OR REPLACE TABLE hot_events AS SELECT e.*, COALESCE(q.position + 1, 0) AS first
        FROM (SELECT * FROM ({events}) WHERE {key} IN (SELECT whose FROM hot)) AS e
        ASOF LEFT JOIN hot AS q ON e.{key} = q.whose AND GREATEST(e.happened, e.known) >= q.moment""")


def _sums(plan: Plan, name: str) -> list[Part]:
    """What is added up of a column."""
    take, value = plan.view.columns[name].take, f"CASE WHEN {plan.condition(name)} THEN {plan.value(name)} END"
    if take == "mean":
        return [Part(f"w_{name}", "SUM", value), Part(f"w_{name}_count", "COUNT", value)]
    return [Part(f"w_{name}", "COUNT" if take == "distinct" else take.upper(), value)]


def _whole(plan: Plan, name: str) -> str:
    """A column, from what was added up of it."""
    if plan.view.columns[name].take == "mean":
        return f"{plan.mean(name, f'w_{name}', f'w_{name}_count')} AS w_{name}"
    return f"w_{name}"


def _kinds(plan: Plan, columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Columns whose events leave at the same time, together; each `distinct` alone."""
    kinds: dict[str, list[str]] = {}
    for name in columns:
        own = name if plan.view.columns[name].take == "distinct" else ""
        kinds.setdefault(f"{own}|{plan.end(name)}", []).append(name)
    return [(key.partition("|")[2], names) for key, names in kinds.items()]


def _blocks(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    table: str,
    *,
    end: str,
    parts: Sequence[Part] = (),
    apart: str | None = None,
) -> None:
    """Make `table` with `parts` of each hot question for which an event counts, of events that leave at `end`."""
    key = plan.aliases[plan.view.entity]
    stretches = f"SELECT e.*, LEAST(e.until, {end} - 1) AS final FROM hot_events AS e"
    if apart is not None:
        stretches = _apart(plan, apart, stretches)
    inner = ", ".join(["COUNT(*) AS n", *(f"{part.call}({part.value}) AS {part.name}" for part in parts)])
    outer = ", ".join(
        [
            "SUM(b.n) AS n",
            *(f"{'SUM' if part.call == 'COUNT' else part.call}(b.{part.name}) AS {part.name}" for part in parts),
        ]
    )
    connection.execute(f"""CREATE OR REPLACE TABLE blocks AS
        SELECT whose, length, CASE side WHEN 0 THEN low ELSE high - 1 END AS block, {inner}
        FROM (SELECT e.*, e.{key} AS whose, l.length, s.side, (e.first + l.length - 1) // l.length AS low, e.after // l.length AS high
            FROM (SELECT e.*, COALESCE(q.position + 1, 0) AS after FROM ({stretches}) AS e
                ASOF LEFT JOIN hot AS q ON e.{key} = q.whose AND e.final >= q.moment) AS e,
            lengths AS l, (VALUES (0), (1)) AS s(side) WHERE e.first < e.after) AS e
        WHERE low < high AND CASE side WHEN 0 THEN low ELSE high END % 2 = 1
        GROUP BY whose, length, block""")
    connection.execute(f"""CREATE OR REPLACE TABLE {table} AS SELECT q.k, {outer}
        FROM (SELECT q.*, l.length, q.position // l.length AS block FROM hot AS q, lengths AS l) AS q
        JOIN blocks AS b ON q.whose = b.whose AND q.length = b.length AND q.block = b.block GROUP BY q.k""")


def _apart(plan: Plan, name: str, stretches: str) -> str:
    """Stretches of one entity's events with one value, cut so that no two overlap: then as many count as there are values."""
    key, value = plan.aliases[plan.view.entity], plan.value(name)
    return f"""SELECT e.* REPLACE (COALESCE(q.position + 1, 0) AS first) FROM (
            SELECT e.* REPLACE (GREATEST(e.begin, e.taken) AS begin) FROM (
                SELECT e.*, MAX(e.final) OVER (PARTITION BY e.{key}, {value} ORDER BY e.begin, e.final
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken
                FROM (SELECT e.*, GREATEST(e.happened, e.known) AS begin FROM ({stretches}) AS e) AS e
                WHERE {plan.condition(name)} AND {value} IS NOT NULL AND e.begin < e.final) AS e) AS e
        ASOF LEFT JOIN hot AS q ON e.{key} = q.whose AND e.begin >= q.moment"""
