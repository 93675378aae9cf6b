"""A source in a bucket: as in a folder, and with two that append at once, kills, broken downloads and rights that are not there."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hallmark.errors import Conflict, ContractBroken, DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.feature_store import bucket as buckets
from hallmark.feature_store import source_bucket, source_manifest, sources
from hallmark.feature_store.bucket import Bucket
from hallmark.feature_store.source_bucket import SourceBucket
from hallmark.settings import Settings
from tests.hallmark.feature_store.s3 import S3, serving
from tests.hallmark.feature_store.test_sources import batch

ROOT = Path(__file__).parents[3]
_NAMES = (f"events-{number}" for number in itertools.count())  # what moto holds outlives its server


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serving() as found:
        yield found


@pytest.fixture
def name(server: S3) -> str:
    """A new bucket that keeps versions, as ours does."""
    server.calm()
    found = next(_NAMES)
    client = server.client()
    client.create_bucket(Bucket=found, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client.put_bucket_versioning(Bucket=found, VersioningConfiguration={"Status": "Enabled"})
    server.calm()
    return found


@pytest.fixture
def place(server: S3, name: str, tmp_path: Path) -> SourceBucket:
    return at(server, name, tmp_path / "cache")


def at(server: S3, name: str, cache: Path) -> SourceBucket:
    return SourceBucket(Bucket.at(server.address(name)), "orders@1", cache)


def put(place: sources.Place, day: int, **more: Any) -> bool:
    return sources.append(place, batch(day), **{"source": "orders@1", "batch": f"day-{day}", **more})


def ids(place: sources.Place) -> list[str]:
    return [each for path in sources.snapshot(place).files() for each in pq.read_table(path)["order_id"].to_pylist()]


def keys(server: S3, name: str) -> list[str]:
    return [each["Key"] for each in server.client().list_objects_v2(Bucket=name).get("Contents", ())]


def test_a_batch_is_appended_once_and_a_snapshot_is_called_as_it_is_in_a_folder(
    place: SourceBucket, tmp_path: Path
) -> None:
    assert sources.there(place) is None
    with pytest.raises(NotFound, match="no source"):
        sources.snapshot(place)
    for each in (place, tmp_path / "folder"):
        assert [put(each, 0), put(each, 1), put(each, 0)] == [True, True, False]
    held, folder = sources.snapshot(place), sources.snapshot(tmp_path / "folder")
    held.verify()
    assert (held.rows, held.digest, held.manifest) == (6, folder.digest, folder.manifest)
    assert ids(place) == ids(tmp_path / "folder")
    with pytest.raises(Conflict, match="with other rows"):
        put(place, 2, batch="day-0")
    with pytest.raises(ContractBroken, match="does not fit"):
        sources.append(place, batch(3).assign(amount=1), source="orders@1", batch="whole")
    assert sources.snapshot(place).digest == folder.digest


def test_only_what_is_asked_for_is_brought_here_and_once(server: S3, place: SourceBucket) -> None:
    for day in range(4):
        put(place, day)
    server.calm()
    held = sources.snapshot(place)
    late = held.manifest.segments[3].times["ordered_at"][0]
    assert len(held.files(column="ordered_at", since=late)) == 1
    assert len(held.files()) == 4 and len(held.files()) == 4
    read = [path for method, path, _ in server.asked if method == "GET" and path.endswith(".parquet")]
    assert len(read) == len(set(read)) == 4


@pytest.mark.slow
def test_appends_at_once_all_arrive(server: S3, name: str, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=put, args=(at(server, name, tmp_path / str(turn)), turn % 4)) for turn in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(at(server, name, tmp_path))) == sorted(n for day in range(4) for n in batch(day)["order_id"])
    lost = [path for method, path, _ in server.asked if method == "PUT" and path.endswith("manifest.json")]
    assert len(lost) > 4, "they were in each other's way"


INGESTER = """
import sys, pathlib
from hallmark.feature_store import sources
from hallmark.settings import Settings
from tests.hallmark.feature_store.test_source_bucket import put
place = sources.place(Settings.load(), "orders@1")
print("ready", flush=True)
for day in range(int(sys.argv[1]), int(sys.argv[2])):
    put(place, day)
    print(day, flush=True)
"""


def ingester(address: str, state: Path, *days: int) -> subprocess.Popen[str]:
    environment = dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        HALLMARK_FEATURE_OFFLINE=address,
        HALLMARK_STATE=str(state),
        HALLMARK_ROOT=str(ROOT),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", INGESTER, *map(str, days)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_of_two_ingesters_of_which_one_is_killed_nothing_is_lost_and_nothing_is_half(
    server: S3, name: str, tmp_path: Path
) -> None:
    """Two machines append at once; one is killed at another moment each time. What it said is there, the other's is all there."""
    address, drawn = server.address(name), random.Random(7)
    for turn in range(2):
        first = 100 * turn
        lives = ingester(address, tmp_path / "lives", first, first + 10)
        killed = ingester(address, tmp_path / "killed", first + 50, first + 90)
        assert killed.stdout is not None and lives.stdout is not None
        said = [killed.stdout.readline()]
        time.sleep(drawn.uniform(0.0, 0.3))
        killed.send_signal(signal.SIGKILL)
        said += killed.stdout.readlines()
        lives.stdout.read()
        assert lives.wait() == 0
        for process in (lives, killed):
            assert process.stdout is not None
            process.stdout.close()
            process.wait()
        reader = at(server, name, tmp_path / f"reader{turn}")
        held = sources.snapshot(reader)
        held.verify()
        there = [each.batch for each in held.manifest.segments]
        assert len(there) == len(set(there))
        assert {f"day-{first + day}" for day in range(10)} <= set(there)
        mine = [each for each in there if first + 50 <= int(each.removeprefix("day-")) < first + 90]
        assert len(mine) - len(said) in (0, 1), "what it said, and at most what it could not say any more"
        again = ingester(address, tmp_path / "killed", first + 50, first + 50 + len(mine) + 2)
        assert again.stdout is not None
        again.stdout.read()
        again.stdout.close()
        assert again.wait() == 0
        assert sources.snapshot(reader).rows == held.rows + 6


def test_an_upload_that_was_killed_is_seen_by_nobody_and_taken_up_again(
    server: S3, name: str, place: SourceBucket
) -> None:
    put(place, 0)
    before = sources.snapshot(place)
    server.refuse = lambda method, path: "AccessDenied" if method == "PUT" and "manifest" in path else ""
    with pytest.raises(HallmarkError, match="may not write manifest"):
        put(place, 1)
    server.calm()
    assert len(keys(server, name)) == 3 and sources.snapshot(place).manifest == before.manifest
    server.calm()
    assert put(place, 1)
    assert [path for method, path, _ in server.asked if method == "PUT"] == [
        f"/{name}/features/offline/orders@1/manifest.json"
    ], "the object is there"
    assert len(ids(place)) == 6


def test_a_write_whose_answer_was_lost_is_no_second_batch(
    server: S3, place: SourceBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, 0)
    real, lost = Bucket.write, []

    def once(self: Bucket, key: str, content: bytes, *, tag: str | None) -> bool:
        done = real(self, key, content, tag=tag)
        lost.append(done)
        return done and len(lost) > 1

    monkeypatch.setattr(Bucket, "write", once)
    put(place, 1)
    assert lost == [True] and len(ids(place)) == 6


def test_a_download_that_breaks_off_goes_on_where_it_was(
    server: S3, place: SourceBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_PAUSE", 0.01)
    put(place, 0)
    server.calm()
    breaks = iter([100, 200])
    server.cut = lambda method, path: next(breaks, None) if method == "GET" and path.endswith(".parquet") else None
    assert len(ids(place)) == 3
    assert [where for method, path, where in server.asked if path.endswith(".parquet")] == [
        "",
        "bytes=100-",
        "bytes=300-",
    ]


def test_what_a_killed_download_left_is_taken_up_and_what_is_no_part_of_it_is_not(
    server: S3, place: SourceBucket
) -> None:
    for day in range(2):
        put(place, day)
    whole = [path.read_bytes() for path in sources.snapshot(place).files()]
    first, second = sources.snapshot(place).files()
    for path, left in ((first, whole[0][:64]), (second, b"x" * 64)):
        path.rename(path.with_name(f"{path.name}.part"))
        path.with_name(f"{path.name}.part").write_bytes(left)
    server.calm()
    sources.snapshot(place).verify()
    asked = sorted(where for method, path, where in server.asked if path.endswith(".parquet"))
    assert asked == ["", "bytes=64-", "bytes=64-"]
    first.rename(first.with_name(f"{first.name}.part"))  # killed when it had all of it
    sources.snapshot(place).verify()


def test_an_object_that_somebody_changed_is_refused(server: S3, name: str, place: SourceBucket) -> None:
    put(place, 0)
    (key,) = [each for each in keys(server, name) if each.endswith(".parquet")]
    server.client().put_object(Bucket=name, Key=key, Body=b"PAR1 other")
    with pytest.raises(ContractBroken, match="is not what was appended"):
        sources.snapshot(place).files()
    assert not list(place.cache.glob("*.part")) and not list(place.cache.glob("*.parquet"))
    server.client().delete_object(Bucket=name, Key=key)
    with pytest.raises(NotFound, match="is gone"):
        sources.snapshot(place).files()
    server.client().put_object(Bucket=name, Key="features/offline/orders@1/manifest.json", Body=b"{")
    with pytest.raises(HallmarkError, match="cannot be read"):
        sources.snapshot(place)


def without(*gone: str) -> Any:
    def kept(table: pa.Table) -> pa.Table:
        left = table.filter(pc.invert(pc.is_in(table["order_id"], pa.array(gone, pa.string()))))
        return table if left.num_rows == table.num_rows else left

    return kept


def versions(server: S3, name: str) -> set[str]:
    found = server.client().list_object_versions(Bucket=name)
    return {each["Key"].rpartition("/")[2] for each in found["Versions"] if each["Key"].endswith(".parquet")}


def test_erased_rows_leave_with_every_version_and_every_cache(
    server: S3, name: str, place: SourceBucket, tmp_path: Path
) -> None:
    other, told = at(server, name, tmp_path / "other"), []
    for day in range(2):
        put(place, day)
    before = sources.snapshot(other)
    old = before.files()
    assert sources.erase(place, without("o0x1"), noted=lambda pairs: told.append(dict(pairs))) == 1
    after = sources.snapshot(other)
    assert told == [
        dict(zip(list(sources.digests(before.manifest))[1:], list(sources.digests(after.manifest))[1:], strict=True))
    ]
    assert ids(other) == ["o0x0", "o0x2", "o1x0", "o1x1", "o1x2"]
    assert versions(server, name) == {source_bucket.key(each.digest) for each in after.manifest.segments}
    assert not old[0].exists() and old[1].exists(), "what a cache held of them is gone as well"
    assert not put(place, 0), "the batch is there, without them"
    with pytest.raises(NotFound, match="erased while it was read"):
        before.files()


def test_an_erasure_that_was_killed_ends_when_it_is_run_again(server: S3, name: str, place: SourceBucket) -> None:
    put(place, 0)
    server.refuse = lambda method, path: "AccessDenied" if method == "DELETE" else ""
    with pytest.raises(HallmarkError, match="may not remove objects"):
        sources.erase(place, without("o0x1"), noted=lambda _: None)
    server.calm()
    assert len(ids(place)) == 2 and len(versions(server, name)) == 2
    assert sources.erase(place, without("o0x1"), noted=lambda _: None) == 0
    assert len(versions(server, name)) == 1


def test_what_comes_in_while_rows_are_erased_stays_and_is_looked_at(
    server: S3, name: str, place: SourceBucket, tmp_path: Path
) -> None:
    put(place, 0)
    other, came, told = at(server, name, tmp_path / "other"), [], []

    def kept(table: pa.Table) -> pa.Table:
        if not came:
            came.append(put(other, 1))
        return without("o0x1", "o1x0")(table)

    assert sources.erase(place, kept, noted=told.append) == 2
    assert ids(place) == ["o0x0", "o0x2", "o1x1", "o1x2"]
    assert [len(each) for each in told] == [1, 2]
    assert set(told[-1].values()) == set(list(sources.digests(sources.snapshot(place).manifest))[1:])


def test_what_a_killed_append_left_goes_with_an_erasure_a_day_later(
    server: S3, name: str, place: SourceBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, 0)
    server.client().put_object(Bucket=name, Key="features/offline/orders@1/left.parquet", Body=b"rows of a person")
    sources.erase(place, without(), noted=lambda _: None)
    assert "left.parquet" in versions(server, name), "an append may be about to name it"
    real = buckets._now
    monkeypatch.setattr(buckets, "_now", lambda answer: real(answer) + 90_000)
    sources.erase(place, without(), noted=lambda _: None)
    assert len(versions(server, name)) == 1


def as_one(manifest: sources.Manifest) -> tuple[str, tuple[sources.Segment, ...]] | None:
    """All that is there, as one segment."""
    return ("together", manifest.segments) if len(manifest.segments) > 1 else None


def test_segments_become_one_and_their_objects_go_a_day_later(
    server: S3, name: str, place: SourceBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(3):
        put(place, day)
    before, whole = sources.snapshot(at(server, name, tmp_path / "other")), ids(place)
    assert sources.merge(place, as_one) and not sources.merge(place, as_one)
    assert ids(place) == whole and len(sources.snapshot(place).manifest.segments) == 1
    assert len(before.files()) == 3, "who began to read before reads on"
    assert len(versions(server, name)) == 4
    monkeypatch.setattr(source_manifest, "KEPT", timedelta(days=-1))
    put(place, 3)
    assert sources.merge(place, as_one)
    (left,) = sources.snapshot(place).manifest.segments
    assert versions(server, name) == {source_bucket.key(left.digest)}


def test_what_comes_in_while_segments_become_one_stays(
    server: S3, name: str, place: SourceBucket, tmp_path: Path
) -> None:
    other = at(server, name, tmp_path / "other")
    came: list[bool] = []
    for day in range(2):
        put(place, day)

    def chosen(manifest: sources.Manifest) -> tuple[str, tuple[sources.Segment, ...]] | None:
        if not came:
            came.append(put(other, 2))
        return ("together", manifest.segments[:2]) if len(manifest.segments) > 1 else None

    assert sources.merge(place, chosen)
    assert [each.rows for each in sources.snapshot(place).manifest.segments] == [6, 3]
    assert sources.merge(place, as_one)
    assert sources.erase(place, without("o0x1"), noted=lambda _: None) == 1
    assert len(versions(server, name)) == 1, "replaced objects may hold what is erased"


def test_a_name_that_is_not_there_may_be_forbidden_to_who_lists_by_prefix(server: S3, place: SourceBucket) -> None:
    server.refuse = lambda method, path: "AccessDenied" if method == "GET" and path.endswith("manifest.json") else ""
    assert sources.there(place) is None
    server.calm()
    put(place, 0)
    server.refuse = lambda method, path: "AccessDenied" if method == "GET" and path.endswith("manifest.json") else ""
    with pytest.raises(HallmarkError, match=r"may not read manifest\.json"):
        sources.there(place)


def test_a_bucket_that_cannot_be_used_says_why(
    server: S3, place: SourceBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = at(server, "nobody-has-this", tmp_path)
    for ask in (lambda: put(missing, 0), lambda: sources.there(missing)):
        with pytest.raises(NotFound, match="there is no bucket nobody-has-this"):
            ask()
    server.refuse = lambda method, path: "AccessDenied"
    with pytest.raises(HallmarkError, match="may not read") as told:
        put(place, 0)
    assert "stream" in told.value.fix and "AccessDenied: said so" in told.value.got
    server.calm()
    monkeypatch.setattr(buckets, "_CONNECT", 0.2)
    silent = SourceBucket(
        Bucket.at("s3://events/x?region=eu-central-1&endpoint=http://127.0.0.1:9"), "orders@1", tmp_path
    )
    with pytest.raises(Unavailable, match="does not answer"):
        sources.there(silent)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HallmarkError, match="nobody says who asks"):
        sources.there(at(server, "events", tmp_path))


@pytest.mark.parametrize(
    "address",
    [
        "gs://bucket/x",
        "s3://",
        "s3:/bucket",
        "s3:///x",
        "s3://user@bucket/x",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/x?regoin=eu",
        "s3://bucket/x?region=",
        "s3://bucket/x#y",
        "s3://bucket/x?endpoint=nowhere",
    ],
)
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_FEATURE_OFFLINE": address})
    with pytest.raises(DeclarationError):
        sources.place(settings, "orders@1")


def test_a_folder_may_be_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_FEATURE_OFFLINE": "shared"})
    assert sources.place(settings, "orders@1") == tmp_path / "shared" / "orders@1"
    assert Settings.load(settings.environment()) == settings
    put(sources.place(settings, "orders@1"), 0)
    assert sources.references(settings) == ["orders@1"]


def test_what_is_there_is_listed(server: S3, name: str, tmp_path: Path) -> None:
    settings = Settings.load(
        {"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path), "HALLMARK_FEATURE_OFFLINE": server.address(name)}
    )
    assert sources.references(settings) == []
    for reference in ("orders@1", "clicks@2"):
        sources.append(sources.place(settings, reference), pd.DataFrame({"id": [1]}), source=reference, batch="one")
    assert sources.references(settings) == ["clicks@2", "orders@1"]
