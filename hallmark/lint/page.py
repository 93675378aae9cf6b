"""The table of docs/lint.md, from the rules' own declarations."""

from __future__ import annotations

from hallmark.lint.catalogue import TOPICS, rules, topic


def table() -> str:
    """Every rule under its topic: code, what is found, why, how to mend it, and where that was read."""
    parts = []
    for title, _ in TOPICS:
        rows = [
            f"| {rule.code}{'' if rule.severity == 'error' else ' (warning)'} | [{rule.title}]({rule.link}) | "
            f"{_cell(rule.reason)} | {_cell(rule.fix)} |"
            for rule in rules()
            if topic(rule) == title
        ]
        parts.append("\n".join([f"### {title}", "", "| code | found | why | fix |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
