"""A view as a Flink SQL job: its events, each in its newest version, added up in tiles that `hallmark features run --tiles` serves.

A tile is a row by entity, hop and number, which Flink writes anew whenever an event in it is new or corrected. No watermark closes
it: a row eight hours late changes its tile as any other (docs/decisions/0037). Times are whole microseconds, as in plan.py.
"""
# ruff: noqa: S608 (names are quoted, and values are literals of their kind)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.expression import Unsuited, meaning
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import DeclarationError
from hallmark.feature_store import log_address
from hallmark.feature_store import plan as sql
from hallmark.feature_store.aggregates import Partial
from hallmark.feature_store.tiles import DATATYPES, FUTURE_US, LARGEST, Event, Measure, Plan, Type

KINDS: Mapping[Type, sql.Kind] = {each.stream: each.kind for each in COLUMN_TYPES.values()}
_COLUMNS: Mapping[Type, str] = {each.stream: each.flink for each in COLUMN_TYPES.values()}
_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
_JSON = {"format": "json", "json.ignore-parse-errors": "true"}
_SHIFT = 2**62
"""Added to a time, it has 19 digits, and the order of texts is that of times."""
_END = "!"
"""Ends an id in an order: it is less than all hexadecimal digits."""


class Job:
    """The Flink SQL of a view over a source whose columns are of these types; `DeclarationError` where its aggregates are not defined."""

    def __init__(self, view: FeatureView, types: Mapping[str, Type]) -> None:
        self.plan = Plan(view, types)
        self._sql = sql.Plan(view, {name: KINDS[kind] for name, kind in types.items()})
        self._alias = [self._sql.aliases[name] for name in view.reads]
        self._terms = [self._sql.aliases[name] for name in self.plan.terms]
        if said := refusal(view, types):
            raise DeclarationError(
                f"{view.reference}: Flink cannot compute its SQL", expected="what is the same in Flink's SQL (docs/features.md)",
                got=said, fix="let the stream keep this view up to date: `hallmark features run --follow`",
            )  # fmt: skip
        kinds = {name: DATATYPES[kind] for name, kind in zip(view.reads, self.plan.types, strict=True)}
        self._derived = {
            self._sql.aliases[each.text]: meaning(each, kinds, self._sql.aliases.__getitem__, "flink")[0]
            for each in view.expressions
        }
        self._conditions = {
            (place.hop, place.measure): self._sql.condition(name) for name, place in self.plan.places.items()
        }

    def script(self, source: Mapping[str, str], sink: Mapping[str, str]) -> str:
        """The whole job: settings, tables and one statement set. source, sink: options of the two tables' connectors."""
        view, plan = self.plan.view, self.plan
        reads = ",\n  ".join(
            f"{_quoted(name)} {_COLUMNS[kind]}" for name, kind in zip(view.reads, plan.types, strict=True)
        )
        settings = {
            "pipeline.name": view.reference,
            "table.local-time-zone": "UTC",
            "table.exec.state.ttl": f"{self.keep} s",
            "table.exec.mini-batch.enabled": "true",
            "table.exec.mini-batch.allow-latency": "100 ms",
            "table.exec.mini-batch.size": "5000",
        }
        parts = [f"SET {_text(name)} = {_text(value)}" for name, value in settings.items()]
        parts.append(f"CREATE TABLE source_rows (\n  {reads}\n) WITH (\n{_options(source)}\n)")
        parts.append(f"CREATE TEMPORARY VIEW accepted AS\n{self._accepted()}")
        parts.append(f"CREATE TEMPORARY VIEW versions AS\n{self._versions()}")
        parts.append(
            "CREATE TEMPORARY VIEW counted AS\nSELECT *, 0 AS s FROM accepted\nUNION ALL\n"
            "SELECT *, CASE WHEN happened <= known THEN 1 ELSE 2 END AS s FROM versions"
        )
        inserts = []
        for hop in range(len(plan.hops)):
            names = ",\n  ".join(f"{name} {kind}" for name, kind, _ in self._outputs(hop))
            key = "PRIMARY KEY (entity, width, tile) NOT ENFORCED"
            parted = " PARTITIONED BY (entity)" if sink["connector"] == "kinesis" else ""
            parts.append(f"CREATE TABLE tiles_{hop} (\n  {names},\n  {key}\n){parted} WITH (\n{_options(sink)}\n)")
            found = ",\n  ".join(f"{each} AS {name}" for name, _, each in self._outputs(hop))
            inserts.append(
                f"INSERT INTO tiles_{hop}\nSELECT\n  {found}\nFROM counted AS e\nWHERE e.{self._alias[plan.entity]} IS NOT NULL"
                f"\nGROUP BY e.{self._alias[plan.entity]}, {self._tile(hop)};"
            )
        parts.append("EXECUTE STATEMENT SET BEGIN\n" + "\n".join(inserts) + "\nEND")
        return ";\n\n".join(parts) + ";\n"

    @property
    def keep(self) -> int:
        """Seconds after its last change at which no event or tile can matter any more."""
        reach = max([self.plan.ttl, *(window + hop for window, hop in self.plan.windows.values())])
        return (reach + 2 * FUTURE_US) // 1_000_000

    def _accepted(self) -> str:
        """Rows that the stream would accept (stream.py), with the aliases of their columns; times in microseconds."""
        plan, names = self.plan, self.plan.view.reads
        values = [
            _microseconds(_quoted(name)) if kind == "time" else _quoted(name)
            for name, kind in zip(names, plan.types, strict=True)
        ]
        taken = ", ".join(f"{value} AS {alias}" for value, alias in zip(values, self._alias, strict=True))
        when, known, ident = (self._alias[at] for at in (plan.when, plan.known, plan.ident))
        floats = [alias for alias, kind in zip(self._alias, plan.types, strict=True) if kind == "float64"]
        conditions = [
            *(f"{each} IS NOT NULL" for each in (when, known, ident)),
            f"{when} <= {known} + {FUTURE_US}",
            f"{known} <= (UNIX_TIMESTAMP() + 1) * 1000000 + {FUTURE_US}",
            *(f"({each} IS NULL OR ABS({each}) <= {LARGEST:.1E})" for each in floats),
        ]
        where = "\n  AND ".join(conditions)
        found = "".join(f", {each} AS {alias}" for alias, each in self._derived.items())
        return f"SELECT *, {when} AS happened, {known} AS known{found} FROM (SELECT {taken} FROM source_rows)\nWHERE {where}"

    def _versions(self) -> str:
        """Each event once, in the version that counts.

        Versions are ordered by one column, in which all that they are compared by stands as a text: where a ROW_NUMBER orders by several,
        Flink takes the first version for the only one, and never withdraws it (findings/flink-top-1.sh).
        """
        plan = self.plan
        kinds = list(zip(self._alias, plan.types, strict=True))
        parts = [_ordered(each, "time") for each in ("known", "happened")]
        for at, (alias, kind) in enumerate(kinds):
            if at not in (plan.known, plan.when, plan.ident):
                parts.append(f"COALESCE(CONCAT('1', {_ordered(alias, kind)}), '0')")
        order = f"CONCAT({', '.join(parts)})"
        return (
            f"SELECT {', '.join([*self._alias, 'happened', 'known', *self._derived])} FROM (\n"
            f"  SELECT *, ROW_NUMBER() OVER (PARTITION BY {self._alias[plan.ident]} ORDER BY version DESC) AS place\n"
            f"  FROM (SELECT *, {order} AS version FROM accepted))\nWHERE place = 1"
        )

    def _tile(self, hop: int) -> str:
        """The number of an event's tile: rounded down, before 1970 too."""
        length = self.plan.hops[hop]
        return f"(e.happened - (e.happened % {length} + {length}) % {length}) / {length}"

    def _outputs(self, hop: int) -> list[tuple[str, str, str]]:
        """Name, type and expression of each column of a hop's tiles."""
        plan = self.plan
        entity, kind = self._alias[plan.entity], _COLUMNS[plan.types[plan.entity]]
        found = [
            ("entity", kind, f"e.{entity}"),
            ("width", "BIGINT", str(plan.hops[hop])),
            ("tile", "BIGINT", self._tile(hop)),
            ("known", "BIGINT", "MAX(CASE WHEN e.s = 1 THEN e.known END)"),
            ("happened", "BIGINT", "MAX(CASE WHEN e.s = 1 THEN e.happened END)"),
        ]
        if hop == 0:  # an event that is ahead stands in one tile, whole
            row = ", ".join(f"e.{alias}" for alias in self._alias)
            found.append(
                ("ahead", "MULTISET<STRING>", f"COLLECT(CASE WHEN e.s = 2 THEN JSON_ARRAY({row} NULL ON NULL) END)")
            )
        for number, measure in enumerate(plan.measures[hop]):
            found += self._measured(f"m{number}", measure, self._conditions.get((hop, number), "TRUE"))
        return found

    def _measured(self, name: str, measure: Measure, condition: str) -> list[tuple[str, str, str]]:
        """The columns that hold an aggregate; `partial` reads them."""
        kind, conditions = self.plan.term_types[measure.of], [] if condition == "TRUE" else [condition]
        value = f"e.{self._terms[measure.of]}"
        if kind == "bool" and measure.kind != "distinct" and measure.kind != "last":
            value = f"CAST({value} AS INT)"

        def among(value: str) -> str:
            return f"CASE WHEN {' AND '.join(['e.s = 1', *conditions])} THEN {value} END"

        if measure.kind == "count":
            return [(name, "BIGINT", f"COUNT({among('1')})")]
        if measure.kind == "int_sum":
            whole = f"CAST({value} AS DECIMAL(38, 0))"
            summed = (name, "STRING", f"CAST(SUM({among(whole)}) AS STRING)")
            return [(f"{name}_n", "BIGINT", f"COUNT({among(value)})"), summed]
        if measure.kind == "float_sum":
            return [(f"{name}_n", "BIGINT", f"COUNT({among(value)})"), (name, "DOUBLE", f"SUM({among(value)})")]
        if measure.kind in ("min", "max"):
            its = {"bool": "INT", "time": "BIGINT"}.get(kind, _COLUMNS[kind])
            return [(name, its, f"{measure.kind.upper()}({among(value)})")]
        written = f"CAST({value} + 0E0 AS STRING)" if kind == "float64" else f"CAST({value} AS STRING)"
        if measure.kind == "distinct":
            return [(name, "MULTISET<STRING>", f"COLLECT({among(written)})")]
        order = [_ordered(f"e.{each}", "time") for each in ("happened", "known")]
        order.append(_ordered(f"e.{self._alias[self.plan.ident]}", self.plan.types[self.plan.ident]))
        parts = ", ".join([*order, f"COALESCE(CONCAT('v', {written}), 'n')"])
        return [(name, "STRING", f"MAX({among(f'CONCAT({parts})')})")]

    # What the job writes, read again. Flink leaves in a multiset what was taken out of it, zero times.

    def partials(self, hop: int, row: Mapping[str, Any]) -> list[Partial]:
        """The partials of a tile (tiles.py) from a row that the job wrote; `KeyError` or `ValueError` where it is none."""
        return [self._partial(f"m{number}", measure, row) for number, measure in enumerate(self.plan.measures[hop])]

    def _partial(self, name: str, measure: Measure, row: Mapping[str, Any]) -> Partial:
        found, kind = row[name], self.plan.term_types[measure.of]
        if measure.kind == "count":
            return _whole(found)
        if measure.kind == "int_sum":
            return [_whole(row[f"{name}_n"]), int(found or 0)]
        if measure.kind == "float_sum":
            return [_whole(row[f"{name}_n"]), [float(found or 0)]]
        if measure.kind in ("min", "max"):
            if found is None:
                return None
            if kind == "text":
                return found + ""
            return {"bool": bool, "float64": float}.get(kind, int)(_number(found))
        if measure.kind == "distinct":
            return {self._value(kind, each): times for each, times in (found or {}).items() if times > 0}
        if found is None:
            return None
        rest = found[38:]
        ident: int | str
        if self.plan.types[self.plan.ident] == "int64":
            ident, value = int(rest[:20]) - 2**63, rest[20:]
        else:
            written, _, value = rest.partition(_END)
            ident = bytes.fromhex(written).decode()
        when, known = int(found[:19]) - _SHIFT, int(found[19:38]) - _SHIFT
        return when, known, ident, self._value(kind, value[1:]) if value[0] == "v" else None

    def ahead(self, row: Mapping[str, Any]) -> list[Event]:
        """The events of a tile that happened after they were known."""
        import msgspec

        found = []
        for event in (msgspec.json.decode(each) for each, times in (row.get("ahead") or {}).items() if times > 0):
            found.append(
                tuple(
                    float(value) + 0.0 if kind == "float64" and value is not None else value
                    for value, kind in zip(event, self.plan.types, strict=True)
                )
            )
        return self.plan.whole(found)

    def _value(self, kind: Type, text: str) -> Any:
        """A value that Flink wrote as a text."""
        if kind == "text":
            return text
        if kind == "bool":
            return text.lower() == "true"
        return float(text) if kind == "float64" else int(text)


def refusal(view: FeatureView, types: Mapping[str, Type]) -> str:
    """Why Flink cannot compute a view's SQL as it is computed here; empty where it can. The view asks for nothing that its source has not."""
    kinds = {name: DATATYPES[types[name]] for name in view.reads}
    for each in view.expressions:
        try:
            meaning(each, kinds, str, "flink")
        except Unsuited as error:
            return f"{each.text}: {error}"
    return ""


def tables(address: str, view: FeatureView) -> tuple[dict[str, str], dict[str, str]]:
    """Options of the connectors that read a view's events and write its tiles, by the address of the event logs.

    The tiles' log is called as a source's, by the name of the view: buyer_orders-v1-tiles. `DeclarationError` for logs in files.
    """
    source, sink = (log_address.parsed(address, each) for each in (view.source, log_of(view)))
    if source.kind == "kinesis":
        return (
            {**_kinesis(source), "source.init.position": "TRIM_HORIZON", **_JSON},
            {**_kinesis(sink), "format": "debezium-json"},  # its JSON takes no updates
        )
    if source.kind != "kafka" or (more := set(source.options) - {"security.protocol"}):
        raise DeclarationError(
            "Flink reads and writes no such log", expected="kinesis://… with region and account, or kafka://… with security.protocol at most",
            got=source.kind if source.kind != "kafka" else f"{source.kind} with {min(more)}",
            fix="give other options to Flink itself; logs in files are for one machine",
        )  # fmt: skip
    where = {"properties.bootstrap.servers": source.at}
    where |= {f"properties.{name}": value for name, value in source.options.items()}
    reads = {"scan.startup.mode": "earliest-offset", "properties.isolation.level": "read_committed"}
    writes = {"key.format": "json", "value.format": "json"}
    return (
        {"connector": "kafka", "topic": source.name, **where, **reads, **_JSON},
        {"connector": "upsert-kafka", "topic": sink.name, **where, **writes},
    )


def log_of(view: FeatureView) -> str:
    """The log of a view's tiles, called as a source's is."""
    return f"{view.reference}-tiles"


def _kinesis(address: log_address.Address) -> dict[str, str]:
    region, account = (address.options.get(each) for each in ("region", "account"))
    if not region or not account:
        raise DeclarationError(
            "Flink finds a stream by its whole name", expected="kinesis://… with region and account",
            got=", ".join(address.options) or "neither", fix="add &account=111122223333",
        )  # fmt: skip
    return {
        "connector": "kinesis",
        "stream.arn": f"arn:aws:kinesis:{region}:{account}:stream/{address.name}",
        "aws.region": region,
    }


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no count")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return value  # type: ignore[no-any-return]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


_text = sql.text


def _options(options: Mapping[str, str]) -> str:
    return ",\n".join(f"  {_text(name)} = {_text(value)}" for name, value in options.items())


def _ordered(column: str, kind: Type) -> str:
    """A value as a text: the order of such texts is that of the values, and none is the begin of another.

    Floats that are less than 1e-9 from each other, or beyond 1e28, are in an order that is always the same, and need not be theirs.
    """
    if kind == "time":
        return f"CAST({column} + {_SHIFT} AS STRING)"
    if kind == "bool":
        return f"CAST(CAST({column} AS INT) AS STRING)"
    if kind == "text":
        return f"CONCAT(HEX({column}), {_text(_END)})"
    digits, shift = ("38, 0", 2**63) if kind == "int64" else ("38, 9", 5 * 10**28)
    shifted = f"CAST({column} AS DECIMAL({digits})) + CAST('{shift}' AS DECIMAL({digits}))"
    if kind == "int64":
        return f"LPAD(CAST({shifted} AS STRING), 20, '0')"
    return f"CONCAT(COALESCE(LPAD(CAST({shifted} AS STRING), 40, '0'), ''), CAST({column} AS STRING), {_text(_END)})"


def _microseconds(column: str) -> str:
    """A time of a row, ISO 8601 with its zone or whole microseconds, as microseconds since 1970; null where it is neither."""

    def part(pattern: str) -> str:
        return f"COALESCE(CAST(REGEXP_EXTRACT({column}, {_text(pattern)}, 1) AS BIGINT), 0)"

    fraction = f"COALESCE(CAST(RPAD(REGEXP_EXTRACT({column}, '[.]([0-9]{{1,6}})', 1), 6, '0') AS BIGINT), 0)"
    seconds = f"UNIX_TIMESTAMP(REPLACE(SUBSTRING({column}, 1, 19), 'T', ' '))"
    away = f"({part('[+-]([0-9]{2}):[0-9]{2}$')} * 3600 + {part('[+-][0-9]{2}:([0-9]{2})$')} * 60)"
    sign = f"CASE WHEN REGEXP({column}, '-[0-9]{{2}}:[0-9]{{2}}$') THEN -1 ELSE 1 END"
    return (
        f"CASE WHEN REGEXP({column}, '^-?[0-9]{{1,18}}$') THEN CAST({column} AS BIGINT)"
        f" WHEN REGEXP({column}, {_text(_TIME)}) THEN ({seconds} - {sign} * {away}) * 1000000 + {fraction} END"
    )
