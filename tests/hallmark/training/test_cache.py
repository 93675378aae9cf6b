"""The step cache: by content, whole or not at all, and checked whenever it is read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from hallmark.training import cache
from hallmark.training.cache import Cache, CacheEntry


def write(store: Cache, key: str = "k", text: str = "result") -> CacheEntry:
    def work(outputs: Mapping[str, Path]) -> int:
        outputs["file"].write_text(text)
        outputs["folder"].mkdir()
        (outputs["folder"] / "inner.txt").write_text(text)
        return 7

    with store.lock("step", key):
        return store.write(
            "step", key, code="c", parameters={"p": 1}, inputs={"i": "d"}, names=("file", "folder"), work=work
        )


def test_a_finished_step_is_found_with_its_value(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    made = write(store)
    assert store.find("step", "k") == made
    assert made.value == 7
    assert store.find("step", "other") is None
    assert not list((tmp_path / "drafts").iterdir())


def test_a_key_follows_code_parameters_and_content(tmp_path: Path) -> None:
    base = cache.key("s", code="c", parameters={"a": 1}, inputs={"i": "x"})
    assert base == cache.key("s", code="c", parameters={"a": 1}, inputs={"i": "x"})
    others = {
        cache.key("t", code="c", parameters={"a": 1}, inputs={"i": "x"}),
        cache.key("s", code="d", parameters={"a": 1}, inputs={"i": "x"}),
        cache.key("s", code="c", parameters={"a": 2}, inputs={"i": "x"}),
        cache.key("s", code="c", parameters={"a": 1}, inputs={"i": "y"}),
        cache.key("s", code="c", parameters={"a": 1}, inputs={"j": "x"}),
    }
    assert len(others) == 5
    assert base not in others


def test_a_digest_follows_bytes_and_names_not_times_or_places(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_bytes(b"x")
    os.utime(tmp_path / "two" / "deep" / "file", (0, 0))
    assert cache.digest(tmp_path / "one") == cache.digest(tmp_path / "two")
    before = cache.digest(tmp_path / "one")
    stat = (tmp_path / "one" / "deep" / "file").stat()
    (tmp_path / "one" / "deep" / "file").write_bytes(b"y")
    os.utime(tmp_path / "one" / "deep" / "file", (stat.st_atime, stat.st_mtime))
    assert cache.digest(tmp_path / "one") != before
    (tmp_path / "two" / "deep" / "file").rename(tmp_path / "two" / "deep" / "other")
    assert cache.digest(tmp_path / "two") != before


@pytest.mark.parametrize("part", ["entry.json", "outputs/file", "outputs/folder/inner.txt"])
@pytest.mark.parametrize("how", ["flipped", "cut", "removed"])
def test_a_damaged_entry_is_not_used_and_is_written_again(tmp_path: Path, part: str, how: str) -> None:
    store = Cache(tmp_path)
    made = write(store)
    path = store.folder("step", "k") / part
    raw = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(raw[:-1] if how == "cut" else raw[:3] + bytes([raw[3] ^ 1]) + raw[4:])
    assert store.find("step", "k") is None
    again = write(store)
    assert store.find("step", "k") == again
    assert again.outputs == made.outputs


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    write(store)
    path = store.folder("step", "k") / "entry.json"
    path.write_text(path.read_text().replace('"value": 7', '"value": 8'))
    assert store.find("step", "k") is None


def test_work_that_fails_leaves_nothing_visible(tmp_path: Path) -> None:
    store = Cache(tmp_path)

    def work(outputs: Mapping[str, Path]) -> None:
        outputs["file"].write_text("half")
        raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"), store.lock("step", "k"):
        store.write("step", "k", code="", parameters={}, inputs={}, names=("file",), work=work)
    assert store.find("step", "k") is None
    assert not (tmp_path / "entries").exists()
    assert not list((tmp_path / "drafts").iterdir())


def test_placing_gives_every_output_and_replaces_what_was_there(tmp_path: Path) -> None:
    store = Cache(tmp_path / "cache")
    entry = write(store)
    wanted = {"file": tmp_path / "run" / "f", "folder": tmp_path / "run" / "d"}
    wanted["file"].parent.mkdir()
    wanted["file"].write_text("old")
    store.place(entry, wanted)
    assert wanted["file"].read_text() == "result"
    assert (wanted["folder"] / "inner.txt").read_text() == "result"
    assert store.find("step", "k") == entry


def test_a_second_writer_waits_and_then_finds_the_result(tmp_path: Path) -> None:
    store, order = Cache(tmp_path), []

    def second() -> None:
        with store.lock("step", "k", waiting=lambda: order.append("waits")):
            order.append("found" if store.find("step", "k") else "missing")

    with store.lock("step", "k"):
        thread = threading.Thread(target=second)
        thread.start()
        while "waits" not in order:
            time.sleep(0.01)
        store.write(
            "step", "k", code="", parameters={}, inputs={}, names=("f",), work=lambda out: out["f"].write_text("x")
        )
    thread.join(10)
    assert order == ["waits", "found"]


def test_a_killed_writer_leaves_neither_lock_nor_result(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from hallmark.training.cache import Cache\n"
        "store = Cache(Path(sys.argv[1]))\n"
        "def work(out):\n"
        "    out['file'].write_text('half'); print('writing', flush=True); time.sleep(60)\n"
        "with store.lock('step', 'k'):\n"
        "    store.write('step', 'k', code='', parameters={}, inputs={}, names=('file',), work=work)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout:
        assert child.stdout.readline() == "writing\n"
        child.kill()
    store = Cache(tmp_path)
    assert store.find("step", "k") is None
    assert (tmp_path / "drafts" / "step-k").exists()
    store.prune()
    assert not (tmp_path / "drafts" / "step-k").exists()
    assert store.find("step", "k") is None
    write(store)
    assert store.find("step", "k") is not None


def test_pruning_drops_what_nobody_asked_for(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    write(store, key="old")
    write(store, key="new")
    long_ago = time.time() - 40 * 86400
    os.utime(store.folder("step", "old") / "entry.json", (long_ago, long_ago))
    (tmp_path / cache.CODE).mkdir()
    for name in ("old", "new"):
        (tmp_path / cache.CODE / name).write_text("{}")
    os.utime(tmp_path / cache.CODE / "old", (long_ago, long_ago))
    store.prune(days=30)
    assert [path.name for path in (tmp_path / cache.CODE).iterdir()] == ["new"]
    assert store.find("step", "old") is None
    assert store.find("step", "new") is not None


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    full = OSError(28, "No space left on device")
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = full
    assert cache.is_full(full)
    assert cache.is_full(wrapped)
    assert not cache.is_full(OSError(2, "no such file"))
