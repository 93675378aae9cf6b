"""What others write to a source's log comes into the offline store: each record once, whatever is killed, and whoever does it beside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hallmark import files
from hallmark.feature_store import archive, place, source_manifest, sources
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.stream import encoded
from tests.hallmark.feature_store.shop import HOUR, MINUTE, ROOT, SOURCE, Shop

POINTS = ("append", "manifest", "done")


def sent(shop: Shop, *rows: dict[str, Any] | bytes) -> None:
    """As a service that writes to the log, and ingests nothing."""
    with FileLog(shop.settings.state / "features" / "log" / SOURCE) as log:
        log.append("0", [row if isinstance(row, bytes) else encoded(row) for row in rows])


def held(shop: Shop) -> list[str]:
    found = sources.there(shop.place.offline(SOURCE))
    return sorted(
        each for path in (found.files() if found else []) for each in pq.read_table(path)["order_id"].to_pylist()
    )


def orders(shop: Shop, count: int, begin: int = 0) -> list[dict[str, Any]]:
    return [shop.order(n, f"buyer{n % 7}", ago=HOUR - n * MINUTE / 60) for n in range(begin, begin + count)]


class Killed(BaseException):
    pass


@contextmanager
def trap(point: str, after: int, kill: Callable[[], None]) -> Iterator[None]:
    """Calls `kill` the nth time that an archive comes to a point."""
    left, append, replace = [after], sources.append, files.replace

    def at(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                kill()

    def appending(*given: Any, **more: Any) -> bool:
        at("append")
        found = append(*given, **more)
        at("done")
        return found

    def replacing(path: Path, content: Any) -> None:
        if path.name == sources.MANIFEST:
            at("manifest")
        replace(path, content)

    sources.append, files.replace = appending, replacing  # type: ignore[assignment]
    try:
        yield
    finally:
        sources.append, files.replace = append, replace  # type: ignore[assignment]


def test_what_was_sent_is_there_once_and_what_was_ingested_is_not_brought_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.ingest(*orders(shop, 3))
    assert shop.place.archive(SOURCE) == (0, 0, 0), "its records are known by their offsets, and not read"
    more = orders(shop, 4, begin=3)
    sent(shop, *more, b"{", encoded({"order_id": 7}), more[0])
    assert shop.place.archive(SOURCE) == (4, 1, 2)
    assert shop.place.archive(SOURCE) == (0, 0, 0)
    shop.ingest(*orders(shop, 2, begin=7))
    sent(shop, *orders(shop, 1, begin=9))
    assert shop.place.archive(SOURCE).rows == 1
    assert held(shop) == [f"o{n}" for n in range(10)]
    digests = sources.snapshot(shop.place.offline(SOURCE)).digest
    (shop.settings.state / "features" / "log" / SOURCE / "ingested.jsonl").unlink()
    assert shop.place.archive(SOURCE).rows == 0
    assert sources.snapshot(shop.place.offline(SOURCE)).digest == digests, "a lost note costs a look, and no row"


def test_a_correction_and_the_joined_rows_are_those_that_ingest_would_give(tmp_path: Path) -> None:
    ours, theirs = Shop(tmp_path / "ours"), Shop(tmp_path / "theirs")
    theirs.now = ours.now
    rows = [*orders(ours, 5), ours.order(2, "buyer2", ago=HOUR, amount=99.0, known=MINUTE)]
    sent(ours, *rows)
    ours.place.archive(SOURCE)
    theirs.ingest(*rows)
    tables = [
        pq.read_table(each.place.files(SOURCE)[0]).sort_by([("order_id", "ascending"), ("amount", "ascending")])
        for each in (ours, theirs)
    ]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("after", [1, 3])
def test_an_end_anywhere_leaves_each_record_once(
    point: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill() -> None:
        raise Killed

    monkeypatch.setattr(archive, "ROWS", 4)
    monkeypatch.setattr(archive, "_READ_AT_ONCE", 4)
    shop = Shop(tmp_path)
    sent(shop, *orders(shop, 14))
    with trap(point, after, kill), pytest.raises(Killed):
        shop.place.archive(SOURCE)
    shop.place.archive(SOURCE)
    assert held(shop) == sorted(f"o{n}" for n in range(14))


def test_two_at_once_bring_each_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ROWS", 5)
    monkeypatch.setattr(archive, "_READ_AT_ONCE", 5)
    shop = Shop(tmp_path)
    sent(shop, *orders(shop, 40))
    found: list[int] = []
    both = [threading.Thread(target=lambda: found.append(shop.place.archive(SOURCE).rows)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sum(found) == 40 and held(shop) == sorted(f"o{n}" for n in range(40))


def test_who_follows_views_brings_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_ARCHIVE", 0.05)
    monkeypatch.setattr(place, "_LEAST_ROWS", 1)
    shop = Shop(tmp_path)
    shop.ingest(*orders(shop, 2))
    shop.run()
    stop = threading.Event()
    job = threading.Thread(target=lambda: shop.place.follow(lambda: ["buyers@1"], stop))
    job.start()
    try:
        sent(shop, *orders(shop, 3, begin=2))
        for _ in range(200):
            if len(held(shop)) == 5:
                break
            stop.wait(0.1)
    finally:
        stop.set()
        job.join()
    assert held(shop) == [f"o{n}" for n in range(5)]


def bring_in_parts(shop: Shop, count: int, begin: int = 0) -> None:
    """Each order as a part of its own."""
    for n in range(begin, begin + count):
        sent(shop, shop.order(n, f"buyer{n % 7}", ago=HOUR - n * MINUTE / 60))
        shop.place.archive(SOURCE)


def test_parts_of_one_size_become_one_and_whoever_reads_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "TOGETHER", 3)
    shop = Shop(tmp_path)
    shop.ingest(shop.order(100, "buyer1", ago=HOUR))
    bring_in_parts(shop, 2)
    before = sources.snapshot(shop.place.offline(SOURCE))
    bring_in_parts(shop, 15, begin=2)
    everything = ["o0", "o1", "o10", "o100", *(f"o{n}" for n in range(11, 17)), *(f"o{n}" for n in range(2, 10))]
    assert held(shop) == sorted(everything)
    segments = sources.snapshot(shop.place.offline(SOURCE)).manifest.segments
    assert [each.rows for each in segments] == [1, 9, 3, 3, 1, 1], "what was ingested stays as it is"
    assert shop.place.archive(SOURCE) == (0, 0, 0), "the name of a part says what all of it has read"
    assert [pq.read_table(path)["order_id"].to_pylist() for path in before.files()] == [["o100"], ["o0"], ["o1"]]
    before.verify()


def test_a_part_that_is_large_is_not_written_again() -> None:
    def manifest(*rows: int) -> sources.Manifest:
        found = [
            sources.Segment(batch=f'log a {{"0": [{n}, {n + 1}]}}', file=str(n), digest=str(n), rows=each, times={})
            for n, each in enumerate(rows)
        ]
        return sources.Manifest(source=SOURCE, columns={}, segments=tuple(found))

    large = archive.ROWS // archive.TOGETHER
    assert archive.mergeable(manifest(*[large] * 20), "a") is None
    assert archive.mergeable(manifest(*[5] * 15, *[17] * 15), "a") is None
    assert archive.mergeable(manifest(*[5] * 16), "b") is None, "another log's"
    found = archive.mergeable(manifest(17, *[0, 15] * 8), "a")
    assert found is not None and found[0] == 'log a {"0": [1, 17]}' and len(found[1]) == 16


def test_replaced_files_go_after_a_day_and_with_an_erasure_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "TOGETHER", 3)
    for name, erase in (("later", False), ("erased", True)):
        shop = Shop(tmp_path / name)
        bring_in_parts(shop, 3)
        place = shop.place.offline(SOURCE)
        assert isinstance(place, Path) and len(list(place.glob("*.parquet"))) == 4
        if erase:
            shop.place.eraser({"buyer_id": "buyer1"}).run(by="tests", tell=lambda _: None)
        else:
            monkeypatch.setattr(source_manifest, "KEPT", -MINUTE)
            bring_in_parts(shop, 1, begin=3)
        assert held(shop) == (["o0", "o2"] if erase else ["o0", "o1", "o2", "o3"])
        assert {path.name for path in place.glob("*.parquet")} == {
            each.file for each in sources.snapshot(place).manifest.segments
        }


@pytest.mark.parametrize("after", [1, 2])
def test_an_end_while_parts_become_one_leaves_each_record_once(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill() -> None:
        raise Killed

    monkeypatch.setattr(archive, "TOGETHER", 3)
    shop = Shop(tmp_path)
    bring_in_parts(shop, 2)
    sent(shop, *orders(shop, 1, begin=2))
    with trap("manifest", after, kill), pytest.raises(Killed):  # of the part, and of what the three become
        shop.place.archive(SOURCE)
    shop.place.archive(SOURCE)
    assert held(shop) == ["o0", "o1", "o2"]
    assert len(sources.snapshot(shop.place.offline(SOURCE)).manifest.segments) == 1


CHILD = """
import os, signal, sys
from tests.hallmark.feature_store import test_archive as t
t.archive.ROWS = t.archive._READ_AT_ONCE = 7
from hallmark.feature_store.place import FeatureStore
from hallmark.settings import Settings
with t.trap(sys.argv[1], int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)):
    FeatureStore(Settings.load()).archive(t.SOURCE)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_by_the_system_it_goes_on(tmp_path: Path) -> None:
    for point in POINTS:
        for after in (1, 2, 4):
            shop = Shop(tmp_path / f"{point}-{after}")
            sent(shop, *orders(shop, 30))
            environment = {**os.environ, **shop.settings.environment(), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", CHILD]
            done = subprocess.run([*command, point, str(after)], env=environment, timeout=120, cwd=ROOT)
            assert done.returncode == -signal.SIGKILL, (point, after)
            assert subprocess.run([*command, "", "0"], env=environment, timeout=120, cwd=ROOT).returncode == 0
            assert held(shop) == sorted(f"o{n}" for n in range(30)), (point, after)
