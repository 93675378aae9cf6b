"""Training frames: the features that were true at each question's time, by DuckDB on Parquet files, within a limit of memory.

One view after the other; each writes its columns to disk before the next begins, so that memory does not grow with their number.
"""
# ruff: noqa: S608 (names are quoted and values are literals of their kind: plan.quoted, plan.text, plan.literal)

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.declaration.feature_view import FUTURE, FeatureView
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError, NotFound
from hallmark.feature_store import hot, repeats
from hallmark.feature_store.plan import FOREVER, Kind, Newest, Plan, greatness, quoted, text
from hallmark.feature_store.tiles import microseconds
from hallmark.section import Frozen

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 1 << 17
"""Rows of a part that are held at once when columns are put beside each other."""
PART = 1 << 20
"""Rows of a part file."""
QUESTIONS = 1 << 21
"""Questions whose newest events are looked for at once: what stands in an event may be texts, which DuckDB keeps in memory."""


class Limits(Frozen):
    """What a training frame may take of the machine.

    memory:  of DuckDB, such as 2GB; what does not fit is written to `folder`.
    threads: all of the machine's cores where none are given.
    folder:  for what does not fit; the system's folder for such where none is given.
    crowd:   pairs of one entity's events and questions from which they are not compared one with the other.
    """

    memory: str = "2GB"
    threads: int | None = None
    folder: Path | None = None
    crowd: int = 2_000_000


def training_frame(
    questions: pd.DataFrame | Path,
    views: Sequence[FeatureView],
    sources: Mapping[str, Sequence[Path]],
    folder: Path,
    *,
    time: str,
    limits: Limits | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write `questions`, row by row as they stand, with the columns of all views beside them, to Parquet files in `folder`; their paths.

    questions: a frame or a Parquet file with a column `time`, with its zone, and one for each view's entity.
    sources:   the Parquet files of each view's source, name@version.
    folder:    made by this call; what stands there already is refused.
    """
    limits, told = limits or Limits(), progress or (lambda _: None)
    if folder.exists():
        raise DeclarationError(
            f"{folder.name} is there already", expected="a folder that is not there", got=str(folder)
        )
    files = {view.source: _files(view, sources) for view in views}
    work = Path(tempfile.mkdtemp(prefix="training_frame_", dir=limits.folder))
    try:
        asked, rows = _asked(questions, work, time, views)
        parts, written, whole = [asked], [], work / "whole"
        whole.mkdir()
        with (
            connected(work, limits) as connection,
            contextlib.closing(_Shared(connection, asked, rows, time, limits)) as made,
        ):
            for place, view in enumerate(views, 1):
                told(f"{view.reference} ({place} of {len(views)})")
                with _named(view), made.apart():
                    execution = _Execution(made, view, files[view.source])
                    if place < len(views):
                        parts.append(work / f"{place}.parquet")
                        execution.write(parts[-1])
                    else:  # straight into the frame
                        written = _beside(parts, execution.reader(), whole, rows)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(whole, folder)
        return [folder / name for name in written]
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """The rows of a training frame's files; where a value is null it is `pd.NA`, and NaN where it is NaN."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(path) for path in paths])
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


@contextlib.contextmanager
def connected(work: Path, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty DuckDB in UTC, in which the right side of a join is the one that is held in memory.

    Left to itself it takes the source for the smaller side wherever some conditions on time are given, which costs three times as much.
    """
    import duckdb

    values = {
        "TimeZone": "UTC",
        "memory_limit": limits.memory,
        "temp_directory": str(work / "spilled"),
        "preserve_insertion_order": "false",
        "disabled_optimizers": "join_order,build_side_probe_side",
        **({"threads": str(limits.threads)} if limits.threads else {}),
    }
    with duckdb.connect() as connection:
        for name, value in values.items():
            try:
                connection.execute(f"SET {name} = {text(value)}")
            except duckdb.ParserException as error:  # of the others none is a person's text
                raise DeclarationError(
                    "the limit of memory is no amount", expected="such as 500MB or 2GB", got=repr(limits.memory)
                ) from error
        yield connection


@contextlib.contextmanager
def _named(view: FeatureView) -> Iterator[None]:
    """What goes wrong in DuckDB names the view."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise HallmarkError(
            f"{view.reference} needs more memory, or more room to spill",
            expected="what the limit allows",
            got=str(error).splitlines()[0],
            fix="raise the limit of memory, or name a folder on a larger disk",
        ) from error
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        raise ContractBroken(
            f"{view.reference} cannot be computed from {view.source}",
            expected="values that its columns can add up and compare",
            got=str(error).splitlines()[0],
        ) from error


class _Shared:
    """Tables that several views read: of what is asked about an entity, and of a source's events that stand in more than one row."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, asked: Path, rows: int, time: str, limits: Limits
    ) -> None:
        self.connection, self.asked, self.rows, self.time, self.limits = connection, asked, rows, time, limits
        self._known: dict[Any, Any] = {}
        self._pool = ThreadPoolExecutor(1) if limits.threads != 1 else None
        self._looking: dict[tuple[str, str], Future[Any]] = {}
        self._beside = connection.cursor()

    def close(self) -> None:
        """End what still looks for what stands in several rows, before the connection is closed."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._beside.interrupt()
            self._pool.shutdown()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Tables that are made meanwhile are gone at the end."""
        self.connection.execute("CREATE SCHEMA view; SET search_path = 'view,main'")
        yield
        self.connection.execute("SET search_path = 'main'; DROP SCHEMA view CASCADE")

    def row(self, query: str) -> Any:
        """The only row of a query."""
        return self.connection.sql(query).fetchall()[0]

    def questions(self, entity: str) -> tuple[str, str, int, int, int]:
        """Two tables, and how many different questions there are, and when the first and the last.

        The first has each different entity and time once (whose, moment, k), the second has the number k of each row (place, k).
        """

        def make(name: str) -> tuple[str, str, int, int, int]:
            own, time = f"read_parquet({text(str(self.asked))}, file_row_number = true)", quoted(self.time)
            whose = quoted(entity)
            self.connection.execute(f"""CREATE TABLE main.asked_{name} AS
                SELECT {whose} AS whose, EPOCH_US({time}) AS moment, MIN(file_row_number) AS k
                FROM {own} WHERE {whose} IS NOT NULL GROUP BY ALL""")
            found = self.row(
                f"SELECT COUNT(*), COALESCE(MIN(moment), 0), COALESCE(MAX(moment), 0) FROM main.asked_{name}"
            )
            numbers = f"""SELECT a.file_row_number AS place, q.k FROM {own} AS a
                LEFT JOIN main.asked_{name} AS q ON a.{whose} = q.whose AND EPOCH_US(a.{time}) = q.moment"""
            if found[0] == self.rows:  # each row asks something else
                numbers = f"SELECT k AS place, k FROM main.asked_{name}"
            self.connection.execute(f"CREATE TABLE main.rows_{name} AS {numbers}")
            return f"asked_{name}", f"rows_{name}", *found

        found: tuple[str, str, int, int, int] = self._once(("questions", entity), make)
        return found

    def look(self, source: str, what: str) -> None:
        """Begin with what `repeated` will be asked: half of its time one processor sorts, and the others can do something else."""
        key = (source, what)
        if self._pool is not None and key not in self._looking and ("repeated", *key) not in self._known:
            self._looking[key] = self._pool.submit(self._repeats, self._beside, *key)

    def repeated(self, source: str, what: str) -> tuple[str, int]:
        """A table of hashes (h) of what stands in more than one row of a source, and how many these are.

        Two with one hash are in it too, and are then brought into order for nothing.
        """
        import pyarrow as pa

        def make(name: str) -> tuple[str, int]:
            looking = self._looking.pop((source, what), None)
            found = looking.result() if looking else self._repeats(self.connection, source, what)
            self.connection.execute(f"CREATE TABLE main.repeated_{name} (h UBIGINT)")
            if len(found):  # registering costs more than a small join: it imports pandas
                self.connection.register("repeated", pa.table({"h": found}))
                self.connection.execute(f"INSERT INTO main.repeated_{name} FROM repeated")
                self.connection.unregister("repeated")
            return f"repeated_{name}", len(found)

        found: tuple[str, int] = self._once(("repeated", source, what), make)
        return found

    def _repeats(self, connection: duckdb.DuckDBPyConnection, source: str, what: str) -> Any:
        import numpy as np

        rows = connection.sql(f"SELECT COUNT(*) FROM {source}").fetchall()[0][0]
        hashes = connection.sql(f"SELECT HASH({what}) AS h FROM {source}").to_arrow_reader(ROWS)
        with tempfile.TemporaryDirectory(dir=self.asked.parent) as folder:
            return repeats.repeated((np.from_dlpack(batch.column(0)) for batch in hashes), rows, Path(folder))

    def gap(self, source: str, entity: str, happened: str) -> int:
        """Microseconds between two events of one entity, about."""

        def make(_: str) -> int:
            count, entities = self.row(f"SELECT COUNT(*), APPROX_COUNT_DISTINCT({quoted(entity)}) FROM {source}")
            begin, end = self.row(  # of the column as it stands: its files say that
                f"SELECT EPOCH_US(MIN({quoted(happened)})), EPOCH_US(MAX({quoted(happened)})) FROM {source}"
            )
            return int((end - begin) * entities // count) if count else 0

        found: int = self._once(("gap", source, entity, happened), make)
        return found

    def _once(self, key: Any, make: Callable[[str], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make(str(len(self._known)))
        return self._known[key]


class _Execution:
    """One view for all questions; every table holds one row for each different entity and time that is asked for."""

    def __init__(self, shared: _Shared, view: FeatureView, files: Sequence[Path]) -> None:
        self.shared, self.view, self.limits = shared, view, shared.limits
        self.connection, self.run = shared.connection, shared.connection.execute
        self.plan = Plan(view, kinds(files))
        mine, theirs = kinds([shared.asked])[view.entity], self.plan.kinds[view.entity]
        if mine not in (theirs, "null"):
            raise DeclarationError(
                f"questions: {view.entity} is of another type than in {view.source}", expected=theirs, got=mine
            )
        self.source = f"read_parquet([{', '.join(text(str(path)) for path in files)}])"
        self.key, self.ident = self.plan.aliases[view.entity], self.plan.aliases[view.event_id]
        shared.look(self.source, quoted(view.event_id))
        self.questions, self.rows, self.count, self.lowest, self.highest = shared.questions(view.entity)
        if self.plan.newest:
            shared.gap(self.source, view.entity, view.event_time)
        self.several, corrections = shared.repeated(self.source, quoted(view.event_id))
        self.corrected = bool(corrections)

    def write(self, path: Path) -> None:
        """The view's columns, one row for each question in the questions' order."""
        self.run(
            f"""COPY ({self._answers()}) TO {text(str(path))} (FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE {ROWS})"""
        )

    def reader(self) -> pa.RecordBatchReader:
        """The same rows, as they are asked for."""
        return self.connection.sql(self._answers()).to_arrow_reader(ROWS)

    def _answers(self) -> str:
        """A query of them."""
        plan, joins = self.plan, []
        of: dict[str, str] = {}
        if self.count:
            if self.corrected:
                self._correct()
            if plan.windowed:
                self._windows()
                joins.append("added")
                of |= {name: f"added.w_{name}" for name in plan.windowed}
            if plan.newest:
                self._newest()
                joins.append("newest")
            for group in plan.newest:
                of |= {name: f"newest.w_{name}" for name in group.columns}
                if self._settled(group):
                    again = f"settled_{group.name}"
                    joins.append(again)
                    of |= {
                        name: f"IF({again}.k IS NULL, newest.w_{name}, {again}.found.w_{name})"
                        for name in group.columns
                    }
        else:
            of = {name: self._nothing(name) for name in self.view.computed}
        results = ", ".join(f"{plan.result(name, of=of)} AS {quoted(name)}" for name in self.view.columns)
        joined = " ".join(f"LEFT JOIN {each} USING (k)" for each in joins)
        return f"SELECT n.place AS _place, {results} FROM {self.rows} AS n {joined} ORDER BY n.place"

    def _nothing(self, name: str) -> str:
        """A typed null, where no question can be answered."""
        types = {"count": "BIGINT", "distinct": "BIGINT", "mean": "DOUBLE"}
        column = self.view.columns[name]
        if column.take in types:
            return f"CAST(NULL AS {types[column.take]})"
        added = self.plan.value(name)
        found = f"SUM({added})" if column.take == "sum" else f"MAX({added})"
        return f"(SELECT {found} FROM ({self._taken()}) AS e WHERE FALSE)"

    def _row(self, query: str) -> Any:
        return self.shared.row(query)

    def _taken(self, where: str = "TRUE", *, until: str = "") -> str:
        """Rows of the source that some question may see."""
        happened, known = quoted(self.view.event_time), quoted(self.view.known_at)
        return f"""SELECT {self.plan.selected}, EPOCH_US({happened}) AS happened, EPOCH_US({known}) AS known{until}
            FROM {self.source} WHERE EPOCH_US({happened}) <= EPOCH_US({known}) + {microseconds(FUTURE)} AND {known} < {_moment(self.highest)} AND {where}"""

    def _correct(self) -> None:
        """Table `corrected`: the versions of events that stand in more than one row, with `until` when each is true."""
        inside = self._taken(f"HASH({quoted(self.view.event_id)}) IN (SELECT h FROM {self.several})")
        self.run(f"""CREATE TABLE corrected AS
            SELECT * EXCLUDE (n), COALESCE(LEAD(known) OVER (PARTITION BY {self.ident} ORDER BY known), {FOREVER}) AS until
            FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {self.ident}, known ORDER BY {greatness(self.plan)}) AS n FROM ({inside}))
            WHERE n = 1""")

    def _events(self, reach: int) -> str:
        """Versions of all events from `reach` before the first question on: no older one, which would look like the newest."""
        happened, begin = quoted(self.view.event_time), self.lowest - reach
        near = f"{happened} >= {_moment(begin)} AND {happened} < {_moment(self.highest)}"
        always = f", {FOREVER} AS until"
        if not self.corrected:
            return self._taken(near, until=always)
        once = f"HASH({quoted(self.view.event_id)}) NOT IN (SELECT h FROM {self.several})"
        return f"{self._taken(f'{near} AND {once}', until=always)} UNION ALL SELECT * FROM corrected WHERE happened >= {begin}"

    def _seen(self) -> str:
        until = " AND q.moment <= e.until" if self.corrected else ""
        return f"e.happened < q.moment AND e.known < q.moment{until}"

    def _pairs(self, asked: str, reach: int, *, leaves: Sequence[str] = (), where: str = "TRUE") -> str:
        """Each event `e` with the questions `q` that see it and lie at most `reach` after it; e.leaves_0, .. are the ends in `leaves`.

        Both are cut into slots of time, so that events far from a question do not meet it.
        """
        width, more = reach + 1, [f"{end} AS leaves_{place}" for place, end in enumerate(leaves)]
        near = "q.moment < e.leaves_0" if len(leaves) == 1 else f"q.moment <= e.happened + {reach}"
        seen = f"q.whose = e.{self.key} AND {self._seen()} AND {near}"
        if width * 4 <= self.highest - self.lowest + reach:
            more.append(f"e.happened // {width} AS slot")
            asked = (
                f"(SELECT q.*, q.moment // {width} - s.back AS slot FROM {asked} AS q, (VALUES (0), (1)) AS s(back))"
            )
            seen += " AND q.slot = e.slot"
        events = f"SELECT {', '.join(['e.*', *more])} FROM ({self._events(reach)}) AS e WHERE {where}"
        return f"({events}) AS e JOIN {asked} AS q ON {seen}"

    def _windows(self) -> None:
        """Table `added` (k, window columns), without those questions for which no event counts."""
        plan = self.plan
        reach = max(plan.reach(name) for name in plan.windowed)
        ends = list(dict.fromkeys(plan.end(name) for name in plan.windowed))
        found = ", ".join(
            f"{plan.aggregate(n, among=f'q.moment < e.leaves_{ends.index(plan.end(n))}' if ends[1:] else 'TRUE')} AS w_{n}"
            for n in plan.windowed
        )
        ttl = microseconds(self.view.ttl)
        young = f"HAVING MAX(e.happened) >= ANY_VALUE(q.moment) - {ttl}" if reach > ttl else ""
        crowded = self._crowded(self.questions, reach)
        pairs = self._pairs("calm" if crowded else self.questions, reach, leaves=ends)
        self.run(f"CREATE TABLE added AS SELECT q.k, {found} FROM {pairs} GROUP BY q.k {young}")
        if crowded:
            self.run(f"INSERT INTO added {hot.windows(self.connection, plan, self._events(reach), plan.windowed)}")

    def _crowded(self, asked: str, reach: int) -> bool:
        """Part the questions into tables `hot`, of entities with too many pairs, and `calm`; are there any of the first?"""
        many = f"SELECT whose, COUNT(*) AS n FROM {asked} GROUP BY whose HAVING COUNT(*) > {min(64, self.limits.crowd)}"
        self.run(f"CREATE OR REPLACE TABLE many AS {many}")
        if not self._row("SELECT COUNT(*) FROM many")[0]:
            return False
        width = reach + 1
        self.run(f"""CREATE OR REPLACE TABLE crowds AS SELECT q.whose FROM
            (SELECT whose, slot, COUNT(*) AS n FROM (SELECT q.whose, q.moment // {width} - s.back AS slot FROM {asked} AS q
                JOIN many USING (whose), (VALUES (0), (1)) AS s(back)) GROUP BY ALL) AS q
            JOIN (SELECT {self.key} AS whose, happened // {width} AS slot, COUNT(*) AS n FROM ({self._events(reach)})
                WHERE {self.key} IN (SELECT whose FROM many) GROUP BY ALL) AS e
            ON q.whose = e.whose AND q.slot = e.slot GROUP BY q.whose HAVING SUM(q.n * e.n) >= {self.limits.crowd}""")
        if not self._row("SELECT COUNT(*) FROM crowds")[0]:
            return False
        self.run(f"CREATE OR REPLACE TABLE calm AS SELECT * FROM {asked} WHERE whose NOT IN (SELECT whose FROM crowds)")
        self.run(f"""CREATE OR REPLACE TABLE hot AS SELECT *, ROW_NUMBER() OVER (PARTITION BY whose ORDER BY moment) - 1 AS position
            FROM {asked} WHERE whose IN (SELECT whose FROM crowds)""")
        longest = self._row("SELECT MAX(position) + 1 FROM hot")[0]
        self.run(
            f"CREATE OR REPLACE TABLE lengths AS SELECT 1 << CAST(i AS BIGINT) AS length FROM range({longest.bit_length() + 1}) AS r(i)"
        )
        return True

    def _newest(self) -> None:
        """Table `newest` (k, and of each group the time of its newest event and its columns there), of questions that see an event.

        `whole` is true where the columns are there too, and tied_<group> where two events have that time. First a short way back, where most find one; then further for the rest.
        """
        plan, columns = self.plan, ["TRUE AS whole"]
        for group in plan.newest:
            time = _time(plan, group)
            two = f"MAX({time}, 2)"
            columns.append(f"{two}[1] AS {group.name}, {two}[1] = {two}[2] AS tied_{group.name}")
            columns += [f"ARG_MAX_NULL({value}, {time}) AS {name}" for name, value in self._values(group).items()]
        whole = " AND ".join(f"{group.name} IS NOT NULL" for group in plan.newest)
        some = " OR ".join(f"({plan.condition(group.columns[0])})" for group in plan.newest)
        farthest = max(plan.reach(group.columns[0]) for group in plan.newest)
        into = "CREATE TABLE newest AS"
        for begin in range(0, self.shared.rows, QUESTIONS):
            asked = f"(FROM {self.questions} WHERE k >= {begin} AND k < {begin + QUESTIONS})"
            for reach in self._steps(farthest):
                crowded = self._crowded(asked, reach)
                pairs = self._pairs("calm" if crowded else asked, reach, where=some)
                having = f"HAVING {whole}" if reach < farthest else ""
                self.run(f"{into} SELECT q.k, {', '.join(columns)} FROM {pairs} GROUP BY q.k {having}")
                into = "INSERT INTO newest BY NAME"
                if crowded:
                    self.run(
                        f"{into} SELECT * FROM ({hot.newest(self.connection, plan, self._events(reach))}) WHERE {whole if having else 'TRUE'}"
                    )
                if having:
                    self.run(f"CREATE OR REPLACE TABLE pending AS FROM {asked} ANTI JOIN newest USING (k)")
                    asked = "pending"

    def _steps(self, farthest: int) -> Iterator[int]:
        step = 3 * self.shared.gap(self.source, self.view.entity, self.view.event_time)
        while 0 < step < farthest // 4:
            yield step
            step *= 16
        yield farthest

    def _values(self, group: Newest) -> dict[str, str]:
        """What stands in an event, of a group's columns."""
        return {f"w_{name}": f"e.{self.plan.aliases[str(self.view.columns[name].term)]}" for name in group.columns}

    def _settled(self, group: Newest) -> bool:
        """Table settled_<group> (k, found) of questions whose newest time may be that of several rows: of these the one known last, by event id."""
        plan, first, name = self.plan, group.columns[0], group.name
        values = ", ".join(f"{own} := {value}" for own, value in self._values(group).items())
        self.run(f"""CREATE OR REPLACE TABLE unsettled AS SELECT q.*, n.{name} AS newest FROM newest AS n JOIN {self.questions} AS q USING (k)
            WHERE n.{name} IS NOT NULL AND (n.whole IS NULL OR n.tied_{name})""")
        if not self._row("SELECT COUNT(*) FROM unsettled")[0]:
            return False
        self.run(f"""CREATE TABLE settled_{name} AS SELECT q.k, ARG_MAX(STRUCT_PACK({values}), ROW(e.known, e.{self.ident})) AS found
            FROM ({self._events(plan.reach(first))}) AS e JOIN unsettled AS q ON q.whose = e.{self.key} AND q.newest = e.happened
            AND {self._seen()} AND {plan.condition(first)} GROUP BY q.k""")
        return True


def _time(plan: Plan, group: Newest) -> str:
    first = group.columns[0]
    return f"CASE WHEN q.moment < {plan.end(first)} AND {plan.condition(first)} THEN e.happened END"


def _moment(value: int) -> str:
    return f"MAKE_TIMESTAMPTZ({value})"


def kinds(files: Sequence[Path]) -> dict[str, Kind]:
    """What each column of Parquet files holds; a column of which they do not agree is refused."""
    import pyarrow.parquet as pq

    found: dict[str, Kind] = {}
    types: dict[str, Any] = {}
    for path in files:
        schema = pq.read_schema(path)
        if types and set(schema.names) != set(types):
            raise ContractBroken(
                f"{path.name} has other columns than {files[0].name}",
                expected=str(sorted(types)),
                got=str(sorted(schema.names)),
            )
        for field in schema:
            had = types.setdefault(field.name, field.type)
            if had != field.type:
                raise ContractBroken(
                    f"{path.name}: {field.name} is of another type than in {files[0].name}",
                    expected=str(had),
                    got=str(field.type),
                    fix="write every file of a source with one schema",
                )
            found[field.name] = _kind(field.type)
    return found


def _kind(kind: pa.DataType) -> Kind:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "time" if kind.tz is not None and kind.unit in ("us", "ms") else "other"
    checks: tuple[tuple[Callable[[Any], bool], Kind], ...] = (
        (pa.types.is_null, "null"),
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "int"),
        (pa.types.is_floating, "float"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
    )
    return next((name for check, name in checks if check(kind)), "other")


def _files(view: FeatureView, sources: Mapping[str, Sequence[Path]]) -> list[Path]:
    files = list(sources.get(view.source, ()))
    if not files:
        raise NotFound(
            f"{view.reference} reads {view.source}, and no files of it were given",
            expected=f"Parquet files of {view.source}",
            got=", ".join(sorted(sources)) or "no source",
        )
    return files


def _asked(questions: pd.DataFrame | Path, work: Path, time: str, views: Sequence[FeatureView]) -> tuple[Path, int]:
    """The questions as a file with their times in whole microseconds of UTC, which is theirs where it has them, and how many there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(questions, Path):
        file = _opened(questions)
        schema, batches = file.schema_arrow, file.iter_batches(ROWS)
    else:
        table = pa.Table.from_pandas(questions, preserve_index=False)
        schema, batches = table.schema, iter(table.to_batches(ROWS))
    schema = schema.remove_metadata()
    _check_questions(schema, time, views)
    place, kind = schema.get_field_index(time), pa.timestamp("us", "UTC")
    if isinstance(questions, Path) and schema.field(place).type == kind:
        for batch in file.iter_batches(ROWS, columns=[time]):
            _demand_times(batch.column(0), time)
        return questions, file.metadata.num_rows
    schema = schema.set(place, pa.field(time, kind, nullable=True))
    rows, path = 0, work / "questions.parquet"
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            _demand_times(batch.column(place), time)
            try:
                writer.write_batch(batch.cast(schema))
            except pa.ArrowInvalid as error:
                raise ContractBroken(
                    f"questions: {time} is finer than a microsecond", expected="whole microseconds", got=str(error)
                ) from error
            rows += len(batch)
    return path, rows


def _opened(questions: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(questions)
    except (OSError, pa.ArrowInvalid) as error:
        raise DeclarationError(
            f"{questions} cannot be read",
            expected="a Parquet file with a question a row",
            got=getattr(error, "strerror", None) or str(error).splitlines()[0],
            fix="name the file, and write it as Parquet if it is another kind, such as with DataFrame.to_parquet",
        ) from error


def _demand_times(values: pa.Array, time: str) -> None:
    if values.null_count:
        raise ContractBroken(f"questions: {time} has no value in a row", expected="a time in every row", got="null")


def _check_questions(schema: pa.Schema, time: str, views: Sequence[FeatureView]) -> None:
    import pyarrow as pa

    owners: dict[str, str] = dict.fromkeys(schema.names, "the questions")
    for name in [time, *(view.entity for view in views)]:
        if name not in owners:
            raise DeclarationError("questions lack a column", expected=name, got=", ".join(schema.names))
    kind = schema.field(time).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise DeclarationError(
            f"questions: {time} says no time zone",
            expected="times with their zone",
            got=str(kind),
            fix=f"say which zone it is, such as frame[{time!r}].dt.tz_localize('UTC')",
        )
    for view in views:
        for name in view.columns:
            if name in owners:
                raise DeclarationError(
                    f"two columns are called {name}",
                    expected="a name once",
                    got=f"{owners[name]} and {view.reference}",
                    fix="rename the questions' column"
                    if owners[name] == "the questions"
                    else "join one of the two views, or each to a folder of its own",
                )
            owners[name] = view.reference


def _beside(parts: Sequence[Path], last: pa.RecordBatchReader, folder: Path, rows: int) -> list[str]:
    """Put the columns of files, and the last view's, with the same rows beside each other, in part files; their names."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = [pq.ParquetFile(path) for path in parts]
    streams = [_tables(file.schema_arrow, file.iter_batches(ROWS)) for file in opened] + [
        _tables(last.schema, iter(last))
    ]
    schemas = [*(file.schema_arrow for file in opened), last.schema]
    fields = [f for number, each in enumerate(schemas) for f in each if not (number and f.name == "_place")]
    schema, done, writer = pa.schema(fields).remove_metadata(), 0, None
    texts = [each.name for each in schema if pa.types.is_string(each.type) or pa.types.is_large_string(each.type)]
    names: list[str] = []
    try:
        while done < rows or writer is None:
            if writer is None or done % PART == 0:
                if writer is not None:
                    writer.close()
                names.append(f"part-{len(names):05}.parquet")
                writer = pq.ParquetWriter(
                    folder / names[-1],
                    schema,
                    compression="zstd",
                    compression_level=1,
                    version="2.6",
                    use_dictionary=texts,  # numbers and times seldom repeat: a third of the time, and smaller files
                )
            count = min(ROWS, rows - done)
            columns: list[Any] = []
            for number, stream in enumerate(streams):
                table = stream(count)
                if number:
                    places = np.from_dlpack(table.column("_place").combine_chunks())  # to_numpy would import pandas
                    if not np.array_equal(places, np.arange(done, done + count)):
                        raise HallmarkError(
                            "a view answered other rows than were asked",
                            expected=f"rows {done} to {done + count}",
                            got=str(table.num_rows),
                        )
                    table = table.drop_columns(["_place"])
                columns += table.combine_chunks().columns
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROWS)
            done += count
    finally:
        if writer is not None:
            writer.close()
    return names


def _tables(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Callable[[int], Any]:
    """The next rows of these batches, as many as are asked for."""
    import pyarrow as pa

    kept = pa.Table.from_batches([], schema=schema)

    def following(count: int) -> Any:
        nonlocal kept
        held, size = [kept], kept.num_rows
        while size < count and (batch := next(batches, None)) is not None:
            held.append(pa.Table.from_batches([batch], schema=schema))
            size += len(batch)
        whole = pa.concat_tables(held)
        kept = whole.slice(count)
        return whole.slice(0, count)

    return following
