"""The decision: each rule with each outcome, and what holds whatever the evidence is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.declaration.rollout import CandidateLimits, Rollout, RolloutLabels, Shadow
from hallmark.rollout.decision import OVERALL, Reason, RolloutDecision, decide
from hallmark.rollout.evidence import (
    AgreementSlice,
    Evidence,
    Exposure,
    PredictionCost,
    RecallCounts,
    RequestCounts,
    RolloutProgress,
    ScoreCounts,
    VariantDrift,
)

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
POLICY = Rollout(
    shadow=Shadow(output="score", threshold=0.5, minimum=500, disagreement=0.01, slices=("price",)),
    stages=(10, 50, 100),
    dwell=timedelta(minutes=10),
    minimum_samples=500,
    deadline=timedelta(hours=2),
)
OK, DRIFT, INSUFFICIENT = (VariantDrift(state=state) for state in ("OK", "DRIFT", "INSUFFICIENT"))
FLAT, MOVED = (100,) * 10, (0,) * 9 + (1000,)
RANK = {"promote": 0, "shift": 0, "hold": 1, "rollback": 2}


def counts(requests: int = 20_000, **more: Any) -> RequestCounts:
    return RequestCounts(**{"requests": requests, "answered": requests, **more})


GOOD = Evidence(
    exposures=(
        Exposure(percent=10, stable=counts(90_000, failed=90, slow=900), canary=counts(10_000, failed=10, slow=100)),
        Exposure(percent=50, stable=counts(failed=20, slow=200), canary=counts(failed=20, slow=200)),
    ),
    scores=(ScoreCounts(output="score", stable=(10_000,) * 10, canary=(2000,) * 10),),
    slices=(
        AgreementSlice(name=OVERALL, pairs=10_000, changed=10),
        AgreementSlice(name="price over 100", pairs=1000, changed=1),
    ),
    stable=OK,
    canary=OK,
)
SHADOW = GOOD.model_copy(
    update={"exposures": (Exposure(percent=0, stable=counts(failed=20), canary=counts(failed=20)),)}
)


def progress(percent: int = 50, *, started: int = 0, since: int = 0) -> RolloutProgress:
    """A rollout at a share; `started` and `since` in minutes."""
    return RolloutProgress(
        id="ab" * 16,
        version=2,
        phase="canary" if percent else "shadow",
        percent=percent,
        started=BEGAN + timedelta(minutes=started),
        since=BEGAN + timedelta(minutes=since),
    )


def decided(
    evidence: Evidence = GOOD, *, minutes: float = 30, percent: int = 50, policy: Rollout = POLICY, **changed: Any
) -> RolloutDecision:
    seen = evidence.model_copy(update=changed)
    return decide(policy, progress(percent), seen, now=BEGAN + timedelta(minutes=minutes))


def at_half(stable: RequestCounts, canary: RequestCounts) -> tuple[Exposure, ...]:
    return (Exposure(percent=50, stable=stable, canary=canary),)


def outcomes(step: RolloutDecision, rule: str) -> set[str]:
    return {reason.outcome for reason in step.reasons if reason.rule == rule}


# The way of a good candidate.


def test_a_good_candidate_leaves_the_shadow_steps_up_and_is_promoted() -> None:
    assert (decided(SHADOW, percent=0).action, decided(SHADOW, percent=0).percent) == ("shift", 10)
    first = GOOD.model_copy(update={"exposures": GOOD.exposures[:1]})
    assert (decided(first, percent=10).action, decided(first, percent=10).percent) == ("shift", 50)
    assert (decided().action, decided().percent) == ("promote", 100)


def test_without_canary_steps_the_shadow_promotes() -> None:
    assert decided(SHADOW, percent=0, policy=POLICY.model_copy(update={"stages": (100,)})).action == "promote"


def test_a_share_is_held_for_its_dwell() -> None:
    step = decided(minutes=9.99)
    assert (step.action, step.why) == ("hold", "599 s of 10m at this share")
    assert decided(minutes=10).action == "promote"


def test_a_clock_that_went_back_holds() -> None:
    assert decided(minutes=-5).why == "0 s of 10m at this share"


@pytest.mark.parametrize("policy", [POLICY, POLICY.model_copy(update={"stages": (50, 100), "shadow": None})])
def test_at_the_deadline_what_is_not_promoted_is_rolled_back(policy: Rollout) -> None:
    waiting = GOOD.model_copy(update={"stable": None})
    assert decided(waiting, minutes=119.9, policy=policy).action == "hold"
    step = decided(waiting, minutes=120, policy=policy)
    assert step.action == "rollback"
    assert step.why == "not promoted within 2h: no drift verdict on stable"
    assert decided(minutes=120, policy=policy).action == "promote"


def test_at_the_deadline_a_step_is_none_but_the_last_and_a_dwell_is_too_late() -> None:
    first = GOOD.model_copy(update={"exposures": GOOD.exposures[:1]})
    assert decided(first, minutes=120, percent=10).why == "not promoted within 2h"
    late = decide(POLICY, progress(50, since=115), GOOD, now=BEGAN + timedelta(minutes=120))
    assert (late.action, late.why) == ("rollback", "not promoted within 2h: 300 s of 10m at this share")


def test_a_bad_hour_for_both_is_not_blamed_on_the_one_that_had_more_of_its_traffic_then() -> None:
    """Both failed 0.1% at the first step and 4% at the second: 3.6% of the candidate's requests in all, 0.8% of stable's."""
    mixed = (
        Exposure(percent=10, stable=counts(90_000, failed=90), canary=counts(2000, failed=2)),
        Exposure(percent=50, stable=counts(failed=800), canary=counts(failed=800)),
    )
    step = decided(exposures=mixed)
    assert step.action == "hold"
    assert "not to blame" in step.why


# Each rule, each outcome.

HALF = counts(20_000)
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    # what, the rule, what it says, the evidence
    ("refused", "model", "against", {"refused": "DigestMismatch: model.onnx"}),
    ("not ready", "model", "wait", {"ready": False}),
    ("a metric is missing", "metrics", "wait", {"missing": ("the gateway's statistics do not answer",)}),
    ("too few of the candidate", "samples", "wait", {"exposures": at_half(HALF, counts(499))}),
    ("too few of stable", "samples", "wait", {"exposures": at_half(counts(499), HALF)}),
    ("no answer was counted", "samples", "wait", {"exposures": at_half(HALF, counts(20_000, answered=0))}),
    ("no step was counted", "samples", "wait", {"exposures": ()}),
    ("counts of another share", "samples", "wait", {"exposures": GOOD.exposures[:1]}),
    ("enough", "samples", "ok", {}),
    ("fails more", "errors", "against", {"exposures": at_half(counts(failed=20), counts(failed=200))}),
    ("fails always", "errors", "against", {"exposures": at_half(HALF, counts(failed=20_000, answered=0))}),
    ("over the limit alone", "errors", "against", {"exposures": at_half(counts(failed=360), counts(failed=500))}),
    ("both over the limit", "errors", "wait", {"exposures": at_half(counts(failed=900), counts(failed=900))}),
    ("a little over", "errors", "wait", {"exposures": at_half(counts(2000, failed=40), counts(2000, failed=41))}),
    ("too few to tell", "errors", "wait", {"exposures": at_half(counts(600), counts(600))}),
    ("fails less", "errors", "ok", {"exposures": at_half(counts(failed=200), counts(failed=20))}),
    ("negligible", "errors", "ok", {"exposures": at_half(counts(failed=2), counts(failed=40))}),
    ("slower", "latency", "against", {"exposures": at_half(counts(slow=600), counts(slow=2000))}),
    ("both slow", "latency", "wait", {"exposures": at_half(counts(slow=3000), counts(slow=3000))}),
    ("too few for slow", "latency", "wait", {"exposures": at_half(counts(500, slow=20), counts(500, slow=20))}),
    ("as slow", "latency", "ok", {"exposures": at_half(counts(slow=700), counts(slow=700))}),
    ("NaN", "outputs", "against", {"exposures": at_half(HALF, counts(20_000, invalid=200))}),
    ("some NaN", "outputs", "ok", {"exposures": at_half(HALF, counts(20_000, invalid=20))}),
    ("no verdict on stable", "drift", "wait", {"stable": None}),
    ("no verdict on it", "drift", "wait", {"canary": None}),
    ("insufficient on stable", "drift", "wait", {"stable": INSUFFICIENT}),
    ("insufficient on it", "drift", "wait", {"canary": INSUFFICIENT}),
    ("only it drifts", "drift", "against", {"canary": VariantDrift(state="DRIFT", outputs=("score",))}),
    (
        "its scores drift",
        "drift",
        "against",
        {"stable": DRIFT, "canary": VariantDrift(state="DRIFT", outputs=("score",))},
    ),
    ("the traffic drifts", "drift", "wait", {"stable": DRIFT, "canary": VariantDrift(state="DRIFT", inputs=("amount",))}),
    ("it learned the drift", "drift", "ok", {"stable": DRIFT}),
    ("shifted", "scores", "against", {"scores": (ScoreCounts(output="score", stable=FLAT, canary=MOVED),)}),
    ("a little data", "scores", "wait", {"scores": (ScoreCounts(output="score", stable=(3, 3), canary=(0, 6)),)}),
    ("no scores", "scores", "wait", {"scores": ()}),
    ("no yardstick", "scores", "unjudged", {"stable": DRIFT, "scores": ()}),
    ("one of two shifted", "scores", "against", {"scores": (*GOOD.scores, ScoreCounts(output="x", stable=FLAT, canary=MOVED))}),
    ("verdicts changed", "agreement", "against", {"slices": (AgreementSlice(name=OVERALL, pairs=5000, changed=200),)}),
    (
        "changed where it matters",
        "agreement",
        "against",
        {"slices": (*GOOD.slices[:1], AgreementSlice(name="price over 100", pairs=5000, changed=200))},
    ),
    ("drifted agreement", "agreement", "unjudged", {"stable": DRIFT}),
    ("agrees", "agreement", "ok", {}),
    ("no labels", "labels", "unjudged", {}),
    ("few labels", "labels", "unjudged", {"cost": PredictionCost(state="NOT_ENOUGH_LABELS", labels=(7, 5))}),
    ("dear", "labels", "against", {"cost": PredictionCost(state="JUDGED", labels=(500, 500), stable=1, canary=3, radius=0.5)}),
    ("perhaps dear", "labels", "ok", {"cost": PredictionCost(state="JUDGED", labels=(500, 500), stable=1, canary=3, radius=2)}),
    ("cheap", "labels", "ok", {"cost": PredictionCost(state="JUDGED", labels=(500, 500), stable=1, canary=0.5, radius=0.1)}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "rule", "outcome", "changed"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_says_what_the_evidence_says(what: str, rule: str, outcome: str, changed: dict[str, Any]) -> None:
    step = decided(**changed)
    assert outcome in outcomes(step, rule)
    action = {"against": "rollback", "wait": "hold"}.get(outcome, "promote")
    others = {reason.outcome for reason in step.reasons if reason.rule != rule}
    if not others & {"against", "wait"}:
        assert step.action == action
    assert RANK[step.action] >= RANK[action]
    assert step.reasons[0].outcome == {"rollback": "against", "hold": "wait"}.get(step.action, step.reasons[0].outcome)


SHADOWED: list[tuple[str, str, tuple[AgreementSlice, ...]]] = [
    ("no pair", "wait", ()),
    ("too few pairs", "wait", (AgreementSlice(name=OVERALL, pairs=499, changed=0),)),
    (
        "too few to show it",
        "wait",
        (AgreementSlice(name=OVERALL, pairs=500, changed=1), AgreementSlice(name="a", pairs=50, changed=0)),
    ),
    (
        "over it",
        "wait",
        (AgreementSlice(name=OVERALL, pairs=10_000, changed=10), AgreementSlice(name="a", pairs=1000, changed=12)),
    ),
    (
        "a rarity",
        "ok",
        (AgreementSlice(name=OVERALL, pairs=10_000, changed=10), AgreementSlice(name="a", pairs=100, changed=0)),
    ),
    ("shown", "ok", GOOD.slices),
]


@pytest.mark.parametrize(("what", "outcome", "slices"), SHADOWED, ids=[case[0] for case in SHADOWED])
def test_the_shadow_ends_when_agreement_is_shown(what: str, outcome: str, slices: tuple[AgreementSlice, ...]) -> None:
    step = decided(SHADOW, percent=0, slices=slices)
    assert step.action == ("hold" if outcome == "wait" else "shift")


def test_a_disagreement_of_none_is_kept_by_one_change() -> None:
    none = POLICY.model_copy(update={"shadow": Shadow(output="score", disagreement=0.0)})
    same, other = (AgreementSlice(name=OVERALL, pairs=5000, changed=changed) for changed in (0, 1))
    assert decided(SHADOW, percent=0, policy=none, slices=(same,)).action == "shift"
    assert decided(SHADOW, percent=0, policy=none, slices=(other,)).action == "rollback"


def test_labels_that_are_required_are_waited_for_at_the_last_step_only() -> None:
    policy = POLICY.model_copy(update={"labels": RolloutLabels(required=True)})
    first = GOOD.model_copy(update={"exposures": GOOD.exposures[:1]})
    assert decided(first, percent=10, policy=policy).action == "shift"
    assert decided(policy=policy).why == "NOT_ENOUGH_LABELS: 0 of 200 final labels"
    dear = PredictionCost(state="JUDGED", labels=(500, 500), stable=1, canary=1.2, radius=0.5)
    assert decided(policy=policy, cost=dear).action == "hold"
    assert decided(policy=policy, cost=dear.model_copy(update={"canary": 1.05})).action == "promote"


def test_limits_of_nothing_and_of_everything_decide() -> None:
    nothing = POLICY.model_copy(update={"limits": CandidateLimits(errors=0, slow=0, invalid=0, score_shift=0)})
    everything = POLICY.model_copy(
        update={"limits": CandidateLimits(errors=1, slow=1, invalid=1, score_shift=1, negligible=1)}
    )
    worst = at_half(counts(failed=20_000), counts(failed=20_000, slow=20_000, invalid=20_000))
    assert decided(policy=nothing).action == "hold"  # Stable fails too.
    assert decided(policy=nothing, exposures=at_half(HALF, counts(failed=20))).action == "rollback"
    assert decided(policy=everything).action == "promote"
    assert decided(policy=everything, exposures=worst).action in ("hold", "rollback")


def test_a_reason_that_decided_comes_first_and_all_others_follow() -> None:
    step = decided(canary=VariantDrift(state="DRIFT", outputs=("score",)), missing=("x does not answer",))
    assert step.why == "it drifts from its own reference (score), stable does not"
    assert [reason.outcome for reason in step.reasons][:1] == ["against"]
    assert {"errors", "latency", "outputs", "metrics", "samples"} <= {reason.rule for reason in step.reasons}


# Whatever the evidence is.


@st.composite
def some_counts(draw: st.DrawFn) -> RequestCounts:
    requests = draw(st.sampled_from([0, 1, 20, 499, 500, 3000, 50_000]))
    bad = st.one_of(st.just(0), st.just(requests), st.integers(0, requests))
    return RequestCounts(requests=requests, failed=draw(bad), slow=draw(bad), answered=draw(bad), invalid=draw(bad))


seen = st.none() | st.builds(
    VariantDrift,
    state=st.sampled_from(["OK", "DRIFT", "INSUFFICIENT"]),
    inputs=st.sampled_from([(), ("amount",)]),
    outputs=st.sampled_from([(), ("score",)]),
    reasons=st.sampled_from([(), ("71% of the requests were captured",)]),
)
bins = st.lists(st.integers(0, 5000), min_size=3, max_size=3).map(tuple)
scores = st.builds(ScoreCounts, output=st.just("score"), stable=bins, canary=bins)


@st.composite
def slices(draw: st.DrawFn) -> AgreementSlice:
    pairs = draw(st.sampled_from([0, 10, 500, 5000]))
    return AgreementSlice(
        name=draw(st.sampled_from([OVERALL, "price over 9"])), pairs=pairs, changed=draw(st.integers(0, pairs))
    )


costs = st.none() | st.builds(
    PredictionCost,
    state=st.sampled_from(["NOT_ENOUGH_LABELS", "JUDGED"]),
    labels=st.tuples(st.integers(0, 900), st.integers(0, 900)),
    stable=st.floats(0, 10),
    canary=st.floats(0, 10),
    radius=st.floats(0, 3),
)
evidences = st.builds(
    Evidence,
    exposures=st.lists(
        st.builds(Exposure, percent=st.sampled_from([0, 10, 50]), stable=some_counts(), canary=some_counts()),
        max_size=3,
    ).map(tuple),
    scores=st.lists(scores, max_size=2).map(tuple),
    slices=st.lists(slices(), max_size=3).map(tuple),
    stable=seen,
    canary=seen,
    cost=costs,
    ready=st.booleans(),
    refused=st.sampled_from(["", "", "", "NaN in its own example"]),
    missing=st.sampled_from([(), (), ("the gateway's statistics do not answer",)]),
)
percents = st.sampled_from([0, 10, 50])
minutes = st.sampled_from([0, 5, 15, 119, 120, 10_000])


@given(evidences, percents, minutes)
def test_nothing_goes_forward_on_what_is_not_known(evidence: Evidence, percent: int, at: int) -> None:
    step = decided(evidence, percent=percent, minutes=at)
    if step.action not in ("shift", "promote"):
        return
    assert evidence.ready and not evidence.refused and not evidence.missing
    assert evidence.stable is not None and evidence.canary is not None
    assert "INSUFFICIENT" not in (evidence.stable.state, evidence.canary.state)
    assert evidence.scores or evidence.stable.state == "DRIFT"
    if percent:
        assert min(evidence.now.stable.requests, evidence.now.canary.requests) >= POLICY.minimum_samples
        assert evidence.total("canary").answered
        assert at >= 10
    else:
        assert any(each.name == OVERALL and each.pairs >= 500 for each in evidence.slices)
    assert at < 120 or step.action == "promote"
    assert step.percent is not None and step.percent > percent
    assert all(reason.outcome in ("ok", "unjudged") for reason in step.reasons)


@given(evidences, percents, minutes, st.sampled_from(["failed", "slow", "invalid"]), st.data())
def test_a_candidate_that_did_worse_is_never_better_off(
    evidence: Evidence, percent: int, at: int, name: str, data: st.DataObject
) -> None:
    """More of its answers were bad, all else as it was."""
    if not evidence.exposures:
        return
    place = data.draw(st.integers(0, len(evidence.exposures) - 1))
    old = evidence.exposures[place]
    count = getattr(old.canary, name)
    most = max(count, old.canary.requests)
    worse = old.canary.model_copy(update={name: data.draw(st.integers(count, most))})
    exposures = list(evidence.exposures)
    exposures[place] = old.model_copy(update={"canary": worse})
    before = decided(evidence, percent=percent, minutes=at)
    after = decided(evidence, percent=percent, minutes=at, exposures=tuple(exposures))
    assert RANK[after.action] >= RANK[before.action]


@given(evidences, percents, minutes, st.data())
def test_a_candidate_that_changed_more_verdicts_is_never_better_off(
    evidence: Evidence, percent: int, at: int, data: st.DataObject
) -> None:
    more = tuple(
        each.model_copy(update={"changed": data.draw(st.integers(each.changed, each.pairs))})
        for each in evidence.slices
    )
    before = decided(evidence, percent=percent, minutes=at)
    assert RANK[decided(evidence, percent=percent, minutes=at, slices=more).action] >= RANK[before.action]


@given(evidences, percents, minutes)
def test_a_decision_is_a_function_of_its_arguments(evidence: Evidence, percent: int, at: int) -> None:
    again = Evidence.model_validate_json(evidence.model_dump_json())
    assert decided(evidence, percent=percent, minutes=at) == decided(again, percent=percent, minutes=at)


@given(evidences, percents)
def test_after_the_deadline_nothing_is_held_or_stepped(evidence: Evidence, percent: int) -> None:
    assert decided(evidence, percent=percent, minutes=120).action in ("promote", "rollback")


@given(evidences, percents, minutes)
def test_every_reason_is_a_sentence_for_a_person(evidence: Evidence, percent: int, at: int) -> None:
    step = decided(evidence, percent=percent, minutes=at)
    assert step.why
    for reason in step.reasons:
        assert re.fullmatch(r"[a-zA-Z0-9][^{}<>\n]{7,300}", reason.text), reason.text
        assert not re.search(r"\b(None|nan|inf|True|False)\b", reason.text), reason.text


def test_why_names_all_that_decided() -> None:
    reasons = tuple(Reason(rule="r", outcome=outcome, text=text) for outcome, text in [("against", "one"), ("ok", "two"), ("against", "three")])  # fmt: skip
    assert RolloutDecision(action="rollback", reasons=reasons).why == "one; three"
    assert RolloutDecision(action="promote", reasons=reasons).why == "two"


def recalled(*parts: tuple[str, int, float], requests: int = 20_000) -> RequestCounts:
    """A variant whose live queries found these shares of ten items each, by selectivity."""
    return counts(
        requests,
        recall=tuple(
            RecallCounts(selectivity=name, checked=checked, wanted=10 * checked, found=round(10 * checked * share))
            for name, checked, share in parts
        ),
    )


def with_recall(stable: RequestCounts, canary: RequestCounts) -> Evidence:
    return GOOD.model_copy(update={"exposures": (Exposure(percent=50, stable=stable, canary=canary),)})


def test_a_candidate_that_loses_recall_where_few_items_match_is_stopped_though_overall_it_passes() -> None:
    stable = recalled(("overall", 4000, 0.97), ("10%", 1500, 0.97), ("1%", 1000, 0.97))
    worse = recalled(("overall", 4000, 0.968), ("10%", 1500, 0.966), ("1%", 1000, 0.92))
    found = decided(with_recall(stable, worse))
    assert found.action == "rollback" and found.reasons[0].rule == "recall"
    assert found.why == "recall 0.920 at 1%, stable's 0.970: 0.02 may be lost"
    assert decided(with_recall(stable, stable)).action in ("shift", "promote")


def test_recall_that_is_no_worse_or_not_yet_told_apart_stops_nobody() -> None:
    stable = recalled(("overall", 4000, 0.97), ("1%", 500, 0.97))
    for canary in (
        recalled(("overall", 4000, 0.955), ("1%", 500, 0.955)),  # within what may be lost
        recalled(("overall", 4000, 0.97), ("1%", 12, 0.90)),  # 12 queries show nothing
        recalled(("0.1%", 400, 0.5)),  # stable was asked none of these
        counts(),
    ):
        assert decided(with_recall(stable, canary)).action in ("shift", "promote")


def test_recall_of_two_stages_adds_up_and_is_kept_over_a_restart() -> None:
    both = recalled(("1%", 10, 0.9)) + recalled(("1%", 30, 1.0), ("10%", 5, 1.0))
    assert [(each.selectivity, each.checked, each.wanted, each.found) for each in both.recall] == [
        ("1%", 40, 400, 390),
        ("10%", 5, 50, 50),
    ]
    assert RequestCounts.model_validate_json(both.model_dump_json()) == both
    assert "recall" not in counts().model_dump_json()
