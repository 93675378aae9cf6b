"""All rules: importing this registers them."""

from __future__ import annotations

from hallmark.lint import declarations, knative, kserve, pipelines, references, restricted, scripts, standard_mode
from hallmark.lint.rules import RULES, Rule

TOPICS = (
    ("KServe", kserve),
    ("Standard mode", standard_mode),
    ("Knative mode", knative),
    ("Pipelines", pipelines),
    ("Pipelines in Python", scripts),
    ("Pods", restricted),
    ("Names, budgets and secrets", references),
    ("Declarations", declarations),
)


def rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    return tuple(RULES[code] for code in sorted(RULES))


def topic(rule: Rule) -> str:
    """The title of the group that a rule belongs to."""
    module = rule.check.__module__
    return next(title for title, each in TOPICS if each.__name__ == module)
