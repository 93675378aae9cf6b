"""Answers of both variants: pairs by our own request id, slices, scores, and what wrong verdicts cost."""

from __future__ import annotations

import json
import math
import random
import time
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.rollout import PredictionCosts, RolloutLabels, Shadow
from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.rollout import aggregates, columns, responses, sequential
from hallmark.rollout.aggregates import CostSums, EvidenceRequest, PodEvidence
from hallmark.rollout.evidence import AgreementSlice
from hallmark.rollout.monitors import Monitors
from hallmark.rollout.responses import judged
from hallmark.settings import Settings
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Uplift
from tests.hallmark.rollout.pods import Pod, Ring, Row, Watched

NOW = datetime(2026, 11, 1, tzinfo=UTC)
AT = NOW.timestamp() - 1000
FRAUD = Shadow(output="score", threshold=0.5, slices=("amount", "category"), slice_minimum=10)
WORDS = Shadow(output="label")
COSTS = PredictionCosts(false_negative=1.0, false_positive=0.1, times="amount")


def row(exchange: str, score: object = 0.1, *, at: float = AT, **more: Any) -> Row:
    return {"exchange": exchange, "at": at, "outputs": {"score": score}, "columns": {}, "label": None} | more


def taken(
    stable: list[Row], canary: list[Row], shadow: Shadow | None = FRAUD, task: BaseTask | None = None, **more: Any
) -> Watched:
    task = task or (Multiclass() if shadow is WORDS else Binary())
    found = Watched(shadow=shadow, task=task, **{"costs": COSTS, **more})
    found.answer("stable", stable)
    found.answer("canary", canary)
    return found


@pytest.fixture
def fraud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Domain:
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    whole = domains.load("fraud", Settings.load())
    labels = RolloutLabels(minimum=20, costs=COSTS)
    data = whole.data.model_copy(update={"label_delay": timedelta(minutes=10)})
    return whole.model_copy(
        update={"data": data, "rollout": whole.rollout.model_copy(update={"shadow": FRAUD, "labels": labels})}
    )


# Pairs.


def test_answers_to_the_same_exchange_and_row_are_a_pair() -> None:
    found = taken(
        [row("a", 0.1), row("a", 0.9), row("b", 0.1), row("c", 0.1)],
        [row("a", 0.9), row("a", 0.8), row("b", 0.49), row("d", 0.9)],
    )
    assert found.slices()[0] == AgreementSlice(name="all", pairs=3, changed=1)


def test_the_order_in_which_rows_come_changes_nothing() -> None:
    source = random.Random(4)
    rows = [("stable", row(f"e{n}", source.random(), columns={"amount": n % 40})) for n in range(100)]
    rows += [("canary", row(f"e{n}", source.random())) for n in range(100)]
    seen = set()
    for _ in range(5):
        source.shuffle(rows)
        found = taken([], [])
        for variant, each in rows:
            found.answer(variant, [each])
        seen.add((found.slices(), found.scores()))
    assert len(seen) == 1


def test_an_exchange_that_comes_again_and_again_is_one_pair() -> None:
    found = taken([], [])
    for _ in range(20):
        found.answer("stable", [row("a", 0.1)])
        found.answer("canary", [row("a", 0.9)])
    assert found.slices()[0] == AgreementSlice(name="all", pairs=1, changed=1)


def test_rows_without_an_exchange_are_counted_and_never_paired() -> None:
    found = taken([row("", 0.1)] * 50, [row("", 0.9)] * 50)
    assert found.slices() == ()
    assert sum(found.scores()[0].stable) == sum(found.scores()[0].canary) == 50


def test_answers_from_before_the_rollout_do_not_count() -> None:
    rows = [row("a", at=AT - 1), row("b", at=AT)]
    found = taken(rows, rows, since=AT)
    assert found.slices()[0].pairs == 1


def test_a_score_at_the_threshold_is_a_yes() -> None:
    assert taken([row("a", 0.5)], [row("a", 0.4999)]).slices()[0].changed == 1
    assert taken([row("a", 0.5)], [row("a", 1)]).slices()[0].changed == 0


def test_words_are_verdicts_as_they_are() -> None:
    pairs = [("coat", "coat"), ("coat", "dress"), ("bag", "bag")]
    found = taken(
        [row(f"e{n}", outputs={"label": one}) for n, (one, _) in enumerate(pairs)],
        [row(f"e{n}", outputs={"label": other}) for n, (_, other) in enumerate(pairs)],
        WORDS,
    )
    assert found.slices() == (AgreementSlice(name="all", pairs=3, changed=1),)


def test_an_output_that_is_missing_is_another_verdict() -> None:
    assert taken([row("a", 0.1)], [row("a", outputs={})]).slices()[0].changed == 1


def test_lost_rows_are_added_up() -> None:
    found = taken([], [])
    found.pods = {"stable": [Pod(Ring(rows=5))], "canary": [Pod(Ring(rows=4))]}
    found.answer("stable", [row(f"e{n}") for n in range(8)])
    found.answer("canary", [row(f"e{n}") for n in range(6)])
    assert found.lost == 3 + 2


# Slices.


def test_slices_of_a_number_are_deciles_and_of_a_word_its_values() -> None:
    pairs = [
        (n, {"amount": float(n), "category": "bags" if n % 4 else "coats", "unwatched": n}, 0.9 if n >= 190 else 0.1)
        for n in range(200)
    ]
    found = {
        each.name: each
        for each in taken(
            [row(f"e{n}", 0.1, columns=columns) for n, columns, _ in pairs],
            [row(f"e{n}", score) for n, _, score in pairs],
        ).slices()
    }
    assert found["all"] == AgreementSlice(name="all", pairs=200, changed=10)
    deciles = [each for name, each in found.items() if name.startswith("amount")]
    assert [each.pairs for each in deciles] == [20] * 10
    assert [each.changed for each in deciles] == [0] * 9 + [10]
    assert deciles[-1].name == "amount over 179"
    assert found["category is coats"] == AgreementSlice(name="category is coats", pairs=50, changed=2)
    assert found["category is bags"] == AgreementSlice(name="category is bags", pairs=150, changed=8)
    assert not any("unwatched" in name for name in found)


def test_a_tenth_of_few_pairs_stands_for_itself_and_is_not_hidden_among_the_rest() -> None:
    columns = [{"amount": float(n)} for n in range(464)]
    found = taken(
        [row(f"e{n}", 0.1, columns=each) for n, each in enumerate(columns)], [row(f"e{n}", 0.1) for n in range(464)]
    ).slices()
    tenths = [each.pairs for each in found if each.name.startswith("amount")]
    assert len(tenths) == 10 and max(tenths) < 50


def test_small_slices_are_judged_together_and_none_is_left_out() -> None:
    words = ["bags"] * 600 + ["kilts"] * 6 + ["capes"] * 5 + [None] * 4
    found = taken(
        [row(f"e{n}", 0.1, columns={"category": word}) for n, word in enumerate(words)],
        [row(f"e{n}", 0.1 if word == "bags" else 0.9) for n, word in enumerate(words)],
    ).slices()
    mine = {each.name: each for each in found if each.name.startswith("category")}
    assert mine == {
        "category is bags": AgreementSlice(name="category is bags", pairs=600, changed=0),
        "category is rare": AgreementSlice(name="category is rare", pairs=15, changed=15),
    }


def test_a_column_of_one_value_is_one_slice() -> None:
    found = taken([row(f"e{n}", columns={"amount": 5}) for n in range(50)], [row(f"e{n}") for n in range(50)])
    assert [each.pairs for each in found.slices() if each.name.startswith("amount")] == [50]


def test_every_pair_is_in_one_slice_of_each_column_whatever_its_values_are() -> None:
    odd = [1.5, 2, True, None, "bags", "", math.nan, 1e300, -1, "a number", "missing", "another value"]
    source = random.Random(5)
    for _ in range(20):
        values = [source.choice(odd) for _ in range(source.randrange(1, 200))]
        found = taken(
            [row(f"e{n}", columns={"amount": value, "category": value}) for n, value in enumerate(values)],
            [row(f"e{n}", source.random()) for n in range(len(values))],
        ).slices()
        for column in ("amount", "category"):
            mine = [each for each in found if each.name.startswith(column)]
            assert sum(each.pairs for each in mine) == len(values)
            assert sum(each.changed for each in mine) == found[0].changed


# Scores.


@pytest.mark.slow
def test_the_distance_of_the_binned_scores_is_nearly_that_of_the_scores() -> None:
    rng = np.random.default_rng(6)
    for shift in (0.0, 0.02, 0.1, 0.5):
        first, second = rng.beta(1, 20, 3000), rng.beta(1, 20, 800) + shift
        found = taken(
            [row(f"s{n}", float(value)) for n, value in enumerate(first)],
            [row(f"c{n}", float(value)) for n, value in enumerate(second)],
        ).scores()[0]
        exact = float(stats.ks_2samp(first, second).statistic)
        assert exact - 0.05 <= sequential.distance(found.stable, found.canary) <= exact + 1e-12


def test_scores_of_words_are_their_shares() -> None:
    found = taken(
        [row(f"s{n}", outputs={"label": word}) for n, word in enumerate(["bag", "bag", "coat"])],
        [row(f"c{n}", outputs={"label": word}) for n, word in enumerate(["coat", "dress"])],
        WORDS,
    ).scores()
    assert [each.output for each in found] == ["label"]
    assert sorted(zip(found[0].stable, found[0].canary, strict=True)) == [(0, 1), (1, 1), (2, 0)]


def test_an_output_that_only_one_side_gave_is_not_compared() -> None:
    assert taken([row("a", 0.1)], [row("b", outputs={"other": 1.0})]).scores() == ()
    assert taken([row("a", 0.1)], [row("b", None), row("c", math.nan)]).scores() == ()


def test_means_are_of_the_verdicts_output_and_of_numbers_only() -> None:
    found = taken([row("a", 0.1), row("b", 0.3), row("c", None)], [row("d", "odd")])
    assert found.means() == {"stable": pytest.approx(0.2, rel=1e-3)}
    assert taken([row("a", 0.1)], [], None).means() == {}


# Costs.


@pytest.mark.parametrize(
    ("score", "label", "cost"),
    [(0.9, 1, 0.0), (0.1, 0, 0.0), (0.1, 1, 80.0), (0.9, 0, 8.0), (0.5, 0, 8.0), (0.49, True, 80.0)],
)
def test_a_missed_fraud_costs_its_price_and_a_false_alarm_a_tenth(score: float, label: int, cost: float) -> None:
    found = taken([row("a", score, label=label, columns={"amount": 80})], []).sums("stable")
    assert (found.count, found.mean) == (1, pytest.approx(cost))


def test_without_a_price_a_wrong_verdict_costs_what_is_declared() -> None:
    declared = PredictionCosts(false_negative=3.0, false_positive=2.0, times="amount")
    wrong = row("a", outputs={"label": "coat"}, label="dress")
    cases: list[tuple[Row, Shadow, BaseTask, float]] = [
        (row("a", 0.1, label=1), FRAUD, Binary(), 3.0),
        (row("a", 0.9, label=0, columns={"amount": None}), FRAUD, Binary(), 2.0),
        (wrong, WORDS, Multiclass(), 3.0),
        (wrong | {"label": "coat"}, WORDS, Multiclass(), 0.0),
    ]
    for one, shadow, task, cost in cases:
        found = Watched(shadow=shadow, task=task, costs=declared)
        found.answer("stable", [one])
        assert found.sums("stable").mean == cost


def test_labels_that_are_not_final_are_not_enough(fraud: Domain) -> None:
    """Each has its label, but only 19 of each variant are older than the delay of 10 minutes."""
    old, new = NOW.timestamp() - 601, NOW.timestamp() - 599
    rows = [row(f"e{n}", 0.1, at=old if n < 19 else new, label=0) for n in range(500)]
    found = taken(rows, rows, until=NOW.timestamp() - 600)
    cost = found.cost(fraud)
    assert cost is not None
    assert (cost.state, cost.labels) == ("NOT_ENOUGH_LABELS", (19, 19))
    found.asked = found.asked.model_copy(update={"until": NOW.timestamp() - 598})
    found.look()
    later = found.cost(fraud)
    assert later is not None
    assert (later.state, later.labels) == ("JUDGED", (500, 500))


def test_a_label_that_comes_later_is_joined_to_its_answer(fraud: Domain) -> None:
    rows = [row(f"e{n}", 0.1, columns={"amount": 50.0}) for n in range(30)]
    found = taken(rows, rows)
    before = found.cost(fraud)
    assert before is not None and before.labels == (0, 0)
    found.pods["stable"][0].label({(f"e{n}", 0): 1 for n in range(30)})
    found.pods["canary"][0].label({(f"e{n}", 0): 0 for n in range(30)})
    found.look()
    after = found.cost(fraud)
    assert after is not None
    assert (after.stable, after.canary, after.labels) == (50.0, 0.0, (30, 30))
    found.pods["stable"][0].label({(f"e{n}", 0): 0 for n in range(30)})  # A chargeback that was taken back.
    found.look()
    again = found.cost(fraud)
    assert again is not None and (again.stable, again.labels) == (0.0, (30, 30))


def test_a_label_that_is_replaced_before_anybody_looked_counts_once() -> None:
    found = taken([row("a", 0.1, columns={"amount": 50.0})], [])
    for label in (1, 0, 1):
        found.pods["stable"][0].label({("a", 0): label})
    found.look()
    found.look()
    assert (found.sums("stable").count, found.sums("stable").mean) == (1, 50.0)


def test_a_record_that_gets_labels_without_end_keeps_the_eighth() -> None:
    found = taken([row("a", 0.1, columns={"amount": 50.0})], [])
    for number in range(100):
        found.pods["stable"][0].label({("a", 0): number % 2})
        found.look()
    assert (found.sums("stable").count, found.sums("stable").mean) == (1, 50.0)


def test_the_cost_of_both_variants_by_hand(fraud: Domain) -> None:
    """Stable misses 2 frauds of 40 and 60; the candidate raises 4 false alarms on orders of 100: 100 / 40 against 40 / 40."""
    stable = [row(f"e{n}", 0.1, label=int(n < 2), columns={"amount": 40.0 + 20 * n}) for n in range(40)]
    canary = [row(f"e{n}", 0.9 if n < 4 else 0.1, label=0, columns={"amount": 100.0}) for n in range(40)]
    found = taken(stable, canary).cost(fraud)
    assert found is not None
    assert found.stable == pytest.approx(2.5)
    assert found.canary == pytest.approx(1.0)
    assert found.radius > 0


def test_without_a_verdict_nothing_is_priced(fraud: Domain) -> None:
    assert taken([row("a", label=1)], [row("a", label=1)], None).cost(fraud) is None


def test_the_doubt_shrinks_as_labels_come() -> None:
    rng = np.random.default_rng(7)
    radii = [
        judged(*(CostSums.of(rng.exponential(size=count)) for _ in range(2)), RolloutLabels(), alpha=0.001).radius
        for count in (200, 1000, 10_000)
    ]
    assert radii[0] > 1.5 * radii[1] > 3 * radii[2]


# Other tasks.

SCORES = Shadow(output="score", overlap=0.8)
IDS = Shadow(output="items", overlap=0.8)


def ranked(exchange: str, scores: list[float], labels: list[int | None] | None = None, **more: Any) -> list[Row]:
    """The records of one request, all of which were kept."""
    told: list[Any] = labels or [None] * len(scores)
    pairs = zip(scores, told, strict=True)
    return [row(exchange, score, label=label, **more) for score, label in pairs]


def test_rankings_are_compared_by_request() -> None:
    stable = ranked("a", [3.0, 2.0, 1.0]) + ranked("b", [3.0, 2.0, 1.0]) + ranked("c", [3.0, 2.0, 1.0])
    canary = ranked("a", [0.9, 0.5, 0.1]) + ranked("b", [1.0, 2.0, 3.0]) + ranked("d", [1.0, 2.0, 3.0])
    found = taken(stable, canary, SCORES, Ranking(k=10))
    assert found.slices() == (AgreementSlice(name="all", pairs=2, changed=1),)  # the same order; the other way round


def test_a_request_of_which_a_record_left_the_ring_is_not_compared() -> None:
    found = taken([], [], SCORES, Ranking())
    found.pods["stable"] = [Pod(Ring(rows=5))]
    for exchange in "ab":
        found.pods["stable"][0].answer(ranked(exchange, [3.0, 2.0, 1.0]))
    found.answer("canary", ranked("a", [3.0, 2.0, 1.0]) + ranked("b", [1.0, 2.0, 3.0]))
    assert found.slices()[0] == AgreementSlice(name="all", pairs=1, changed=1)


def test_a_slice_of_rankings_counts_requests() -> None:
    shadow = Shadow(output="score", overlap=0.8, slices=("locale",), slice_minimum=10)
    stable, canary = [], []
    for n in range(60):
        columns = {"locale": "de" if n % 2 else "fr"}
        stable += ranked(f"e{n}", [3.0, 2.0, 1.0], columns=columns)
        canary += ranked(f"e{n}", [1.0, 2.0, 3.0] if n % 2 else [3.0, 2.0, 1.0], columns=columns)
    found = {each.name: (each.pairs, each.changed) for each in taken(stable, canary, shadow, Ranking()).slices()}
    assert found == {"all": (60, 30), "locale is de": (30, 30), "locale is fr": (30, 0)}


def test_retrievals_agree_where_their_ids_overlap() -> None:
    ids = [f"i{n}" for n in range(10)]
    said = {"same": ids, "last two other": [*ids[:8], "x", "y"], "first six other": [*"abcdef", *ids[6:]], "none": None}
    stable = [row(name, outputs={"items": ids}) for name in said]
    canary = [row(name, outputs={"items": given}) for name, given in said.items()]
    found = taken(stable, canary, IDS, Retrieval(k=10))
    assert found.slices()[0] == AgreementSlice(name="all", pairs=4, changed=2)
    (scores,) = found.scores()  # of a list of ids, the first one stands for it
    assert scores.output == "items[0]" and (sum(scores.stable), sum(scores.canary)) == (4, 3)


def test_prices_agree_within_the_tolerance() -> None:
    pairs = [(100.0, 104.0), (100.0, 108.0), (100.0, 120.0), (0.0, 0.0)]
    rows = [[row(f"e{n}", price) for n, price in enumerate(side)] for side in zip(*pairs, strict=True)]
    for tolerance, changed in ((None, 2), (0.1, 1), (0.01, 3)):
        found = taken(rows[0], rows[1], Shadow(output="score", tolerance=tolerance), Regression())
        assert found.slices()[0] == AgreementSlice(name="all", pairs=4, changed=changed)


def test_quantiles_agree_where_each_does() -> None:
    stable = [row(f"e{n}", outputs={"q": [80.0, 100.0, 130.0]}) for n in range(2)]
    canary = [row("e0", outputs={"q": [81.0, 99.0, 131.0]}), row("e1", outputs={"q": [80.0, 100.0, 150.0]})]
    found = taken(stable, canary, Shadow(output="q"), Regression(quantiles=(0.1, 0.5, 0.9)))
    assert found.slices()[0] == AgreementSlice(name="all", pairs=2, changed=1)


def test_uplifts_agree_on_whom_to_treat() -> None:
    shadow = Shadow(output="score", threshold=0.02)
    found = taken([row("a", 0.05), row("b", 0.05)], [row("a", 0.03), row("b", 0.01)], shadow, Uplift())
    assert found.slices()[0] == AgreementSlice(name="all", pairs=2, changed=1)


def costs_of(found: Watched, domain: Domain, shadow: Shadow) -> tuple[tuple[int, ...], Any, Any]:
    rollout = domain.rollout.model_copy(update={"shadow": shadow, "labels": RolloutLabels(minimum=20)})
    cost = found.cost(domain.model_copy(update={"rollout": rollout}))
    assert cost is not None
    return cost.labels, cost.stable, cost.canary


def test_a_ranking_costs_by_request_what_it_lost(fraud: Domain) -> None:
    """The clicked record first: nothing is lost. Second of two: 1 - 1 / log2(3)."""
    stable = [each for n in range(30) for each in ranked(f"e{n}", [2.0, 1.0], [1, 0])]
    canary = [each for n in range(30) for each in ranked(f"e{n}", [1.0, 2.0], [1, 0])]
    found = taken(stable, canary, SCORES, Ranking())
    assert costs_of(found, fraud, SCORES) == ((30, 30), 0.0, pytest.approx(1 - 1 / math.log2(3)))


def test_a_ranking_is_priced_once_all_its_records_have_labels(fraud: Domain) -> None:
    stable = [each for n in range(30) for each in ranked(f"e{n}", [2.0, 1.0], [1, 0])]
    canary = [each for n in range(30) for each in ranked(f"e{n}", [1.0, 2.0], [1, None if n < 5 else 0])]
    found = taken(stable, canary, SCORES, Ranking())
    assert costs_of(found, fraud, SCORES)[0] == (30, 25)
    found.pods["canary"][0].label({(f"e{n}", 1): 0 for n in range(5)})
    found.look()
    assert costs_of(found, fraud, SCORES)[0] == (30, 30)


def test_a_retrieval_costs_the_share_that_it_missed(fraud: Domain) -> None:
    stable = [row(f"e{n}", outputs={"items": ["a", "b"]}, label=["a", "b", "c", "d"]) for n in range(30)]
    canary = [row(f"e{n}", outputs={"items": ["a", "x"]}, label=["a", "b", "c", "d"]) for n in range(30)]
    found = taken(stable, canary, IDS, Retrieval(k=2))
    assert costs_of(found, fraud, IDS) == ((30, 30), 0.5, 0.75)


def test_a_price_costs_its_relative_error(fraud: Domain) -> None:
    shadow = Shadow(output="score")
    stable = [row(f"e{n}", 100.0, label=80.0) for n in range(30)]
    canary = [row(f"e{n}", 90.0, label={"label": 60.0, "censored": True}) for n in range(30)]
    found = taken(stable, canary, shadow, Regression(bound="upper"), costs=PredictionCosts())
    assert costs_of(found, fraud, shadow) == ((30, 30), pytest.approx(0.25), pytest.approx(0.5))


# What it takes.


def test_what_waits_for_a_partner_is_bounded_and_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MOST", 100)
    found = taken([], [])
    found.answer("stable", [row(f"e{n}") for n in range(1000)])
    found.answer("canary", [row(f"e{n}") for n in range(1000)])
    assert found.slices()[0].pairs == 100
    assert sum(found.scores()[0].stable) == 1000


def test_words_without_end_take_bounded_memory() -> None:
    rows = [row(f"e{n}", columns={"category": f"word {n}"}) for n in range(3000)]
    found = taken(rows, [row(f"e{n}") for n in range(3000)]).slices()
    assert [(each.name, each.pairs) for each in found if "category" in each.name] == [
        ("category is another value", 3000 - 999),
        ("category is rare", 999),
    ]


@pytest.mark.serial
def test_a_look_at_twenty_thousand_answers_takes_little_of_a_second(fraud: Domain) -> None:
    rng = np.random.default_rng(8)

    def some(start: int, count: int) -> list[Row]:
        return [
            row(
                f"e{start + n}",
                float(rng.beta(1, 20)),
                columns={"amount": float(rng.lognormal()), "category": "bags"},
                label=0,
            )
            for n in range(count)
        ]

    found = taken([], [])
    for _ in range(2):
        for variant in ("stable", "canary"):
            found.pods[variant].append(Pod())
            found.pods[variant][-1].answer(some(0, 5_000))
    found.look()
    best = math.inf
    for each in range(5):
        new = some(40_000 + 200 * each, 200)
        for variant in ("stable", "canary"):
            found.pods[variant][0].answer(new)
        begun = time.perf_counter()
        found.look()
        found.slices(), found.scores(), found.cost(fraud), found.means()
        best = min(best, time.perf_counter() - begun)
    assert best < 0.15


# Pods.


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[list[Row], list[Row], dict[tuple[str, int], int], random.Random]:
    """Answers of both variants to some of the same requests, labels of some, and chance to spread them with."""
    values = st.floats(-1e6, 1e6) | st.integers(-5, 5) | st.sampled_from(["bags", "coats", True, None])
    sides: list[list[Row]] = [[], []]
    for number in range(draw(st.integers(0, 40))):
        for side in sides:
            if draw(st.booleans()):
                columns = {"amount": draw(values), "category": draw(values)}
                side.append(row(f"e{number}", draw(st.floats(0, 1) | values), at=float(number), columns=columns))
    labels = draw(st.dictionaries(st.tuples(st.integers(0, 40).map("e{}".format), st.just(0)), st.integers(0, 1)))
    return sides[0], sides[1], labels, draw(st.randoms(use_true_random=False))


@settings(max_examples=60)
@given(rollouts(), st.integers(1, 4))
def test_over_any_split_over_pods_and_looks_the_evidence_is_that_of_all_rows(
    given_rows: tuple[list[Row], list[Row], dict[tuple[str, int], int], random.Random], pods: int
) -> None:
    """Also where labels come late, are replaced, or become final only then, and to a watch that begins anew."""
    stable, canary, labels, source = given_rows
    whole = taken(stable, canary, until=20.0)
    for (pod,) in whole.pods.values():
        pod.label(labels)
    whole.look()

    def spread() -> Watched:
        found = Watched(shadow=FRAUD, task=Binary(), costs=COSTS, until=-1.0)
        for variant, rows in (("stable", stable), ("canary", canary)):
            found.pods[variant] = [Pod() for _ in range(pods)]
            mine = source.sample(rows, len(rows))
            while mine:
                some, mine = mine[:7], mine[7:]
                source.choice(found.pods[variant]).answer(some)
                if source.random() < 0.5:
                    found.look()
        for each in source.sample(sorted(labels), len(labels)):
            for pod in (*found.pods["stable"], *found.pods["canary"]):
                if source.random() < 0.3:
                    pod.label({each: 1 - labels[each]})
                pod.label({each: labels[each]})
            found.asked = found.asked.model_copy(update={"until": source.choice([found.asked.until, 7.0])})
            if source.random() < 0.5:
                found.look()
        found.asked = found.asked.model_copy(update={"until": 20.0})
        found.look()
        return found

    def told(found: Watched) -> object:
        return found.slices(), found.scores(), found.sums("stable"), found.sums("canary"), found.means()

    found = spread()
    again = Watched(shadow=FRAUD, task=Binary(), costs=COSTS, until=20.0)
    again.pods = found.pods
    again.look()
    assert told(found) == told(again) == told(whole)


def test_a_restarted_pod_begins_anew_and_nothing_counts_twice() -> None:
    found = taken([row(f"e{n}", label=0) for n in range(30)], [])
    (pod,) = found.pods["stable"]
    pod.ring = Ring(began=0.0)  # its clock was set back, too
    pod.ring.variant = "v"
    found.look()
    pod.answer([row(f"f{n}", label=0) for n in range(5)])
    found.look()
    found.look()
    assert (found.sums("stable").count, found.lost) == (35, 0)


def test_an_answer_that_got_lost_on_the_way_is_asked_for_again() -> None:
    found = taken([], [])
    found.pods["stable"][0].answer([row("a", label=0)])
    found.pods["stable"][0].tell(found.asked, found.task)
    found.look()
    assert found.sums("stable").count == 1


def test_a_tick_costs_what_is_new_and_not_what_is_held() -> None:
    found = taken([row(f"e{n}", n / 5000, columns={"amount": float(n)}) for n in range(5000)], [])
    (pod,) = found.pods["stable"]
    first = pod.tell(found.asked, found.task)
    pod.answer([row(f"f{n}") for n in range(20)])
    after = found.asked.model_copy(update={"cursor": found.cursors[id(pod)]})
    assert len(pod.tell(after, found.task)) < len(first) / 50


# What goes over the wire.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        zlib.compress(b"[]"),
        zlib.compress(b"{}"),
        PodEvidence("a").encoded()[:-1],
        *(
            zlib.compress(zlib.decompress(PodEvidence("a").encoded()).replace(*change))
            for change in (
                (b'"format":1', b'"format":2'),
                (b'"keys":""', b'"keys":"1AA=="'),
                (b'"keys":""', b'"keys":"x"'),
                (b'"outputs":{}', b'"outputs":{"score":["1Ag==","","",""]}'),
                (b'"costs":[0,0,0]', b'"costs":[0,0]'),
                (b'"said":["few"', b'"said":["more"'),
            )
        ),
    ],
)
def test_what_is_no_evidence_of_this_format_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        PodEvidence.read(body)


def test_evidence_that_grows_a_thousandfold_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="expected"):
        PodEvidence.read(zlib.compress(b" " * (80 * 2**20)))


@pytest.mark.examples
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_bins_keep_the_order_of_numbers_and_are_a_thousandth_wide(values: list[float]) -> None:
    rising = sorted(values)
    found = columns.bins(rising)
    assert (np.diff(found) >= 0).all()
    assert (np.abs(np.array(rising) - columns.numbers(found)) <= np.abs(rising) / 1000 + 1e-307).all()


@pytest.mark.examples
@given(st.lists(st.integers(-(2**62), 2**62)))
def test_whole_numbers_are_read_as_they_were_packed(values: list[int]) -> None:
    assert columns.unpacked(columns.packed(np.array(values, dtype=np.int64))).tolist() == values


WORDS_AND_NUMBERS = st.none() | st.booleans() | st.text(max_size=3) | st.integers(-9, 9)


@pytest.mark.examples
@given(
    st.lists(WORDS_AND_NUMBERS)
    | st.lists(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2))
    | st.lists(st.lists(WORDS_AND_NUMBERS))
)
def test_what_is_compared_is_read_as_it_was_told(said: list[Any]) -> None:
    found = columns.read(json.loads(json.dumps(columns.told(said, np.arange(len(said))))))
    assert found == said and list(map(type, found)) == list(map(type, said))


@pytest.mark.examples
@given(st.lists(WORDS_AND_NUMBERS | st.just(math.inf) | st.just([1.0])))
def test_a_column_of_cells_holds_words_and_the_bins_of_numbers(values: list[Any]) -> None:
    found = columns.Coded.of(values).cells()
    assert len(found) == len(values)
    for cell, value in zip(found, values, strict=True):
        if isinstance(value, str | bool):
            assert cell == str(value)
        elif value is None or value in (math.inf, [1.0]):
            assert cell is None
        else:
            assert cell == columns.bins([value])[0]


def test_answers_to_other_records_have_other_keys() -> None:
    ids = [f"{n:x}" for n in range(3000)] + [f"0000-{n}" for n in range(3000)] + ["z" * n for n in range(1, 65)]
    exchanges = [each for each in ids for _ in range(20)]
    found = aggregates.keys(exchanges, list(range(20)) * len(ids))
    assert len(set(found.tolist())) == len(exchanges) and found.min() >= 0 and found.max() < 2**48


class Sidecar:
    """A writer that reaches one pod, whose monitor answers with this."""

    def __init__(self, answer: bytes | HallmarkError) -> None:
        self.answer = answer

    def sidecar(self, pod: Any, path: str) -> bytes:
        if isinstance(self.answer, HallmarkError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [NotFound("Not Found"), b"<html>", zlib.compress(b'{"format":2}')])
def test_a_monitor_of_another_version_is_refused_with_what_to_release(answer: bytes | HallmarkError) -> None:
    monitors = Monitors(Sidecar(answer), "fraud")  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="no evidence that this watch can read") as caught:
        list(monitors.evidence([{"metadata": {"name": "pod"}}], EvidenceRequest(since=0.0, until=0.0)))
    assert caught.value.expected == "format 1" and "release the version of fraud again" in caught.value.fix
