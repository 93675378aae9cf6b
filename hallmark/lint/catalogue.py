"""All rules: importing this registers them."""

from __future__ import annotations

from hallmark.lint import (
    api_server,
    autoscaling,
    checked,
    conditions,
    decision,
    declarations,
    declared_values,
    knative,
    kserve,
    pipelines,
    pod_values,
    prompts,
    references,
    restricted,
    retrieval,
    revision,
    revision_containers,
    scripts,
    standard_mode,
    storage,
    view_fields,
    view_versions,
    views,
    webhooks,
)
from hallmark.lint.rules import RULES, Rule

TOPICS = (
    ("KServe", kserve),
    ("KServe's webhooks", webhooks),
    ("Models' addresses", storage),
    ("Standard mode", standard_mode),
    ("Knative mode: the service", knative),
    ("Knative mode: scaling", autoscaling),
    ("Knative mode: the pod", revision),
    ("Knative mode: containers", revision_containers),
    ("Pipelines", pipelines),
    ("Pipelines: conditions", conditions),
    ("Pipelines in Python", scripts),
    ("Pods", restricted),
    ("Pods: values", pod_values),
    ("Names, budgets and secrets", references),
    ("Declarations", declarations),
    ("Retrieval", retrieval),
    ("Decisions", decision),
    ("Declarations and code", checked),
    ("Prompts", prompts),
    ("The API server", api_server),
    ("Values of declarations", declared_values),
    ("Sources and feature views", views),
    ("Versions of feature views", view_versions),
    ("Feature views and models", view_fields),
)


def rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    return tuple(RULES[code] for code in sorted(RULES))


def topic(rule: Rule) -> str:
    """The title of the group that a rule belongs to."""
    module = rule.check.__module__
    return next(title for title, each in TOPICS if each.__name__ == module)
