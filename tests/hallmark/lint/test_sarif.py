"""SARIF is what GitHub's code scanning takes, says all that was found, and names a fault the same after its lines moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from hallmark.lint import judge
from hallmark.lint.catalogue import rules
from hallmark.lint.judge import LintReport
from hallmark.lint.sarif import sarif
from hallmark.lint.source import documents

FIXTURES = Path(__file__).parent / "fixtures"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "sarif.schema.json").read_text(encoding="utf-8"))


def checked(report: LintReport) -> dict[str, Any]:
    """The report as it reads after a round trip through text, valid by the schema."""
    found: dict[str, Any] = json.loads(json.dumps(sarif(report)))
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def everything() -> LintReport:
    paths = sorted([*FIXTURES.glob("*/bad.*"), *FIXTURES.glob("*/bad/*")])
    return judge.lint(paths, root=None, stdin="a: [1")


def test_every_finding_and_every_rule_is_in_it() -> None:
    report = everything()
    (run,) = checked(report)["runs"]
    assert len(report.findings) > 80
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.code for rule in rules()]
    told = [
        (
            result["ruleId"],
            result["level"],
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            *result["locations"][0]["physicalLocation"]["region"].values(),
        )
        for result in run["results"]
    ]
    assert told == [(each.code, each.severity.value, each.file, each.line, each.column) for each in report.findings]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_file_that_cannot_be_read_makes_the_run_no_success() -> None:
    (run,) = checked(everything())["runs"]
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["message"]["text"].startswith("stdin:")


def test_an_empty_report_is_valid_too() -> None:
    (run,) = checked(LintReport())["runs"]
    assert run["results"] == [] and run["invocations"] == [
        {"executionSuccessful": True, "toolExecutionNotifications": []}
    ]


def test_a_file_inside_is_relative_to_the_root_and_one_outside_has_its_whole_address(tmp_path: Path) -> None:
    outside = tmp_path / "a b.yaml"
    outside.write_text((FIXTURES / "HM113-replicas" / "bad.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    report = judge.lint([outside, FIXTURES / "HM113-replicas" / "bad.yaml"], root=FIXTURES)
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]
        for result in checked(report)["runs"][0]["results"]
        if result["ruleId"] == "HM113"
    ]
    assert places == [
        {"uri": f"file://{tmp_path}/a%20b.yaml"},
        {"uri": "HM113-replicas/bad.yaml", "uriBaseId": "%SRCROOT%"},
    ]


def fingerprints(text: str) -> list[str]:
    report = LintReport(findings=tuple(judge.findings(list(documents(text, shown="a b.yaml")))))
    return [
        result["partialFingerprints"]["primaryLocationLineHash"] for result in checked(report)["runs"][0]["results"]
    ]


def test_a_fault_keeps_its_name_when_lines_move_and_another_fault_has_another() -> None:
    text = (FIXTURES / "HM207-canaries-over-100" / "bad.yaml").read_text(encoding="utf-8")
    once = fingerprints(text)
    assert len(once) == 1 and once == fingerprints(f"# moved\n\n{text}")
    assert once != fingerprints(text.replace("trafficPercent: 50", "trafficPercent: 55"))
    twice = fingerprints(f"{text}---\n{text.replace('name: fraud', 'name: search')}")
    assert len(set(twice)) == len(twice) == 2
