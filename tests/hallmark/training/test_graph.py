"""What a graph needs before it can run anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training import graph


def test_a_domain_without_code_is_not_run_and_the_file_that_is_missing_is_named(tmp_path: Path) -> None:
    declared = domains.load("authentication", Settings.load())
    graph.runnable(declared, Settings.load())
    folder = tmp_path / "domains" / "authentication"
    folder.mkdir(parents=True)
    (folder / "domain.yaml").touch()
    with pytest.raises(DeclarationError, match=r"there is no domains/authentication/data\.py"):
        graph.runnable(declared, Settings.load({"HALLMARK_ROOT": str(tmp_path)}))
