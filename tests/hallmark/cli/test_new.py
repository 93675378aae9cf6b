"""`hallmark new`: a whole domain at once, nothing on a second call, nothing half-written where it cannot be."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hallmark.cli.app import app
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.render import files
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
ARGUMENTS = ["--team", "returns-team", "--contact", "r@hallmark.example", "--description", "Will it come back?"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for room in ("domains", "inference_services"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("HALLMARK_ROOT", str(tmp_path))
    monkeypatch.delenv("HALLMARK_RELEASES", raising=False)
    settings = Settings.load()
    files.write(settings)
    return settings


def digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["new", *arguments])
    if isinstance(result.exception, HallmarkError):
        raise result.exception
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("like", ["fraud", "listing", "authentication"])
def test_a_new_domain_is_valid_and_everything_of_it_is_rendered(checkout: Settings, like: str) -> None:
    before = set(checkout.root.rglob("*.yaml"))
    run("returns", "--like", like, *ARGUMENTS)
    declared = domains.load("returns", checkout)
    assert (declared.owner.team, declared.owner.contact) == ("returns-team", "r@hallmark.example")
    assert declared.description == "Will it come back?"
    assert declared.gate == domains.load(like, checkout).gate
    assert files.check(checkout) == []
    made = [path for path in checkout.root.rglob("*.yaml") if path not in before]
    for path in made:
        assert like not in {str(part).split("-")[0] for part in path.parts[-2:]}
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert (item.get("metadata") or {}).get("namespace", "returns") != like


def test_a_second_call_changes_nothing(checkout: Settings) -> None:
    run("returns", *ARGUMENTS)
    once = digest(checkout.root)
    run("returns", "--team", "another")
    assert digest(checkout.root) == once


def test_what_was_written_by_hand_is_never_written_to(checkout: Settings) -> None:
    run("returns")
    mine = checkout.domains / "returns" / "data.py"
    mine.write_text("# mine\n", encoding="utf-8")
    run("returns", "--like", "listing")
    assert mine.read_text(encoding="utf-8") == "# mine\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Returns"], "small letters"),
        (["order-risk"], "small letters"),
        (["../returns"], "small letters"),
        (["monitoring"], "namespace of the platform"),
        (["class"], "word of"),
        (["true"], "word of"),
        (["runtime"], "namespace of the platform"),
        (["a" * 31], "up to 30"),
        (["returns", "--like", "nothing"], "there is no domain"),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(checkout: Settings, arguments: list[str], named: str) -> None:
    before = digest(checkout.root)
    with pytest.raises(DeclarationError) as caught:
        run(*arguments)
    assert named in str(caught.value)
    assert digest(checkout.root) == before
    assert not list(checkout.domains.glob(".*"))


def test_a_copied_domain_draws_examples_that_keep_its_contract(checkout: Settings) -> None:
    run("returns")
    command = [sys.executable, "-m", "hallmark.cli", "data", "returns", "--days", "2", "--until", "2026-10-01"]
    done = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, env=checkout.environment())
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout
