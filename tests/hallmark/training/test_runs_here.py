"""Trainings handed in on this machine, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hallmark.errors import Conflict, DeclarationError
from hallmark.files import locked
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from hallmark.training import runs_here
from hallmark.training.runs_here import RunsHere, TrainingProcess
from hallmark.training.submit import Run, Runner, RunRequest

TOY = Path(__file__).parents[2] / "toy"
FIRST, SECOND = "a" * 32, "b" * 32


def a_root(folder: Path) -> Settings:
    shutil.copytree(TOY, folder / "root")
    return Settings.load({"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return a_root(tmp_path)


def request(key: str, **more: object) -> RunRequest:
    given = {"key": key, "domain": "toy", "as_of": "2026-11-01", "reason": "drift of a", "correlation": FIRST}
    return RunRequest.model_validate(given | more)


def ended(runner: Runner, key: str, *, seconds: float = 240) -> Run:
    until = time.monotonic() + seconds
    while (found := runner.find(key, "toy")) is None or found.state == "running":
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def processes(settings: Settings, key: str) -> list[int]:
    """Processes that carry the folder of this key on their command line."""
    folder = str(settings.runs / "submitted" / key).encode()
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder in each.read_bytes().split(b"\0"):
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


MANY = """
import sys
from hallmark.settings import Settings
from hallmark.training.runs_here import RunsHere
from hallmark.training.submit import RunRequest
sys.stdin.readline()
runner = RunsHere(Settings.load())
for _ in range(25):
    print(runner.submit(RunRequest.model_validate_json(sys.argv[1])).id)
"""


@pytest.mark.slow
def test_fault_19_a_hundred_reports_from_four_processes_are_one_training_that_outlives_them(settings: Settings) -> None:
    asked = request("toy-1-drift")
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, asked.model_dump_json()],
            env={**os.environ, **settings.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for each in crowd:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    told = [each.communicate(timeout=120)[0].split("\n")[:-1] for each in crowd]
    assert [len(lines) for lines in told] == [25] * 4
    assert len({line for lines in told for line in lines}) == 1
    runner = RunsHere(settings)
    done = ended(runner, asked.key)  # started by a process that is long gone
    assert (done.state, done.version, done.id) == ("succeeded", 1, told[0][0])
    assert "average_precision" in done.message
    assert done.started is not None and done.ended is not None and done.started < done.ended
    for _ in range(3):
        assert RunsHere(settings).submit(asked) == done  # a new watch, which remembers nothing
    assert len(list((settings.runs / "workspaces" / "toy").iterdir())) == 1
    until = time.monotonic() + 10
    while processes(settings, asked.key):
        assert time.monotonic() < until, "it has said its result and does not end"
        time.sleep(0.1)

    registry = Registry(settings)
    assert registry.model_card("toy", 1).request.correlation == FIRST
    assert registry.correlated("toy", FIRST) == 1
    # Another drift asks for the same: the same model, which then is an answer to both.
    again = runner.submit(request("toy-1-other", correlation=SECOND))
    assert again.state == "running"
    assert ended(runner, "toy-1-other").version == 1
    (row,) = registry.versions("toy")
    assert row.correlations == (FIRST, SECOND)
    assert registry.correlated("toy", SECOND) == 1
    assert registry.correlated("toy", "c" * 32) is None
    assert registry.model_card("toy", 1).request.correlation == FIRST


@pytest.mark.slow
def test_a_refusal_of_the_gate_and_of_the_contract_are_told_with_their_reasons(settings: Settings) -> None:
    import pandas as pd

    runner = RunsHere(settings)
    declaration = settings.root / "domains" / "toy" / "domain.yaml"
    declaration.write_text(declaration.read_text().replace("floor: 0.5", "floor: 0.9999"))
    runner.submit(request("low"))
    low = ended(runner, "low")
    assert (low.state, low.version) == ("refused", None)
    assert "0.9999" in low.message
    entry = next((settings.runs / "cache" / "entries").glob("load-*"))
    own = settings.root / "own.parquet"
    frame = pd.read_parquet(entry / "outputs" / "examples")
    frame.loc[3, "a"] = 1e6
    frame.to_parquet(own, index=False)
    runner.submit(request("broken", source=str(own)))
    broken = ended(runner, "broken")
    assert broken.state == "refused"
    assert "a" in broken.message and "contract" in broken.message


@pytest.mark.slow
def test_a_run_that_is_killed_has_failed_and_says_so_and_stays_so(settings: Settings) -> None:
    runner = RunsHere(settings)
    run = runner.submit(request("killed", options={"pause": 30}))
    assert run.state == "running"
    (process,) = processes(settings, "killed")
    assert run.id == f"pid {process}"
    until = time.monotonic() + 60
    log = settings.runs / "submitted" / "killed" / "log"
    while '"train"' not in log.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    killed = ended(runner, "killed", seconds=10)
    assert killed.state == "failed"
    assert "without a result" in killed.message and '"train"' in killed.message
    assert RunsHere(settings).submit(request("killed")) == killed
    assert len(list((settings.runs / "workspaces" / "toy").iterdir())) == 1


def test_it_runs_while_its_process_holds_it_whoever_has_that_number_now(settings: Settings) -> None:
    folder = settings.runs / "submitted" / "old"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(request("old").model_dump_json())
    (folder / "log").write_text("one\nthe last word\n")
    mine = TrainingProcess(pid=os.getpid(), started=datetime.now(UTC))
    (folder / "process.json").write_text(mine.model_dump_json())
    found = RunsHere(settings).find("old", "toy")
    assert found is not None
    assert found.state == "failed" and found.message.endswith("the last word")
    with locked(folder / "running", patience=1):
        crowd = [RunsHere(settings).find("old", "toy") for _ in range(3)]
    assert [each.state for each in crowd if each] == ["running"] * 3


@pytest.mark.slow
def test_one_that_was_only_half_handed_in_is_started_once_and_one_that_breaks_says_why(settings: Settings) -> None:
    asked = request("half", options={"fail": "the loss went to infinity"})
    folder = settings.runs / "submitted" / "half"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(asked.model_dump_json())
    runner = RunsHere(settings)
    assert runner.find("half", "toy") is None
    # Two processes for one key, whatever started them: the second finds it taken, and leaves.
    environment = {**os.environ, **settings.environment()}
    command = [sys.executable, "-m", "hallmark.training.runs_here", str(folder)]
    twins = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [twin.communicate(timeout=120)[0] for twin in twins]
    assert sorted("failed: " in each for each in told) == [False, True]
    assert "" in told
    breaks = runner.submit(asked)
    assert breaks.state == "failed" and "the loss went to infinity" in breaks.message
    assert len(list((settings.runs / "workspaces" / "toy").iterdir())) == 1


def test_a_key_is_one_domains_and_cannot_leave_its_folder(settings: Settings) -> None:
    folder = settings.runs / "submitted" / "theirs"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(request("theirs", domain="shapes").model_dump_json())
    (folder / "process.json").write_text(TrainingProcess(pid=1, started=datetime.now(UTC)).model_dump_json())
    runner = RunsHere(settings)
    assert runner.find("theirs", "toy") is None
    with pytest.raises(Conflict, match="another domain"):
        runner.submit(request("theirs"))
    with pytest.raises(DeclarationError, match="cannot be the key"):
        runner.find("../theirs", "toy")


def test_the_log_is_bounded_and_ends_with_what_was_said_last(tmp_path: Path) -> None:
    script = (
        "import sys, threading, time; from pathlib import Path; from hallmark.training import runs_here\n"
        "threading.Thread(target=runs_here._bound, args=(Path(sys.argv[1]),), daemon=True).start()\n"
        "for n in range(25):\n"
        "    print('x' * 99_999, flush=True); time.sleep(0.1)\n"
        "time.sleep(1.2); print('the end', flush=True)"
    )
    log = tmp_path / "log"
    with log.open("ab") as stream:
        subprocess.run([sys.executable, "-c", script, str(log)], stdout=stream, check=True)
    assert log.stat().st_size <= runs_here.LOG_BYTES
    assert log.read_text().endswith("the end\n")


def test_what_is_written_can_be_read_by_a_person(settings: Settings) -> None:
    asked = request("shown", source=str(settings.root / "nowhere.parquet"))
    RunsHere(settings).submit(asked)
    assert "there is no data at" in ended(RunsHere(settings), "shown").message
    folder = settings.runs / "submitted" / "shown"
    assert json.loads((folder / "request.json").read_text())["reason"] == "drift of a"
    assert {path.name for path in folder.iterdir()} == {
        "request.json",
        "process.json",
        "running",
        "lock",
        "log",
        "result.json",
    }
