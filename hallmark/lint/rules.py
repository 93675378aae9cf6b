"""A rule: what it is called, why, and how to mend it, declared once; `--list`, docs/lint.md and SARIF are read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from hallmark.lint.source import Document, Keys

S = TypeVar("S")


class Severity(StrEnum):
    """error: rejected, never ready, or requests are lost. warning: works, but not as written, or will bite."""

    error = "error"
    warning = "warning"


class Outcome(StrEnum):
    """What a cluster makes of it: refuses the object, takes it and never gets it ready, or takes it and drops the field."""

    refused = "refused"
    never_ready = "never ready"
    dropped = "field dropped"


class RuleMatch(NamedTuple):
    """Match of a rule: its document, its key and the value there.

    mark: where no key leads there.  severity, outcome, fix: where they are not the rule's.
    """

    document: Document
    path: Keys
    text: str
    mark: tuple[int, int] | None = None
    severity: Severity | None = None
    outcome: Outcome | None = None
    fix: str = ""

    def warned(self, outcome: Outcome | None = None) -> RuleMatch:
        """The same as a warning: it works, though not as written."""
        return self._replace(severity=Severity.warning, outcome=outcome)

    def ends(self, outcome: Outcome) -> RuleMatch:
        """The same with this outcome."""
        return self._replace(outcome=outcome)

    def mended(self, fix: str) -> RuleMatch:
        """The same with the fix of this very value, where there is one."""
        return self._replace(fix=fix)


class LintFinding(BaseModel):
    """A broken rule at a line. `path` is `key` in its parts, for readers in this process."""

    model_config = ConfigDict(frozen=True)

    code: str
    severity: Severity
    outcome: Outcome | None = None
    file: str
    line: int
    column: int
    key: str
    message: str
    reason: str
    fix: str
    link: str
    path: Keys = Field(default=(), exclude=True)


@dataclass(frozen=True)
class Rule:
    """`check` gives a hit for each place of one subject (an InferenceService, a pod, a compiled graph...) that breaks it."""

    code: str
    title: str
    severity: Severity
    outcome: Outcome | None
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
    outcome: Outcome | None = None,
) -> Callable[[Callable[[S, Any], Iterable[RuleMatch]]], Callable[[S, Any], Iterable[RuleMatch]]]:
    """Declare the function below as the rule `code` about every `on`; it is given the subject and the World."""

    def declare(check: Callable[[S, Any], Iterable[RuleMatch]]) -> Callable[[S, Any], Iterable[RuleMatch]]:
        if code in RULES:
            raise ValueError(f"{code} is declared twice")
        RULES[code] = Rule(code, title, severity, outcome, reason, fix, link, on, check)
        return check

    return declare


KSERVE = "https://github.com/kserve/kserve/blob/master/"
KNATIVE = "https://github.com/knative/serving/blob/main/"
PIPELINES = "https://github.com/kubeflow/pipelines/blob/master/"
POD_SECURITY = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"
