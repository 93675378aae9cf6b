"""The recommender on a sparse log beats what needs no learning; and on the marketplace it knows new items, which ids alone do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from domains.recommendations import data, model
from hallmark.declaration import domain as domains
from hallmark.learners import onnx_model
from hallmark.learners.model import examples
from hallmark.training.evaluate import evaluate
from hallmark.training.split import Split, split
from tests.domains.recommendations.logs import log

DOMAIN = domains.load("recommendations")


def parts(frame: pd.DataFrame, *, as_of: datetime) -> Split:
    return split(DOMAIN, frame, as_of=as_of)


@pytest.mark.slow
def test_a_quick_one_of_the_marketplace_goes_from_examples_to_onnx(tmp_path: Path) -> None:
    end = datetime(2026, 9, 15, tzinfo=UTC)
    made = parts(data.draw(start=end - timedelta(days=12), end=end, seed=7), as_of=end)
    encoded = {name: examples("recommendations", getattr(made, name)) for name in ("train", "validation", "test")}
    trained = model.fit(encoded["train"], encoded["validation"], seed=1, quick=True, epochs=1)
    trained.export(tmp_path / "model.onnx")
    running = onnx_model.session(tmp_path / "model.onnx")
    onnx_model.agrees(running, model.OUTPUTS, inputs=[each.name for each in model.SPEC.inputs])
    found = onnx_model.run(running, encoded["test"].given, ["items"])["items"]
    answers = trained.predict(encoded["test"].given)
    assert (found == answers).mean() > 0.99
    told = evaluate(DOMAIN, answers, made.test, others=trained.others(encoded["test"].given))
    beside = {each.name: each for each in told.beside}
    assert list(beside) == ["popularity", "item-kNN", "re-ranked", "ids alone"]
    assert 0 < told.metrics["coverage@10"] <= 1 and len(told.charts[0].lines) == 5  # type: ignore[union-attr]
    assert beside.pop("re-ranked").metrics["ndcg@10"] > told.metrics["ndcg@10"]
    new = {name: {(part.column, part.value): part.metric for part in each.slices} for name, each in beside.items()}
    assert all(slices["new_item", "True"] == 0 for slices in new.values()), "what goes by ids cannot answer a new item"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_a_log_as_sparse_as_a_large_shop_s_it_beats_popularity_and_neighbours(tmp_path: Path) -> None:
    log(3000, 1700, seed=3).to_csv(tmp_path / "log.csv", index=False)
    frame = data.read(tmp_path / "log.csv")
    made = parts(frame, as_of=datetime(2026, 1, 1, tzinfo=UTC))
    train, validation, test = (examples("recommendations", each) for each in (made.train, made.validation, made.test))
    trained = model.fit(train, validation, seed=1, epochs=24)
    told = evaluate(DOMAIN, trained.predict(test.given), made.test, others=trained.others(test.given))
    beside = {each.name: each.metrics for each in told.beside}
    assert set(beside) == {"popularity", "item-kNN"}, "of items nothing is known"
    for metric in ("recall@10", "ndcg@10"):
        assert told.metrics[metric] > 1.2 * beside["item-kNN"][metric] > beside["popularity"][metric]
