"""Training frames: time against hand-written DuckDB and Feast's file store, memory by the number of views, and one crowded key.

    python benchmarks/features/offline.py [--small | --huge] [--feast VENV] [--only hand,feast,memory,crowd] [--folder DIR]

Each run is a process of its own; time begins once its libraries are imported, and ends with the frame in Parquet files (zstd), rows as they were asked.
CPU seconds of its process and threads are compared, as the machine may be busy, and its largest resident memory; seconds by the clock are shown.
The hand-written SQL is what an engineer would write who knows that the source has no corrections, and that no two events of a buyer have one time:
ASOF joins for the newest event, joins with a range for windows, which begin where ours do, one view after the other, in tables. Its windows
are compared with ours, all rows; its ASOF joins know one time only, so that they answer some questions with an event that was not known yet,
and how many is told. 10 M events and 1 M questions; --small: 1 M and 100 k; --huge: 100 M and 1 M, for which only memory is measured.
Feast is given 1 M events and 100 k questions (--small: a tenth), in the environment VENV, which has feast 0.67; its `file` store is its Dask one. It is
compared twice: from a file of questions to a file, and from a frame that is read to the frame that a person gets (`to_df()`, `offline.read`); by the clock,
which is what that person waits: this needs a machine that little else uses.
"""
# ruff: noqa: S608 (names and numbers of this file)

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

DAY = 86_400_000_000
BEGIN = 1_767_225_600_000_000
DAYS = 90
MEMORY = "2GB"
WITHIN, MOST = "1600MB", 2e9 / 2**20
"""DuckDB's part of 2 GB for the whole process, which has Python and Arrow beside it."""
BOUND, FASTER, FLAT = 1.3, 20.0, 1.25
SOURCE = "orders@1"
COLUMNS: dict[str, dict[str, Any]] = {
    "newest": {"amount_last": {"take": "last", "of": "amount"}, "country_last": {"take": "last", "of": "country"}},
    "paid": {"items_last": {"take": "last", "of": "items", "where": {"paid": True}}},
    "month": {
        "orders_30d": {"take": "count", "window": "30d"},
        "spent_30d": {"take": "sum", "of": "amount", "window": "30d"},
    },
    "week": {
        "largest_7d": {"take": "max", "of": "amount", "window": "7d"},
        "orders_7d": {"take": "count", "window": "7d"},
    },
}
ASOF = "questions AS q ASOF LEFT JOIN {events} AS e ON q.buyer_id = e.buyer_id AND q.asked_at > e.ordered_at"
RANGE = (
    "(SELECT *, DATE_TRUNC('{hop}', asked_at - INTERVAL {days} DAY) AS begin FROM questions) AS q LEFT JOIN {events} AS e"
    " ON q.buyer_id = e.buyer_id AND e.ordered_at < q.asked_at AND e.known_at < q.asked_at AND e.ordered_at >= q.begin GROUP BY q.number"
)
HAND = {
    "newest": f"SELECT q.number, amount AS amount_last, country AS country_last FROM {ASOF}",
    "paid": f"SELECT q.number, items AS items_last FROM {ASOF.format(events='(SELECT * FROM {events} WHERE paid)')}",
    "month": f"SELECT q.number, COUNT(e.buyer_id) AS orders_30d, COALESCE(SUM(e.amount), 0) AS spent_30d FROM {RANGE}",
    "week": f"SELECT q.number, MAX(e.amount) AS largest_7d, COUNT(e.buyer_id) AS orders_7d FROM {RANGE}",
}
"""The same features by hand; {events} is the file."""
HOPS = {"month": ("day", 30), "week": ("hour", 7)}


def main() -> None:
    """Print one line a measurement, with its bound."""
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_child(json.loads(arguments.child))))
        return
    events, asked = {"small": (1_000_000, 100_000), "huge": (100_000_000, 1_000_000)}.get(
        arguments.size, (10_000_000, 1_000_000)
    )
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    missed: list[str] = []
    wanted = {"huge"} if arguments.size == "huge" else arguments.only
    try:
        if {"hand", "memory", "huge"} & wanted:
            make(folder, events, asked, keys=max(events // 50, 1))
        if "hand" in wanted:
            _hand(folder, events, asked, arguments.pairs, missed)
        if "memory" in wanted:
            _memory(folder, missed)
        if "huge" in wanted:
            _huge(folder, events, asked, missed)
        if "crowd" in wanted:
            _crowd(folder, events // 10, missed)
        if "feast" in wanted and arguments.feast:
            _feast(folder, arguments, missed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("all bounds met" if not missed else f"MISSED: {'; '.join(missed)}")
    sys.exit(bool(missed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", dest="size", action="store_const", const="small")
    size.add_argument("--huge", dest="size", action="store_const", const="huge")
    parser.add_argument("--feast", type=Path, help="an environment that has feast 0.67")
    parser.add_argument("--only", type=lambda text: set(text.split(",")), default={"hand", "memory", "crowd", "feast"})
    parser.add_argument("--folder", type=Path, help="where data and what does not fit into memory are written")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each of two, in turns")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def make(folder: Path, events: int, asked: int, *, keys: int) -> None:
    """events.parquet and questions.parquet, over 90 days; an event is known within a minute."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET memory_limit = '2GB'")
    happened = f"({BEGIN} + i * {DAYS * DAY // events} + (HASH(i + 3) % 1000000)::BIGINT)"
    connection.execute(f"""COPY (SELECT 'o' || i AS order_id, 'b' || (HASH(i * 7 + 1) % {keys}) AS buyer_id,
            MAKE_TIMESTAMPTZ({happened}::BIGINT) AS ordered_at,
            MAKE_TIMESTAMPTZ(({happened} + (HASH(i) % 60000000)::BIGINT)::BIGINT) AS known_at,
            (HASH(i + 9) % 10000) / 100.0 AS amount, 'c' || (HASH(i + 11) % 50) AS country, (HASH(i + 2) % 5)::BIGINT AS items,
            HASH(i + 4) % 2 = 0 AS paid
        FROM range({events}) AS t(i)) TO '{folder}/events.parquet'""")
    connection.execute(f"""COPY (SELECT i AS number, 'b' || (HASH(i * 13 + 1) % {keys}) AS buyer_id,
            MAKE_TIMESTAMPTZ({BEGIN} + 30 * {DAY} + (HASH(i + 5) % {60 * DAY})::BIGINT) AS asked_at
        FROM range({asked}) AS t(i)) TO '{folder}/questions.parquet'""")


def _view(name: str, columns: dict[str, Any]) -> Any:
    from hallmark.declaration.feature_view import FeatureView

    return FeatureView.model_validate(
        {
            "name": name,
            "version": 1,
            "owner": {"team": "t", "contact": "t@hallmark.example"},
            "description": "of a benchmark",
            "entity": "buyer_id",
            "source": SOURCE,
            "event_time": "ordered_at",
            "known_at": "known_at",
            "event_id": "order_id",
            "freshness": "15m",
            "ttl": f"{DAYS}d",
            "columns": columns,
        }
    )


def _child(task: dict[str, Any]) -> dict[str, float]:
    """Carry out a task in this process: what it took."""
    import duckdb  # noqa: F401  time begins once all is imported, as it does for Feast
    import numpy  # noqa: F401
    import pandas
    import pyarrow.parquet  # noqa: F401

    from hallmark.feature_store import offline

    folder, out = Path(task["folder"]), Path(task["out"])
    began, used = time.perf_counter(), time.process_time()
    if task["kind"] == "ours":
        views = [_view(name, columns) for name, columns in task["views"].items()]
        parts = offline.training_frame(
            pandas.read_parquet(folder / "questions.parquet") if task.get("frame") else folder / "questions.parquet",
            views,
            {SOURCE: [folder / "events.parquet"]},
            out,
            time="asked_at",
            limits=offline.Limits(memory=task.get("memory", MEMORY), folder=folder),
        )
        if task.get("frame"):
            offline.read(parts)
    else:
        _by_hand(folder, out, task["views"])
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - used,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _by_hand(folder: Path, out: Path, views: Sequence[str]) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{MEMORY}'; SET temp_directory = '{folder}/spilled'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"CREATE TABLE questions AS SELECT * FROM '{folder}/questions.parquet'")
    for name in views:
        hop, days = HOPS.get(name, ("", 0))
        query = HAND[name].format(events=f"'{folder}/events.parquet'", hop=hop, days=days)
        connection.execute(f"CREATE TABLE {name} AS {query}")
    out.mkdir()
    joins = " ".join(f"JOIN {name} USING (number)" for name in views)
    connection.execute(
        f"COPY (SELECT * FROM questions {joins} ORDER BY number) TO '{out}/part.parquet' (COMPRESSION zstd)"
    )


def _run(folder: Path, **task: Any) -> dict[str, float]:
    """Carry out a task in a process of its own."""
    out = folder / task["kind"]
    shutil.rmtree(out, ignore_errors=True)
    whole = json.dumps({"folder": str(folder), "out": str(out), **task})
    done = subprocess.run([sys.executable, __file__, "--child", whole], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _say(what: str, run: dict[str, float]) -> None:
    print(f"  {what:<44}{run['cpu']:>9.1f} s CPU{run['seconds']:>9.1f} s{run['mb']:>8.0f} MB", flush=True)


def _judge(what: str, ratio: float, bound: float, missed: list[str], *, least: bool = False) -> None:
    good = ratio >= bound if least else ratio <= bound
    print(
        f"{what:<46}{ratio:>9.2f}   {'at least' if least else 'at most'} {bound:g}: {'met' if good else 'MISSED'}",
        flush=True,
    )
    if not good:
        missed.append(what)


def _hand(folder: Path, events: int, asked: int, pairs: int, missed: list[str]) -> None:
    print(f"{events:,} events, {asked:,} questions, {len(COLUMNS)} views, {MEMORY} of memory")
    ratios = []
    for _ in range(pairs):
        hand = _run(folder, kind="hand", views=list(HAND))
        _say("by hand", hand)
        ours = _run(folder, kind="ours", views=COLUMNS)
        _say("ours", ours)
        ratios.append(ours["cpu"] / hand["cpu"])
    print(f"  by hand {_same(folder):,} questions are answered with an event that was not known yet")
    _judge("CPU time, ours by the hand-written SQL", statistics.median(ratios), BOUND, missed)


def _same(folder: Path) -> int:
    """The rows of both frames are those that were asked, and the windows the same; how many newest events are not."""
    import duckdb

    ours, hand, asked = (f"(FROM '{folder}/{name}.parquet')" for name in ("ours/*", "hand/*", "questions"))
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET temp_directory = '{folder}/spilled'")
    both = f"FROM {ours} AS o JOIN {hand} AS h USING (number)"
    wrong = connection.execute(f"""SELECT COUNT(*) {both} WHERE o.orders_30d <> h.orders_30d OR o.orders_7d <> h.orders_7d
        OR o.largest_7d IS DISTINCT FROM h.largest_7d OR ABS(o.spent_30d - h.spent_30d) > 1e-9 * h.spent_30d""").fetchall()
    moved = connection.execute(f"""SELECT COUNT(*) FROM {ours} AS o POSITIONAL JOIN {asked} AS q
        WHERE o.number IS DISTINCT FROM q.number OR o.asked_at IS DISTINCT FROM q.asked_at""").fetchall()
    if wrong != [(0,)] or moved != [(0,)]:
        raise SystemExit(f"{wrong} rows have other windows than by hand, {moved} are not those that were asked")
    newest = "amount_last", "country_last", "items_last"
    other = " OR ".join(f"o.{name} IS DISTINCT FROM h.{name}" for name in newest)
    found: list[tuple[int]] = connection.execute(f"SELECT COUNT(*) {both} WHERE {other}").fetchall()
    return found[0][0]


def _memory(folder: Path, missed: list[str]) -> None:
    single = {}
    for name in ("newest", "month"):
        single[name] = _run(folder, kind="ours", views={name: COLUMNS[name]})
        _say(f"1 view, {name}", single[name])
    many = {
        f"{name}{turn}": {f"{own}_{turn}": column for own, column in columns.items()}
        for turn in range(2)
        for name, columns in COLUMNS.items()
    }
    eight = _run(folder, kind="ours", views=many)
    _say("8 views", eight)
    largest = max(run["mb"] for run in single.values())
    _judge("memory of 8 views by that of the larger one", eight["mb"] / largest, FLAT, missed)


def _huge(folder: Path, events: int, asked: int, missed: list[str]) -> None:
    print(f"{events:,} events, {asked:,} questions, {len(COLUMNS)} views")
    run = _run(folder, kind="ours", views=COLUMNS, memory=WITHIN)
    _say(f"ours, DuckDB held to {WITHIN}", run)
    _judge("MB of the whole process", run["mb"], MOST, missed)


def _crowd(folder: Path, events: int, missed: list[str]) -> None:
    """One key with all events and 1% as many questions, beside the same events over many keys."""
    columns = COLUMNS["month"] | COLUMNS["week"] | {"countries": {"take": "distinct", "of": "country", "window": "90d"}}
    runs = []
    for name, keys in (("many keys", max(events // 50, 1)), ("one key", 1)):
        place = folder / name.replace(" ", "_")
        make(place, events, events // 100, keys=keys)
        runs.append(_run(place, kind="ours", views={"crowd": columns}))
        _say(f"{events:,} events, {events // 100:,} questions of {name}", runs[-1])
    print(f"  pairs of the one key: {events * events // 100:,}")
    _judge("memory of one key by that of many", runs[1]["mb"] / runs[0]["mb"], 2.0, missed)


def _feast(folder: Path, arguments: argparse.Namespace, missed: list[str]) -> None:
    events, asked = (100_000, 10_000) if arguments.size == "small" else (1_000_000, 100_000)
    place = folder / "feast"
    make(place, events, asked, keys=events // 50)
    print(f"{events:,} events, {asked:,} questions, the newest event")
    rival = Path(__file__).parent / "rivals" / "feast_file.py"
    python = [arguments.feast / "bin" / "python", "-W", "ignore"]
    found: dict[str, list[tuple[float, float]]] = {"file to file": [], "frame to frame": []}
    for _ in range(arguments.pairs):
        for what, ratios in found.items():
            frame = what == "frame to frame"
            ours = _run(place, kind="ours", views={"newest": COLUMNS["newest"]}, frame=frame)
            _say(f"ours, {what}", ours)
            done = subprocess.run([*python, rival, place, what], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            feast = json.loads(done.stdout.splitlines()[-1])
            _say(f"feast, file store ({feast['rows']:,} rows came back)", feast)
            ratios.append((feast["cpu"] / ours["cpu"], feast["seconds"] / ours["seconds"]))
    for what, ratios in found.items():
        cpu, clock = (statistics.median(each) for each in zip(*ratios, strict=True))
        _judge(f"time by the clock, feast by ours, {what}", clock, FASTER, missed, least=True)
        print(f"  the pairs: {', '.join(f'{each[1]:.1f}' for each in ratios)}; by CPU: {cpu:.1f}")


if __name__ == "__main__":
    main()
