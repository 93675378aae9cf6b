"""Answers of both variants: pairs by our own request id, slices, scores, and what wrong verdicts cost."""

from __future__ import annotations

import json
import math
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.rollout import PredictionCosts, RolloutLabels, Shadow
from hallmark.rollout import responses, sequential
from hallmark.rollout.evidence import AgreementSlice
from hallmark.rollout.responses import CapturedResponses, Row, judged, parsed, spent
from hallmark.settings import Settings
from hallmark.tasks import BaseTask, Binary, Multiclass, Ranking, Regression, Retrieval, Uplift

NOW = datetime(2026, 11, 1, tzinfo=UTC)
AT = NOW.timestamp() - 1000
FRAUD = Shadow(output="score", threshold=0.5, slices=("amount", "category"), slice_minimum=10)
WORDS = Shadow(output="label")


def row(exchange: str, score: object = 0.1, *, at: float = AT, place: int = 0, **more: Any) -> Row:
    found: Row = {"exchange": exchange, "row": place, "at": at, "request": "", "trace": "", "shadow": False}
    return found | {"outputs": {"score": score}, "columns": {}, "label": None, "label_at": None} | more


def taken(
    stable: list[Row], canary: list[Row], shadow: Shadow | None = FRAUD, task: BaseTask | None = None
) -> CapturedResponses:
    found = CapturedResponses(since=0.0, shadow=shadow, task=task or (Multiclass() if shadow is WORDS else Binary()))
    found.take("stable", stable)
    found.take("canary", canary)
    return found


@pytest.fixture
def fraud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Domain:
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path))
    whole = domains.load("fraud", Settings.load())
    labels = RolloutLabels(minimum=20, costs=PredictionCosts(false_negative=1.0, false_positive=0.1, times="amount"))
    data = whole.data.model_copy(update={"label_delay": timedelta(minutes=10)})
    return whole.model_copy(
        update={"data": data, "rollout": whole.rollout.model_copy(update={"shadow": FRAUD, "labels": labels})}
    )


# Pairs.


def test_answers_to_the_same_exchange_and_row_are_a_pair() -> None:
    found = taken(
        [row("a", 0.1), row("a", 0.9, place=1), row("b", 0.1), row("c", 0.1)],
        [row("a", 0.9), row("a", 0.8, place=1), row("b", 0.49), row("d", 0.9)],
    )
    assert found.slices()[0] == AgreementSlice(name="all", pairs=3, changed=1)


def test_the_order_in_which_rows_come_changes_nothing() -> None:
    source = random.Random(4)
    rows = [("stable", row(f"e{n}", source.random(), columns={"amount": n % 40})) for n in range(300)]
    rows += [("canary", row(f"e{n}", source.random())) for n in range(300)]
    seen = set()
    for _ in range(5):
        source.shuffle(rows)
        found = CapturedResponses(since=0.0, shadow=FRAUD, task=Binary())
        for variant, each in rows:
            found.take(variant, [each])
        seen.add((found.slices(), found.scores()))
    assert len(seen) == 1


def test_an_exchange_that_comes_a_thousand_times_is_one_pair() -> None:
    found = taken([row("a", 0.1)] * 1000, [row("a", 0.9)] * 1000)
    assert found.slices()[0] == AgreementSlice(name="all", pairs=1, changed=1)
    assert sum(found.scores()[0].stable) == 1


def test_rows_without_an_exchange_are_counted_and_never_paired() -> None:
    found = taken([row("", 0.1)] * 50, [row("", 0.9)] * 50)
    assert found.slices() == ()
    assert sum(found.scores()[0].stable) == sum(found.scores()[0].canary) == 50


def test_answers_from_before_the_rollout_do_not_count() -> None:
    found = CapturedResponses(since=AT, shadow=FRAUD, task=Binary())
    found.take("stable", [row("a", at=AT - 1), row("b", at=AT)])
    found.take("canary", [row("a", at=AT - 1), row("b", at=AT)])
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
    found = CapturedResponses(since=0.0, shadow=FRAUD, task=Binary())
    found.take("stable", [], lost=3)
    found.take("canary", [row("a")], lost=4)
    assert found.lost == 7


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
    assert deciles[-1].name == "amount over 179.1"
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
    assert [(each.output, each.stable, each.canary) for each in found] == [("label", (2, 1, 0), (0, 1, 1))]


def test_an_output_that_only_one_side_gave_is_not_compared() -> None:
    assert taken([row("a", 0.1)], [row("b", outputs={"other": 1.0})]).scores() == ()
    assert taken([row("a", 0.1)], [row("b", None), row("c", math.nan)]).scores() == ()


def test_means_are_of_the_verdicts_output_and_of_numbers_only() -> None:
    found = taken([row("a", 0.1), row("b", 0.3), row("c", None)], [row("d", "odd")])
    assert found.means(FRAUD) == {"stable": pytest.approx(0.2)}
    assert found.means(None) == {}


# Costs.


@pytest.mark.parametrize(
    ("score", "label", "cost"),
    [(0.9, 1, 0.0), (0.1, 0, 0.0), (0.1, 1, 80.0), (0.9, 0, 8.0), (0.5, 0, 8.0), (0.49, True, 80.0)],
)
def test_a_missed_fraud_costs_its_price_and_a_false_alarm_a_tenth(score: float, label: int, cost: float) -> None:
    declared = PredictionCosts(false_negative=1.0, false_positive=0.1, times="amount")
    assert spent([row("a", score, label=label, columns={"amount": 80})], Binary(), FRAUD, declared) == pytest.approx(
        cost
    )


def test_without_a_price_a_wrong_verdict_costs_what_is_declared() -> None:
    declared = PredictionCosts(false_negative=3.0, false_positive=2.0, times="amount")
    assert spent([row("a", 0.1, label=1)], Binary(), FRAUD, declared) == 3.0
    assert spent([row("a", 0.9, label=0, columns={"amount": None})], Binary(), FRAUD, declared) == 2.0
    wrong = row("a", outputs={"label": "coat"}, label="dress")
    assert spent([wrong], Multiclass(), WORDS, declared) == 3.0
    assert spent([wrong | {"label": "coat"}], Multiclass(), WORDS, declared) == 0.0


def test_labels_that_are_not_final_are_not_enough(fraud: Domain) -> None:
    """Each has its label, but only 19 of each variant are older than the delay of 10 minutes."""
    old, new = NOW.timestamp() - 601, NOW.timestamp() - 599
    rows = [row(f"e{n}", 0.1, at=old if n < 19 else new, label=0) for n in range(500)]
    found = taken(rows, rows).cost(fraud, now=NOW)
    assert found is not None
    assert (found.state, found.labels) == ("NOT_ENOUGH_LABELS", (19, 19))
    later = taken(rows, rows).cost(fraud, now=NOW + timedelta(seconds=2))
    assert later is not None
    assert (later.state, later.labels) == ("JUDGED", (500, 500))


def test_a_label_that_comes_later_is_joined_to_its_answer(fraud: Domain) -> None:
    rows = [row(f"e{n}", 0.1) for n in range(30)]
    found = taken(rows, rows)
    before = found.cost(fraud, now=NOW)
    assert before is not None and before.labels == (0, 0)
    found.take("stable", [each | {"label": 1, "columns": {"amount": 50.0}} for each in rows])
    found.take("canary", [each | {"label": 0} for each in rows])
    after = found.cost(fraud, now=NOW)
    assert after is not None
    assert (after.stable, after.canary, after.labels) == (50.0, 0.0, (30, 30))
    found.take("stable", [each | {"label": 0} for each in rows])  # A chargeback that was taken back.
    again = found.cost(fraud, now=NOW)
    assert again is not None and again.stable == 0.0


def test_the_cost_of_both_variants_by_hand(fraud: Domain) -> None:
    """Stable misses 2 frauds of 40 and 60; the candidate raises 4 false alarms on orders of 100: 100 / 40 against 40 / 40."""
    stable = [row(f"e{n}", 0.1, label=int(n < 2), columns={"amount": 40.0 + 20 * n}) for n in range(40)]
    canary = [row(f"e{n}", 0.9 if n < 4 else 0.1, label=0, columns={"amount": 100.0}) for n in range(40)]
    found = taken(stable, canary).cost(fraud, now=NOW)
    assert found is not None
    assert found.stable == pytest.approx(2.5)
    assert found.canary == pytest.approx(1.0)
    assert found.radius > 0


def test_without_a_verdict_nothing_is_priced(fraud: Domain) -> None:
    assert taken([row("a", label=1)], [row("a", label=1)], None).cost(fraud, now=NOW) is None


def test_the_doubt_shrinks_as_labels_come() -> None:
    rng = np.random.default_rng(7)
    radii = [
        judged(rng.exponential(size=count), rng.exponential(size=count), RolloutLabels(), alpha=0.001).radius
        for count in (200, 1000, 10_000)
    ]
    assert radii[0] > 1.5 * radii[1] > 3 * radii[2]


# Other tasks.

SCORES = Shadow(output="score", overlap=0.8)
IDS = Shadow(output="items", overlap=0.8)


def ranked(exchange: str, scores: list[float], labels: list[int | None] | None = None, **more: Any) -> list[Row]:
    """The records of one request, all of which were kept."""
    told: list[Any] = labels or [None] * len(scores)
    pairs = enumerate(zip(scores, told, strict=True))
    return [row(exchange, score, place=n, kept=len(scores), label=label, **more) for n, (score, label) in pairs]


def test_rankings_are_compared_by_request() -> None:
    stable = ranked("a", [3.0, 2.0, 1.0]) + ranked("b", [3.0, 2.0, 1.0]) + ranked("c", [3.0, 2.0, 1.0])
    canary = ranked("a", [0.9, 0.5, 0.1]) + ranked("b", [1.0, 2.0, 3.0]) + ranked("d", [1.0, 2.0, 3.0])
    found = taken(stable, canary, SCORES, Ranking(k=10))
    assert found.slices() == (AgreementSlice(name="all", pairs=2, changed=1),)  # the same order; the other way round


def test_a_ranking_waits_for_all_records_of_both_sides() -> None:
    stable, canary = ranked("a", [3.0, 2.0, 1.0]), ranked("a", [3.0, 2.0, 1.0])
    found = taken(stable[:2], canary, SCORES, Ranking())
    assert found.slices() == ()
    found.take("stable", stable[2:])
    assert found.slices()[0] == AgreementSlice(name="all", pairs=1, changed=0)
    other = taken(stable, canary[1:], SCORES, Ranking())
    assert other.slices() == ()
    other.take("canary", canary[:1])
    assert other.slices()[0] == AgreementSlice(name="all", pairs=1, changed=0)


def test_records_may_come_in_any_order_and_again() -> None:
    stable, canary = ranked("a", [3.0, 2.0, 1.0]), ranked("a", [1.0, 2.0, 3.0])
    found = taken(stable[::-1] + stable, canary[1:] + canary, SCORES, Ranking())
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
    stable = [row(name, outputs={"items": ids}, kept=1) for name in said]
    canary = [row(name, outputs={"items": given}, kept=1) for name, given in said.items()]
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


def costs_of(found: CapturedResponses, domain: Domain, shadow: Shadow) -> tuple[tuple[int, ...], Any, Any]:
    rollout = domain.rollout.model_copy(update={"shadow": shadow, "labels": RolloutLabels(minimum=20)})
    cost = found.cost(domain.model_copy(update={"rollout": rollout}), now=NOW)
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
    found.take("canary", [each | {"label": 0} for each in canary if each["label"] is None])
    assert costs_of(found, fraud, SCORES)[0] == (30, 30)


def test_a_retrieval_costs_the_share_that_it_missed(fraud: Domain) -> None:
    stable = [row(f"e{n}", outputs={"items": ["a", "b"]}, kept=1, label=["a", "b", "c", "d"]) for n in range(30)]
    canary = [row(f"e{n}", outputs={"items": ["a", "x"]}, kept=1, label=["a", "b", "c", "d"]) for n in range(30)]
    found = taken(stable, canary, IDS, Retrieval(k=2))
    assert costs_of(found, fraud, IDS) == ((30, 30), 0.5, 0.75)


def test_a_price_costs_its_relative_error(fraud: Domain) -> None:
    shadow = Shadow(output="score")
    stable = [row(f"e{n}", 100.0, label=80.0) for n in range(30)]
    canary = [row(f"e{n}", 90.0, label={"label": 60.0, "censored": True}) for n in range(30)]
    found = taken(stable, canary, shadow, Regression(bound="upper"))
    assert costs_of(found, fraud, shadow) == ((30, 30), pytest.approx(0.25), pytest.approx(0.5))


# What it takes.


def test_memory_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MOST", 100)
    found = CapturedResponses(since=0.0, shadow=FRAUD, task=Binary())
    for start in range(0, 1000, 50):
        some = [row(f"e{n}", n / 1000) for n in range(start, start + 50)]
        found.take("stable", some)
        found.take("canary", some)
    assert found.slices()[0].pairs == 100
    assert sum(found.scores()[0].stable) == 100
    assert found.means(FRAUD)["stable"] == pytest.approx(np.mean([n / 1000 for n in range(900, 1000)]))


def test_words_without_end_take_bounded_memory() -> None:
    rows = [row(f"e{n}", columns={"category": f"word {n}"}) for n in range(3000)]
    found = taken(rows, [row(f"e{n}") for n in range(3000)]).slices()
    assert [(each.name, each.pairs) for each in found if "category" in each.name] == [
        ("category is another value", 3000 - 997),
        ("category is rare", 997),
    ]


@pytest.mark.serial
def test_a_look_at_forty_thousand_answers_takes_little_of_a_second(fraud: Domain) -> None:
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

    found = taken(some(0, 40_000), some(0, 40_000))
    found.cost(fraud, now=NOW)
    best = math.inf
    for each in range(5):
        new = some(40_000 + 200 * each, 200)
        begun = time.perf_counter()
        found.take("stable", new)
        found.take("canary", new)
        found.slices(), found.scores(), found.cost(fraud, now=NOW), found.means(FRAUD)
        best = min(best, time.perf_counter() - begun)
    assert best < 0.15


# What a monitor answers.


def test_the_rows_of_a_monitor_are_read() -> None:
    body = {"variant": "r1", "cursor": 7, "lost": 2, "rows": [row("a")]}
    assert parsed(json.dumps(body).encode()) == ([row("a")], 7, 2)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"rows": []}', b'{"rows": 1, "cursor": 1}', b"<html>"])
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(body)
