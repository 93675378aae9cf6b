from __future__ import annotations

import re
from pathlib import Path

import pytest

from hallmark.errors import DeclarationError
from hallmark.settings import VARIABLES, Settings, table

ROOT = Path(__file__).parents[2]


def test_the_checkout_is_found_from_a_folder_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "domains" / "fraud")
    assert Settings.load({}).root == ROOT


def test_outside_a_checkout_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeclarationError) as caught:
        Settings.load({})
    assert "HALLMARK_ROOT" in caught.value.fix


def test_a_child_process_finds_the_same_places(tmp_path: Path) -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path)})
    assert Settings.load(settings.environment()) == settings
    assert settings.models.is_relative_to(tmp_path)


def test_workspaces_are_one_or_one_a_domain(tmp_path: Path) -> None:
    here = {"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path)}
    assert not Settings.load(here).workspaces
    settings = Settings.load({**here, "HALLMARK_WORKSPACES": "domain"})
    assert settings.workspaces
    assert Settings.load(settings.environment()) == settings
    with pytest.raises(DeclarationError, match="HALLMARK_WORKSPACES"):
        Settings.load({**here, "HALLMARK_WORKSPACES": "domains"})


def test_the_table_of_variables_is_whole_and_in_the_docs() -> None:
    assert table() in (ROOT / "docs/environment.md").read_text(), (
        "python -c 'from hallmark.settings import table; print(table())'"
    )
    text = "".join(
        path.read_text() for name in ("hallmark", "local_cluster", "tools") for path in (ROOT / name).rglob("*.py")
    )
    assert set(re.findall(r'"(HALLMARK_[A-Z_]+)"', text)) <= {each.name for each in VARIABLES}
