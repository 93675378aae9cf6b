"""The marketing domain: campaigns with known uplift, and a model that finds it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domains.marketing import data, model
from domains.marketing.synthetic import STOPPED, letters
from hallmark.declaration.policy import Policy
from hallmark.errors import DeclarationError
from hallmark.learners import onnx_model
from hallmark.learners.model import Examples, examples
from hallmark.learners.uplift_forest import TrainedUplift
from hallmark.policy.targeting import choose
from tests.seeds import seeds

START = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    return data.draw(start=START, end=START + timedelta(days=30), seed=7)


@pytest.fixture(scope="module")
def parts(drawn: pd.DataFrame) -> tuple[Examples, Examples]:
    late = drawn["written_at"] >= START + timedelta(days=24)
    return examples("marketing", drawn[~late]), examples("marketing", drawn[late])


@pytest.fixture(scope="module")
def trained(parts: tuple[Examples, Examples]) -> TrainedUplift:
    return model.fit(*parts, seed=7, rounds=60, folds=2)


def test_campaigns_keep_the_contract(drawn: pd.DataFrame) -> None:
    data.contract().validate(drawn)


def test_a_day_is_the_same_in_every_window(drawn: pd.DataFrame) -> None:
    alone = letters(START + timedelta(days=3), START + timedelta(days=4), seed=7)
    inside = drawn[drawn["written_at"].between(alone["written_at"].min(), alone["written_at"].max())]
    pd.testing.assert_frame_equal(alone, inside.reset_index(drop=True))


def test_messages_go_out_by_lot_with_the_chance_that_is_told(drawn: pd.DataFrame) -> None:
    chance = np.where(drawn["written"] == 1, drawn["propensity"], 1 - drawn["propensity"])
    for share, rows in drawn.groupby(np.round(chance, 6)):
        assert abs(rows["written"].mean() - share) < 4 * np.sqrt(share * (1 - share) / len(rows))
    noise = 1 / np.sqrt(len(drawn))
    assert abs(np.corrcoef(drawn["uplift"], drawn["written"] - chance)[0, 1]) < 4 * noise


def test_outcomes_show_the_uplift_that_is_known(drawn: pd.DataFrame) -> None:
    sign = np.where(drawn["written"] == 1, 1, -1) * drawn["bought"] / drawn["propensity"]
    for name, rows in {"all": drawn["uplift"] > -1, "moved": drawn["uplift"] > 0.05}.items():
        seen, error = sign[rows].mean(), sign[rows].std() / np.sqrt(rows.sum())
        assert abs(seen - drawn["uplift"][rows].mean()) < 4 * error, name


def test_some_members_are_sleeping_dogs(drawn: pd.DataFrame) -> None:
    assert 0.05 < (drawn["uplift"] < 0).mean() < 0.3


def test_a_stopped_campaign_moves_only_who_has_the_app() -> None:
    stopped = letters(START, START + timedelta(days=5), seed=7, shift=STOPPED.name)
    assert (stopped["uplift"][~stopped["app"]] == 0).all() and stopped["uplift"][stopped["app"]].mean() > 0.01


def test_a_window_without_days_is_refused() -> None:
    with pytest.raises(DeclarationError, match="window is empty"):
        letters(START, START, seed=7)


def test_the_model_ranks_by_uplift_and_not_by_who_buys_anyway(
    trained: TrainedUplift, parts: tuple[Examples, Examples]
) -> None:
    late = letters(START + timedelta(days=40), START + timedelta(days=50), seed=7)
    inputs = examples("marketing", late).inputs
    uplift, likeliest = trained.predict(inputs), next(iter(trained.others(inputs).answers.values()))
    true, most = late["uplift"].to_numpy(), int(0.3 * len(late))
    gains = {name: true[np.argsort(-each)[:most]].sum() for name, each in (("ours", uplift), ("theirs", likeliest))}
    assert gains["ours"] > 0.85 * np.sort(true)[::-1][:most].sum()
    assert gains["ours"] > 1.1 * gains["theirs"]


def test_exported_and_restored_it_answers_the_same(
    trained: TrainedUplift, parts: tuple[Examples, Examples], tmp_path: Path
) -> None:
    inputs = parts[1].inputs
    trained.export(tmp_path / "model.onnx")
    served = onnx_model.run(onnx_model.session(tmp_path / "model.onnx"), inputs, ["uplift", "expected"])
    np.testing.assert_allclose(served["uplift"], trained.predict(inputs), atol=1e-6)
    trained.save(tmp_path)
    assert (model.restore(tmp_path).predict(inputs) == trained.predict(inputs)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(range(10)))
def test_the_policy_earns_nine_tenths_of_what_the_truth_would(seed: int) -> None:
    """At one budget, on members of later weeks, whose true uplift the marketplace knows."""
    frame = data.draw(start=START - timedelta(days=150), end=START, seed=seed)
    late = frame["written_at"] >= START - timedelta(days=25)
    trained = model.fit(examples("marketing", frame[~late]), examples("marketing", frame[late]), seed=seed)
    members = letters(START + timedelta(days=5), START + timedelta(days=6), seed=seed, per_day=20_000)
    ids = members["member_id"].tolist()
    policy = Policy(budget=0.05 * 0.3 * len(members), value=9.0, holdout=0.0, explore=0.0)
    true = members["uplift"].to_numpy()
    earned = {}
    for name, uplift in {"ours": trained.predict(examples("marketing", members).inputs), "oracle": true}.items():
        chosen = choose(uplift, ids, domain="marketing", policy=policy, costs=(0.05,), run="r")
        earned[name] = float(((9.0 * true - 0.05) * (chosen.treatment == 1)).sum())
        assert chosen.spent <= policy.budget
    assert earned["ours"] >= 0.9 * earned["oracle"], earned
