from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hallmark.artifacts.evaluation import Evaluation
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.training import metrics
from hallmark.training.evaluate import POINTS, curves, digest, evaluate

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
    assert made.metrics["average_precision"] == metrics.average_precision(answers, scores.astype(np.float64))
    assert [(part.column, part.value) for part in made.slices] == [
        *(("payment", "card"), ("payment", "wallet")),
        *(("category", "bags"), ("category", "shoes")),
    ]
    inside = (frame["payment"] == "card").to_numpy()
    assert made.slices[0].rows == inside.sum()
    expected = metrics.average_precision(answers[inside], scores[inside].astype(np.float64))
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


def test_curves_are_thin_and_still_give_the_metric() -> None:
    scores, frame = scored_orders()
    answers = frame["fraud"].to_numpy()
    made = curves(answers, scores.astype(np.float64))
    assert len(made.precision_recall) <= POINTS and len(made.roc) <= POINTS
    area = np.trapezoid([point.y for point in made.roc], [point.x for point in made.roc])
    assert area == pytest.approx(metrics.roc_auc(answers, scores.astype(np.float64)), abs=0.005)
    recall, precision = zip(*((point.x, point.y) for point in made.precision_recall), strict=True)
    steps = np.sum(np.diff(recall) * np.array(precision[1:]))
    assert steps == pytest.approx(metrics.average_precision(answers, scores.astype(np.float64)), abs=0.01)
    assert made.roc[0] == made.roc[0].model_copy(update={"x": 0.0, "y": 0.0})
    assert (made.roc[-1].x, made.roc[-1].y) == (1.0, 1.0)


def test_evaluation_of_photos_holds_a_confusion_matrix() -> None:
    names = domains.module("listing", "model").LABELS
    random = np.random.default_rng(0)
    answers = random.integers(0, len(names), 300)
    probabilities = random.dirichlet(np.ones(len(names)), 300)
    frame = pd.DataFrame({"image": [b"photo"] * 300, "label": [names[i] for i in answers]})
    made = evaluate(LISTING, probabilities, frame)
    assert made.confusion is not None and made.curves is None
    assert made.confusion.labels == names
    assert sum(map(sum, made.confusion.counts)) == 300
    assert {part.value for part in made.slices} == {names[i] for i in answers}
    hats = next(part for part in made.slices if part.value == "Hat")
    inside = answers == names.index("Hat")
    assert hats.metric == pytest.approx(metrics.top(answers[inside], probabilities[inside]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[:-1], "wrong shape"),
        (lambda s: np.stack([s, s], axis=1), "wrong shape"),
        (lambda s: np.where(np.arange(len(s)) == 3, np.nan, s), "1 of the model's scores are no probabilities"),
        (lambda s: s + 1, "are no probabilities"),
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
