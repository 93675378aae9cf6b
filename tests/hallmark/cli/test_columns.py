"""Rows N12 and B40: every command at 80 columns, and at 60 and 200, in a terminal: no line that a terminal would break within a word."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from hallmark.cli import app, console, main
from hallmark.cli.new import Kind
from hallmark.cli.progress import TaskLines
from hallmark.cli.verdict import VariantVerdict
from hallmark.cli.verdict import show as show_verdict
from hallmark.errors import HallmarkError
from hallmark.registry.store import Registry
from hallmark.rollout.timeline import TimelineEntry
from hallmark.settings import Settings
from tests.hallmark.registry.conftest import model_card

ROOT = Path(__file__).parents[3]
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SHOWN = [
    "doctor",
    "domains",
    "domains fraud",
    "data fraud --shifts",
    "data fraud --days 1 --until 2026-09-01",
    "versions fraud",
    "model-card fraud 1",
    "render --check",
    "lint --list",
    "lint --explain HM101",
    "lint FILE",
    "tco",
    "tco fraud --lines --sensitivity",
    "tco --assumptions",
    "tco --at-rest",
]
"""What prints a result without a cluster."""
REFUSED = [
    "data fraud --data /nope/orders.parquet",
    "versions nope",
    "model-card fraud 7",
    "lint nope.yaml",
    "pipeline submit fraud",
    "status",
    "promote fraud",
    "rollback fraud",
    "settle fraud",
    "timeline fraud",
    "drift fraud",
    "labels fraud /nope.csv",
    "call fraud",
    "train fraud --until nope",
    "train fraud --option metric=null",
    "new fraud",
    "release fraud --candidate 7",
    "apply fraud",
    "watch fraud",
    "drill nope",
]

WIDTHS = [80, *(pytest.param(each, marks=pytest.mark.slow) for each in (60, 200))]


class Terminal(io.StringIO):
    """A stream that says it is a terminal; how wide it is stands in $COLUMNS."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_registry: Path) -> Settings:
    """Two versions of fraud, no cluster, and a file that lint refuses."""
    given = {"HALLMARK_ROOT": ROOT, "HALLMARK_STATE": tmp_path / "s", "HALLMARK_RELEASES": tmp_path / "releases"}
    settings = Settings.load({name: str(path) for name, path in given.items()}).prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    for name, value in {**settings.environment(), "KUBECONFIG": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    Path("FILE.yaml").write_text(
        "apiVersion: serving.kubeflow.org/v1beta1\nkind: InferenceService\nmetadata: {name: a, namespace: fraud}\n"
        'spec: {predictor: {minReplicas: "1"}}\n'
    )
    return settings


@pytest.fixture
def versions(world: Settings, tmp_path: Path) -> None:
    from hallmark.artifacts.folder import seal

    for number in ("1", "2"):
        folder = tmp_path / number
        folder.mkdir()
        (folder / "model.onnx").write_text(number)
        (folder / "features.py").write_text("FIELDS = ()\n")
        (folder / "profile.json").write_text("{}")
        Registry(world).register(folder, model_card(seal(folder), "fraud"))


def run(line: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command prints in a terminal of so many columns, without its styles."""
    monkeypatch.setenv("COLUMNS", str(columns))
    streams = Terminal(), Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        main(line.replace("FILE", "FILE.yaml").split())
    told = STYLES.sub("", "".join(stream.getvalue() for stream in streams))
    assert "something went wrong that Hallmark does not know" not in told, told
    return told


def too_long(text: str, columns: int) -> list[str]:
    """Lines that a terminal breaks, but for those whose one long word nobody can break, such as a digest or an address."""
    return [
        line
        for line in text.splitlines()
        if len(line.rstrip()) > columns and len(line.split()[-1]) + len(line) - len(line.lstrip()) + 12 <= columns
    ]


def commands() -> Iterator[list[str]]:
    def walk(command: click.Command, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, [*path, name])

    yield from walk(typer.main.get_command(app.app), [])


@pytest.mark.parametrize("columns", WIDTHS)
def test_n12_the_help_of_every_command_fits(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in commands():
        told = run(" ".join([*path, "--help"]), columns, monkeypatch)
        assert "Usage: hallmark" in told
        assert [line for line in told.splitlines() if len(line) > columns] == [], path


def test_the_kinds_of_a_new_domain_are_whole_words_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(Kind) <= set(re.findall(r"\w+", run("new --help", 80, monkeypatch)))


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
def test_n12_what_commands_print_fits(columns: int, versions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in [*SHOWN, *REFUSED]:
        told = run(line, columns, monkeypatch)
        assert told.strip(), line
        assert too_long(told, columns) == [], line


def test_n12_a_word_or_a_number_is_never_cut(versions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is shown at 200 columns is there at 80, word by word, but for columns of which it is said that they have no room."""
    for line in (
        "tco --assumptions",
        "lint --list",
        "lint FILE",
        "lint --explain HM101",
        "data fraud --shifts",
        "tco --at-rest",
    ):
        wide, narrow = (set(run(line, columns, monkeypatch).split()) for columns in (200, 80))
        assert wide <= narrow, line
    told = run("versions fraud", 80, monkeypatch)
    assert [len(word) for word in told.split() if word.startswith("sha256:")] == [19, 19]


@pytest.mark.slow
def test_b40_keys_for_programs_have_no_spaces(
    versions: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def keys(value: object, known: set[str]) -> set[str]:
        if isinstance(value, dict):
            known |= set(value)
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            keys(each, known)
        return known

    for line in [each for each in SHOWN if "--explain" not in each and "--list" not in each]:
        main([*line.replace("FILE", "FILE.yaml").split(), "-o", "json"])
        told = json.loads(capsys.readouterr().out)
        assert [key for key in keys(told, set()) if " " in key] == [], line


WORD = st.one_of(st.integers(1, 12), st.integers(30, 58)).map(lambda size: ("https://a-b.c:8/d_e" * 4)[:size])
CELL = st.one_of(st.lists(WORD, max_size=5).map(" ".join), st.integers(0, 10**6), st.none())


@given(
    rows=st.lists(
        st.fixed_dictionaries(dict.fromkeys(("time (UTC)", "what", "why", "revision"), CELL)), min_size=1, max_size=3
    ),
    columns=st.sampled_from([60, 80]),
)
def test_no_table_breaks_a_word_that_a_line_can_hold(rows: list[dict[str, object]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", Terminal())
        console.emit(rows, console.Format.table)
        told = STYLES.sub("", sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert [line for line in told.splitlines() if len(line.rstrip()) > columns] == []
    words = {word for row in rows for value in row.values() for word in str("" if value is None else value).split()}
    assert words <= set(told.split())


@given(st.lists(WORD, min_size=1, max_size=12).map(" ".join), st.sampled_from([60, 80]), st.integers(0, 12))
def test_no_line_of_advice_breaks_a_word_that_a_line_can_hold(text: str, columns: int, hang: int) -> None:
    found = console.wrapped("  " + text, columns=columns, hang=hang)
    assert max(map(len, found.splitlines())) <= columns and found.split() == text.split()


@pytest.mark.parametrize("columns", WIDTHS)
def test_n12_verdicts_timelines_progress_and_errors_fit(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster tells, of the longest kind."""
    monkeypatch.setenv("COLUMNS", str(columns))
    streams = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    why = "password_age_hours: values grew: 58% of pairs have the new one above the reference's; score: 3 of 20 bins"
    column = {"name": "shipping_distance_km", "effect": 0.2345, "threshold": 0.2, "drifted": True, "note": why}
    verdict = {"rows": 2000, "captured": 1.0, "reasons": [why], "columns": [column], "trace": "b" * 32}
    each = VariantVerdict(
        variant="candidate", version="12", revision="fraud-predictor-00012", state="DRIFT", verdict=verdict, pods=[{}]
    )
    show_verdict([each, each], console.Format.table)
    entry = TimelineEntry(
        at=datetime(2026, 11, 1, tzinfo=UTC), kind="promote", version=12, percent=10, correlation="c" * 32, text=why
    )
    from hallmark.cli import timeline

    console.emit(timeline.rows([entry] * 2, zone=UTC), console.Format.table)
    typer.echo(timeline._followed(entry, console.Format.table, UTC))
    status = {"domain": "recommendations", "variant": "candidate", "since": "2026-11-30 21:36Z", "version": "12"}
    status |= {"config": "117440263b", "revision": "recommendations-predictor-00012", "percent": 100, "ready": True}
    console.emit(
        [{**status, "restarts": 0, "service": "True"}], console.Format.table, wide=("revision", "restarts", "since")
    )
    with TaskLines() as lines:
        lines.done("train on data until 01 October", "version 2, average_precision 0.541, sha256:9000e4f05484", 15.4)
        lines.say(f"0 of 7,030 requests failed while version 2 took over from version 1; drift OK -> DRIFT ({why}).")
    console.fail(HallmarkError(why, expected=why, got="\n".join([why, why]), fix=f"`hallmark status` {why}"))
    told = STYLES.sub("", "".join(stream.getvalue() for stream in streams)).replace("\r", "")
    assert too_long(told, columns) == []
    assert "sha256:9000e4f05484" in told and "100" in told and "0.2345" in told


def test_n12_a_pseudo_terminal_of_80_columns_sees_no_longer_line(versions: None) -> None:
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "hallmark.cli", "versions", "fraud"]
    child = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )
    os.close(theirs)
    told = b""
    while True:
        try:
            part = os.read(mine, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    os.close(mine)
    assert child.wait(60) == 0
    lines = STYLES.sub("", told.decode()).splitlines()
    assert any("sha256:" in line for line in lines) and all(len(line.rstrip()) <= 80 for line in lines), lines
