"""Which extra brings a library, and what a domain says whose library is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hallmark import extras
from hallmark.declaration import domain as domains
from hallmark.errors import Unavailable
from hallmark.settings import Settings

_METADATA = """Metadata-Version: 2.1
Name: hallmark
Version: 0.1.0
Provides-Extra: networks
Requires-Dist: numpy<3,>=2.1
Requires-Dist: pandas<3,>=2.2; extra == "training"
Requires-Dist: a-frame==2.13.0; extra == "networks"
Requires-Dist: mlflow[auth]==3.17.2 ; extra == 'tracking'
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hallmark's own metadata, with a library that is nowhere: a-frame."""
    folder = tmp_path / "site" / "hallmark-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(_METADATA)
    monkeypatch.syspath_prepend(str(folder.parent))


@pytest.mark.usefixtures("installed")
def test_a_library_has_its_extra() -> None:
    assert extras.bringing("a_frame.nn") == "networks" and extras.bringing("mlflow") == "tracking"
    assert extras.bringing("numpy") == "" and extras.bringing("nowhere") == ""
    assert extras.missing("networks") == ["a-frame"] and extras.missing("training") == []


def domain(root: Path, name: str, text: str) -> Settings:
    folder = root / "domains" / name
    folder.mkdir(parents=True)
    (root / "inference_services").mkdir()
    (folder / "model.py").write_text(text)
    return Settings.load({"HALLMARK_ROOT": str(root)})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("library", "expected", "fix"),
    [
        ("a_frame", "a_frame, of the extra networks", "run `make install`"),
        ("nowhere", "nowhere", "name nowhere in an extra of pyproject.toml"),
    ],
)
def test_a_domain_whose_library_is_not_installed_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, expected: str, fix: str
) -> None:
    settings = domain(tmp_path / "root", "returns", f"import {library}.nn\n")
    for name in [each for each in sys.modules if each == "domains" or each.startswith("domains.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(settings.root))
    with pytest.raises(Unavailable) as caught:
        domains.module("returns", "model", settings)
    error = caught.value
    assert error.message == "domains/returns/model.py imports what is not installed"
    assert error.expected == expected and library in error.got and error.fix.startswith(fix)
    for name in [each for each in sys.modules if each == "domains" or each.startswith("domains.")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_the_doctor_names_the_extra_that_is_missing_and_what_for() -> None:
    from hallmark.cli.app import app

    done = CliRunner().invoke(app, ["doctor", "-o", "json"])
    import json

    rows = {row["check"]: row for row in json.loads(done.stdout)}
    row = rows["extra networks"]
    assert row["state"] == "absent" and row["found"] == "not installed: a-frame"
    assert row["fix"] == "`make install`, for domains whose models are networks"
    assert rows["extra training"]["state"] == "ok"
