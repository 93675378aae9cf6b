"""Lint and the local API say of some 1,400 variants of one InferenceService what real controllers made of each (tests/variants.json)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.lint import judge
from hallmark.lint.rules import Severity
from tests import admission
from tests.admission import Case
from tests.local_cluster.test_admission import Asked

OURS = {
    "HM108": ("uri-s3-dots",),
    "HM201": ("std-canary-27", "std-canary-and-percent"),
    "HM203": ("std-canary-and-transformer",),
    "HM204": ("std-canary-22",),
    "HM215": ("std-timeout-", "std-pod-terminationGracePeriodSeconds-"),
    "HM313": ("canary--1", "canary-101"),  # taken, and refused at the next step
    "HM322": ("model-ports-4", "std-model-ports-4"),
    "HM509": ("model-image-0", "std-model-image-0", "custom-11"),
    "HM519": (
        "std-readinessProbe-3",
        "std-startupProbe-3",
        "std-own-readinessProbe-named-",
        "std-own-startupProbe-named-",
    ),
    "HM512": ("resources-15", "std-resources-15", "resources-16", "std-resources-16"),
}
"""Variants that admission lets through, and a rule of ours refuses: it would serve badly, or never."""
LATER = {
    "the kubelet refuses the image": ("std-model-image-",),
    "the kubelet knows no such medium": ("std-volumes-9",),
    "its candidate's pods are refused, which the record does not look at": (
        "std-canary-29",
        "std-canary-and-transformer",
    ),
    "nobody writes a quantity with a blank": ("resources-32", "std-resources-32"),
    "Knative compares the port of two probes by name, and of this one not": ("startupProbe-3",),
    "a period of 0 counts as one that is written": ("readinessProbe-13",),
}
"""Variants that admission lets through, and lint does not."""
UNSEEN = ("pod-priorityClassName-0", "std-pod-priorityClassName-0")
"""The class may be on the cluster without being in a file."""


def among(case: Case, names: tuple[str, ...]) -> bool:
    return any(case.id == name or (name.endswith("-") and case.id.startswith(name)) for name in names)


def expected(case: Case, codes: set[str]) -> bool:
    """True where an error of lint about an accepted variant is meant."""
    return any(among(case, names) for names in LATER.values()) or any(among(case, OURS.get(code, ())) for code in codes)


def test_lint_judges_each_variant_as_the_cluster_did() -> None:
    wrong = {}
    for case in admission.variants():
        found = judge.of_objects([case.service], background=admission.cluster(), domains=["fraud"])
        errors = [each for each in found if each.severity is Severity.error]
        if case.outcome == "accepted":
            right = not errors or expected(case, {each.code for each in errors})
        else:
            right = case.outcome in {each.outcome for each in errors} or case.id in UNSEEN
        if not right:
            wrong[case.id] = (case.outcome, case.by, [(each.code, each.key, each.message) for each in errors])
    assert wrong == {}


def test_what_is_excused_is_still_needed() -> None:
    named = {name for names in (*OURS.values(), *LATER.values()) for name in names}
    cases = {case.id for case in admission.variants()}
    assert all(any(each == name or each.startswith(name) for each in cases) for name in named)


@pytest.mark.slow
def test_the_local_api_refuses_what_the_real_one_refuses(tmp_path: Path) -> None:
    asked, wrong = Asked(tmp_path), {}
    try:
        for case in admission.variants():
            answer = asked.post(case.service)
            right = 400 <= answer.status_code < 500 if case.outcome == "refused" else answer.status_code == 201
            if not right and case.id not in ("resources-32", "std-resources-32"):
                wrong[case.id] = (case.outcome, answer.status_code, answer.text[:200])
    finally:
        asked.store.close()
    assert wrong == {}
