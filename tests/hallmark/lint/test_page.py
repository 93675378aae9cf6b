"""docs/lint.md says what the rules say, and shows what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hallmark.cli import main
from hallmark.lint.catalogue import TOPICS, rules, topic
from hallmark.lint.page import table

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")


def test_its_table_is_what_the_rules_declare() -> None:
    _, heading, found = PAGE.partition("## The rules\n\n")
    assert heading
    assert found == table(), 'python -c "from hallmark.lint.page import table; print(table())" under "## The rules"'


def test_every_rule_has_a_topic_and_a_code_of_its_hundred() -> None:
    assert sorted(re.findall(r"^\| (HM\d{3})", PAGE, re.MULTILINE)) == [rule.code for rule in rules()]
    hundreds = {title: {rule.code[:3] for rule in rules() if topic(rule) == title} for title, _ in TOPICS}
    assert all(len(found) == 1 for found in hundreds.values()), hundreds


def test_its_example_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "tests/hallmark/lint/fixtures/HM201-percent-in-standard-mode/bad.yaml"
    assert main(["lint", str(path)]) == 3
    out, err = capsys.readouterr()
    said = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert said is not None
    shown = said[1].splitlines()
    assert [line.partition(": ")[2] for line in shown[:1]] == [line.partition(": ")[2] for line in out.splitlines()[:1]]
    assert shown[1:4] == out.splitlines()[1:4] and shown[4] == err.splitlines()[0]


def test_the_comment_it_shows_is_one_that_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"hostNetwork: true (# hallmark-lint: .*)", PAGE)
    bad = ROOT / "tests/hallmark/lint/fixtures/HM504-host-network/bad.yaml"
    path = tmp_path / "allowed.yaml"
    path.write_text(bad.read_text(encoding="utf-8").replace("# <- HM504", example), encoding="utf-8")
    assert main(["lint", str(path)]) == 0
