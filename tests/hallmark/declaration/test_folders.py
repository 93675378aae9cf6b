"""Domains by their folders alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration import folders
from hallmark.errors import DeclarationError
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})


@pytest.mark.parametrize("name", folders.names(SETTINGS))
def test_the_task_is_the_one_of_the_whole_declaration(name: str) -> None:
    assert folders.task(name, SETTINGS) == domains.load(name, SETTINGS).task


@pytest.mark.parametrize("text", ["task: {kind: guess}", "task: [", "[]", "name: toy"])
def test_a_task_that_is_none_is_told_as_the_declaration_tells_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "domains/toy").mkdir(parents=True)
    (tmp_path / "domains/toy/domain.yaml").write_text(text)
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path)})
    with pytest.raises(DeclarationError, match=r"domain\.yaml"):
        folders.task("toy", settings)
    with pytest.raises(DeclarationError, match="there is no domain"):
        folders.task("other", settings)


@pytest.mark.parametrize("command", [["versions", "fraud"], ["experiments", "fraud"], ["compare", "fraud", "1", "2"]])
def test_what_reads_the_registry_alone_imports_no_whole_declaration(tmp_path: Path, command: list[str]) -> None:
    script = (
        "import sys; from hallmark.cli import main; main(sys.argv[1:])\n"
        "print(sorted({'hallmark.declaration.domain', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    environment = SETTINGS.model_copy(update={"state": tmp_path}).environment()
    done = subprocess.run(
        [sys.executable, "-c", script, *command], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
