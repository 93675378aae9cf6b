"""`hallmark contracts` as its user meets it: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hallmark.cli import main
from tests.hallmark.declaration.contract_changes import CASES, batch, contract

LOOSER = next(case for case in CASES if case.name == "a maximum is raised")
TIGHTER = next(case for case in CASES if case.name == "a maximum is lowered")


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "domains").mkdir()
    (tmp_path / "contracts/sales").mkdir(parents=True)
    (tmp_path / "contracts/sales/v1.yaml").write_text(yaml.safe_dump(contract()), encoding="utf-8")
    for case in (LOOSER, TIGHTER):
        changed = {**contract(case.edit), "version": "1.1.0"}
        (tmp_path / f"{case.kind}.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    monkeypatch.setenv("HALLMARK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_sources_are_listed_with_what_is_personal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "list", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["source"] == "sales@1" and row["personal"] == ["buyer"] and row["columns"] == 14


def test_a_good_batch_ends_with_0_and_a_broken_one_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch().to_csv("good.csv", index=False)
    batch().assign(amount=[1.0, 2.0, 3.0, 400.0]).to_csv("bad.csv", index=False)
    assert main(["contracts", "check", "sales@1", "good.csv"]) == 0
    assert "4 rows keep sales@1 1.0.0" in capsys.readouterr().err
    assert main(["contracts", "check", "sales@1", "bad.csv"]) == 3
    assert "400.0 (bad.csv:5)" in capsys.readouterr().err
    assert main(["contracts", "check", "sales@2", "good.csv"]) == 2
    assert main(["contracts", "check", "breaking.yaml", "bad.csv", "-o", "json"]) == 3
    batch().assign(amount=150.0).to_csv("more.csv", index=False)
    assert main(["contracts", "check", "breaking.yaml", "more.csv", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4


def test_a_breaking_change_ends_with_1_and_names_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "diff", "sales@1", "breaking.yaml", "-o", "json"]) == 1
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["class"], said["least_version"]) == ("breaking", "2.0.0")
    (change,) = said["changes"]
    assert change["path"] == "properties.amount.logicalTypeOptions.maximum"
    assert (change["before"], change["after"], change["class"]) == (100, 200, "breaking")
    assert "contracts/sales/v2.yaml" in err


def test_a_compatible_change_ends_with_0_and_says_that_writers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "diff", "sales@1", "compatible.yaml"]) == 0
    out, err = capsys.readouterr()
    assert "compatible" in out and "refused" in out and "at least" not in err
    assert main(["contracts", "diff", "sales@1", "sales@1"]) == 0
    assert "nothing has changed" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "diff", "sales@1", "none.yaml"]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err
