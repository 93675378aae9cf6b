"""Every alert has its page and every page its alert; what a page tells somebody to type is what the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from hallmark.cli.app import app
from hallmark.render import monitoring
from tests.hallmark.render.prometheus import alerts_of, buyers, declared, groups_of

FOLDER = Path(__file__).parents[3] / "docs" / "runbooks"
FRESH = declared("fraud", "drift.freshness={column: ordered_at, limit: 5m}")
SEARCHED = declared("search", "retrieval.corpus=orders@1", "retrieval.filters=[category]", "retrieval.fresh=1s")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"}


def severities() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    told = (FRESH, SEARCHED, declared("pricing"), declared("authentication"))
    objects = [*(each for domain in told for each in monitoring.objects(domain)), *monitoring.of_platform([buyers()])]
    for rule in alerts_of(groups_of(objects)):
        found.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    return found


def commands(text: str) -> list[str]:
    """Each `hallmark ...` of a page: lines of code blocks, and code between words."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [found.replace("\n", " ") for found in re.findall(r"`(hallmark [^`]+)`", rest)]
    return [found for found in [*lines, *inline] if re.match(r"hallmark [a-z]", found)]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(PAGES) == set(severities())


def test_the_index_lists_every_page_with_its_severity() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| ([\w, ]+) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert all(name == target for name, target, _ in rows)
    assert {name: set(told.split(", ")) for name, _, told in rows} == severities()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_means_who_notices_how_to_diagnose_what_to_do_and_whom_to_escalate_to(name: str) -> None:
    text = PAGES[name]
    assert text.startswith(f"# {name}\n")
    assert 20 <= len(text.splitlines()) <= 50
    places = [text.index(part) for part in ("**Users", "## Diagnose", "## Do", "## Escalate")]
    assert places == sorted(places)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / target).is_file(), target


@pytest.mark.slow
def test_every_hallmark_command_of_the_pages_parses() -> None:
    seen = 0
    for name, text in PAGES.items():
        for line in commands(text):
            assert not (wrong := refusal(line)), f"{name}: {line}: {wrong}"
            seen += 1
    assert seen > 40
    assert refusal("hallmark drfit fraud") == "no command drfit"
    assert "--no-such-flag" in refusal("hallmark drift fraud --no-such-flag")
    assert refusal("hallmark release fraud")


def refusal(line: str) -> str:
    """What the command line says against this; it resolves and parses, and runs nothing."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while commands := getattr(command, "commands", None):
        if words[0] not in commands:
            return f"no command {words[0]}"
        command, words = commands[words[0]], words[1:]
    try:
        command.make_context(command.name, words)
    except Exception as error:  # noqa: BLE001  Typer brings its own Click, whose errors have no public name
        return str(getattr(error, "message", error)) or type(error).__name__
    return ""
