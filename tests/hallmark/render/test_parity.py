"""The CronJob that compares features: strictly by the schemas, as often as a report needs it, and with the rights that the command uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from hallmark import cron, names
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.feature_store.parity_report import SHORT
from hallmark.render import parity, tenant
from hallmark.rollout import parity as reports
from hallmark.settings import Settings
from tests.manifests.rbac import Ask, Subject, allowed

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
FRAUD = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))


def compared(window: str) -> Domain:
    return domains.overridden(FRAUD, (f"features.parity.window={window}",))


def objects(domain: Domain = FRAUD) -> dict[tuple[str, str], Any]:
    mine = [each for each in tenant.objects(domain, [domain]) if each["metadata"]["name"] == names.PARITY]
    return {(each["kind"], each["metadata"]["name"]): each for each in mine}


def test_every_object_keeps_its_strict_schema() -> None:
    found = objects()
    kinds = {kind for kind, _ in found}
    assert kinds == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob", "NetworkPolicy"}
    for each in found.values():
        kubernetes_validate.validate(each, "1.32", strict=True)
        assert each["metadata"]["namespace"] == "fraud"


@pytest.mark.parametrize(
    ("window", "minutes"), [("1h", 2), ("2h", 5), ("6h", 15), ("12h", 30), ("1d", 60), ("30d", 60)]
)
def test_it_runs_twice_before_its_report_says_nothing_any_more(window: str, minutes: int) -> None:
    domain = compared(window)
    assert domain.features is not None
    assert parity.every(domain) == timedelta(minutes=minutes) <= domain.features.parity.window / SHORT / 2
    times = [each.replace(tzinfo=None) for each in islice(cron.upcoming(f"0 {parity.schedule(domain)}", NOON), 70)]
    assert {later - sooner for sooner, later in pairwise(times)} == {timedelta(minutes=minutes)}
    job = objects(domain)["CronJob", names.PARITY]["spec"]
    assert job["schedule"] == parity.schedule(domain)
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] == minutes * 60, "one ends before the next begins"


def test_a_verdict_is_not_asked_again_and_an_accident_is() -> None:
    job = objects()["CronJob", names.PARITY]["spec"]["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {"containerName": "parity", "operator": "In", "values": [2, 3]}
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (1, "Never")


def test_a_domain_without_views_has_none_of_it() -> None:
    assert not objects(FRAUD.model_copy(update={"features": None}))


def test_its_account_may_what_the_command_does_and_no_more() -> None:
    made = tenant.objects(FRAUD, [FRAUD])
    account = Subject.account("fraud", names.PARITY)
    may = {
        Ask("get", "serving.kserve.io", "inferenceservices", "fraud", "fraud"),
        Ask("list", "", "pods", "fraud", ""),
        Ask("get", "", "pods/proxy", "fraud", "p"),
        Ask("get", "", "configmaps", "fraud", reports.NAME),
        Ask("update", "", "configmaps", "fraud", reports.NAME),
        Ask("create", "", "configmaps", "fraud", ""),
    }
    for ask in may:
        assert allowed(made, account, ask), ask
    for ask in (
        Ask("create", "", "pods/proxy", "fraud", "p"),
        Ask("get", "", "configmaps", "fraud", "hallmark-watch"),
        Ask("patch", "serving.kserve.io", "inferenceservices", "fraud", "fraud"),
        Ask("get", "", "secrets", "fraud", "mlflow"),
    ):
        assert not allowed(made, account, ask), ask
