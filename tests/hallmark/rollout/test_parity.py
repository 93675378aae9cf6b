"""Rollouts and the parity of features: held while the budget burns, on as soon as it does not, and never held by what is not known."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration.features import Parity
from hallmark.errors import Conflict
from hallmark.feature_store.parity_report import Mismatches, ParityPart, ParityReport
from hallmark.rollout import parity
from hallmark.rollout.evidence import Evidence, FeatureParity
from hallmark.rollout.parity import ParityStore
from tests.hallmark.rollout.test_decision import GOOD, SHADOW, decided, outcomes
from tests.hallmark.rollout.tiny import Clock, Cluster

BURNS = FeatureParity(state="BURNS", text="features of 40 of 1000 answers (4.00%) are not what the offline store says")


def report(at: datetime, *, burns: bool) -> ParityReport:
    differ = 40 if burns else 0
    late = Mismatches(view="buyer_orders@1", column="buyer_orders_30d", cause="late", values=differ)
    part = ParityPart(since=at, answers=1000, differ=differ, mismatches=(late,) if burns else ())
    return ParityReport(domain="fraud", at=at, policy=Parity(), parts=(part,), burns=burns)


@pytest.mark.parametrize(("evidence", "percent"), [(SHADOW, 0), (GOOD, 50)])
def test_a_rollout_is_held_while_the_budget_burns_and_not_rolled_back(evidence: Evidence, percent: int) -> None:
    step = decided(evidence, percent=percent, parity=BURNS)
    assert (step.action, step.why) == ("hold", BURNS.text)
    well = FeatureParity(state="OK", text="")
    assert decided(evidence, percent=percent, parity=well).action in ("shift", "promote")


def test_what_nobody_compared_lately_holds_nothing_and_is_said() -> None:
    step = decided(parity=FeatureParity(state="UNKNOWN", text="compared 5h ago"))
    assert step.action == "promote" and outcomes(step, "parity") == {"unjudged"}
    assert not outcomes(decided(GOOD), "parity"), "a domain that looks no features up has no such rule"


def test_the_loop_reads_the_report_of_its_domain() -> None:
    cluster, clock = Cluster(), Clock()
    domain = domains.overridden(domains.load("fraud"), ["features.views=[buyer_orders@1]", "features.missing=refuse"])
    bare = domain.model_copy(update={"features": None})
    assert parity.evidence(cluster, bare, clock()) is None  # type: ignore[arg-type]

    def told() -> FeatureParity:
        found = parity.evidence(cluster, domain, clock())  # type: ignore[arg-type]
        assert found is not None
        return found

    assert told().state == "UNKNOWN" and "hallmark features parity fraud" in told().text
    store = ParityStore(cluster, "fraud")  # type: ignore[arg-type]
    assert store.read() is None
    store.write(report(clock(), burns=True))
    assert told().state == "BURNS"
    assert told().text.startswith(
        "features of 40 of 1000 answers (4.00%) are not what the offline store says, 0.10% is allowed"
    )
    assert "late in buyer_orders@1 buyer_orders_30d" in told().text
    store.write(report(clock(), burns=False))
    assert told().state == "OK", "released as soon as it is well"
    clock.sleep(timedelta(hours=3).total_seconds())
    assert told().state == "UNKNOWN" and "180m ago" in told().text.replace("3h ago", "180m ago")
    cluster.maps[parity.NAME]["data"] = {"report.json": "{}"}
    assert told().state == "UNKNOWN", "a report of another version is none"


def test_two_who_judge_at_once_do_not_overwrite_each_other() -> None:
    cluster, clock = Cluster(), Clock()
    one, other = (ParityStore(cluster, "fraud") for _ in range(2))  # type: ignore[arg-type]
    assert one.read() is None and other.read() is None
    one.write(report(clock(), burns=True))
    with pytest.raises(Conflict):
        other.write(report(clock(), burns=False))
