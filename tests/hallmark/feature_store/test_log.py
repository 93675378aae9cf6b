"""A log gives back what was appended, whole and in order, and never what a killed writer left half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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
