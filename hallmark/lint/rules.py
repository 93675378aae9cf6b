"""A rule: what it is called, why, and how to mend it, declared once; `--list`, docs/lint.md and SARIF are read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from hallmark.lint.source import Document, Keys

S = TypeVar("S")


class Severity(StrEnum):
    """error: rejected, or accepted and ignored or broken. warning: works, and will bite."""

    error = "error"
    warning = "warning"


class RuleMatch(NamedTuple):
    """Match of a rule: its document, its key and the value there. `mark` where no key leads there."""

    document: Document
    path: Keys
    text: str
    mark: tuple[int, int] | None = None


class LintFinding(BaseModel):
    """A broken rule at a line."""

    model_config = ConfigDict(frozen=True)

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    key: str
    message: str
    reason: str
    fix: str
    link: str


@dataclass(frozen=True)
class Rule:
    """`check` gives a hit for each place of one subject (an InferenceService, a pod, a compiled graph...) that breaks it."""

    code: str
    title: str
    severity: Severity
    reason: str
    fix: str
    link: str
    subject: type[Any]
    check: Callable[[Any, Any], Iterable[RuleMatch]]


RULES: dict[str, Rule] = {}
"""Filled when hallmark.lint.catalogue is imported."""


def rule(
    code: str,
    title: str,
    *,
    on: type[S],
    reason: str,
    fix: str,
    link: str,
    severity: Severity = Severity.error,
) -> Callable[[Callable[[S, Any], Iterable[RuleMatch]]], Callable[[S, Any], Iterable[RuleMatch]]]:
    """Declare the function below as the rule `code` about every `on`; it is given the subject and the World."""

    def declare(check: Callable[[S, Any], Iterable[RuleMatch]]) -> Callable[[S, Any], Iterable[RuleMatch]]:
        if code in RULES:
            raise ValueError(f"{code} is declared twice")
        RULES[code] = Rule(code, title, severity, reason, fix, link, on, check)
        return check

    return declare


KSERVE = "https://github.com/kserve/kserve/blob/master/"
KNATIVE = "https://github.com/knative/serving/blob/main/"
PIPELINES = "https://github.com/kubeflow/pipelines/blob/master/"
POD_SECURITY = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"
