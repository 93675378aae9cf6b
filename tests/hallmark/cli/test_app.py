"""The command line as a person meets it: help, exit codes, errors, formats."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from rich.console import Console

from hallmark.cli import console, guide, main
from hallmark.cli.app import PARTS, app, made
from hallmark.errors import foreseen
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
        "check",
        "search",
        "contracts",
        "features",
        "doctor",
        "explain",
        "domains",
        "drill",
        "labels",
        "captures",
        "reviews",
        "prompts",
        "decision",
        "timeline",
        "ui",
        "watch",
        "data",
        "train",
        "tune",
        "versions",
        "experiments",
        "logs",
        "open",
        "models",
        "compare",
        "reset",
        "gc",
        "model-card",
        "render",
        "apply",
        "up",
        "down",
        "decide",
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
        "predict",
        "evaluate",
        "tco",
        "demo",
    }
    assert set(COMMANDS) == promised


@pytest.mark.parametrize("module", PARTS)
def test_a_command_that_is_asked_for_brings_its_own_module_and_no_other(module: str) -> None:
    group = typer.main.get_group(made(PARTS[module][0]))
    assert sorted(group.commands) == sorted(PARTS[module])


def test_every_command_stands_in_a_group_with_an_example_that_it_takes() -> None:
    examples = {name: example for each in guide.GROUPS.values() for name, example in each.items()}
    assert set(COMMANDS) <= set(examples)
    groups = {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance}
    command = typer.main.get_command(app)
    for name in set(COMMANDS) - groups:
        words = shlex.split(examples[name])
        assert words[:2] == ["hallmark", name]
        known = {option for each in command.commands[name].params for option in each.opts}  # type: ignore[attr-defined]
        assert {word for word in words if word.startswith("--")} <= known, name


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_domains(shell: str) -> None:
    def completed(words: str) -> str:
        given = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))} if shell == "bash" else {}
        given |= {} if shell == "bash" else {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        done = subprocess.run(
            [sys.executable, "-m", "hallmark.cli"],
            env={**os.environ, **given, "_HALLMARK_COMPLETE": f"complete_{shell}"},
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        return done.stdout

    assert "timeline" in completed("hallmark time")
    assert "listing" in completed("hallmark train lis") and "fraud" not in completed("hallmark train lis")


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


@pytest.mark.parametrize(
    "arguments",
    [
        [*command.split(), "nope"]
        for command in (
            "apply", "call", "domains", "drift", "labels", "model-card", "promote", "release --candidate 1", "rollback",
            "settle", "status", "tco", "timeline", "train", "versions", "watch", "pipeline compile",
        )
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_n13_a_domain_that_nobody_declared_is_a_usage_error_of_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("request,label\nr1,1\n")
    given = [*arguments, str(tmp_path / "labels.csv")] if arguments[0] == "labels" else arguments
    assert main(given) == 2
    told = capsys.readouterr().err
    assert "there is no domain 'nope'" in told and "one of authentication, fraud, listing" in told


@pytest.mark.slow
def test_n14_the_doctor_looks_at_the_disk_of_the_state(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: float

    small = Path(os.environ["HALLMARK_STATE"]).parent
    monkeypatch.setattr(shutil, "disk_usage", lambda at: Usage(1e8 if Path(at).is_relative_to(small) else 1e12))
    main(["doctor", "-o", "json"])
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["disk"]["state"] == "ok"
    assert found["disk of the state"]["state"] == "low" and str(small) in found["disk of the state"]["fix"]


def test_b40_keys_have_no_spaces_and_a_narrow_terminal_no_broken_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"version": 12, "p50 ms": 1.25, "data": "d" * 12, "precision": "int8", "digest": "e" * 12}]
    console.emit(rows, console.Format.json, wide=("data", "precision"))
    assert set(json.loads(capsys.readouterr().out)[0]) == {"version", "p50_ms", "data", "precision", "digest"}
    for columns, gone in ((80, []), (40, ["data"]), (30, ["data", "precision"])):
        monkeypatch.setattr(console, "out", lambda columns=columns: Console(width=columns))
        console.emit(rows, console.Format.table, wide=("data", "precision"))
        captured = capsys.readouterr()
        assert len(captured.out.splitlines()) == 2
        assert "P50 MS" in captured.out and all(name not in captured.err for name in {"data", "precision"} - set(gone))
        assert all(name.upper() not in captured.out and name in captured.err for name in gone)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/domains"), "see who owns it"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/mlflow.db"), "free room"),
        (OSError(errno.EROFS, "Read-only file system", "/data/mlflow.db"), "mounted read-only"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/data/file/x"), "move away the file"),
    ],
)
def test_b38_what_a_disk_refuses_is_named_with_what_helps(error: OSError, said: str) -> None:
    told = foreseen(error)
    assert str(error.filename) in told.message and said in told.fix
    assert told.got == error.strerror


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_b38_a_disk_that_fills_in_the_middle_of_a_file_is_told_too(number: int) -> None:
    told = foreseen(OSError(number, os.strerror(number)))
    assert told.got == os.strerror(number) and "free room" in told.fix and "does not know" not in told.message


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_a_sign_that_a_terminals_encoding_lacks_ends_no_command(encoding: str, form: str) -> None:
    """ZenML #1248; what programs read is the same in every encoding."""
    code = f"""if True:
        import sys
        from hallmark.cli import app, console, main
        @app.app.command("shown")
        def shown(output: str) -> None:
            "Show a row."
            console.say("\u2713 gr\u00f6\u00dfer")
            console.emit([{{"brand": "\u2713 Herm\u00e8s", "n": 1}}], console.Format("{form}"))
        sys.exit(main(["shown", "x"]))
    """
    plain = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=plain, capture_output=True)
    text = done.stdout.decode(encoding)
    assert done.returncode == 0 and "Herm" in text and "Traceback" not in done.stderr.decode(encoding), done.stderr
    if form != "table":
        assert yaml.safe_load(text) == [{"brand": "\u2713 Herm\u00e8s", "n": 1}]


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """Reboot #34: `| head`."""
    command = f"{sys.executable} -m hallmark.cli lint --list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (
        done.stdout.splitlines()[-1] in ("0", "141") and "Traceback" not in done.stderr and "failed" not in done.stderr
    )


def test_a_result_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hallmark.cli", "domains"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and "cannot be used" in done.stderr and "No space left on device" in done.stderr


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


def test_check_says_what_own_data_is_like_and_how_little_it_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_ROOT", str(ROOT / "tests/toy"))
    assert main(["data", "toy", "--days", "1", "--until", "2026-09-02", "--out", str(tmp_path / "own.parquet")]) == 0
    capsys.readouterr()
    assert main(["check", "toy", "--data", str(tmp_path / "own.parquet"), "-o", "json"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("100 rows, from 2026-09-01 ")
    assert {each["where"] for each in json.loads(said.out)} == {
        "domains/toy/domain.yaml:9",
        "domains/toy/domain.yaml:15",
        "domains/toy/features.py:13",
    }
    assert main(["check", "--data", str(tmp_path / "own.parquet")]) == 2
    assert "hallmark check DOMAIN --data FILE" in capsys.readouterr().err


def test_a_command_that_is_asked_for_by_its_name_is_the_same_as_in_the_whole_application() -> None:
    from hallmark.cli.app import PARTS, made

    whole: Any = typer.main.get_command(app)
    names = [name for commands in PARTS.values() for name in commands]
    assert set(names) <= set(whole.commands) and len(names) == len(set(names))
    for name in names:
        alone: Any = typer.main.get_command(made(name))
        found, known = alone.commands[name], whole.commands[name]
        assert [each.name for each in found.params] == [each.name for each in known.params], name
        assert (found.help, found.epilog) == (known.help, known.epilog), name
        assert set(getattr(found, "commands", ())) == set(getattr(known, "commands", ())), name
