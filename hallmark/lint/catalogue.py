"""All rules: importing this registers them."""

from __future__ import annotations

from hallmark.lint import (
    declarations,
    knative,
    kserve,
    pipelines,
    references,
    restricted,
    revision,
    scripts,
    standard_mode,
    storage,
)
from hallmark.lint.rules import RULES, Rule

TOPICS = (
    ("KServe", kserve),
    ("Models' addresses", storage),
    ("Standard mode", standard_mode),
    ("Knative mode: the service", knative),
    ("Knative mode: the pod", revision),
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
