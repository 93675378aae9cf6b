"""What Flink adds up of a view, folded into payloads, is what the reference loop says; on records of a real PyFlink, and on one that runs."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hallmark.cli import main
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, DeclarationError, Refused, Unavailable
from hallmark.feature_store.flink import Job, refusal, tables
from hallmark.feature_store.following import Following
from hallmark.feature_store.stream import Stream, encoded
from hallmark.feature_store.tile_stream import TileStream
from hallmark.feature_store.tiles import Tiles
from tests.hallmark.feature_store.drawn import BUYERS, TYPES, moment, view
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.sql_meanings import DRAWN, MEANINGS, chosen
from tests.hallmark.feature_store.test_stream import Memory, holds
from tests.hallmark.feature_store.test_tiles import accepted, events, row

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv" / "flink" / "bin" / "python"
RECORDED = Path(__file__).with_name("flink_tiles.jsonl")
"""What Flink wrote for `ALL` of `stream(1, 60)`: `python -m tests.hallmark.feature_store.test_flink` records it anew."""
_NUMBERS, _EACH = ("amount", "price", "gift"), ("amount", "price", "gift", "card", "paid")
ALL = view(
    {
        **{"n": {"take": "count", "window": "1h"}, "gifts": {"take": "count", "where": {"gift": True}}},
        **{f"sum_{of}": {"take": "sum", "of": of, "window": "30d"} for of in _NUMBERS},
        **{f"mean_{of}": {"take": "mean", "of": of, "where": {"card": ("x", "y")}} for of in _NUMBERS},
        **{f"min_{of}": {"take": "min", "of": of, "window": "1h"} for of in _EACH},
        **{f"max_{of}": {"take": "max", "of": of} for of in _EACH},
        **{f"distinct_{of}": {"take": "distinct", "of": of, "window": "90s"} for of in _EACH},
        **{f"last_{of}": {"take": "last", "of": of, "where": {"gift": False}} for of in _EACH},
        "rate": {"take": "ratio", "of": "gifts", "over": "n"},
    },
    ttl=40 * 86_400,
    name="all",
)
TEXT_IDS = view(
    {"last_price": {"take": "last", "of": "price"}, "days": {"take": "distinct", "of": "card", "window": "40d"}},
    ttl=40 * 86_400,
    name="text_ids",
).model_copy(update={"event_id": "card"})

_SQL = [each.sql.format_map(DRAWN) for each in MEANINGS]
SQL = view(
    {
        f"c{number}": {"take": "last" if number % 2 else "distinct", "sql": sql, "window": "1h"}
        for number, sql in enumerate(_SQL)
        if not refusal(view({"c": {"take": "last", "sql": sql}}, ttl=60), TYPES)
    }
    | {"often": {"take": "count", "where": chosen(DRAWN, "truth", everywhere=True)[1]}},
    ttl=40 * 86_400,
    name="sql",
)
"""All SQL that Flink computes as it is computed here."""


def stream(seed: int, count: int) -> list[dict[str, Any]]:
    """Rows in disorder: corrections that change the entity, rows that come twice, late by days, ahead, refused, with nulls and ties."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        at = draw.choice((draw.randrange(4000), draw.randrange(-400_000, 4000), 60 * draw.randrange(60)))
        delay = draw.choice((0, 0, 1, 30, 4000, 100_000, -20, -200, -300, -301))
        made = row(draw.choice((number, draw.randrange(count))), at, delay=delay, buyer=draw.choice(BUYERS))
        made |= {
            "amount": draw.choice((None, draw.randrange(-3, 4), 2**53 + draw.randrange(9), -(2**58))),
            "price": draw.choice((None, draw.randrange(-800, 800) / 8, draw.uniform(-1e3, 1e3), 0.0)),
            "gift": draw.choice((None, False, True)),
            "card": draw.choice((None, "", "x", "y", "ü'\"\n", "x!")),
            "paid": draw.choice((None, moment(0), moment(7, 1), moment(-(10**8)))),
            "happened": made["happened"] + timedelta(microseconds=draw.choice((0, 0, 1, 500_000))),
        }
        if draw.random() < 0.1:
            made["buyer"] = None
        found += [made] * draw.choice((1, 1, 1, 2))
    draw.shuffle(found)
    return found


def ran(folder: Path, python: Path, jobs: Sequence[tuple[FeatureView, Sequence[dict[str, Any]]]]) -> list[list[bytes]]:
    """What Flink writes for each view of its rows."""
    scripts = []
    for number, (declared, given) in enumerate(jobs):
        place = folder / str(number)
        (place / "in").mkdir(parents=True)
        lines = [encoded(each) for each in given]
        lines += [
            b"no JSON",
            encoded({**given[0], "known": None}),
            encoded({**given[0], "price": 1e300, "order": 10**6}),
        ]
        (place / "in" / "rows.json").write_bytes(b"\n".join(lines) + b"\n")
        files = {"connector": "filesystem", "path": (place / "in").as_uri()}
        source = {**files, "format": "json", "json.ignore-parse-errors": "true"}
        sink = {**files, "path": (place / "out").as_uri(), "format": "debezium-json"}
        scripts.append(place / "job.sql")
        scripts[-1].write_text(Job(declared, TYPES).script(source, sink), encoding="utf-8")
    command = [str(python), str(Path(__file__).with_name("on_flink.py")), *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [written(script.parent / "out") for script in scripts]


def written(folder: Path) -> list[bytes]:
    """The records of a sink: of each writer in the order in which it wrote them."""
    paths = [path for path in folder.rglob("part-*") if path.is_file()]
    in_order = sorted(paths, key=lambda path: (path.name.rpartition("-")[0], int(path.name.rpartition("-")[2])))
    return [line for path in in_order for line in path.read_bytes().splitlines()]


def folded(folder: Path, declared: FeatureView, log: Any, store: Online) -> TileStream:
    made = TileStream(declared, TYPES, log=log, store=store, folder=folder)
    while made.step(7):
        pass
    return made


def judge(folder: Path, declared: FeatureView, given: Sequence[dict[str, Any]], records: Sequence[bytes]) -> None:
    """Tiles as our stream would have them, and answers as the reference has them."""
    store = Online()
    with contextlib.closing(folded(folder, declared, Memory(records), store)) as job:
        plan = job._plan
        found = events(plan, given)
        for buyer in BUYERS:
            mine, wanted = job._tiles(buyer), Tiles(plan, [each for each in found if each[plan.entity] == buyer])
            for each in (mine, wanted):
                each.forget(plan.horizon(each.known))
            assert (mine.known, mine.passed) == (wanted.known, wanted.passed)
            assert sorted(mine.ahead, key=plan.order) == sorted(wanted.ahead, key=plan.order)
            for hop in range(len(plan.hops)):
                assert summed(plan, hop, mine) == pytest.approx(summed(plan, hop, wanted), rel=1e-9, abs=1e-9), buyer
        known = max(accepted(given))
        for later in (timedelta(microseconds=1), timedelta(seconds=200), timedelta(hours=1), timedelta(days=39)):
            holds(declared, given, store, known + later)


def summed(plan: Any, hop: int, tiles: Tiles) -> dict[tuple[int, int], Any]:
    """The numbers of a hop's tiles; what is no number stands in the answers."""
    from hallmark.feature_store.aggregates import total

    found = {}
    for number, partials in tiles.by_hop[hop].items():
        for at, (measure, partial) in enumerate(zip(plan.measures[hop], partials, strict=True)):
            if measure.kind in ("count", "distinct"):
                found[number, at] = partial if measure.kind == "count" else sum(partial.values())
            elif measure.kind in ("int_sum", "float_sum"):
                found[number, at] = total(measure.kind, partial)
    return found


def recorded() -> list[bytes]:
    return RECORDED.read_bytes().splitlines()


def test_flinks_tiles_are_served_as_the_reference_has_them(tmp_path: Path) -> None:
    judge(tmp_path, ALL, stream(1, 60), recorded())


def test_an_end_anywhere_leaves_the_same(tmp_path: Path) -> None:
    """Between two records of a correction too: what is read twice is a tile again, and of a tile the newest counts."""
    whole, store = recorded(), Online()
    with contextlib.closing(folded(tmp_path / "whole", ALL, Memory(whole), store)):
        pass
    for ends in (1, 5, 40):
        again, log = Online(), Memory(whole)
        for _ in range(ends):
            job = TileStream(ALL, TYPES, log=log, store=again, folder=tmp_path / str(ends))
            job.step(3)
            job.close()
        job = TileStream(ALL, TYPES, log=log, store=again, folder=tmp_path / str(ends))
        again.write = lambda rows: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign,assignment]
        with pytest.raises(KeyboardInterrupt):
            job.step(50)
        job.close()  # as a kill leaves it: the transaction is there, and nothing was written
        del again.write
        with contextlib.closing(folded(tmp_path / str(ends), ALL, log, again)):
            assert [each[1:] for each in again.all()] == [each[1:] for each in store.all()]


def test_one_job_a_state_and_one_view(tmp_path: Path) -> None:
    job = TileStream(ALL, TYPES, log=Memory(), store=Online(), folder=tmp_path)
    with pytest.raises(Conflict, match="another job runs"):
        TileStream(ALL, TYPES, log=Memory(), store=Online(), folder=tmp_path)
    job._log = Memory(recorded()[:1])
    job.step()
    job.close()
    with pytest.raises(Refused, match="another view"):
        TileStream(TEXT_IDS, TYPES, log=Memory(), store=Online(), folder=tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        *(b"{", b"[]", b"7", b'"op"', b'{"entity": "a", "width": 7, "tile": 0}', b'{"entity": "a"}'),
        *(b'{"op": "c"}', b'{"op": "c", "after": 7}'),
    ],
)
def test_what_is_no_tile_is_a_dead_letter_and_the_others_go_on(tmp_path: Path, value: bytes) -> None:
    whole, store, alone = recorded(), Online(), Online()
    with contextlib.closing(folded(tmp_path / "without", ALL, Memory(whole), alone)):
        pass
    with contextlib.closing(folded(tmp_path / "with", ALL, Memory([*whole[:3], value, *whole[3:]]), store)) as job:
        assert 'rows_total{view="all@1",fate="unreadable"} 1\n' in job.metrics()
    assert store.all() == alone.all()
    (line,) = (tmp_path / "with" / "dead_letters-0.jsonl").read_text(encoding="utf-8").splitlines()
    letter = json.loads(line)
    assert (letter["view"], letter["offset"], letter["row"]) == ("all@1", 3, value.decode())
    assert "no tile of all@1" in letter["reason"] and "hallmark features flink" in letter["reason"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"entity": 7}, "expected: a text"),
        ({"entity": None}, "expected: a text"),
        ({"tile": "0"}, "tile '0'"),
        ({"known": "0"}, "time '0'"),
        ({"m0": "x"}, "is no count"),
        ({"min": "x"}, "is no number"),
    ],
)
def test_a_tile_of_other_types_than_the_contracts_is_nobodys(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    tile = next(
        each
        for each in map(json.loads, recorded())
        if each["after"] and each["after"]["m0"] and each["after"]["width"] == 60_000_000
    )
    job = Job(ALL, TYPES)
    measures = job.plan.measures[job.plan.hops.index(tile["after"]["width"])]
    least = next(at for at, each in enumerate(measures) if each.kind == "min" and job.plan.types[each.of] != "text")
    made = {f"m{least}" if name == "min" else name: value for name, value in changed.items()}
    log = Memory([json.dumps(tile | {"after": tile["after"] | made}).encode()])
    store = Online()
    with contextlib.closing(folded(tmp_path, ALL, log, store)) as tiles:
        assert tiles.consumed == 1 and store.all() == []
    (letter,) = (tmp_path / "dead_letters-0.jsonl").read_text(encoding="utf-8").splitlines()
    assert said in json.loads(letter)["reason"]


def test_it_shows_what_the_plain_stream_shows(tmp_path: Path) -> None:
    known = max(accepted(stream(1, 60)))
    now, log = [known.timestamp() + 60], Memory([*recorded(), *recorded()[-2:], b"{"])
    job = TileStream(ALL, TYPES, log=log, store=Online(), folder=tmp_path, clock=lambda: now[0])
    while job.step():
        pass
    plain = Stream([ALL], TYPES, log=Memory(), store=Online(), folder=tmp_path / "plain")
    assert [family for family, _ in job.samples()] == [family for family, _ in plain.samples()]
    plain.close()

    def shown(name: str) -> dict[str, float]:
        lines = [each for each in job.metrics().splitlines() if each.startswith(f"hallmark_stream_{name}")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    fates = {line.partition('fate="')[2][:-2]: count for line, count in shown("rows_total").items()}
    assert sum(fates.values()) == len(log.content["0"]) and fates["unreadable"] == 1 and fates["repeated"] >= 1
    assert fates["applied"] and fates["corrected"]
    newest = max(each["happened"] for each in stream(1, 60) if each["known"] in accepted(stream(1, 60)))
    (age,) = shown("event_age_seconds").values()
    assert 0 <= age <= now[0] - newest.timestamp() + 400
    assert list(shown("watermark_timestamp_seconds")) == [
        'hallmark_stream_watermark_timestamp_seconds{source="all@1-tiles",partition="0"}'
    ]
    assert shown("versions") == {'hallmark_stream_versions{view="all@1"}': job._held} and job._held > 0
    assert shown("owed") == {"hallmark_stream_owed": 0} and shown("payloads_total")["hallmark_stream_payloads_total"]
    now[0] += 1000
    assert [*shown("event_age_seconds").values()] == [age + 1000], "nothing comes"
    job.close()
    job = TileStream(ALL, TYPES, log=log, store=Online(), folder=tmp_path, clock=lambda: now[0])
    assert [*shown("event_age_seconds").values()] == [age + 1000], "a restart makes nothing younger"
    seen = Following()
    seen.take(job)
    assert seen.alive and 'fate="unreadable"} 1\n' in seen.text()
    job.close()


def test_another_store_gets_all_of_it_and_one_that_does_not_answer_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hallmark.feature_store.tile_stream._PATIENCE", 0.01)
    first, second, stop, down = Online(), Online(), threading.Event(), [1, 1, 1]
    with contextlib.closing(folded(tmp_path, ALL, Memory(recorded()), first)):
        pass
    write = second.write

    def flaky(rows: Any) -> None:
        if down:
            down.pop()
            raise Unavailable("the store is down")
        write(rows)
        stop.set()

    second.write = flaky  # type: ignore[method-assign]
    job = TileStream(ALL, TYPES, log=Memory(recorded()), store=second, folder=tmp_path, address="second")
    assert job.is_elsewhere
    job.run(stop)
    assert not job.is_elsewhere and "hallmark_stream_stalls_total 3" in job.metrics()
    job.close()
    kept = {each[1]: each[2] for each in first.all()}
    assert {each[1]: each[2] for each in second.all()}.items() <= kept.items() and len(second.all()) >= 2


def test_the_script_reads_and_writes_the_logs_of_its_address() -> None:
    declared = view({"n": {"take": "count"}}, ttl=3600)
    source, sink = tables("kafka://a:9092,b:9092/dev-{source}?security.protocol=SSL", declared)
    assert (source["topic"], sink["topic"], sink["connector"]) == (
        "dev-orders-v1",
        "dev-drawn-v1-tiles",
        "upsert-kafka",
    )
    assert source["properties.bootstrap.servers"] == "a:9092,b:9092" and sink["properties.security.protocol"] == "SSL"
    source, sink = tables("kinesis://dev-{source}?region=eu-central-1&account=111122223333", declared)
    assert source["stream.arn"] == "arn:aws:kinesis:eu-central-1:111122223333:stream/dev-orders-v1"
    assert "PARTITIONED BY (entity) WITH" in Job(declared, TYPES).script(source, sink)
    for address, said in (
        ("kinesis://dev-{source}?region=eu-central-1", "account"),
        ("kafka://a:9092/{source}?sasl.username=u", "Flink reads and writes no such log"),
        ("", "no address"),
    ):
        with pytest.raises(DeclarationError, match=said):
            tables(address, declared)


def test_the_command_prints_the_job_of_a_declared_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALLMARK_ROOT", str(ROOT))
        patch.setenv("HALLMARK_STATE", str(tmp_path))
        assert main(["features", "flink", "ip_orders@1", "--log", "kafka://a:9092/{source}"]) == 0
        assert "INSERT INTO tiles_0" in capsys.readouterr().out
        assert main(["features", "run", "--tiles"]) == 2 and "no view is named" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_flink_itself_adds_up_what_the_reference_says(tmp_path: Path) -> None:
    """`make slow` makes the environment of PyFlink."""
    assert PYTHON.exists(), "expected an environment with PyFlink: `make slow` makes it"
    jobs = [(ALL, stream(1, 60)), (ALL, stream(2, 400)), (TEXT_IDS, [each for each in stream(3, 200) if each["card"]])]
    jobs.append((SQL, stream(4, 200)))
    for number, ((declared, given), records) in enumerate(zip(jobs, ran(tmp_path, PYTHON, jobs), strict=True)):
        judge(tmp_path / f"state-{number}", declared, given, records)


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        RECORDED.write_bytes(b"\n".join(ran(Path(place), Path(sys.argv[1]), [(ALL, stream(1, 60))])[0]) + b"\n")
