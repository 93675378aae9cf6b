"""`hallmark timeline` as a person on call meets it, on a record as a watch keeps it."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hallmark.artifacts.release import Target
from hallmark.cli import main
from hallmark.cli import timeline as command
from hallmark.errors import NotFound, Unavailable
from hallmark.registry.store import Registry, TrialLine, VersionLine
from hallmark.rollout import acts
from hallmark.rollout.memory import MemoryStore, WatchMemory
from hallmark.rollout.record import CHANGES, PROMOTED_BY_HAND, ROLLED_BACK_BY_HAND, RolloutRecord
from hallmark.rollout.timeline import ENTRIES, Timeline, TimelineEntry
from hallmark.settings import Settings

if (folder := str(Path(__file__).parents[1] / "rollout")) not in sys.path:
    sys.path.insert(0, folder)  # importmode=importlib puts no test folder on the path

from timelines import BEGAN, FIRST, SECOND, story

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "0" * 64


class Cluster:
    """An writer's two methods for ConfigMaps, over one that is kept here; `down` makes it answer nothing."""

    host = "https://example"

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None
        self.down = False
        self.service: dict[str, Any] | None = None

    def live(self, name: str) -> dict[str, Any] | None:
        return self.service

    def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        if self.down:
            raise Unavailable("the cluster does not answer")
        if self.found is None or (namespace, name) != ("fraud", "hallmark-watch"):
            raise NotFound("no such ConfigMap")
        return self.found

    def write_config_map(self, wanted: dict[str, Any], *, create: bool) -> dict[str, Any]:
        self.found = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "2"}}
        return self.found

    def keep(self, timeline: Timeline) -> None:
        MemoryStore(self, "fraud").write(WatchMemory(timeline=timeline))  # type: ignore[arg-type]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
    for key, value in {**settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    found = Cluster()
    monkeypatch.setattr(command, "connected", lambda *_: found)
    return found


@pytest.fixture
def told(cluster: Cluster) -> Cluster:
    cluster.keep(story())
    return cluster


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["timeline", "fraud", *arguments]) == code
    return capsys.readouterr().out


def test_a_table_has_the_newest_last_and_says_which_time_it_is(
    told: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, "--utc").splitlines()
    assert lines[0].split() == ["TIME", "(UTC)", "WHAT", "VERSION", "SHARE", "ID", "WHY"]
    assert len(lines) == 1 + len(story().entries)
    assert lines[1].startswith("2026-11-20 14:12:00  drift")
    assert lines[-1].startswith("2026-11-20 15:58:00  drift")
    back = next(line for line in lines if "rollback" in line)
    assert re.search(r"rollback\s+8\s+0%\s+4bf92f35\s+version 8: 61 of 1201 \(5\.1%\)", back)


def test_times_are_local_unless_utc_is_asked_for(
    told: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()
    try:
        lines = shown(capsys).splitlines()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert lines[0].startswith("TIME (EET)")
    assert lines[1].startswith("2026-11-20 16:12:00")


def test_b24_a_time_before_a_clock_was_changed_keeps_the_offset_of_its_day(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    at = [datetime(2026, 10, 24, 12, tzinfo=UTC)] + [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    entries = tuple(TimelineEntry(at=each, correlation="", kind="hold", text="x") for each in at)
    cluster.keep(Timeline(entries=entries))
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        lines = shown(capsys).splitlines()
        logged = [command.line(entry, zone=None) for entry in entries]
        command_rows = command.rows(entries[:2], zone=None)
    finally:
        monkeypatch.undo()
        time.tzset()
    clocks = ["2026-10-24 14:00:00 CEST", "2026-10-25 02:30:00 CEST", "2026-10-25 02:30:00 CET"]
    assert lines[0].split()[:2] == ["TIME", "WHAT"]
    assert [line[:24].strip() for line in lines[1:]] == clocks
    assert [line.partition("  ")[0] for line in logged] == clocks
    assert next(iter(command_rows[0])) == "time (CEST)"


def test_a_correlation_id_or_its_beginning_picks_one_turn_of_the_loop(
    told: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked in (FIRST, FIRST[:8], FIRST[:8].upper()):
        found = json.loads(shown(capsys, "--correlation", asked, "-o", "json"))
        assert {entry["correlation"] for entry in found["entries"]} == {FIRST}
        assert len(found["entries"]) == 8
        assert found["points"]
        assert max(point["at"] for point in found["points"]) <= found["entries"][-1]["at"]


def test_since_looks_back_that_long(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    entries = [
        TimelineEntry(at=now - timedelta(hours=hours), correlation="", kind="hold", text=f"{hours} hours ago")
        for hours in (30, 3, 1)
    ]
    cluster.keep(Timeline(entries=tuple(entries)))
    assert shown(capsys, "--since", "2h").count("hours ago") == 1
    assert shown(capsys, "--since", "2d").count("hours ago") == 3


def test_json_and_yaml_are_the_whole_timeline(told: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert Timeline.model_validate(json.loads(shown(capsys, "-o", "json"))) == story()
    assert Timeline.model_validate(yaml.safe_load(shown(capsys, "-o", "yaml"))) == story()


def test_the_page_is_written(told: Cluster, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "timeline.html"
    assert shown(capsys, "--html", str(path), "--utc") == ""
    assert "61 of 1201 (5.1%)" in path.read_text(encoding="utf-8")
    assert main(["timeline", "fraud", "--html", str(tmp_path)]) == 2
    (tmp_path / "file").touch()
    assert main(["timeline", "fraud", "--html", str(tmp_path / "file" / "x.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_where_nothing_is_recorded_a_line_says_so(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeline", "fraud"]) == 0
    taken = capsys.readouterr()
    assert taken.out == ""
    assert "nothing was recorded of fraud yet: `hallmark watch fraud` records" in taken.err
    cluster.keep(story())
    assert main(["timeline", "fraud", "--correlation", "ffff", "--since", "1s"]) == 0
    assert "with a correlation id that begins with ffff within 1s" in capsys.readouterr().err


def test_what_cannot_be_is_said(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeline", "fraud", "--since", "yesterday"]) == 2
    assert "'yesterday'" in capsys.readouterr().err
    assert main(["timeline", "fraud", "--follow", "-o", "yaml"]) == 2
    assert main(["timeline", "fraudd"]) != 0
    cluster.down = True
    assert main(["timeline", "fraud"]) == 1
    assert "the cluster does not answer" in capsys.readouterr().err


def test_what_a_terminal_would_obey_is_not_printed(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    entry = TimelineEntry(at=BEGAN, correlation="", kind="trouble", text="a\x1b[2J\x07b\r\nc")
    cluster.keep(Timeline(entries=(entry,)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", shown(capsys) + command.line(entry, zone=UTC))


def test_follow_prints_each_entry_once_as_it_comes(told: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    whole = story()
    states: list[Timeline | None] = [
        Timeline(),
        Timeline(entries=whole.entries[:3]),
        None,
        None,
        Timeline(entries=whole.entries[2:6]),  # What is older has left the record.
        Timeline(),
        Timeline(entries=whole.entries[4:8]),
    ]
    waits: list[float] = []

    def read() -> Timeline:
        state = states[len(waits)]
        if state is None:
            raise Unavailable("the cluster does not answer")
        return state

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == len(states):
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for entry in command.news(read, pause=pause):
            seen.append(entry)
    assert tuple(seen) == whole.entries[:8]
    assert capsys.readouterr().err.count("the cluster does not answer; trying again") == 1


def test_follow_ends_quietly(
    told: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", stop)
    lines = shown(capsys, "--follow", "--utc", "--correlation", SECOND[:4]).splitlines()
    assert len(lines) == 7
    assert lines[4] == "2026-11-20 15:35:00 UTC  canary        v9   50%  00c7a1d2  50% to version 9"
    assert [json.loads(line)["kind"] for line in shown(capsys, "-f", "-o", "json").splitlines()] == [
        entry.kind for entry in story().entries
    ]


def test_n7_all_that_people_did_is_told_with_time_and_person_whether_or_not_a_watch_has_heard_of_it(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.keep(story())
    before = shown(capsys, "--utc")
    end = story().entries[-1].at
    first, second = (Target(version=each, storageUri="pvc://models/x", digest=DIGEST) for each in (8, 9))
    record = RolloutRecord(stable=first)
    record = record.changed("canary", "version 9: 10%", by="ana", at=end + timedelta(minutes=1), version=9, percent=10)
    record = record.changed("promote", "version 9 is stable", by="ben", at=end + timedelta(minutes=2), version=9)
    record = record.made_stable(second, at=end + timedelta(minutes=2), reasons=(PROMOTED_BY_HAND,))
    record = record.changed("rollback", "version 9: no", by="ana", at=end + timedelta(minutes=3), version=9)
    record = record.rolled_back(first, at=end + timedelta(minutes=3), reasons=(ROLLED_BACK_BY_HAND,)).settled
    cluster.service = {"metadata": {"name": "fraud", "annotations": record.note}, "spec": {"predictor": {}}}
    after = shown(capsys, "--utc")
    added = after.splitlines()[len(before.splitlines()) :]
    assert [line.split()[2] for line in added] == ["canary", "promote", "rollback"]
    assert [line.rpartition("; by ")[2].strip() for line in added] == ["ana", "ben", "ana"]
    assert added[1].startswith(f"{end + timedelta(minutes=2):%Y-%m-%d %H:%M:%S}  promote")
    ids = [entry["correlation"] for entry in json.loads(shown(capsys, "-o", "json"))["entries"][-3:]]
    assert ids[0] == ids[1], "a promotion is not told with the release that it ends"
    heard = WatchMemory(timeline=story()).with_changes(record)
    MemoryStore(cluster, "fraud").write(heard)  # type: ignore[arg-type]
    assert shown(capsys, "--utc") == after
    assert heard.with_changes(record) == heard and not heard.news(record)
    full = reduce(Timeline.with_entry, story().entries * ENTRIES, heard.timeline)
    forgot = heard.model_copy(update={"timeline": full})
    assert forgot.with_changes(record) == forgot, "what left the timeline for its age comes again"


def test_a_record_keeps_the_newest_changes_and_stays_small() -> None:
    record = RolloutRecord()
    for number in range(3 * CHANGES):
        at = BEGAN + timedelta(seconds=number)
        record = record.changed("canary", "version 1: asked for 10%", by="x" * 200, at=at, version=1, percent=10)
    assert [each.at for each in record.changes] == [BEGAN + timedelta(seconds=2 * CHANGES + n) for n in range(CHANGES)]
    (note,) = record.note.values()
    assert note is not None and len(note) < 20_000
    assert RolloutRecord.model_validate_json(note) == record


def test_trainings_trials_and_refusals_are_told_where_no_cluster_answers(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = VersionLine(
        version=3,
        aliases=(),
        digest=DIGEST,
        data=DIGEST,
        commit="",
        metric="average_precision",
        value=0.557,
        created=BEGAN,
        precision="fp32",
    )
    trial = TrialLine(
        run="5" * 32,
        experiment="rounds",
        outcome="experiment",
        reason="it reaches the floor",
        passed=True,
        metric="average_precision",
        value=0.5,
        error=None,
        options="",
        data=DIGEST,
        created=BEGAN + timedelta(minutes=1),
        seconds=2.0,
    )
    refused = trial.model_copy(
        update={"experiment": "", "outcome": "refused", "reason": "average_precision 0.1 is below the floor 0.3"}
    )
    monkeypatch.setattr(Registry, "versions", lambda *_: [version])
    monkeypatch.setattr(Registry, "trials", lambda *_: [trial, refused])
    cluster.down = True
    assert main(["timeline", "fraud", "-o", "json"]) == 0
    told = [each["text"] for each in json.loads(capsys.readouterr().out)["entries"]]
    assert told == [
        "made version 3: average_precision 0.557",
        "trial of rounds: average_precision 0.5",
        "refused: average_precision 0.1 is below the floor 0.3",
    ]


def test_a_promotion_by_hand_is_in_the_history_without_a_cluster(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, target = Settings.load(), Target(version=2, storageUri="pvc://models/x", digest=DIGEST)
    monkeypatch.setattr(acts, "follow", lambda *_: [])
    writer = SimpleNamespace(host="https://example", person=lambda: "ana@example.com")
    asked: list[tuple[acts.ActKind, int | None, str]] = [("canary", 10, ""), ("promote", None, "it costs us less")]
    for kind, percent, why in asked:
        deed = acts.Deed("fraud", kind, f"asked to {kind}", lambda *_, **__: target, why, percent=percent)
        acts.carry_out(deed, writer, settings, note=print)  # type: ignore[arg-type]
    cluster.down = True
    assert main(["timeline", "fraud", "-o", "json"]) == 0
    first, promoted = json.loads(capsys.readouterr().out)["entries"]
    assert (promoted["kind"], promoted["version"], promoted["why"]) == ("promote", 2, "it costs us less")
    assert promoted["by"].startswith("ana@example.com from ")
    assert (first["kind"], first["percent"]) == ("canary", 100), (
        "the first of a domain gets all, whatever was asked for"
    )
