"""Findings as SARIF 2.1.0, the form that GitHub's code scanning takes."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any
from urllib.parse import quote

from hallmark import __version__
from hallmark.lint.catalogue import rules, topic
from hallmark.lint.judge import LintReport
from hallmark.lint.rules import LintFinding, Rule, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_ADDRESS = "https://github.com/hallmark-marketplace/hallmark/blob/main/docs/lint.md"


def sarif(report: LintReport) -> dict[str, Any]:
    """One run: every rule with its help, and a result a finding, at a place relative to the checkout's root."""
    known = rules()
    index = {rule.code: number for number, rule in enumerate(known)}
    seen: Counter[str] = Counter()
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hallmark lint",
                        "informationUri": _ADDRESS,
                        "semanticVersion": __version__,
                        "rules": [_rule(rule) for rule in known],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {_ROOT: {"description": {"text": "The checkout's root."}}},
                "invocations": [
                    {
                        "executionSuccessful": not report.unreadable,
                        "toolExecutionNotifications": [
                            {"level": "error", "message": {"text": text}} for text in report.unreadable
                        ],
                    }
                ],
                "results": [_result(finding, index[finding.code], seen) for finding in report.findings],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    text = f"{_sentence(rule.reason)} Fix: {_sentence(rule.fix)}"
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.title.replace(".", " ").split() if word.isalnum()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": _sentence(rule.reason)},
        "help": {
            "text": text,
            "markdown": f"{_sentence(rule.reason)}\n\n**Fix:** {_sentence(rule.fix)}\n\n[Source]({rule.link})",
        },
        "helpUri": rule.link,
        "defaultConfiguration": {"level": _level(rule.severity)},
        "properties": {"tags": [topic(rule)], "precision": "high", "problem.severity": _level(rule.severity)},
    }


def _result(finding: LintFinding, index: int, seen: Counter[str]) -> dict[str, Any]:
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _level(finding.severity),
        "message": {"text": f"{_sentence(finding.message)} {_sentence(finding.reason)} Fix: {_sentence(finding.fix)}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": _place(finding.file),
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(finding, seen)},
    }


def _fingerprint(finding: LintFinding, seen: Counter[str]) -> str:
    """The same for the same fault after lines moved: of code, file, key and what stands there; numbered where it repeats."""
    said = "\0".join((finding.code, finding.file, finding.key, finding.message))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"


def _level(severity: Severity) -> str:
    return "error" if severity is Severity.error else "warning"


def _place(file: str) -> dict[str, str]:
    """Relative to the checkout's root, or the whole address of a file that is outside."""
    if file.startswith("/"):
        return {"uri": f"file://{quote(file)}"}
    return {"uri": quote(file), "uriBaseId": _ROOT}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""
