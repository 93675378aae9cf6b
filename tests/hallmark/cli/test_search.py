"""`hallmark search`: a version searches the items of today, and says what came by which way and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hallmark import cli


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert cli.main(["search", *arguments, "-o", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_a_domain_without_items_and_a_version_that_is_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    assert cli.main(["search", "red coat", "--domain", "fraud"]) == 2
    assert "fraud has no items to search" in capsys.readouterr().err
    assert cli.main(["search", "red coat", "--version", "7"]) == 1
    assert "search" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_version_finds_by_words_and_by_vectors_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    options = ["--option", "rounds=40", "--option", "epochs=4"]
    assert cli.main(["train", "search", "--window", "8d", "--until", "2026-09-01", *options]) == 0
    capsys.readouterr()
    rows = told(capsys, "red wool coat size M", "--beside", "1", "--top", "20")
    assert [row["place"] for row in rows] == list(range(1, 21)) == [row["in_version_1"] for row in rows]
    scores = [float(str(row["score"])) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(row["words"] or row["vectors"] for row in rows) and all(row["why"] for row in rows)
    assert sum(row["size"] == "M" for row in rows) > 10
    assert told(capsys, "!!") == []
