"""The search model: better than the order that the log was in, and the same when it is exported."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from domains.search import data
from domains.search.model import INPUTS, OUTPUTS, SPEC
from hallmark.declaration import domain as domains
from hallmark.learners import onnx_model
from hallmark.learners.model import examples, spec, task_of
from hallmark.training import evaluate
from hallmark.training.split import split

START = datetime(2026, 7, 1, tzinfo=UTC)
END = START + timedelta(days=16)


def test_the_spec_is_that_of_the_declaration() -> None:
    domain = domains.load("search")
    assert spec(domain) is SPEC and [each.name for each in INPUTS] == ["query", "item", "numbers"]
    assert domain.data.propensity == "look" and domain.data.judged == "relevance"


@pytest.mark.slow
def test_it_ranks_better_than_the_log_by_what_is_known_and_answers_the_same_as_onnx(tmp_path: Path) -> None:
    domain = domains.load("search")
    parts = split(domain, data.draw(start=START, end=END, seed=7), as_of=END)
    model = SPEC.fit(*(examples("search", part) for part in (parts.train, parts.validation)), seed=7, rounds=80)
    held = examples("search", parts.test)
    scores = model.predict(held.named)
    ours = evaluate.evaluate(domain, scores, parts.test)
    logged = evaluate.evaluate(domain, -parts.test["position"].to_numpy(dtype=np.float64), parts.test)
    assert ours.metrics["ndcg@10"] > logged.metrics["ndcg@10"]
    assert ours.metrics["judged_ndcg@10"] > logged.metrics["judged_ndcg@10"]
    raw = dataclasses.replace(held.targets, propensity=None, weights=None)
    clicks = task_of(domain, SPEC).metrics()["ndcg@10"]
    assert clicks.value(raw, scores) < clicks.value(
        raw, -parts.test["position"].to_numpy(dtype=np.float64)
    )  # the place

    model.export(tmp_path / "model.onnx")
    model.save(tmp_path)
    exported = onnx_model.run(onnx_model.session(tmp_path / "model.onnx"), held.named, [OUTPUTS[0].name])["score"]
    task = task_of(domain, SPEC)
    assert task.parity(scores, exported, held.targets).kept
    assert (SPEC.restore(tmp_path).predict(held.named) == scores).all()
