"""The command line as a person meets it: help, exit codes, errors, formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hallmark.cli import main
from hallmark.cli.app import app
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
COMMANDS = sorted(
    [
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    ]
    + [str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance]
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(
        {
            "HALLMARK_ROOT": str(ROOT),
            "HALLMARK_STATE": str(tmp_path / "state"),
            "HALLMARK_RELEASES": str(tmp_path / "releases"),
        }
    )
    for key, value in {
        **settings.environment(),
        "KUBECONFIG": str(tmp_path / "no-kubeconfig"),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(key, value)


def test_the_commands_are_those_of_the_readme() -> None:
    promised = {
        "doctor",
        "domains",
        "drill",
        "labels",
        "timeline",
        "watch",
        "data",
        "train",
        "versions",
        "model-card",
        "render",
        "apply",
        "up",
        "down",
        "status",
        "call",
        "release",
        "promote",
        "rollback",
        "settle",
        "drift",
        "lint",
        "new",
        "pipeline",
        "tco",
        "demo",
    }
    assert set(COMMANDS) == promised


HELP = """
import contextlib, io, json, sys
from hallmark.cli import main
heavy = {"torch", "mlflow", "kfp", "kserve", "kubernetes", "pandas", "evidently", "sklearn"}
told = {}
for command in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main([*command.split(), "--help"])
    told[command] = [code, "Usage" in out.getvalue(), sorted(heavy & set(sys.modules))]
json.dump(told, sys.stdout)
"""


def test_help_needs_no_server_and_nothing_heavy() -> None:
    """In one new process for all commands: what one of them imports, those after it show too."""
    commands = ["", *COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", HELP],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {command: [0, True, []] for command in commands}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["domains"], 0, ""),
        (["domains", "nope"], 2, "one of authentication, fraud, listing"),
        (["nope"], 2, "No such command"),
        (["release", "fraud"], 2, "--candidate"),
        (["release", "fraud", "--candidate", "1", "--percent", "101"], 2, "less than or equal to 100"),
        (["versions", "nope"], 2, "one of authentication, fraud, listing"),
        (["model-card", "fraud", "9"], 1, "no version 9"),
        (["train", "fraud", "--until", "soon"], 2, "YYYY-MM-DD"),
        (["train", "fraud", "--data", "/no/such/file"], 1, "no data at"),
        (["train", "fraud", "--option", "epochs"], 2, "KEY=VALUE"),
        (["status"], 1, "hallmark up"),
        (["promote", "fraud"], 1, "hallmark up"),
        (["drift", "fraud", "--kubeconfig", "/no/such/kubeconfig"], 1, "/no/such/kubeconfig"),
        (["apply", "nope"], 1, "hallmark up"),
        (["down"], 0, "nothing was running"),
    ],
)
def test_exit_codes_and_what_is_said(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err + captured.out
    assert "Traceback" not in captured.err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "domains", "nope"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_result_is_the_same_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    main(["domains", "-o", "json"])
    as_json = json.loads(capsys.readouterr().out)
    main(["domains", "-o", "yaml"])
    as_yaml = yaml.safe_load(capsys.readouterr().out)
    main(["domains"])
    table = capsys.readouterr().out
    assert as_json == as_yaml
    assert {"fraud", "listing"} < {row["domain"] for row in as_json}
    assert all(row["domain"] in table for row in as_json)


def test_render_check_fails_on_a_stale_file_and_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from hallmark.artifacts import release
    from hallmark.artifacts.release import Release, Target

    settings = Settings.load()
    release.write(
        "fraud", Release(stable=Target(version=1, storageUri="pvc://models/x", digest="sha256:" + "0" * 64)), settings
    )
    assert main(["render", "--check"]) == 1
    assert "hallmark render" in capsys.readouterr().err
    assert main(["render"]) == 0
    assert main(["render", "--check"]) == 0


def test_what_nobody_foresaw_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("hallmark.declaration.domain.names", broken)
    assert main(["domains"]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in error and "--debug" in error and "Traceback" not in error
