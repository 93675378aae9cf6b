from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from hallmark.artifacts.evaluation import Evaluation
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.tasks.charts import POINTS, Chart, Confusion
from hallmark.training.evaluate import digest, evaluate

FRAUD = domains.load("fraud")
LISTING = domains.load("listing")


def scored_orders(n: int = 4000) -> tuple[np.ndarray, pd.DataFrame]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "fraud": (random.random(n) < 0.05).astype(np.int64),
            "payment": random.choice(np.array(["card", "wallet"], dtype=object), n),
            "category": random.choice(np.array(["bags", "shoes"], dtype=object), n),
            "amount": random.uniform(1, 100, n),
            "buyer_id": [f"b{number}" for number in range(n)],
            "ordered_at": pd.Timestamp("2026-08-01", tz="UTC"),
        }
    )
    scores = np.clip(frame["fraud"] * random.random(n) * 0.8 + random.random(n) * 0.4, 0, 1)
    return scores.to_numpy(dtype=np.float32), frame


def test_evaluation_holds_the_metrics_and_each_slice() -> None:
    scores, frame = scored_orders()
    made = evaluate(FRAUD, scores, frame)
    answers = frame["fraud"].to_numpy()
    assert made.rows == len(frame)
    assert made.metrics["average_precision"] == metrics.average_precision_score(answers, scores.astype(np.float64))
    assert [(part.column, part.value) for part in made.slices] == [
        *(("payment", "card"), ("payment", "wallet")),
        *(("category", "bags"), ("category", "shoes")),
    ]
    inside = (frame["payment"] == "card").to_numpy()
    assert made.slices[0].rows == inside.sum()
    expected = metrics.average_precision_score(answers[inside], scores[inside].astype(np.float64))
    assert made.slices[0].metric == pytest.approx(expected)


def test_evaluation_survives_json_with_metrics_that_cannot_be_told() -> None:
    scores, frame = scored_orders()
    frame.loc[frame["payment"] == "wallet", "fraud"] = 0
    made = evaluate(FRAUD, np.minimum(scores, 0.49), frame)
    assert "precision" not in made.metrics  # nothing scores 0.5
    assert [part.metric is None for part in made.slices if part.column == "payment"] == [False, True]
    assert Evaluation.model_validate_json(made.model_dump_json()) == made


def test_a_numeric_slice_column_is_cut_into_quarters() -> None:
    scores, frame = scored_orders()
    gate = FRAUD.gate.model_copy(update={"slices": FRAUD.gate.slices.model_copy(update={"columns": ("amount",)})})
    made = evaluate(FRAUD.model_copy(update={"gate": gate}), scores, frame)
    assert [part.rows for part in made.slices] == [1000] * 4
    assert made.slices[0].value.startswith("1: up to ")


def test_charts_are_thin_and_still_give_the_metric() -> None:
    scores, frame = scored_orders()
    answers = frame["fraud"].to_numpy()
    charts = {chart.metric: chart for chart in evaluate(FRAUD, scores, frame).charts if isinstance(chart, Chart)}
    curve, roc = (charts[name].lines[0].points for name in ("average_precision", "roc_auc"))
    assert len(curve) <= POINTS and len(roc) <= POINTS
    area = np.trapezoid([point.y for point in roc], [point.x for point in roc])
    assert area == pytest.approx(metrics.roc_auc_score(answers, scores.astype(np.float64)), abs=0.005)
    recall, precision = zip(*((point.x, point.y) for point in curve), strict=True)
    steps = np.sum(np.diff(recall) * np.array(precision[1:]))
    assert steps == pytest.approx(metrics.average_precision_score(answers, scores.astype(np.float64)), abs=0.01)
    assert [(roc[at].x, roc[at].y) for at in (0, -1)] == [(0.0, 0.0), (1.0, 1.0)]


def test_evaluation_of_photos_holds_a_confusion_matrix() -> None:
    names = domains.module("listing", "model").LABELS
    random = np.random.default_rng(0)
    answers = random.integers(0, len(names), 300)
    probabilities = random.dirichlet(np.ones(len(names)), 300)
    people = [f"s{number // 3}" for number in range(300)]
    frame = pd.DataFrame({"image": [b"photo"] * 300, "sender_id": people, "label": [names[i] for i in answers]})
    made = evaluate(LISTING, probabilities, frame)
    (confusion,) = made.charts
    assert isinstance(confusion, Confusion) and confusion.labels == names
    assert sum(map(sum, confusion.counts)) == 300
    assert {part.value for part in made.slices} == {names[i] for i in answers}
    hats = next(part for part in made.slices if part.value == "Hat")
    inside = answers == names.index("Hat")
    assert hats.metric == pytest.approx(np.mean(probabilities[inside].argmax(axis=1) == answers[inside]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[:-1], "wrong shape"),
        (lambda s: np.stack([s, s], axis=1), "wrong shape"),
        (lambda s: np.where(np.arange(len(s)) == 3, np.nan, s), "1 of the model's answers are out of range"),
        (lambda s: s + 1, "are out of range"),
    ],
)
def test_scores_that_are_none_are_refused(change: object, message: str) -> None:
    scores, frame = scored_orders()
    with pytest.raises(ModelRefused, match=message):
        evaluate(FRAUD, change(scores), frame)  # type: ignore[operator]


def test_a_metric_that_does_not_exist_and_a_slice_that_is_not_there_are_named() -> None:
    scores, frame = scored_orders()
    wrong = FRAUD.model_copy(update={"gate": FRAUD.gate.model_copy(update={"metric": "acuracy"})})
    with pytest.raises(DeclarationError, match=r"gate\.metric"):
        evaluate(wrong, scores, frame)
    with pytest.raises(ContractBroken, match="no column payment"):
        evaluate(FRAUD, scores, frame.drop(columns="payment"))


def test_a_label_that_is_no_answer_is_named() -> None:
    scores, frame = scored_orders()
    frame.loc[5, "fraud"] = 2
    with pytest.raises(ContractBroken, match="label column fraud holds 2"):
        evaluate(FRAUD, scores, frame)


def test_the_digest_tells_test_sets_apart() -> None:
    _, frame = scored_orders(200)
    assert digest(frame) == digest(frame.copy())
    assert digest(frame) != digest(frame[::-1])
    assert digest(frame) != digest(frame.assign(fraud=1 - frame["fraud"]))
    assert digest(frame) != digest(frame.rename(columns={"amount": "price"}))


def test_every_metric_has_its_standard_error_and_slices_have_theirs() -> None:
    scores, frame = scored_orders()
    made = evaluate(FRAUD, scores, frame)
    assert set(made.errors) == set(made.metrics)
    answers = frame["fraud"].to_numpy()
    drawn = np.random.default_rng(1).integers(0, len(frame), (300, len(frame)))
    theirs = np.std([metrics.roc_auc_score(answers[rows], scores[rows]) for rows in drawn])
    assert made.errors["roc_auc"] == pytest.approx(float(theirs), rel=0.3)
    assert all(part.error is not None and part.estimate is not None for part in made.slices)
    assert made.slices[0].brief.replicates == () and made.slices[0].brief.error == made.slices[0].error


def test_two_models_are_drawn_the_same_examples() -> None:
    scores, frame = scored_orders()
    one, other = (evaluate(FRAUD, each, frame) for each in (scores, np.sqrt(scores)))
    assert one.estimates["roc_auc"].replicates == pytest.approx(other.estimates["roc_auc"].replicates)  # a monotone map
    assert {each.draws for each in one.estimates.values()} == {each.draws for each in other.estimates.values()}


def test_a_ranking_is_told_by_what_is_known_too_where_the_data_has_it() -> None:
    search = domains.load("search")
    random = np.random.default_rng(2)
    relevance = random.integers(0, 5, 600)
    clicked = (random.random(600) < relevance / 8).astype(np.int64)
    frame = pd.DataFrame({"query_id": [f"q{at // 10}" for at in range(600)], "clicked": clicked, "look": 0.5})
    words = np.array(["x", "y"], dtype=object)
    frame = frame.assign(**{name: random.choice(words, 600) for name in ("category", "locale", "demand")})
    made = evaluate(search, relevance.astype(np.float64), frame.assign(relevance=relevance))
    assert made.metrics["judged_ndcg@10"] == pytest.approx(1.0) and made.metrics["ndcg@10"] < 1
    assert made.estimates["judged_ndcg@10"].error is not None
    assert not [name for name in evaluate(search, relevance.astype(np.float64), frame).metrics if "judged" in name]
