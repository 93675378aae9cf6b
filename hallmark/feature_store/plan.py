"""SQL of a feature view: parts that its executions share, and one statement that DuckDB, Spark and Snowflake all run.

Times are whole microseconds since 1970 throughout, so that no session's time zone, no engine's intervals and no rounding come in. A
version of an event is true for questions from `start` (when it had happened and was known) up to `until` (when a correction became
known), and counts in a column for those before the column's end; so every condition on time is a comparison of whole numbers.
"""
# ruff: noqa: S608 (names are quoted and values are literals of their kind: plan.quoted, plan.text, plan.literal)

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from hallmark.declaration.column_type import COLUMN_TYPES, SqlKind
from hallmark.declaration.expression import Engine, Expression, Unsuited, meaning
from hallmark.declaration.feature_view import FUTURE, FeatureView, Scalar
from hallmark.declaration.source import Datatype
from hallmark.errors import DeclarationError
from hallmark.feature_store.tiles import microseconds

Kind = SqlKind
Dialect = Literal["duckdb", "spark", "snowflake"]
_KINDS: Mapping[Datatype, Kind] = {name: each.kind for name, each in COLUMN_TYPES.items()}
_DATATYPES: Mapping[Kind, Datatype] = {**{kind: name for name, kind in _KINDS.items()}, "decimal": "FP64"}
FOREVER = 2**63 - 1
"""Until when a version that nobody corrected is true."""
_HELD = f"BETWEEN {1 - 2**63} AND {2**63 - 1}"
"""Of a sum of whole numbers: the stream holds it, for which -2^63 stands for none."""


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class Newest:
    """Columns whose value stands in one and the same event: the newest in a window that fulfils conditions."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A view over a source whose columns are of these kinds."""

    view: FeatureView
    kinds: Mapping[str, Kind]
    engine: Engine = "duckdb"

    def __post_init__(self) -> None:
        view = self.view
        if missing := [name for name in view.reads if name not in self.kinds]:
            raise DeclarationError(
                f"{view.reference} reads what {view.source} has not",
                expected=f"a column {missing[0]}",
                got=", ".join(sorted(self.kinds)),
                fix="name a column of the source in the view, or add it to the source",
            )
        for name in (view.event_time, view.known_at):
            self._demand(name, ("time",), "a time with its zone, in microseconds")
        for name in view.computed:
            column = view.columns[name]
            if column.take in ("sum", "mean"):
                self._demand(str(column.term), ("bool", "int", "float", "decimal"), f"a number, for columns.{name}")
            for key in column.allowed if isinstance(column.where, Expression) else ():
                self._demand(key, ("bool",), f"a condition, for columns.{name}")
            for key in column.allowed:
                self._demand(key, ("bool", "int", "float", "text"), f"text, a number or a bool, for columns.{name}")

    def _demand(self, name: str, kinds: Sequence[Kind], expected: str) -> None:
        if self.kind(name) not in kinds:
            raise DeclarationError(
                f"{self.view.reference}: {name} of {self.view.source}", expected=expected, got=self.kind(name)
            )

    def kind(self, term: str) -> Kind:
        """What a column of the source, or an expression of the view, holds."""
        return self._sql[term][1] if term in self._sql else self.kinds[term]

    @cached_property
    def _sql(self) -> dict[str, tuple[str, Kind]]:
        """Of each expression of the view its SQL, of the columns of the source, and what it gives."""
        types = {name: _DATATYPES[kind] for name, kind in self.kinds.items() if kind in _DATATYPES}
        found: dict[str, tuple[str, Kind]] = {}
        for each in self.view.expressions:
            for name in each.columns:
                self._demand_typed(name, types)
            try:
                written, datatype = meaning(each, types, self._named, self.engine)
            except Unsuited as error:
                raise DeclarationError(
                    f"{self.view.reference}: {each.text}", expected="SQL that has one meaning, as docs/features.md lists it", got=str(error),
                    fix=f"mend features/{self.view.name}/v{self.view.version}.yaml",
                ) from error  # fmt: skip
            found[each.text] = (f"MAKE_TIMESTAMPTZ({written})" if datatype == "TIME" else written, _KINDS[datatype])
        return found

    def _demand_typed(self, name: str, types: Mapping[str, Datatype]) -> None:
        if name not in types:
            raise DeclarationError(
                f"{self.view.reference}: {name} of {self.view.source}", expected="a column of a contract's type, for SQL",
                got=self.kinds[name],
            )  # fmt: skip

    def _named(self, name: str) -> str:
        """A column of the source as expressions take it."""
        own = {
            "int": "CAST({} AS BIGINT)",
            "float": "(CAST({} AS DOUBLE) + CAST('0.0' AS DOUBLE))",  # -0.0 is 0.0, as in the stream
            "decimal": "CAST({} AS DOUBLE)",
            "time": "EPOCH_US({})",
        }
        return own.get(self.kinds[name], "{}").format(quoted(name))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The short name of each column that the view reads, then of each expression; no source's names can meet ours."""
        own = {name: f"c{place}" for place, name in enumerate(self.view.reads)}
        return own | {each.text: f"d{place}" for place, each in enumerate(self.view.expressions)}

    @cached_property
    def selected(self) -> str:
        """What is taken of each row of the source, under the short names."""
        return ", ".join(
            f"{self._sql[name][0] if name in self._sql else quoted(name)} AS {alias}"
            for name, alias in self.aliases.items()
        )

    @cached_property
    def windowed(self) -> tuple[str, ...]:
        """The columns that add events up."""
        return tuple(name for name in self.view.computed if self.view.columns[name].take != "last")

    @cached_property
    def newest(self) -> tuple[Newest, ...]:
        """The `last` columns, those with one window and the same conditions together."""
        groups: dict[Any, list[str]] = {}
        for name in self.view.computed:
            if self.view.columns[name].take == "last":
                groups.setdefault((self.view.window(name), self.condition(name)), []).append(name)
        return tuple(Newest(f"n{place}", tuple(names)) for place, names in enumerate(groups.values()))

    def condition(self, name: str) -> str:
        """A column's conditions on an event `e`."""
        column = self.view.columns[name]
        return " AND ".join(self._among(key, allowed) for key, allowed in column.allowed.items()) or "TRUE"

    def _among(self, key: str, allowed: Scalar | tuple[Scalar, ...]) -> str:
        values = allowed if isinstance(allowed, tuple) else (allowed,)
        literals = [each for value in values if (each := literal(value, self.kind(key))) is not None]
        if not literals:
            return "FALSE"
        own = f"e.{self.aliases[key]}"
        return f"{f'CAST({own} AS DOUBLE)' if self.kind(key) == 'float' else own} IN ({', '.join(literals)})"

    def end(self, name: str) -> str:
        """When an event `e` leaves a column's window: it counts for questions before."""
        window = microseconds(self.view.window(name))
        if self.view.columns[name].take == "last":
            return f"(e.happened + {window + 1})"
        hop = microseconds(self.view.hop(name))
        return f"(e.happened - (e.happened % {hop} + {hop}) % {hop} + {hop + window})"

    def reach(self, name: str) -> int:
        """How far back an event can lie that counts in a column, in microseconds."""
        last = self.view.columns[name].take == "last"
        return microseconds(self.view.window(name)) + (0 if last else microseconds(self.view.hop(name)))

    def value(self, name: str) -> str:
        """What a column adds up, of an event `e`: a number of the kind that it is summed in."""
        column = self.view.columns[name]
        if column.term is None:
            return "1"
        own, kind = f"e.{self.aliases[column.term]}", self.kind(column.term)
        if column.take not in ("sum", "mean"):
            return own
        if kind == "bool":
            return f"CAST({own} AS INT)"
        if kind == "int":  # DuckDB adds up in 128 bits by itself
            return own if self.engine == "duckdb" else f"CAST({own} AS DECIMAL(38, 0))"
        return f"CAST({own} AS DOUBLE)"

    def is_whole(self, name: str) -> bool:
        """Does a column add whole numbers up?"""
        column = self.view.columns[name]
        return column.take in ("sum", "mean") and self.kind(str(column.term)) in ("int", "bool")

    def aggregate(self, name: str, *, among: str) -> str:
        """A column of the events `e` that are `among` those that count; a sum of whole numbers as wide as it is, for `result`."""
        take = self.view.columns[name].take
        one = f"CASE WHEN {among} AND {self.condition(name)} THEN {self.value(name)} END"
        if take == "mean":
            return self.mean(name, f"SUM({one})", f"COUNT({one})")
        call = "COUNT" if take == "distinct" else take.upper()
        return f"{call}({'DISTINCT ' if take == 'distinct' else ''}{one})"

    def mean(self, name: str, summed: str, count: str) -> str:
        """A mean of its two parts; of whole numbers null where 64 bits do not hold their sum, as their sum is."""
        found = f"CAST({summed} AS DOUBLE) / NULLIF({count}, 0)"
        return f"CASE WHEN {summed} {_HELD} THEN {found} END" if self.is_whole(name) else found

    def result(self, name: str, *, of: Mapping[str, str]) -> str:
        """A column of the view, from the names that its computed columns have in a join that leaves none of them out."""
        column = self.view.columns[name]
        if column.take != "ratio":
            found = f"COALESCE({of[name]}, {column.empty})" if column.empty is not None else of[name]
            whole = column.take == "sum" and self.is_whole(name)
            return f"CASE WHEN {found} {_HELD} THEN CAST({found} AS BIGINT) END" if whole else found
        above, below = (f"CAST({self.result(str(each), of=of)} AS DOUBLE)" for each in (column.of, column.over))
        return f"{above} / NULLIF({below}, 0)"


def literal(value: Scalar, kind: Kind) -> str | None:
    """A value of `where` as a column of this kind would hold it; None where it holds none that is equal."""
    if kind == "text" or isinstance(value, str):
        return text(value) if kind == "text" and isinstance(value, str) else None
    if kind == "bool":
        return str(bool(value)).upper() if value in (0, 1) else None
    if kind == "int":
        whole = math.isfinite(value) and value == int(value) and -(2**63) <= value < 2**63
        return str(int(value)) if whole else None
    return f"CAST({text(repr(float(value)))} AS DOUBLE)" if float(value) == value else None


def versions(plan: Plan, source: str) -> str:
    """Common tables that end in `events`: each version of an event, with `until` when it is true; NULL is for ever."""
    ident = plan.aliases[plan.view.event_id]
    own = ", ".join(f"v.{alias}" for alias in plan.aliases.values())
    return f"""
    taken AS (SELECT {plan.selected}, EPOCH_US({quoted(plan.view.event_time)}) AS happened, EPOCH_US({quoted(plan.view.known_at)}) AS known
        FROM {source}),
    ranked AS (SELECT v.*, ROW_NUMBER() OVER (PARTITION BY {ident}, known ORDER BY {greatness(plan)}) AS place
        FROM taken AS v WHERE happened <= known + {microseconds(FUTURE)}),
    events AS (SELECT {own}, v.happened, v.known, LEAD(v.known) OVER (PARTITION BY {ident} ORDER BY v.known) AS until
        FROM ranked AS v WHERE v.place = 1)"""


def greatness(plan: Plan) -> str:
    """The order of the versions of an event that became known at one time, the one that counts first."""
    read = [plan.aliases[name] for name in plan.view.reads]
    return ", ".join(["happened DESC", *(f"{alias} DESC NULLS LAST" for alias in read)])


def statement(plan: Plan, dialect: Dialect, *, questions: str, source: str, time: str) -> str:
    """The view for the rows of one table from another, in one statement: the questions' columns and then the view's.

    questions, source: names of tables, as the engine writes them. Snowflake's names are written in capitals, as its tables have them
    where nobody quoted.
    """
    plan = replace(plan, engine=dialect)
    view, entity = plan.view, quoted(plan.view.entity)
    mine, ident = plan.aliases[view.entity], plan.aliases[view.event_id]
    seen = "e.happened < q.moment AND e.known < q.moment AND (e.until IS NULL OR q.moment <= e.until)"
    tables, joins = [versions(plan, source)], []
    of: dict[str, str] = {}
    at = f"EPOCH_US(asked.{quoted(time)})"
    tables.append(
        f"questions AS (SELECT DISTINCT asked.{entity} AS whose, {at} AS moment FROM {questions} AS asked"
        f" WHERE asked.{entity} IS NOT NULL)"
    )
    if plan.windowed:
        widest = max(plan.reach(name) for name in plan.windowed)
        found = ", ".join(f"{plan.aggregate(n, among=f'q.moment < {plan.end(n)}')} AS w_{n}" for n in plan.windowed)
        tables.append(
            f"added AS (SELECT q.whose, q.moment, {found} FROM questions AS q JOIN events AS e ON q.whose = e.{mine} AND {seen}"
            f" AND q.moment <= e.happened + {widest} GROUP BY q.whose, q.moment"
            f" HAVING MAX(e.happened) >= q.moment - {microseconds(view.ttl)})"
        )
        joins.append("added")
        of |= {name: f"added.w_{name}" for name in plan.windowed}
    for group in plan.newest:
        first = group.columns[0]
        values = ", ".join(f"e.{plan.aliases[str(view.columns[n].term)]} AS w_{n}" for n in group.columns)
        tables.append(
            f"{group.name}_all AS (SELECT q.whose, q.moment, {values}, ROW_NUMBER() OVER (PARTITION BY q.whose, q.moment"
            f" ORDER BY e.happened DESC, e.known DESC, e.{ident} DESC) AS place FROM questions AS q JOIN events AS e"
            f" ON q.whose = e.{mine} AND {seen} AND q.moment < {plan.end(first)} AND {plan.condition(first)})"
        )
        tables.append(f"{group.name} AS (SELECT * FROM {group.name}_all AS f WHERE f.place = 1)")
        joins.append(group.name)
        of |= {name: f"{group.name}.w_{name}" for name in group.columns}
    results = ", ".join(f"{plan.result(name, of=of)} AS {quoted(name)}" for name in view.columns)
    joined = " ".join(f"LEFT JOIN {each} ON asked.{entity} = {each}.whose AND {at} = {each}.moment" for each in joins)
    return spelled(f"WITH {', '.join(tables)} SELECT asked.*, {results} FROM {questions} AS asked {joined}", dialect)


def spelled(statement: str, dialect: Dialect) -> str:
    """A statement of DuckDB's as another engine spells it."""
    import sqlglot
    from sqlglot import expressions as exp

    def capitals(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Identifier) and not (node.quoted and isinstance(node.parent, exp.Table)):
            return exp.to_identifier(node.name.upper(), quoted=True)
        return node

    def since(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Anonymous) and node.name.upper() == "EPOCH_US":
            moment = node.expressions[0]
            if dialect == "spark":
                return exp.Anonymous(this="UNIX_MICROS", expressions=[moment])
            if dialect == "snowflake":
                return exp.Anonymous(this="DATE_PART", expressions=[exp.var("EPOCH_MICROSECOND"), moment])
        return node

    tree = sqlglot.parse_one(statement, read="duckdb")
    if dialect == "snowflake":
        tree = tree.transform(capitals)
    return tree.transform(since).sql(dialect=dialect, pretty=True)
