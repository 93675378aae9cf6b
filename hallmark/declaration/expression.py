"""SQL of a feature view: scalar expressions over the columns of one row of its source, with one meaning in all executions.

They are written in DuckDB's dialect and kept to what is listed here, so that a row always gives the same value, and no value stops a job:

- an operation that has no result is null: a whole number beyond 64 bits, anything by zero, a cast of a text that is none
- `/` gives numbers with a fraction, `//` and `%` are of whole numbers and round towards zero; whole numbers beside others become doubles
- a result that is no finite number, or is beyond 1e290, is null; so is -2^63
- times are compared, and taken apart in UTC; nothing is turned into another type but by `cast`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import PlainSerializer, PlainValidator
from pydantic.json_schema import WithJsonSchema

from hallmark import extras

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

    from hallmark.declaration.source import Datatype

Engine = Literal["duckdb", "spark", "snowflake", "flink"]
LONGEST = 2000
"""Characters of an expression."""
LARGEST = 1e290
_LEAST = -(2**63)
_OTHERWISE = "let a machine that has the extra `features` read it"
_PARTS = ("year", "quarter", "month", "week", "day", "isodow", "dow", "doy", "hour", "minute", "second")
_WORDS: Mapping[Datatype, str] = {
    "BOOL": "a condition", "INT64": "a whole number", "FP64": "a number", "BYTES": "a text", "TIME": "a time",
}  # fmt: skip
_NUMBERS: tuple[Datatype, ...] = ("INT64", "FP64")
_CASTS: Mapping[str, Datatype] = {"BIGINT": "INT64", "DOUBLE": "FP64", "TEXT": "BYTES", "VARCHAR": "BYTES"}
_DUCKDB: Mapping[Datatype, str] = {
    "BOOL": "BOOLEAN", "INT64": "BIGINT", "FP64": "DOUBLE", "BYTES": "VARCHAR", "TIME": "BIGINT",
}  # fmt: skip
_KNOWN = (
    "+ - * / // % ||, comparisons, AND OR NOT, IS NULL, IN, BETWEEN, CASE, IF, COALESCE, NULLIF, GREATEST, LEAST, CAST, ABS, ROUND, FLOOR,"
    " CEIL, SQRT, EXP, LN, POWER, LOWER, UPPER, TRIM, LENGTH, SUBSTRING, REPLACE, STARTS_WITH, ENDS_WITH, CONTAINS, DATE_PART, EPOCH_US"
)


class Expression(NamedTuple):
    """text: as sqlglot writes it, so that spaces, comments and capitals make no other.   columns: those that it reads, sorted."""

    text: str
    columns: tuple[str, ...]


class Unsuited(ValueError):
    """An expression that has no meaning over these columns; the text says why, with the fix at its end."""


def parsed(text: str) -> Expression:
    """The expression that a text is; `ValueError` where it is none, or has a part that is not on the list above."""
    tree = _tree(text)
    for node in tree.walk():
        if _word(node) is None:
            raise ValueError(f"expected an expression of {_KNOWN}; got {_shown(node)}")
    columns = tuple(sorted({_name(each) for each in tree.find_all(_of("Column"))}))
    if not columns:
        raise ValueError(f"expected an expression over columns of the source; got {text!r}, which is always the same")
    if isinstance(tree, _of("Column")):
        raise ValueError(
            f"expected an expression; got a column alone: write `of: {columns[0]}`, or `where: {{{columns[0]}: true}}`"
        )
    return Expression(_normal(tree), columns)


def meaning(
    expression: Expression, kinds: Mapping[str, Datatype], named: Callable[[str], str], engine: Engine = "duckdb"
) -> tuple[str, Datatype]:
    """The SQL of an expression and its type; `Unsuited` where columns of these types have no such value, or `engine` would give another.

    kinds: of its columns.   named: a column as the statement has it: BOOLEAN, BIGINT, DOUBLE, VARCHAR, and times in microseconds, BIGINT.
    For Spark and Snowflake it is written in DuckDB's dialect, which hallmark/feature_store/plan.py turns into theirs.
    """
    return _Writer(kinds, named, engine).whole(_tree(expression.text))


@lru_cache(maxsize=1)
def _engine() -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise extras.not_installed(error, what="feature view, which has SQL,", otherwise=_OTHERWISE) from error
    return duckdb.connect(config={"threads": 1})


def engine() -> duckdb.DuckDBPyConnection:
    """A connection of its own to the one DuckDB, in memory and of one thread, that computes expressions in this process."""
    return _engine().cursor()


@lru_cache(maxsize=1024)
def _datatype(expression: Expression, types: tuple[tuple[str, Datatype], ...]) -> Datatype:
    connection = engine()
    import duckdb

    sql, kind = meaning(expression, dict(types), _quoted)
    columns = ", ".join(f"CAST(NULL AS {_DUCKDB[each]}) AS {_quoted(name)}" for name, each in types)
    try:
        described = f"DESCRIBE SELECT {sql} AS v FROM (SELECT {columns} WHERE FALSE)"  # noqa: S608  written anew
        found = connection.execute(described).fetchall()[0][1]
    except duckdb.Error as error:
        raise Unsuited(f"DuckDB refuses it ({str(error).splitlines()[0]}): write it otherwise") from error
    if found != _DUCKDB[kind]:
        raise Unsuited(f"to DuckDB it is {found}: cast it to bigint, double or varchar")
    return kind


def datatype(expression: Expression, types: Mapping[str, Datatype]) -> Datatype:
    """The type that DuckDB gives an expression over a table with columns of these types; `Unsuited` where it has none."""
    return _datatype(expression, tuple((name, types[name]) for name in expression.columns))


def read(value: Any) -> Any:
    """The expression that a text is. What was read once is written as text and columns, and is read again without a parser."""
    if isinstance(value, str):
        return parsed(value)
    if isinstance(value, Expression):
        return value
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], list | tuple)
    ):
        return Expression(value[0], tuple(map(str, value[1])))
    raise ValueError(f"expected SQL as a text; got {value!r}")


def written(value: Expression) -> list[Any]:
    """An expression as JSON holds it."""
    return [value.text, list(value.columns)]


SCHEMA = {"type": "string", "maxLength": LONGEST}
"""The JSON Schema of an expression, as a person writes it."""
Sql = Annotated[
    Expression,
    PlainValidator(read),
    PlainSerializer(written, when_used="json"),
    WithJsonSchema(SCHEMA, mode="validation"),
]


def _of(name: str) -> Any:
    try:
        import sqlglot.expressions
    except ModuleNotFoundError as error:
        raise extras.not_installed(error, what="feature view, which has SQL,", otherwise=_OTHERWISE) from error
    return getattr(sqlglot.expressions, name)


def _tree(text: str) -> exp.Expr:
    _of("Expression")
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > LONGEST:
        raise ValueError(f"expected at most {LONGEST} characters; got {len(text)}")
    try:
        found = sqlglot.parse(text, read="duckdb")
    except (SqlglotError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"expected one SQL expression; got {text!r}: {said}") from error
    if len(found) != 1 or found[0] is None:
        raise ValueError(f"expected one SQL expression; got {text!r}")
    return found[0]


def _normal(tree: exp.Expr) -> str:
    tree = tree.copy()
    for column in tree.find_all(_of("Column")):
        column.this.set("this", _name(column))
    return tree.sql(dialect="duckdb", identify=True, comments=False, normalize_functions="upper")


def _name(column: Any) -> str:
    """The name of a column. What stands without quotes is written in small letters, as contracts have names."""
    name: str = column.name
    return name if column.this.args.get("quoted") else name.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class _Writer:
    """Writes a tree as SQL in which every operation has the meaning that this module says, with the type of each part."""

    def __init__(self, kinds: Mapping[str, Datatype], named: Callable[[str], str], engine: Engine) -> None:
        self.kinds, self.named, self.engine = kinds, named, engine

    def whole(self, tree: exp.Expr) -> tuple[str, Datatype]:
        """An expression and its type, with what no execution can hold as null."""
        sql, kind = self.of(tree)
        if kind == "FP64":
            sql = f"CASE WHEN ABS({sql}) <= {self._double(LARGEST)} THEN {sql} + {self._double(0.0)} END"
        elif kind == "INT64" and self.engine != "flink":
            sql = f"NULLIF({sql}, CAST('{_LEAST}' AS BIGINT))"
        elif kind == "TIME":
            self._only("a time as the result", "duckdb")
        return (f"TRY({sql})" if self.engine == "duckdb" else sql), kind

    def of(self, node: Any) -> tuple[str, Datatype]:
        """A part and its type."""
        word = _word(node)
        if word is None:
            raise Unsuited(f"{_shown(node)} is not taken: use {_KNOWN}")
        found: tuple[str, Datatype] = getattr(self, f"_{word}")(node)
        return found

    def _only(self, what: str, *engines: Engine) -> None:
        if self.engine not in engines:
            raise Unsuited(f"{what} is not the same on {self.engine.capitalize()}: let DuckDB compute this view")

    # Leaves

    def _column(self, node: Any) -> tuple[str, Datatype]:
        name = _name(node)
        return self.named(name), self.kinds[name]

    def _literal(self, node: Any) -> tuple[str, Datatype]:
        if node.is_string:  # Flink fills texts up with spaces where CASE has others that are longer
            return f"CAST({_text(node.this)} AS STRING)" if self.engine == "flink" else _text(node.this), "BYTES"
        if node.this.isdecimal():
            if int(node.this) >= 2**63:
                raise Unsuited(f"{node.this} has no 64 bits: write {node.this}.0")
            return f"CAST('{int(node.this)}' AS BIGINT)", "INT64"
        value = float(node.this)
        if not value <= LARGEST:
            raise Unsuited(f"{node.this} is beyond {LARGEST}: write a smaller number")
        return self._double(value), "FP64"

    def _boolean(self, node: Any) -> tuple[str, Datatype]:
        return str(bool(node.this)).upper(), "BOOL"

    def _null(self, node: Any) -> tuple[str, Datatype]:
        raise Unsuited("a null here has no type: write IS NULL, or leave ELSE out")

    def _paren(self, node: Any) -> tuple[str, Datatype]:
        sql, kind = self.of(node.this)
        return f"({sql})", kind

    @staticmethod
    def _double(value: float) -> str:
        return f"CAST('{value!r}' AS DOUBLE)"

    # Numbers

    def _numbers(self, node: Any, *parts: Any) -> tuple[list[str], Datatype]:
        """Parts as numbers of one type."""
        found = [self.of(each) for each in parts]
        for part, (_, kind) in zip(parts, found, strict=True):
            if kind not in _NUMBERS:
                hint = "EPOCH_US gives microseconds" if kind == "TIME" else "cast it to bigint or double"
                raise Unsuited(f"{_shown(node)} takes numbers, and {_shown(part)} is {_WORDS[kind]}: {hint}")
        return self._alike(found)

    def _alike(self, found: Sequence[tuple[str, Datatype]]) -> tuple[list[str], Datatype]:
        """Values of one type: whole numbers beside others become doubles."""
        kinds = {kind for _, kind in found}
        if kinds == {"INT64", "FP64"}:
            return [sql if kind == "FP64" else f"CAST({sql} AS DOUBLE)" for sql, kind in found], "FP64"
        return [sql for sql, _ in found], found[0][1]

    def _whole_numbers(self, node: Any, *parts: Any) -> list[str]:
        found, kind = self._numbers(node, *parts)
        if kind != "INT64":
            raise Unsuited(f"{_shown(node)} is of whole numbers: use / and FLOOR, or cast to bigint")
        return found

    def _arithmetic(self, node: Any) -> tuple[str, Datatype]:
        (one, other), kind = self._numbers(node, node.this, node.expression)
        sign = {"Add": "+", "Sub": "-", "Mul": "*"}[type(node).__name__]
        return self._summed(sign, one, other, kind), kind

    def _summed(self, sign: str, one: str, other: str, kind: Datatype) -> str:
        if kind == "FP64":
            return f"({one} {sign} {other})"
        self._only("a whole number beyond 64 bits", "duckdb", "spark", "snowflake")
        if self.engine == "duckdb":
            return f"TRY({one} {sign} {other})"
        if self.engine == "spark":
            return f"TRY_{ {'+': 'ADD', '-': 'SUBTRACT', '*': 'MULTIPLY'}[sign] }({one}, {other})"
        above, below = 2**63, _LEAST - 1  # Snowflake's whole numbers have 38 digits
        within = f"GREATEST(LEAST({one} {sign} {other}, {above}), {below})"
        return f"CAST(NULLIF(NULLIF({within}, {above}), {below}) AS BIGINT)"

    def _negative(self, node: Any) -> tuple[str, Datatype]:
        (value,), kind = self._numbers(node, node.this)
        if kind == "FP64":
            return f"(- {value})", kind
        return self._summed("-", "CAST('0' AS BIGINT)", value, kind), kind

    def _quotient(self, node: Any) -> tuple[str, Datatype]:
        found = [
            sql if kind == "FP64" else f"CAST({sql} AS DOUBLE)"
            for sql, kind in (self.of(each) for each in (node.this, node.expression))
        ]
        self._numbers(node, node.this, node.expression)
        return f"({found[0]} / NULLIF({found[1]}, {self._double(0.0)}))", "FP64"

    def _whole_quotient(self, node: Any) -> tuple[str, Datatype]:
        self._only("//", "duckdb")
        one, other = self._whole_numbers(node, node.this, node.expression)
        return f"TRY({one} // {other})", "INT64"

    def _rest(self, node: Any) -> tuple[str, Datatype]:
        one, other = self._whole_numbers(node, node.this, node.expression)
        rest = f"{one} % NULLIF({other}, CAST('0' AS BIGINT))"
        return (f"TRY({rest})" if self.engine == "duckdb" else f"({rest})"), "INT64"

    def _absolute(self, node: Any) -> tuple[str, Datatype]:
        (value,), kind = self._numbers(node, node.this)
        if kind == "INT64":
            self._only("ABS of a whole number", "duckdb")
            return f"TRY(ABS({value}))", kind
        return f"ABS({value})", kind

    def _rounded(self, node: Any) -> tuple[str, Datatype]:
        name = type(node).__name__.upper()
        self._only(name, "duckdb")
        (value,), kind = self._numbers(node, node.this)
        digits = node.args.get("decimals")
        if digits is not None and not (
            isinstance(digits, _of("Literal")) and digits.this.isdecimal() and int(digits.this) <= 15
        ):
            raise Unsuited(f"{_shown(node)} rounds to {_shown(digits)} digits: write a number from 0 to 15")
        more = f", {digits.this}" if digits is not None and name == "ROUND" else ""
        value = f"CAST({value} AS DOUBLE)" if kind == "INT64" else value
        return f"{name}({value}{more})", "FP64"

    def _root(self, node: Any) -> tuple[str, Datatype]:
        name = {"Sqrt": "SQRT", "Exp": "EXP", "Ln": "LN", "Pow": "POWER"}[type(node).__name__]
        self._only(name, "duckdb")
        parts = [node.this, *([node.expression] if name == "POWER" else [])]
        found, kind = self._numbers(node, *parts)
        values = ", ".join(f"CAST({each} AS DOUBLE)" if kind == "INT64" else each for each in found)
        return f"TRY({name}({values}))", "FP64"

    # Conditions

    def _compared(self, node: Any) -> tuple[str, Datatype]:
        sign = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}[type(node).__name__]
        one, other = self._comparable(node, node.this, node.expression)
        return f"({one} {sign} {other})", "BOOL"

    def _comparable(self, node: Any, *parts: Any) -> list[str]:
        for part in parts:  # DuckDB and sqlglot do not agree on which of two such is read first
            if isinstance(part, tuple(map(_of, ("EQ", "NEQ", "LT", "LTE", "GT", "GTE", "Is", "Not")))):
                raise Unsuited(f"{_shown(node)} compares what is compared, {_shown(part)}: put that in parentheses")
        found = [self.of(each) for each in parts]
        kinds = {kind for _, kind in found}
        if len(kinds) > 1 and not kinds <= {*_NUMBERS}:
            told = " and ".join(
                f"{_shown(part)} is {_WORDS[kind]}" for part, (_, kind) in zip(parts, found, strict=True)
            )
            raise Unsuited(f"{_shown(node)} compares unlike values, {told}: compare values of one type, or cast one")
        if self.engine == "flink" and kinds & {"FP64"}:
            for part in parts:
                if part.find(*map(_of, ("Add", "Sub", "Mul", "Div"))):
                    self._only(f"{_shown(part)}, which may be no number, in a comparison", "duckdb")
        return self._alike(found)[0]

    def _between(self, node: Any) -> tuple[str, Datatype]:
        value, low, high = self._comparable(node, node.this, node.args["low"], node.args["high"])
        return f"({value} BETWEEN {low} AND {high})", "BOOL"

    def _among(self, node: Any) -> tuple[str, Datatype]:
        if not node.expressions or any(
            not isinstance(each.unnest(), (_of("Literal"), _of("Boolean"), _of("Neg"))) for each in node.expressions
        ):
            raise Unsuited(f"{_shown(node)} has no list of values: write them, such as IN ('a', 'b')")
        value, *values = self._comparable(node, node.this, *node.expressions)
        return f"({value} IN ({', '.join(values)}))", "BOOL"

    def _is(self, node: Any) -> tuple[str, Datatype]:
        if not isinstance(node.expression, _of("Null")):
            raise Unsuited(f"{_shown(node)}: write IS NULL, or the condition alone")
        return f"({self.of(node.this)[0]} IS NULL)", "BOOL"

    def _condition(self, node: Any) -> str:
        sql, kind = self.of(node)
        if kind != "BOOL":
            raise Unsuited(f"{_shown(node)} is {_WORDS[kind]}, not a condition: compare it, such as <> 0")
        return sql

    def _both(self, node: Any) -> tuple[str, Datatype]:
        word = {"And": "AND", "Or": "OR"}[type(node).__name__]
        return f"({self._condition(node.this)} {word} {self._condition(node.expression)})", "BOOL"

    def _not(self, node: Any) -> tuple[str, Datatype]:
        return f"(NOT {self._condition(node.this)})", "BOOL"

    # Choices

    def _case(self, node: Any) -> tuple[str, Datatype]:
        of, branches = node.args.get("this"), node.args["ifs"]
        if of is not None:
            first, *others = self._comparable(node, of, *(each.this for each in branches))
            head, tests = f"CASE {first}", others
        else:
            head, tests = "CASE", [self._condition(each.this) for each in branches]
        return self._chosen(node, head, tests, [each.args["true"] for each in branches], node.args.get("default"))

    def _if(self, node: Any) -> tuple[str, Datatype]:
        return self._chosen(node, "CASE", [self._condition(node.this)], [node.args["true"]], node.args.get("false"))

    def _chosen(
        self, node: Any, head: str, tests: Sequence[str], given: Sequence[Any], default: Any
    ) -> tuple[str, Datatype]:
        parts = [*given, *([default] if default is not None else [])]
        values, kind = self._values(node, [each for each in parts if not isinstance(each.unnest(), _of("Null"))])
        left = iter(values)
        written = ["NULL" if isinstance(each.unnest(), _of("Null")) else next(left) for each in parts]
        whens = " ".join(f"WHEN {test} THEN {value}" for test, value in zip(tests, written, strict=False))
        return f"{head} {whens}{f' ELSE {written[-1]}' if default is not None else ''} END", kind

    def _values(self, node: Any, parts: Sequence[Any]) -> tuple[list[str], Datatype]:
        """Parts of one type, of which one is the value."""
        if not parts:
            raise Unsuited(f"{_shown(node)} is always null: give it a value")
        found = [self.of(each) for each in parts]
        kinds = {kind for _, kind in found}
        if len(kinds) > 1 and not kinds <= {*_NUMBERS}:
            told = " and ".join(
                f"{_shown(part)} is {_WORDS[kind]}" for part, (_, kind) in zip(parts, found, strict=True)
            )
            raise Unsuited(f"{_shown(node)} gives unlike values, {told}: give values of one type, or cast one")
        return self._alike(found)

    def _first(self, node: Any) -> tuple[str, Datatype]:
        values, kind = self._values(node, [node.this, *node.expressions])
        return f"COALESCE({', '.join(values)})", kind

    def _extreme(self, node: Any) -> tuple[str, Datatype]:
        name = type(node).__name__.upper()
        self._only(name, "duckdb", "spark")
        values, kind = self._values(node, [node.this, *node.expressions])
        if kind == "BOOL":
            raise Unsuited(f"{_shown(node)} is of conditions: use AND or OR")
        return f"{name}({', '.join(values)})", kind

    def _unless(self, node: Any) -> tuple[str, Datatype]:
        one, other = self._comparable(node, node.this, node.expression)
        return f"NULLIF({one}, {other})", self._alike([self.of(node.this), self.of(node.expression)])[1]

    def _cast(self, node: Any) -> tuple[str, Datatype]:
        to = node.args["to"].this.name
        wanted = _CASTS.get(to)
        if wanted is None:
            raise Unsuited(f"{_shown(node)} casts to {to.lower()}: cast to bigint, double or varchar")
        sql, kind = self.of(node.this)
        if kind == wanted:
            return sql, kind
        if kind == "TIME":
            raise Unsuited(f"{_shown(node)} casts a time: use EPOCH_US or DATE_PART")
        if kind == "BOOL" and wanted == "FP64":
            return f"CAST(CAST({sql} AS INT) AS DOUBLE)", wanted
        if (kind, wanted) in (("INT64", "FP64"), ("BOOL", "INT64"), ("INT64", "BYTES")):
            return (
                f"CAST({sql} AS {'STRING' if self.engine == 'flink' and wanted == 'BYTES' else _DUCKDB[wanted]})",
                wanted,
            )
        self._only(f"a cast of {_WORDS[kind]} to {to.lower()}", "duckdb")
        return f"TRY_CAST({sql} AS {_DUCKDB[wanted]})", wanted

    # Texts and times

    def _texts(self, node: Any, *parts: Any) -> list[str]:
        found = [self.of(each) for each in parts]
        for part, (_, kind) in zip(parts, found, strict=True):
            if kind != "BYTES":
                raise Unsuited(f"{_shown(node)} takes texts, and {_shown(part)} is {_WORDS[kind]}: cast it to varchar")
        return [sql for sql, _ in found]

    def _joined(self, node: Any) -> tuple[str, Datatype]:
        one, other = self._texts(node, node.this, node.expression)
        return f"({one} || {other})", "BYTES"

    def _of_text(self, node: Any) -> tuple[str, Datatype]:
        name, kind = _TEXTS[type(node).__name__]
        self._only(name, "duckdb")
        more = [each for key in ("expression", "replacement") if (each := node.args.get(key)) is not None]
        return f"{name}({', '.join(self._texts(node, node.this, *more))})", kind

    def _length(self, node: Any) -> tuple[str, Datatype]:
        self._only("LENGTH", "duckdb", "spark")
        return f"CAST(LENGTH({self._texts(node, node.this)[0]}) AS BIGINT)", "INT64"

    def _substring(self, node: Any) -> tuple[str, Datatype]:
        self._only("SUBSTRING", "duckdb", "spark")
        places = [node.args.get(key) for key in ("start", "length")]
        if (
            any(
                not (isinstance(each, _of("Literal")) and each.this.isdecimal() and int(each.this) < 2**31)
                for each in places
            )
            or places[0].this == "0"
        ):
            raise Unsuited(f"{_shown(node)} has no place and count: write SUBSTRING(text, 1, 3), from 1")
        return f"SUBSTRING({self._texts(node, node.this)[0]}, {places[0].this}, {places[1].this})", "BYTES"

    def _trimmed(self, node: Any) -> tuple[str, Datatype]:
        if any(node.args.get(key) for key in ("expression", "position", "collation")):
            raise Unsuited(
                f"{_shown(node)} trims other characters: TRIM(text) takes spaces away, use REPLACE for others"
            )
        self._only("TRIM", "duckdb")
        return f"TRIM({self._texts(node, node.this)[0]})", "BYTES"

    def _time(self, node: Any) -> str:
        sql, kind = self.of(node)
        if kind != "TIME":
            raise Unsuited(f"{_shown(node)} is {_WORDS[kind]}: name a column that is a time")
        return sql

    def _part(self, node: Any) -> tuple[str, Datatype]:
        part, of = node.expressions
        name = part.name.lower()
        if name not in _PARTS:
            raise Unsuited(f"{_shown(node)} takes {name!r} of a time: name one of {', '.join(_PARTS)}")
        self._only("DATE_PART", "duckdb")
        return f"DATE_PART('{name}', MAKE_TIMESTAMP({self._time(of)}))", "INT64"

    def _microseconds(self, node: Any) -> tuple[str, Datatype]:
        return self._time(node.expressions[0]), "INT64"


_TEXTS: Mapping[str, tuple[str, Datatype]] = {
    "Lower": ("LOWER", "BYTES"), "Upper": ("UPPER", "BYTES"), "Replace": ("REPLACE", "BYTES"), "StartsWith": ("STARTS_WITH", "BOOL"),
    "EndsWith": ("ENDS_WITH", "BOOL"), "Contains": ("CONTAINS", "BOOL"),
}  # fmt: skip
_NODES: Mapping[str, str] = {
    "Column": "column", "Literal": "literal", "Boolean": "boolean", "Null": "null", "Paren": "paren", "Neg": "negative",
    **dict.fromkeys(("Add", "Sub", "Mul"), "arithmetic"), "Div": "quotient", "IntDiv": "whole_quotient", "Mod": "rest",
    "Abs": "absolute", **dict.fromkeys(("Round", "Floor", "Ceil"), "rounded"), **dict.fromkeys(("Sqrt", "Exp", "Ln", "Pow"), "root"),
    **dict.fromkeys(("EQ", "NEQ", "LT", "LTE", "GT", "GTE"), "compared"), "Between": "between", "In": "among", "Is": "is",
    "And": "both", "Or": "both", "Not": "not", "Case": "case", "If": "if", "Coalesce": "first", "Nullif": "unless",
    "Greatest": "extreme", "Least": "extreme", "Cast": "cast", "TryCast": "cast", "DPipe": "joined", "Length": "length",
    "Substring": "substring", "Trim": "trimmed", **dict.fromkeys(_TEXTS, "of_text"),
}  # fmt: skip
"""What each kind of part is written by."""
_INNER = ("Identifier", "DataType")


def _word(node: Any) -> str | None:
    """The method that writes a part; "" of what stands within one, None of what is not taken."""
    kind = type(node).__name__
    if kind in _INNER:
        return ""
    if kind == "Column" and (node.table or isinstance(node.this, _of("Star"))):
        return None
    if kind == "Anonymous":
        return {("date_part", 2): "part", ("epoch_us", 1): "microseconds"}.get(
            (node.name.lower(), len(node.expressions))
        )
    return _NODES.get(kind)


def _shown(node: Any) -> str:
    return str(node.sql(dialect="duckdb", comments=False))[:80]
