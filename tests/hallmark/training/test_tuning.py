"""A search of options with real processes: what it finds, what it gives up, killed and gone on with, its page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training import tuning
from hallmark.training.search_space import parse
from hallmark.training.tuning import Try, Tuned, TuningRequest

ROOT = Path(__file__).parents[3]
TOY = ROOT / "tests" / "toy"
pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(TOY, tmp_path / "root")
    found = Settings.load(
        {"HALLMARK_ROOT": str(tmp_path / "root"), "HALLMARK_STATE": str(tmp_path / "state")}
    ).prepared()
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


def asked(*options: str, tries: int = 6) -> TuningRequest:
    searched, same = parse(["rounds=60", *options])
    return TuningRequest(
        domain="sizes",
        source="synthetic",
        as_of="2026-11-01T00:00:00+00:00",
        window="20d",
        seed=3,
        shift="",
        searched=searched,
        options=same,
        tries=tries,
    )


def figures(found: Tuned) -> list[tuple[int | None, str, dict[str, Any], float | None]]:
    return [(each.number, each.state, each.options, each.estimate and each.estimate.value) for each in found.tries]


def test_a_search_finds_what_is_better_than_a_bad_declaration_and_never_sees_the_test_examples(
    settings: Settings,
) -> None:
    model = settings.domains / "sizes" / "model.py"
    model.write_text(model.read_text().replace('"learning_rate": 0.05', '"learning_rate": 0.0001'))
    found = tuning.tune(asked("learning_rate=0.01..0.3", "num_leaves=4..31"), settings=settings)
    assert found.best.number is not None
    assert found.told
    assert found.gain > 2 * (found.gain_error or 0)
    assert len(found.tries) == 6
    assert {each.state for each in found.tries} <= {"finished", "given up"}
    assert all(
        0.01 <= each.options["learning_rate"] <= 0.3 and 4 <= each.options["num_leaves"] <= 31 for each in found.tries
    )
    assert sorted(path.name for path in (found.folder / "parts").iterdir()) == [
        "rows.json",
        "training.parquet",
        "validation.parquet",
    ]

    more = tuning.tune(asked("learning_rate=0.01..0.3", "num_leaves=4..31", tries=8), settings=settings)
    assert more.folder == found.folder
    assert figures(more)[:6] == figures(found)
    assert len(more.tries) == 8


def test_options_that_no_try_can_be_made_with_end_the_search_with_the_reason(settings: Settings) -> None:
    with pytest.raises(DeclarationError) as refused:
        tuning.tune(asked("learning_rat=0.01..0.3"), settings=settings)
    assert "learning_rat" in f"{refused.value.message} {refused.value.got}"
    assert refused.value.exit_code == 2


def command(settings: Settings, *more: str) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "hallmark.cli",
            "tune",
            "sizes",
            "--until",
            "2026-11-01",
            "--window",
            "20d",
            "--seed",
            "3",
        ),
        *(
            "--option",
            "rounds=60",
            "--option",
            "learning_rate=0.01..0.3",
            "--option",
            "num_leaves=4..31",
            "--tries",
            "8",
        ),
        *more,
    ]


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(settings: Settings, tmp_path: Path) -> None:
    environment = settings.child_environment()
    for at in (1, 4):
        with (tmp_path / "log").open("wb") as log:
            running = subprocess.Popen(command(settings), env=environment, stdout=log, stderr=log)
            until = time.monotonic() + 120
            while len(list(settings.state.glob("tuning/sizes/*/tries/*.json"))) < at and time.monotonic() < until:
                assert running.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.02)
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
        (folder,) = settings.state.glob("tuning/sizes/*")
        database = str(folder / "study.db")
        until = time.monotonic() + 30
        while _workers(folder) and time.monotonic() < until:  # the keeper ends them
            time.sleep(0.05)
        assert not _workers(folder)
        assert sqlite3.connect(database).execute("pragma integrity_check").fetchone() == ("ok",)
    done = subprocess.run(command(settings, "-o", "json"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["tries"]) == 8
    assert "<svg" in Path(told["page"]).read_text()
    assert all(path.is_file() and Try.model_validate_json(path.read_bytes()) for path in (folder / "tries").iterdir())

    shutil.rmtree(folder)
    whole = subprocess.run(
        command(settings, "-o", "json", "--jobs", "1"), env=environment, capture_output=True, text=True
    )
    assert whole.returncode == 0, whole.stderr
    unbroken = json.loads(whole.stdout)
    assert [each["options"] for each in told["tries"]] == [each["options"] for each in unbroken["tries"]]
    assert told["best"]["estimate"] == unbroken["best"]["estimate"]


def test_a_try_that_was_cut_off_before_it_had_all_its_options_gets_them_again_and_one_that_had_them_keeps_them(
    settings: Settings, tmp_path: Path
) -> None:
    request = asked("learning_rate=0.01..0.3", "num_leaves=4..31")
    study = tuning._study(tmp_path, request)
    space = {name: each.distribution() for name, each in request.searched.items()}
    whole = study.ask(space).params
    study.ask({"learning_rate": space["learning_rate"]})

    for _ in range(2):  # the second time, what was asked again is cut off before it has any
        tuning._take_back(tmp_path, request)
        waiting = [each for each in study.get_trials() if each.state.name == "WAITING"]
        assert [each.system_attrs["fixed_params"] for each in waiting] == [whole]
        study.ask()


def _workers(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hallmark.training.tuning" in words and str(folder).encode() in words:
            found.append(path.parent.name)
    return found
