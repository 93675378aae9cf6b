"""`hallmark search`: a version's own index is searched, and the command says what came by which way and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hallmark import cli
from hallmark.registry.store import Registry
from tests.domains.search.small import Small


@pytest.fixture
def unit(small_search: Small) -> Small:
    return small_search


class _Kept:
    """A version whose folder is here."""

    def __init__(self, folder: Path, digest: str | None) -> None:
        self.version, self.digest, self._folder = 3, digest, folder

    def fetch(self) -> Path:
        return self._folder


@pytest.fixture
def version(unit: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small model as every version that is asked for."""
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    monkeypatch.setattr(Registry, "__init__", lambda self, settings: None)
    monkeypatch.setattr(Registry, "resolve", lambda self, domain, version: _Kept(unit.folder, None))
    return unit


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


def test_a_version_finds_by_words_and_by_vectors_and_says_why(
    version: Small, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = told(capsys, "coat size M", "--beside", "challenger", "--top", "20")
    assert [row["place"] for row in rows] == list(range(1, 21)) == [row["in_3"] for row in rows]
    scores = [float(str(row["score"])) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(row["words"] or row["vectors"] for row in rows) and all(row["why"] for row in rows)
    assert told(capsys, "!!") == []
    page = tmp_path / "page.html"
    assert cli.main(["search", "coat <M>", "--html", str(page)]) == 0
    assert "coat &lt;M&gt;" in page.read_text(encoding="utf-8") and "<svg" in page.read_text(encoding="utf-8")


def test_a_filter_leaves_what_it_says(version: Small, capsys: pytest.CaptureFixture[str]) -> None:
    known = version.corpus.set_index("item_id")
    rows = told(capsys, "coat", "--filter", "category=coats", "--filter", "price=20..60", "--top", "200")
    ids = [str(row["item"]) for row in rows]
    assert ids and (known.loc[ids, "category"] == "coats").all() and known.loc[ids, "price"].between(20, 60).all()
    assert len(ids) == min(200, int(((known["category"] == "coats") & known["price"].between(20, 60)).sum()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["coat", "--locale", "xx"], "locale is none that the model knows"),
        (["x" * 201], "query is too long"),
        ([" "], "query is empty"),
        (["coat", "--filter", "colour=red"], "names no column that filters"),
        (["coat", "--filter", "price=cheap.."], "has no such bound"),
    ],
)
def test_what_it_cannot_ask_is_the_user_s_error(
    version: Small, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["search", *arguments]) == 2
    assert said in capsys.readouterr().err
