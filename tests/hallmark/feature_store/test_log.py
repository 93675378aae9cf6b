"""A log gives back what was appended, whole and in order, and never what a killed writer left half written."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hallmark.errors import Conflict, HallmarkError, NotFound
from hallmark.feature_store.log import FileLog, Record

WRITER = """
import sys
from pathlib import Path
from hallmark.feature_store.log import FileLog
log = FileLog(Path(sys.argv[1]), sync=1.0, segment_bytes=3000)
number = log.append("0", [])
while True:
    log.append("0", [f"{n}:".encode() + b"x" * (n % 400) for n in range(number, number + 5)])
    number += 5
    print(number, flush=True)
"""


def everything(log: FileLog, partition: str = "0", limit: int = 7) -> list[Record]:
    found: list[Record] = []
    while batch := log.read(partition, found[-1].offset + 1 if found else log.begin(partition), limit):
        found += batch
    return found


def test_records_come_back_in_order_from_any_offset(tmp_path: Path) -> None:
    values = [f"{n}".encode() * (n % 9) for n in range(200)]
    with FileLog(tmp_path, partitions=2, segment_bytes=100) as log:
        assert log.read("0", 0, 10) == [] and log.partitions() == ["0", "1"]
        for begin in range(0, 200, 3):
            assert log.append("0", values[begin : begin + 3]) == min(begin + 3, 200)
        log.append("1", [b"other"])
        assert [each.value for each in everything(log)] == values
        assert len(list((tmp_path / "0").glob("*.log"))) > 5
    with FileLog(tmp_path) as log:
        for offset in (0, 1, 57, 150, 199):
            assert log.read("0", offset, 4) == [Record(n, values[n]) for n in range(offset, min(offset + 4, 200))]
        assert log.read("0", 200, 4) == [] and log.read("0", 300, 4) == []
        assert everything(log, "1") == [Record(0, b"other")]


def test_a_reader_sees_what_is_written_after_it_came(tmp_path: Path) -> None:
    with FileLog(tmp_path) as writer, FileLog(tmp_path) as reader:
        assert reader.read("0", 0, 5) == []
        for number in range(3):
            writer.append("0", [b"a"])
            assert reader.read("0", number, 5) == [Record(number, b"a")]
        assert reader.read("0", 3, 5) == []


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_record_that_was_half_written_is_never_read_and_is_cut_off(tmp_path: Path, cut: int) -> None:
    with FileLog(tmp_path) as log:
        log.append("0", [b"first", b"second", b"hello world"])
    path = next((tmp_path / "0").glob("*.log"))
    path.write_bytes(path.read_bytes()[:-cut])
    left = [Record(0, b"first"), Record(1, b"second")]
    with FileLog(tmp_path) as log:
        assert everything(log) == left
        assert log.append("0", [b"third"]) == 3
        assert everything(log) == [*left, Record(2, b"third")]


def test_zeros_that_a_lost_machine_left_are_no_records(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        log.append("0", [b"first"])
    path = next((tmp_path / "0").glob("*.log"))
    path.write_bytes(path.read_bytes() + bytes(5000))
    with FileLog(tmp_path) as log:
        assert everything(log) == [Record(0, b"first")]
        assert log.append("0", [b"second"]) == 2
        assert everything(log) == [Record(0, b"first"), Record(1, b"second")]


def test_damage_before_whole_records_is_told(tmp_path: Path) -> None:
    with FileLog(tmp_path) as log:
        log.append("0", [b"first", b"second", b"third"])
    path = next((tmp_path / "0").glob("*.log"))
    path.write_bytes(path.read_bytes().replace(b"second", b"sec0nd"))
    with FileLog(tmp_path) as log:
        with pytest.raises(HallmarkError, match="is damaged at byte 13"):
            everything(log)
        with pytest.raises(HallmarkError, match="is damaged"):
            log.append("0", [b"fourth"])
    assert b"third" in path.read_bytes(), "nothing is cut off"


def test_one_writer_a_partition(tmp_path: Path) -> None:
    with FileLog(tmp_path) as one, FileLog(tmp_path) as other:
        one.append("0", [b"a"])
        with pytest.raises(Conflict, match="another process writes"):
            other.append("0", [b"b"])
    with FileLog(tmp_path) as third:
        assert third.append("0", [b"c"]) == 2


def test_records_that_were_dropped_are_told_and_not_skipped(tmp_path: Path) -> None:
    with FileLog(tmp_path, segment_bytes=10) as log:
        for number in range(6):
            log.append("0", [b"0123456789%d" % number])
        log.trim("0", 4)
        assert log.begin("0") == 4 and [each.offset for each in everything(log)] == [4, 5]
    with FileLog(tmp_path) as log, pytest.raises(NotFound, match="no longer has record 2"):
        log.read("0", 2, 1)


def test_what_is_erased_moves_no_other_record(tmp_path: Path) -> None:
    values = [f"{'secret' if n % 4 == 3 else n}".encode() * (n % 9 + 1) for n in range(100)]
    with FileLog(tmp_path, segment_bytes=200) as writer, FileLog(tmp_path) as reader:
        writer.append("0", values[:60])
        writer.append("0", values[60:])
        had = reader.read("0", 0, 50)
        with pytest.raises(Conflict, match="another process writes"):
            reader.erase("0", lambda record: True)
        (tmp_path / "0" / ".00000000000000000000.log.draft").write_bytes(b"secret of one that was killed")
        assert writer.erase("0", lambda record: b"secret" in record.value) == 25
        assert writer.erase("0", lambda record: b"secret" in record.value) == 0
        assert writer.append("0", [b"more"]) == 101
        found = [*had, *reader.read("0", 50, 51)]
        assert [each.offset for each in found] == list(range(101)), "one that reads on is not thrown out"
    with FileLog(tmp_path) as log:
        assert [(each.offset, each.erased) for each in everything(log)] == [
            (n, n % 4 == 3 and n < 100) for n in range(101)
        ]
        assert [each.value for each in everything(log) if not each.erased] == [
            *(each for n, each in enumerate(values) if n % 4 != 3),
            b"more",
        ]
    assert all(b"secret" not in path.read_bytes() for path in (tmp_path / "0").iterdir())


def keyed(value: bytes) -> bytes:
    return value.partition(b"=")[0]


def state(records: list[Record]) -> dict[bytes, Record]:
    return {keyed(each.value): each for each in records if not each.erased}


def filled(folder: Path, *, seed: int = 3) -> tuple[list[Record], int]:
    """A log of many changes of few keys, in segments of some twenty: all of its records, and how many may be taken out."""
    draw = random.Random(seed)
    values = [f"k{draw.randrange(12)}={number}".encode() * draw.randint(1, 3) for number in range(400)]
    with FileLog(folder, segment_bytes=150, sync=60.0) as log:
        for value in values:
            log.append("0", [value])
    closed = sorted(int(path.stem) for path in (folder / "0").glob("*.log"))[-1]
    return [Record(*each) for each in enumerate(values)], closed - len({keyed(each) for each in values[:closed]})


def test_of_each_key_compaction_keeps_the_last_record_under_its_number(tmp_path: Path) -> None:
    before, many = filled(tmp_path)
    readers = [FileLog(tmp_path) for _ in range(0, 390, 7)]
    for begin, reader in zip(range(0, 390, 7), readers, strict=True):
        reader.read("0", begin, 3)  # each stands in a segment that will be another
    with FileLog(tmp_path, segment_bytes=150) as writer:
        size = sum(path.stat().st_size for path in (tmp_path / "0").glob("*.log"))
        assert FileLog(tmp_path).compact("0", keyed, least=1 << 20) == 0, "too little to be worth it"
        assert FileLog(tmp_path).compact("0", keyed, least=1) == many
        assert sum(path.stat().st_size for path in (tmp_path / "0").glob("*.log")) < size / 3
        assert FileLog(tmp_path).compact("0", keyed, least=1) == 0
        assert writer.append("0", [b"new=1"]) == 401
    after = [*before, Record(400, b"new=1")]
    found = everything(FileLog(tmp_path))
    assert state(found) == state(after) and found[-1].offset == 400
    for begin, reader in zip(range(0, 390, 7), readers, strict=True):
        rest = everything(reader, limit=9) if begin == 0 else []
        at = begin + 3
        while batch := reader.read("0", at, 5):
            rest, at = [*rest, *batch], batch[-1].offset + 1
        assert at == 401
        assert state(rest) == {
            key: each for key, each in state(after).items() if begin == 0 or each.offset >= begin + 3
        }
        assert all(each.value == after[each.offset].value for each in rest if not each.erased)
    for offset in range(401):  # from any number on
        first = FileLog(tmp_path).read("0", offset, 1)[0]
        assert first.offset >= offset and (first.erased or first == after[offset])


def cut_off(honest: Any, *, after: int) -> Any:
    """The same function, which works so many times and then ends all."""
    calls = itertools.count()

    def called(*given: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return honest(*given)

    return called


@pytest.mark.parametrize("where", ["write", "rename", "unlink"])
def test_a_compaction_that_is_cut_off_anywhere_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before, many = filled(tmp_path)
    owner, name = {"write": (os, "fsync"), "rename": (Path, "replace"), "unlink": (Path, "unlink")}[where]
    for step in range(4 if where == "unlink" else 1):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(owner, name, cut_off(getattr(owner, name), after=step))
            FileLog(tmp_path).compact("0", keyed, least=1)
        assert state(everything(FileLog(tmp_path))) == state(before)
        with FileLog(tmp_path, segment_bytes=150) as writer:
            assert writer.append("0", [b"k0=more"]) == len(before) + 1
        before.append(Record(len(before), b"k0=more"))
    FileLog(tmp_path).compact("0", keyed, least=1)
    found = everything(FileLog(tmp_path))
    assert state(found) == state(before) and not list((tmp_path / "0").glob("*.draft"))
    assert sum(not each.erased for each in found) < len(before) - many + 12


def test_a_damaged_segment_is_not_compacted(tmp_path: Path) -> None:
    filled(tmp_path)
    path = sorted((tmp_path / "0").glob("*.log"))[3]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(HallmarkError, match="is not whole"):
        FileLog(tmp_path).compact("0", keyed, least=1)
    assert len(list((tmp_path / "0").glob("*.log"))) > 10


def test_a_writer_that_comes_again_knows_where_it_ended_and_sees_what_others_did(tmp_path: Path) -> None:
    mine, other = (FileLog(tmp_path, segment_bytes=100, sync=60.0) for _ in range(2))
    for number in range(60):
        with mine if number % 3 else other as log:
            assert log.append("0", [f"{number}".encode()]) == number + 1
    assert [each.value for each in everything(FileLog(tmp_path))] == [f"{number}".encode() for number in range(60)]
    shutil.rmtree(tmp_path / "0")
    (tmp_path / "0").mkdir()
    with other:
        other.append("0", [b"another log, whose records lie elsewhere" * 3] * 3)
    with mine:
        assert mine.append("0", [b"last"]) == 4
    assert len(everything(FileLog(tmp_path))) == 4


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    with FileLog(tmp_path) as log:
        log.append("0", [b"first"])
        with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
            patched.setattr(os, "write", full)
            log.append("0", [b"second" * 5])
        assert log.append("0", [b"third"]) == 2
        assert everything(log) == [Record(0, b"first"), Record(1, b"third")]


def test_a_writer_that_is_killed_loses_nothing_that_it_has_said_is_there(tmp_path: Path) -> None:
    said = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(60):
                said = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            said = int((child.stdout.read().split() or [str(said)])[-1])
        with FileLog(tmp_path) as log:
            found = everything(log, limit=1000)
        assert len(found) >= said and [each.offset for each in found] == list(range(len(found)))
        assert all(each.value == f"{each.offset}:".encode() + b"x" * (each.offset % 400) for each in found)
