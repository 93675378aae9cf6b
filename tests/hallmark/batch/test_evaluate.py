"""Policies judged by a log: within budget and caps, in money, and on what a batch has really written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.artifacts.folder import ROWS_SEEN
from hallmark.batch import evaluate, served_log
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.policy import targeting
from hallmark.registry.store import ServableVersion
from hallmark.training import rows_seen

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERSION = ServableVersion(domain="marketing", version=3, storage_uri="", digest="sha256:0")


def marketing(*changes: str) -> Domain:
    return domains.overridden(domains.load("marketing"), ["policy.value=10", "task.cost=[1.0]", *changes])


def log(rows: int = 8) -> pd.DataFrame:
    """Of every two rows one was written to, by a fair lot; all who were written to bought, and the first of the others."""
    written = np.arange(rows) % 2
    return pd.DataFrame(
        {
            "member_id": [f"m{row}" for row in range(rows)],
            "written_at": NOW,
            "written": written,
            "propensity": 0.5,
            "bought": np.where(np.arange(rows) == 0, 1, written),
            "messages_30d": 0,
        }
    )


def judged(
    domain: Domain, frame: pd.DataFrame, uplifts: list[float], monkeypatch: pytest.MonkeyPatch, rows: int | None = None
) -> dict[str, evaluate.Judged]:
    monkeypatch.setattr(evaluate, "_answers", lambda domain, version, frame: (np.array(uplifts), None))
    return {each.policy: each for each in evaluate.evaluate(domain, frame, asked=VERSION, rows=rows)}


def test_a_policy_is_judged_in_money_with_what_it_costs_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: all eight are written to for 1 each; of these the log says four bought, each at chance 1/2: 2 * 4 * (10 - 1) / 8."""
    found = judged(marketing(), log(), [0.5] * 8, monkeypatch)
    ours, nobody = found["version 3"], found["nobody"]
    assert (ours.treated, ours.spent) == (1.0, 1.0) and (nobody.treated, nobody.spent) == (0.0, 0.0)
    assert ours.values.ips.value == pytest.approx(9.0) and ours.values.matched == 4
    assert nobody.values.ips.value == pytest.approx(2 * 10 / 8)
    assert nobody.gain is not None and ours.gain is None


def test_it_treats_whom_the_budget_the_caps_and_the_month_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    uplifts = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.05]  # the last is worth less than it costs

    def treated(domain: Domain, frame: pd.DataFrame, rows: int | None = None) -> float:
        return 8 * judged(domain, frame, uplifts, monkeypatch, rows)["version 3"].treated

    assert treated(marketing(), log()) == 7
    assert treated(marketing("policy.budget=3"), log()) == 3
    assert treated(marketing("policy.budget=12"), log(), rows=32) == 3  # the log is a quarter of a run
    assert treated(marketing("policy.caps.campaign=[8]"), log(), rows=32) == 2
    assert treated(marketing(), log().assign(messages_30d=[9, 9, 0, 0, 0, 0, 0, 0])) == 5


def test_each_treatment_costs_what_it_costs() -> None:
    """A letter that moves a little more than a mail and costs ten times as much is not worth it."""
    policy = marketing("policy.caps.campaign=[]").policy
    assert policy is not None
    uplifts = np.array([[0.20, 0.22], [0.10, 0.50]])
    chosen = targeting.greedy(uplifts, policy=policy, costs=np.array([0.1, 1.0]), messages=np.zeros(2))
    assert chosen.tolist() == [1, 2]


def test_what_a_batch_wrote_is_a_log_once_its_outcomes_are_joined(tmp_path: Path) -> None:
    written = pd.DataFrame(
        {"member_id": ["a", "b", "c"], "treatment": [1, 0, 0], "propensity": [0.9, 0.2, 1.0], "reason": ["worth it", "held out", "another row of the same"]}
    )  # fmt: skip
    written.to_parquet(tmp_path / "targets.parquet")
    pd.DataFrame({"member_id": ["a", "b"], "bought": [1, 0]}).to_parquet(tmp_path / "outcomes.parquet")
    domain = domains.load("marketing")
    found, left = served_log.read(
        domain, pd.read_parquet, log=[tmp_path / "targets.parquet"], more=[tmp_path / "outcomes.parquet"]
    )
    assert found["member_id"].tolist() == ["a", "b"] and left == 1
    assert found["written"].tolist() == [1, 0] and found["bought"].tolist() == [1, 0]
    with pytest.raises(DeclarationError, match="what came of it"):
        served_log.read(domain, pd.read_parquet, log=[tmp_path / "targets.parquet"])


def test_an_entity_that_is_twice_in_what_is_joined_is_refused(tmp_path: Path) -> None:
    log().to_parquet(tmp_path / "log.parquet")
    pd.DataFrame({"member_id": ["m1", "m1"], "age": [3, 4]}).to_parquet(tmp_path / "more.parquet")
    with pytest.raises(ContractBroken, match=r"m1.*twice"):
        served_log.read(
            domains.load("marketing"), pd.read_parquet, log=[tmp_path / "log.parquet"], more=[tmp_path / "more.parquet"]
        )


def test_rows_that_a_version_has_learnt_from_are_counted_however_their_times_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain, frame = domains.load("marketing"), log()
    rows_seen.write(domain, tmp_path / ROWS_SEEN, frame.head(3))
    monkeypatch.setattr(ServableVersion, "fetch", lambda self: tmp_path)
    assert served_log.learnt(domain, VERSION, frame) == 3
    assert served_log.learnt(domain, VERSION, frame.assign(written_at=NOW.isoformat())) == 3
    assert served_log.learnt(domain, VERSION, frame.drop(columns="written_at")) == 0
