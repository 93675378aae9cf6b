"""Each metric against a reference implementation, on a thousand random cases with ties, weights and groups that tell nothing."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from numpy.typing import NDArray
from sklearn import config_context
from sklearn import metrics as sk
from sklift.metrics import qini_auc_score, uplift_at_k

from hallmark.tasks import (
    BaseTask,
    Binary,
    Multiclass,
    Ranking,
    Regression,
    Retrieval,
    TargetColumns,
    Targets,
    Uplift,
    queries,
)

CASES = 1_000
Floats = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _fast_sklearn() -> Iterator[None]:
    with config_context(assume_finite=True, skip_parameter_validation=True):
        yield


def measured(task: BaseTask, name: str, targets: Targets, predictions: Floats, weights: Floats | None = None) -> float:
    metric = task.metrics()[name]
    rows = metric.weighed(targets) if weights is None else weights
    return float(metric.measure(targets, predictions, rows[None, :])[0])


def binary_cases() -> Iterator[tuple[Targets, Floats, Floats]]:
    generator = np.random.default_rng(0)
    for _ in range(CASES):
        n = int(generator.integers(1, 30))
        labels = (generator.random(n) < generator.random()).astype(np.int64)
        scores = generator.integers(0, generator.integers(1, 20), n) / 20  # few values: ties
        yield Targets(labels), scores, generator.choice([1.0, 2.0, 0.5], n)


def recall_at_rate(labels: Any, scores: Any, *, sample_weight: Any) -> float:
    false, true, _ = sk.roc_curve(labels, scores, sample_weight=sample_weight, drop_intermediate=False)
    return float(true[false <= 0.01 + 1e-12].max())


BINARY: dict[str, Callable[..., float]] = {
    "average_precision": sk.average_precision_score,
    "roc_auc": sk.roc_auc_score,
    "log_loss": lambda y, p, **more: sk.log_loss(y, p, labels=[0, 1], **more),
    "brier": lambda y, p, **more: sk.brier_score_loss(y, p, pos_label=1, labels=[0, 1], **more),
    "precision": lambda y, p, **more: sk.precision_score(y, p >= 0.5, **more),
    "recall": lambda y, p, **more: sk.recall_score(y, p >= 0.5, **more),
    "recall_at_1pct_fpr": recall_at_rate,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARY)
def test_binary_metrics_are_those_of_scikit_learn(name: str) -> None:
    compared = 0
    for targets, scores, weights in binary_cases():
        value = measured(Binary(), name, targets, scores, weights)
        if math.isfinite(value):
            compared += 1
            assert value == pytest.approx(BINARY[name](targets.labels, scores, sample_weight=weights), abs=1e-12)
        else:
            one_class = len(np.unique(targets.labels)) < 2
            assert one_class or (name == "precision" and scores.max() < 0.5)
    assert compared > CASES / 3


def test_the_published_value_of_a_metric_is_the_librarys() -> None:
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 200), generator.random(200)
    targets = Targets(labels, weights=generator.choice([1.0, 3.0], 200))
    for name, metric in Binary().metrics().items():
        if metric.library is not None:
            value = BINARY[name](labels, scores, sample_weight=targets.weights)
            assert metric.value(targets, scores) == value
            assert measured(Binary(), name, targets, scores) == pytest.approx(value, abs=1e-12)


def test_a_metric_that_the_rows_cannot_tell_is_nan_without_a_warning() -> None:
    scores = np.array([0.2, 0.3])
    for name in ("average_precision", "roc_auc", "recall", "precision", "recall_at_1pct_fpr"):
        assert math.isnan(Binary().metrics()[name].value(Targets(np.array([0, 0])), scores))
    for task in (Binary(), Multiclass(labels=("a", "b")), Regression(), Ranking()):
        shape = (0, *task.shape)
        assert all(
            math.isnan(metric.value(Targets(np.zeros(0)), np.zeros(shape))) for metric in task.metrics().values()
        )


def test_a_slice_of_one_class_has_the_figures_that_one_class_can_tell() -> None:
    scores = np.array([0.2, 0.7, 0.9])
    for labels in (np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)):
        targets = Targets(labels)
        value = {name: metric.value(targets, scores) for name, metric in Binary().metrics().items()}
        assert value["brier"] == pytest.approx(np.mean((scores - labels) ** 2))
        assert value["log_loss"] == pytest.approx(-np.mean(np.log(np.abs(1 - labels - scores))))
        assert value["precision"] == labels[0]
        assert value["average_precision"] == pytest.approx(1.0 if labels[0] else math.nan, nan_ok=True)
        assert math.isnan(value["roc_auc"])
    one = Multiclass(labels=("a", "b", "c"))
    given = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], dtype=np.float32).astype(np.float64)  # sums 1 within 1e-7
    figures = {
        name: metric.value(Targets(np.zeros(2, dtype=np.int64)), given) for name, metric in one.metrics().items()
    }
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0) / 2) and math.isnan(figures["f1_c"])


@pytest.mark.slow
def test_multiclass_metrics_are_those_of_scikit_learn() -> None:
    generator, k = np.random.default_rng(2), 5
    task = Multiclass(labels=tuple("abcde"))
    for case in range(CASES):
        n = int(generator.integers(1, 25))
        labels, weights = generator.integers(0, generator.integers(1, k + 1), n), generator.choice([1.0, 2.0], n)
        given = generator.random((n, k)) + 0.01
        if case % 3 == 0:
            given = np.ceil(given * 3)
        given /= given.sum(axis=1, keepdims=True)
        targets, guessed = Targets(labels), given.argmax(axis=1)
        f1 = sk.f1_score(labels, guessed, average=None, labels=range(k), sample_weight=weights, zero_division=np.nan)
        expected = {
            "top1": sk.accuracy_score(labels, guessed, sample_weight=weights),
            "macro_f1": np.nanmean(f1),
            "log_loss": sk.log_loss(labels, given, labels=range(k), sample_weight=weights),
            **{f"f1_{name}": value for name, value in zip("abcde", f1, strict=True)},
        }
        if case % 3:  # scikit-learn lets the last class win a tie
            expected["top3"] = sk.top_k_accuracy_score(labels, given, k=3, labels=range(k), sample_weight=weights)
        for name, value in expected.items():
            assert measured(task, name, targets, given, weights) == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_the_first_class_wins_a_tie() -> None:
    task = Multiclass(labels=("a", "b", "c", "d"))
    even = np.full((4, 4), 0.25)
    assert task.metrics()["top1"].value(Targets(np.arange(4)), even) == 0.25
    assert task.metrics()["top3"].value(Targets(np.arange(4)), even) == 0.75


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    generator, columns = np.random.default_rng(3), 25
    task = Regression(quantiles=(0.1, 0.5, 0.8))
    for _ in range(CASES // columns):
        n = int(generator.integers(5, 30))
        labels, weights = generator.integers(1, 9, (n, columns)) * 1.5, generator.choice([1.0, 2.0], n)
        given = np.sort(generator.normal(5, 3, (n, columns, 3)), axis=2)
        more: dict[str, Any] = {"sample_weight": weights, "multioutput": "raw_values"}
        middle = given[:, :, 1]
        pinball = [sk.mean_pinball_loss(labels, given[:, :, i], alpha=q, **more) for i, q in enumerate(task.quantiles)]
        inside = (given[:, :, 0] <= labels) & (labels <= given[:, :, 2])
        expected = {
            "mean_absolute_error": sk.mean_absolute_error(labels, middle, **more),
            "root_mean_squared_error": sk.root_mean_squared_error(labels, middle, **more),
            "mean_absolute_percentage_error": sk.mean_absolute_percentage_error(labels, middle, **more),
            "r2": sk.r2_score(labels, middle, **more),
            "pinball_loss": np.mean(pinball, axis=0),
            "interval_coverage": np.average(inside, axis=0, weights=weights),
            "interval_width": np.average(given[:, :, 2] - given[:, :, 0], axis=0, weights=weights),
            "quantile_crossings": np.zeros(columns),
        }
        for column in range(columns):
            targets = Targets(labels[:, column])
            for name, values in expected.items():
                value = measured(task, name, targets, given[:, column], weights)
                assert value == pytest.approx(values[column], rel=1e-9, abs=1e-9), name


def test_censored_rows_count_by_their_bound() -> None:
    task = Regression(bound="upper", quantiles=(0.5, 0.9))
    # sold for 10; not sold for 20: it is worth 20 or less.
    targets = Targets(np.array([10.0, 20.0, 20.0]), censored=np.array([False, True, True]))
    given = np.array([[12.0, 14.0], [15.0, 22.0], [25.0, 30.0]])
    value = {name: metric.value(targets, given) for name, metric in task.metrics().items()}
    assert value["mean_absolute_error"] == 2.0
    assert value["bound_violations"] == 0.5
    assert math.isnan(value["r2"])
    # (0.5*2 + 0.1*4)/2, (0 + 0.1*2)/2, (0.5*5 + 0.1*10)/2
    assert value["pinball_loss"] == pytest.approx((0.7 + 0.1 + 1.75) / 3)
    assert value["interval_coverage"] == 0.0
    assert value["interval_coverage_gap"] == pytest.approx(0.4)
    lower = Regression(bound="lower").metrics()["bound_violations"]
    assert lower.value(targets, np.array([0.0, 15.0, 25.0])) == 0.5
    assert math.isnan(lower.value(targets.take(np.array([0])), np.array([0.0])))


def test_coverage_speaks_for_rows_that_are_only_bounds() -> None:
    rng = np.random.default_rng(3)
    truth, asked = rng.gumbel(0, 0.25, 40_000), rng.normal(-0.1, 0.25, 40_000)
    hidden = truth < asked
    scale = np.exp(rng.normal(3, 1, len(truth)))
    ends = [scale * np.exp(-0.25 * np.log(-np.log(share))) for share in (0.1, 0.5, 0.9)]
    targets = Targets(scale * np.exp(np.where(hidden, asked, truth)), censored=hidden)
    held = (ends[0] <= targets.labels) & (targets.labels <= ends[2])
    assert abs(held[~hidden].mean() - 0.8) > 0.02  # of what sold alone
    metric = Regression(bound="upper", quantiles=(0.1, 0.5, 0.9)).metrics()["interval_coverage"]
    assert metric.value(targets, np.stack(ends, axis=1)) == pytest.approx(0.8, abs=0.01)
    late = Targets(1 / targets.labels, censored=hidden)  # the other way around
    metric = Regression(bound="lower", quantiles=(0.1, 0.5, 0.9)).metrics()["interval_coverage"]
    assert metric.value(late, 1 / np.stack(ends[::-1], axis=1)) == pytest.approx(0.8, abs=0.02)


def test_a_label_of_zero_has_no_percentage_error() -> None:
    metric = Regression().metrics()["mean_absolute_percentage_error"]
    assert metric.value(Targets(np.array([0.0, 10.0])), np.array([5.0, 11.0])) == pytest.approx(0.1)


TREC = {"ndcg@3": "ndcg_cut_3", "recall@3": "recall_3", "precision@3": "P_3", "mrr": "recip_rank"}


def trec(runs: dict[str, dict[str, float]], judged: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.3", "recall.3", "P.3", "recip_rank"})
    found: dict[str, dict[str, float]] = evaluator.evaluate(runs)
    return found


def by_query(places: queries.QueryPlaces) -> dict[str, Floats]:
    return {
        "ndcg@3": places.ndcg(3),
        "recall@3": places.recall(3),
        "precision@3": places.precision(3),
        "mrr": places.reciprocal_rank(),
    }


def ranked_queries(generator: np.random.Generator, *, most: int, ties: bool) -> tuple[Targets, Floats]:
    sizes = generator.integers(1, most + 1, CASES)
    query = np.repeat(np.arange(CASES), sizes)
    labels = generator.integers(0, 4, len(query)) * (generator.random(len(query)) < 0.4)
    scores = generator.integers(0, 3, len(query)) if ties else generator.permutation(len(query))
    mixed = generator.permutation(len(query))  # queries need not lie together
    return Targets(labels[mixed].astype(np.float64), groups=query[mixed] * 7), scores[mixed].astype(np.float64)


def rows_of(targets: Targets) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    assert targets.groups is not None
    for row, query in enumerate(targets.groups.tolist()):
        found.setdefault(query // 7, []).append(row)
    return found


def test_rankings_without_ties_are_those_of_trec_eval() -> None:
    targets, scores = ranked_queries(np.random.default_rng(4), most=9, ties=False)
    rows = rows_of(targets)
    runs = {str(q): {f"d{row}": float(scores[row]) for row in each} for q, each in rows.items()}
    judged = {str(q): {f"d{row}": int(targets.labels[row]) for row in each} for q, each in rows.items()}
    compare(by_query(queries.scored(targets, scores)), trec(runs, judged), targets, rows)


def test_equal_scores_are_worth_the_mean_over_their_orders() -> None:
    targets, scores = ranked_queries(np.random.default_rng(5), most=4, ties=True)
    rows = rows_of(targets)
    runs, judged = {}, {}
    # trec_eval puts equal scores in falling order of the document's id: so every naming of the documents is an order.
    for query, each in rows.items():
        for turn, names in enumerate(itertools.permutations(range(len(each)))):
            runs[f"{query}/{turn}"] = {f"d{name}": float(scores[row]) for name, row in zip(names, each, strict=True)}
            judged[f"{query}/{turn}"] = {
                f"d{name}": int(targets.labels[row]) for name, row in zip(names, each, strict=True)
            }
    found: dict[str, dict[str, list[float]]] = {}
    for key, values in trec(runs, judged).items():
        for name, value in values.items():
            found.setdefault(key.split("/")[0], {}).setdefault(name, []).append(value)
    means = {key: {name: float(np.mean(values)) for name, values in each.items()} for key, each in found.items()}
    compare(by_query(queries.scored(targets, scores)), means, targets, rows)


def compare(
    values: dict[str, Floats], expected: dict[str, dict[str, float]], targets: Targets, rows: dict[int, list[int]]
) -> None:
    compared = 0
    for query, each in rows.items():
        relevant = targets.labels[each].max() > 0
        compared += relevant
        for name, theirs in TREC.items():
            if relevant:
                assert values[name][query] == pytest.approx(expected[str(query)][theirs], abs=1e-9), (name, query)
            else:
                assert math.isnan(values[name][query])
    assert CASES / 2 < compared < CASES


def test_ties_are_worth_what_scikit_learn_says() -> None:
    generator = np.random.default_rng(6)
    for _ in range(200):
        n = int(generator.integers(2, 30))
        labels, scores = generator.integers(0, 4, n).astype(np.float64), generator.integers(0, 4, n) / 4
        labels[0] = 1.0
        value = queries.scored(Targets(labels, groups=np.zeros(n, dtype=np.int64)), scores).ndcg(5)[0]
        assert value == pytest.approx(sk.ndcg_score([labels], [scores], k=5), abs=1e-9)


def test_what_an_index_returned_is_worth_what_trec_eval_says() -> None:
    generator, task = np.random.default_rng(7), Retrieval(k=5)
    runs, judged, query, items, labels, answers = {}, {}, [], [], [], []
    for number in range(CASES):
        answer = generator.choice(12, size=5, replace=False)
        known = generator.choice(12, size=int(generator.integers(1, 6)), replace=False)
        relevance = generator.integers(0, 3, len(known))
        runs[str(number)] = {f"i{item}": 5.0 - place for place, item in enumerate(answer)}
        judged[str(number)] = {f"i{item}": int(grade) for item, grade in zip(known, relevance, strict=True)}
        query += [number * 7] * len(known)
        items += known.tolist()
        labels += relevance.tolist()
        answers += [answer] * len(known)
    targets = Targets(np.array(labels, dtype=np.float64), groups=np.array(query), items=np.array(items))
    placed = task.predictions(np.array(answers), targets)
    compare(by_query(queries.returned(targets, placed)), trec(runs, judged), targets, rows_of(targets))
    words = Targets(targets.labels, groups=targets.groups, items=targets.items.astype(str))  # type: ignore[union-attr]
    np.testing.assert_array_equal(placed, task.predictions(np.array(answers).astype(str), words))


def test_a_query_weighs_the_mean_of_its_rows() -> None:
    targets = Targets(
        np.array([1.0, 0.0, 1.0, 0.0]), groups=np.array([3, 3, 9, 9]), weights=np.array([1.0, 1.0, 2.0, 4.0])
    )
    scores = np.array([1.0, 0.0, 0.0, 1.0])  # reciprocal ranks 1 and 1/2
    assert Ranking().metrics()["mrr"].value(targets, scores) == pytest.approx((1 + 3 * 0.5) / 4)


def uplift_cases(count: int) -> Iterator[tuple[Targets, Floats]]:
    generator = np.random.default_rng(8)
    for case in range(count):
        n = 10 * int(generator.integers(2, 7))
        treatment = generator.permutation(np.arange(n) % 2)
        labels = (generator.random(n) < 0.2 + 0.3 * treatment).astype(np.float64)
        labels[:4], treatment[:4] = (1, 0, 1, 0), (0, 0, 1, 1)
        uplift = generator.permutation(n) / n if case % 2 else generator.integers(0, 5, n) / 5
        yield Targets(labels, treatment=treatment, propensity=np.full(n, 0.5)), uplift


@pytest.mark.slow
def test_qini_and_uplift_at_30_per_cent_are_those_of_scikit_uplift() -> None:
    compared = 0
    for targets, uplift in uplift_cases(CASES):
        labels, treatment = targets.labels.astype(np.int64), targets.treatment
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*stable_cumsum.*", category=FutureWarning)
            qini = qini_auc_score(labels, uplift, treatment)
            assert measured(Uplift(), "qini", targets, uplift) == pytest.approx(qini, abs=1e-9)
            top = np.sort(np.argsort(-uplift)[: int(0.3 * len(targets))])
            both = len(np.unique(treatment[top])) == 2  # type: ignore[index]
            if len(np.unique(uplift)) == len(uplift) and both:
                compared += 1
                best = uplift_at_k(labels, uplift, treatment, strategy="overall", k=int(0.3 * len(targets)))
                assert measured(Uplift(), "uplift_at_30pct", targets, uplift) == pytest.approx(best, abs=1e-9)
    assert compared > CASES / 3


def test_qini_and_uplift_at_30_per_cent_see_no_uplift_in_lots_of_other_chances() -> None:
    # who is active buys more, and is written to more often; a message adds nothing for them, and 0.1 for the others
    generator, n = np.random.default_rng(12), 100_000
    active = generator.random(n) < 0.5
    chance = np.where(active, 0.7, 0.3)
    treatment = (generator.random(n) < chance).astype(np.int64)
    labels = (generator.random(n) < 0.1 + 0.3 * active + 0.1 * treatment * ~active).astype(np.float64)
    targets = Targets(labels, treatment=treatment, propensity=np.where(treatment == 1, chance, 1 - chance))
    lot = generator.random(n)
    assert measured(Uplift(), "uplift_at_30pct", targets, lot) == pytest.approx(0.05, abs=0.02)
    assert measured(Uplift(), "qini", targets, lot) == pytest.approx(0, abs=0.02)
    assert measured(Uplift(), "qini", targets, ~active + lot / 100) > 0.03
    assert measured(Uplift(), "qini", targets, active + lot / 100) < -0.03


def test_uplift_at_30_per_cent_counts_a_tie_at_the_edge_in_part() -> None:
    # Of ten, three: one is sure, two of the four that tie.
    uplift = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0])
    targets = Targets(
        np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], dtype=np.float64), treatment=np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 1])
    )
    # treated: 1 + 2/2 of whom 1 + 1/2 responded; not treated: 2/2 of whom 1/2.
    assert measured(Uplift(), "uplift_at_30pct", targets, uplift) == pytest.approx(1.5 / 2 - 0.5)


def test_the_value_of_a_policy_by_hand() -> None:
    # uplift 0.2 treats, -0.1 does not: rows 0 and 3 got what the policy says.
    uplift = np.array([0.2, 0.2, -0.1, -0.1])
    targets = Targets(
        np.array([1.0, 0.0, 1.0, 1.0]), treatment=np.array([1, 0, 1, 0]), propensity=np.array([0.5, 0.5, 0.25, 0.75])
    )
    assert measured(Uplift(), "policy_value_ips", targets, uplift) == pytest.approx((1 / 0.5 + 1 / 0.75) / 4)
    # left over: 0.8/0.5, 0/0.5, 1.1/0.25, 1/0.75 by 1/0.5 + 1/0.5 + 1/0.25 + 1/0.75
    base = (1.6 + 0 + 4.4 + 4 / 3) / (2 + 2 + 4 + 4 / 3)
    rows = [base + 0.2 + (1 - base - 0.2) / 0.5, base + 0.2, base, base + (1 - base) / 0.75]
    assert measured(Uplift(), "policy_value_dr", targets, uplift) == pytest.approx(np.mean(rows))


def test_policy_values_find_the_true_value() -> None:
    generator, n = np.random.default_rng(9), 200_000
    x = generator.random(n)
    chance = np.array([0.5, 0.2, 0.3])
    treatment = generator.choice(3, n, p=chance)
    effect = np.column_stack([np.zeros(n), x - 0.5, 0.5 - x])
    labels = 1 + effect[np.arange(n), treatment] + generator.normal(0, 0.1, n)
    targets = Targets(labels, treatment=treatment, propensity=chance[treatment])
    task = Uplift(treatments=2)
    true = 1 + 0.25  # the better of both is |x - 1/2|, 1/4 on average
    assert measured(task, "policy_value_ips", targets, effect[:, 1:]) == pytest.approx(true, abs=0.03)
    assert measured(task, "policy_value_dr", targets, effect[:, 1:]) == pytest.approx(true, abs=0.005)
    wrong = effect[:, 1:] + 3  # a wrong model of outcomes, the same order
    assert measured(task, "policy_value_dr", targets, wrong) == pytest.approx(true, abs=0.05)


def test_qini_is_not_told_of_amounts_nor_uplift_without_a_treated_row() -> None:
    uplift, treatment = np.array([0.1, 0.2, 0.3]), np.array([1, 0, 1])
    assert math.isnan(measured(Uplift(), "qini", Targets(np.array([1.0, 2.5, 0]), treatment=treatment), uplift))
    alone = Targets(np.array([1.0, 0, 0]), treatment=np.zeros(3, dtype=np.int64))
    assert math.isnan(measured(Uplift(), "uplift_at_30pct", alone, uplift))


def tasks_with_data() -> list[tuple[BaseTask, Targets, Floats]]:
    generator, n = np.random.default_rng(10), 60
    labels, scores = generator.integers(0, 2, n), generator.integers(0, 8, n) / 8
    classes = generator.dirichlet(np.ones(4), n)
    numbers = generator.normal(size=(n, 3))
    query = generator.integers(0, 9, n)
    arms = Targets(labels.astype(np.float64), treatment=generator.integers(0, 3, n), propensity=np.full(n, 0.4))
    censored = Targets(generator.normal(size=n), censored=generator.random(n) < 0.3)
    places = generator.choice([1.0, 2.0, 3.0, np.inf], n)
    return [
        (Binary(), Targets(labels), scores),
        (Multiclass(labels=tuple("abcd")), Targets(generator.integers(0, 4, n)), classes),
        (Regression(quantiles=(0.1, 0.5, 0.9)), censored, numbers),
        (Ranking(k=3), Targets(labels.astype(np.float64), groups=query), scores),
        (Retrieval(k=3), Targets(labels.astype(np.float64), groups=query), places),
        (Uplift(treatments=2), arms, generator.integers(-4, 4, (n, 2)) / 4),
    ]


@pytest.mark.parametrize(
    ("task", "targets", "predictions"), tasks_with_data(), ids=lambda case: getattr(case, "kind", "")
)
def test_a_unit_that_weighs_two_is_the_unit_twice(task: BaseTask, targets: Targets, predictions: Floats) -> None:
    generator = np.random.default_rng(11)
    for metric in task.metrics().values():
        group, count = targets.grouped()
        counts = generator.integers(0, 3, count)
        by_row = counts[group]
        rows = np.repeat(np.arange(len(targets)), by_row)
        twice = targets.take(rows)
        if targets.groups is not None:  # each draw of a query is a query of its own
            copy = np.concatenate([np.arange(times) for times in by_row])
            twice = Targets(twice.labels, groups=group[rows] * 10 + copy)
        weighed = metric.measure(targets, predictions, counts.astype(np.float64)[None, :])[0]
        ones = np.ones(twice.grouped()[1] if metric.resampled == "group" else len(twice))
        assert weighed == pytest.approx(metric.measure(twice, predictions[rows], ones[None, :])[0], nan_ok=True), (
            metric.name
        )


def test_rankings_that_are_lists_of_ids_agree_by_rank_biased_overlap() -> None:
    from hallmark.tasks import Ranking
    from hallmark.tasks.answers import Agreement

    task, rule = Ranking(k=10), Agreement(overlap=0.7)
    items = [f"i{number}" for number in range(10)]
    swapped = [items[1], items[0], *items[2:]]
    others = [f"x{number}" for number in range(10)]
    assert task.agrees([items], [items], rule) and task.agrees([items, others], [swapped, others], rule)
    assert not task.agrees([items], [others], rule) and not task.agrees([items, items], [items], rule)
    assert not task.agrees([items], [0.5], rule)


def test_a_ranking_is_judged_by_items_and_not_by_the_places_that_were_looked_at() -> None:
    random = np.random.default_rng(8)
    queries, size = 4000, 5
    looks = np.array([1.0, 0.6, 0.4, 0.25, 0.15])
    relevant = random.random((queries, size)) < 0.15
    shown = np.argsort(random.random((queries, size)) - 0.35 * relevant, axis=1)  # the relevant ones mostly higher
    place = np.argsort(shown, axis=1)
    clicked = relevant & (random.random((queries, size)) < looks[place])
    frame = pd.DataFrame(
        {"q": np.repeat(np.arange(queries), size), "y": clicked.ravel().astype(int), "look": looks[place].ravel()}
    )
    better = (relevant + random.normal(0, 0.6, relevant.shape)).ravel()
    task = Ranking()
    metric = task.metrics()["ndcg@10"]
    truth = task.targets(frame.assign(y=relevant.ravel().astype(int)), TargetColumns("y", query="q"))
    raw = task.targets(frame, TargetColumns("y", query="q"))
    fair = task.targets(frame, TargetColumns("y", query="q", propensity="look"))
    logged = -place.ravel().astype(np.float64)
    assert metric.value(truth, better) > metric.value(truth, logged)
    assert metric.value(raw, better) < metric.value(raw, logged)  # clicks alone say that the log is best
    assert metric.value(fair, better) > metric.value(fair, logged)
