"""A champion is a fair rival or none: rows N3 and N4 of ../shared/cases/users.md."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.artifacts.model_card import GateJudgement
from hallmark.declaration import domain as domains
from hallmark.registry.store import CHAMPION, Registry
from hallmark.settings import Settings
from hallmark.training import rivals, rows_seen, steps

TOY = Path(__file__).parents[2] / "toy"
Train = Callable[..., GateJudgement]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_registry: Path) -> Train:
    """Train the toy as of a day, up to the gate's decision; `champion` registers it and makes it so."""
    shutil.copytree(TOY, tmp_path / "root")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("HALLMARK_STATE", "HALLMARK_RELEASES", "MLFLOW_TRACKING_URI", "HALLMARK_RUN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HALLMARK_ROOT", str(tmp_path / "root"))
    settings = Settings.load().prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    own = tmp_path / "own.parquet"
    drawn = domains.module("toy", "data", settings).draw
    drawn(start=datetime(2026, 9, 1, tzinfo=UTC), end=datetime(2026, 10, 11, tzinfo=UTC), seed=1).to_parquet(own)

    def run(day: str, *, source: str = str(own), champion: bool = False, no_champion: bool = False) -> GateJudgement:
        out = tmp_path / f"{day}-{Path(source).name}-{champion}"
        as_of, paths = f"{day}T00:00:00+00:00", {name: out / name for name in ("training", "validation", "test")}
        steps.load("toy", source=source, as_of=as_of, window="20d", seed=7, shift="", examples=out / "examples")
        steps.validate("toy", examples=out / "examples", facts=out / "facts", summary=out / "summary")
        steps.split("toy", as_of=as_of, seed=7, examples=out / "examples", seen=out / "seen", **paths)
        test = paths.pop("test")
        steps.train("toy", seed=7, options={}, trained=out / "trained", history=out / "history", **paths)
        judged = {"evaluation": out / "evaluation", "plots": out / "plots"}
        steps.evaluate(
            "toy", trained=out / "trained", test=test, slices=out / "slices", scores=out / "scores", **judged
        )
        steps.compare(
            "toy",
            evaluation=out / "evaluation",
            scores=out / "scores",
            test=test,
            decision=out / "decision",
            summary=out / "why",
            source=source,
            no_champion=no_champion,
        )
        if champion:
            made = {"model": out / "model", "parity": out / "parity"}
            steps.export("toy", trained=out / "trained", test=test, **made)
            given = {"source": source, "as_of": as_of, "seed": 7, "shift": "", "options": {}}
            named = {name: out / name for name in ("facts", "decision", "seen")}
            version = steps.register("toy", **given, **judged, **made, **named)  # type: ignore[arg-type]
            Registry(settings).alias("toy", CHAMPION, version)
        return GateJudgement.model_validate_json((out / "decision").read_bytes())

    return run


@pytest.mark.slow
def test_n3_a_champion_that_has_seen_test_rows_is_judged_on_those_that_it_has_not(train: Train) -> None:
    train("2026-10-10", champion=True)  # learns from 19 September to 5 October
    later = train("2026-10-09")
    assert later.champion is not None and not later.champion.skipped
    rows = later.champion.rows
    assert rows is not None and 150 <= rows <= 400, "of the 399 from 4 to 8 October, those of the last three days"
    assert any(f"compared on the {rows:,} of 399 test rows" in each for each in later.decision.reasons)
    earlier = train("2026-09-26")
    assert earlier.champion is not None and earlier.champion.metrics == {}
    assert earlier.decision.passed, "by the floor alone"
    assert "has learnt from" in earlier.champion.skipped and "no others" in earlier.champion.skipped
    assert earlier.champion.skipped in earlier.decision.reasons


@pytest.mark.slow
def test_n4_synthetic_and_own_data_are_no_rivals_and_a_new_line_may_be_asked_for(train: Train) -> None:
    train("2026-10-10", source="synthetic", champion=True)
    first = train("2026-10-10")
    assert first.champion is not None
    assert first.champion.skipped == (
        "version 1, the champion, has learnt from synthetic data and this from data of your own: they are not compared"
    )
    again = train("2026-10-11", source="synthetic")
    assert again.champion is not None and again.champion.metrics
    alone = train("2026-10-11", source="synthetic", no_champion=True)
    assert alone.champion is not None and alone.champion.skipped == rivals.NOT_ASKED


def test_a_row_is_known_by_whom_and_when_whatever_type_its_columns_have(toy_rows: pd.DataFrame) -> None:
    domain = domains.load("toy", Settings.load({"HALLMARK_ROOT": str(TOY)}))
    found = rows_seen.identities(domain, toy_rows)
    assert len(np.unique(found)) == len(toy_rows)
    other = toy_rows.assign(a=0.0, at=toy_rows["at"].dt.as_unit("ns").dt.tz_convert("Asia/Kolkata"))
    assert (rows_seen.identities(domain, other.assign(who=other["who"].astype("category"))) == found).all()
    apart = domain.model_copy(update={"data": domain.data.model_copy(update={"split": "entity"})})
    assert len(np.unique(rows_seen.identities(apart, toy_rows))) == toy_rows["who"].nunique()


@pytest.fixture
def toy_rows() -> pd.DataFrame:
    module = domains.module("toy", "data", Settings.load({"HALLMARK_ROOT": str(TOY)}))
    found: pd.DataFrame = module.draw(
        start=datetime(2026, 9, 1, tzinfo=UTC), end=datetime(2026, 9, 3, tzinfo=UTC), seed=1
    )
    return found
