"""`hallmark versions`, `model-card` and `compare` on 500 versions against the same command that asks MLflow: ratios, in CPU time of a process each."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hallmark.registry.store import Registry
from hallmark.settings import Settings

ROOT = Path(__file__).parents[1]
TOY = ROOT / "tests" / "toy"
VERSIONS = 500
TARGET = 0.6
"""CPU seconds that one of them may take."""
_ASK_MLFLOW = "from hallmark.registry import summary; summary.SCHEMA = 'none'"
"""With another schema than MLflow's own the short cut is not taken."""


def main() -> None:
    """Print one line a command: CPU seconds by the short cut, by MLflow, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        settings = filled(Path(folder))
        for arguments in (["versions", "toy"], ["model-card", "toy", "3"], ["compare", "toy", "1", "3"]):
            ours, theirs = (spent(arguments, settings, before) for before in ("pass", _ASK_MLFLOW))
            met = "met" if ours <= TARGET else "MISSED"
            print(
                f"{arguments[0]:<12}{ours:>6.2f} s  by MLflow {theirs:>6.2f} s  {theirs / ours:>5.1f} x  target {TARGET} s: {met}"
            )


def filled(folder: Path) -> Settings:
    """A registry with one real version, and the rows of MLflow for all others."""
    shutil.copytree(TOY, folder / "root")
    settings = Settings.load(
        {"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")}
    ).prepared()
    script = (
        "from hallmark.settings import Settings; from hallmark.training import run\n"
        "run.train('toy', settings=Settings.load(), as_of='2026-11-01')"
    )
    subprocess.run([sys.executable, "-c", script], env=settings.child_environment(), check=True)
    assert [each.version for each in Registry(settings).versions("toy")] == [1]
    with closing(sqlite3.connect(settings.state / "mlflow.db")) as link, link:
        for table in ("model_versions", "model_version_tags"):
            columns = [row[1] for row in link.execute(f"PRAGMA table_info({table})")]
            taken = ", ".join(columns)
            given = ", ".join("?" if each == "version" else each for each in columns)
            for number in range(2, VERSIONS + 1):
                link.execute(f"INSERT INTO {table} ({taken}) SELECT {given} FROM {table} WHERE version=1", (number,))  # noqa: S608
    return settings


def spent(arguments: list[str], settings: Settings, before: str) -> float:
    """The least CPU seconds of three processes, user and system."""
    script = f"import sys; {before}; from hallmark.cli import main; sys.exit(main())"
    seconds = []
    for _ in range(3):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**settings.child_environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(settings.root)])},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(ended.ru_utime - began.ru_utime + ended.ru_stime - began.ru_stime)
    return min(seconds)


if __name__ == "__main__":
    main()
