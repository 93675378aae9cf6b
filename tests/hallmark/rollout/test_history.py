"""Row N7 of ../shared/cases/users.md: what people do is on record with who, when, why and from where, without a cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hallmark.errors import Refused
from hallmark.rollout.history import Act, History
from hallmark.rollout.timeline import Timeline, TimelineEntry
from hallmark.settings import Settings

TOY = Path(__file__).parents[2] / "toy"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(TOY), "HALLMARK_STATE": str(tmp_path / "state")})


def test_an_act_says_who_did_what_why_and_from_where(settings: Settings) -> None:
    history = History(settings, "toy")
    with history.act(
        "promote", "asked", who="ana@example.test", why="two days without a complaint", version=3
    ) as notes:
        notes.text = "version 3 is stable"
    (entry,) = history.entries()
    assert (entry.kind, entry.version, entry.why) == ("promote", 3, "two days without a complaint")
    assert entry.by.startswith("ana@example.test from ")
    assert entry.told.endswith(": two days without a complaint")
    before, after = history.lines()
    assert (before.state, after.state, before.id) == ("begun", "done", after.id)


def test_an_act_that_failed_or_was_cut_off_is_told_as_that(settings: Settings) -> None:
    history = History(settings, "toy")
    with pytest.raises(Refused), history.act("rollback", "asked to roll back"):
        raise Refused("there is nothing before version 1")
    script = (
        "import os, signal, sys; from hallmark.settings import Settings; from hallmark.rollout.history import History\n"
        "with History(Settings.model_validate_json(sys.argv[1]), 'toy').act('reset', 'everything'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, settings.model_dump_json()])
    assert done.returncode == -signal.SIGKILL
    failed, cut = history.entries()
    assert failed.text == "asked to roll back: there is nothing before version 1, which failed"
    assert cut.text == "everything, which was cut off, or goes on"


def test_a_line_that_a_kill_cut_off_spoils_no_other(settings: Settings) -> None:
    history = History(settings, "toy")
    with history.act("labels", "90 labels"):
        pass
    whole = history.path.read_bytes()
    for cut in (1, len(whole) // 3, len(whole) - 1):
        history.path.write_bytes(whole[:cut])
        with history.act("pull", "pulled"):
            pass
        assert [each.kind for each in history.lines()][-2:] == ["pull", "pull"]
        assert history.path.read_bytes().startswith(whole[:cut]), "nothing is ever rewritten"


def test_an_act_goes_on_where_the_history_cannot_be_written(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(settings, "toy")
    history.path.mkdir(parents=True)  # no file can take its place
    done = False
    with history.act("rollback", "asked to roll back"):
        done = True
    assert done and "will be missing from the history" in caplog.text


def test_many_write_at_once_and_no_line_is_lost(settings: Settings) -> None:
    def add(number: int) -> None:
        for _ in range(10):
            History(settings, "toy").add(
                Act(
                    id=f"{number:032x}",
                    at=datetime.now(UTC),
                    domain="toy",
                    kind="labels",
                    state="done",
                    who="a",
                    text="x",
                )
            )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(History(settings, "toy").lines()) == 40


def test_an_act_that_the_cluster_tells_too_is_told_once(settings: Settings) -> None:
    history = History(settings, "toy")
    with history.act("promote", "asked", who="ana") as notes:
        notes.version = 2
    at = history.entries()[0].at + timedelta(seconds=1)
    told = TimelineEntry(at=at, correlation="b" * 32, kind="promote", text="version 2 is stable", version=2, by="ana")
    assert history.into(Timeline(entries=(told,))).entries == (told,)
    other = told.model_copy(update={"by": "ben"})
    assert len(history.into(Timeline(entries=(other,))).entries) == 2


def test_the_newest_of_a_long_history_are_read_from_its_end_alone(settings: Settings) -> None:
    history = History(settings, "toy")
    began = datetime(2026, 11, 1, tzinfo=UTC)
    lines = []
    for number in range(2000):
        act = Act(
            id=f"{number:032x}",
            at=began + timedelta(minutes=number),
            domain="toy",
            kind="labels",
            state="begun",
            who="ana",
            text="x" * 100,
        )
        lines += [act, act.model_copy(update={"state": "done", "text": f"number {number}"})]
    history.path.parent.mkdir(parents=True)
    history.path.write_text("".join(each.model_dump_json() + "\n" for each in lines))
    whole = history.entries()
    assert len(whole) == 2000
    for newest in (1, 50, 1999, 2000, 5000):
        assert history.entries(newest) == whole[-newest:]
    assert len(history.lines(newest=10)) < 1000, "a block or two"
    assert history.into(Timeline()).entries == tuple(whole[-200:])
