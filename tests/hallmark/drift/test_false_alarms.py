"""How often the monitor cries wolf on the marketplace, and how soon it sees what is there: simulated, seeded, within a minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

import weeks
from weeks import AS_OF, DRIFT, MATCH, STRIDE, Frame, Released

from domains.listing.synthetic import photos
from hallmark.drift import embedding, profile
from hallmark.drift.analysis import measure
from hallmark.drift.strata import keys
from hallmark.drift.verdict import Verdict, conclude
from hallmark.features import image
from hallmark.features.fields import Columns
from tests.seeds import how_many

pytestmark = pytest.mark.slow
SEEDS, WEEKS = (101, 102, 103, 104, 105), how_many(14, 40)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    return weeks.release(tmp_path_factory.mktemp("released") / "model")


@pytest.fixture(scope="module")
def clean(released: Released) -> list[Frame]:
    """Weeks of five marketplaces that the model never saw, all seasons among them: 70, and 200 in `make long`."""
    found: list[Frame] = []
    for at, seed in enumerate(SEEDS):
        start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=77 * at)
        orders = weeks.draw(start, days=7 * WEEKS, seed=seed)
        seen = released.sees(orders)
        found += [part(seen, rows) for rows in weeks.by_week(orders, start, WEEKS)]
    return found


def part(seen: Frame, rows: slice) -> Frame:
    return {name: values[rows] for name, values in seen.items()}


def judged(released: Released, window: Frame) -> Verdict:
    strata = keys(window[MATCH].tolist())
    return conclude(measure(released.profile, window, DRIFT, strata=strata), DRIFT)


def alarms(released: Released, week: Frame) -> Iterator[Verdict]:
    """The looks that alarm: the monitor's own verdict wherever an effect is over its threshold."""
    effects = weeks.effects(released.profile, week)
    for at in np.flatnonzero(effects.max(axis=1) > 1):
        verdict = judged(released, part(week, weeks.looks(len(week["score"]))[at]))
        if verdict.state != "OK":
            yield verdict


@pytest.mark.many
def test_of_many_clean_weeks_at_most_1_percent_alarm_however_often_somebody_looks(
    released: Released, clean: list[Frame]
) -> None:
    """Each week begins with an empty window and is looked at every 40 rows: some 270 looks a week at 17 columns."""
    assert sum(len(weeks.looks(len(week["score"]))) for week in clean) > 250 * len(clean)
    crying = [week for week in clean if any(alarms(released, week))]
    assert len(crying) <= how_many(1, 2)


def test_the_simulation_sees_the_effects_that_the_verdict_sees(released: Released, clean: list[Frame]) -> None:
    for week in clean[::WEEKS]:
        effects, spans = weeks.effects(released.profile, week), weeks.looks(len(week["score"]))
        for at in (0, 20, len(spans) - 1):
            verdict = judged(released, part(week, spans[at]))
            assert [column.effect for column in verdict.columns] == pytest.approx(effects[at], abs=1e-4)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("new_fraud_pattern", {"password_age_hours", "shipping_distance_km", "address_changed"}),
        ("season", {"discount", "category"}),
    ],
)
def test_a_planted_shift_is_found_within_one_window(
    released: Released, clean: list[Frame], shift: str, expected: set[str]
) -> None:
    """A full clean window, then shifted orders: DRIFT before 2,000 of them have come, and at the latest when they have."""
    before = part(clean[0], slice(0, DRIFT.window))
    after = released.sees(weeks.draw(AS_OF, days=2, seed=101, shift=shift))
    first = None
    for rows in range(STRIDE, DRIFT.window + 1, STRIDE):
        window = {name: np.concatenate([before[name][rows:], after[name][:rows]]) for name in before}
        verdict = judged(released, window)
        if verdict.state == "DRIFT" and first is None:
            first = rows
    assert first is not None and first <= DRIFT.window // 2
    assert expected <= {column.name for column in verdict.columns if column.drifted}


def test_a_score_half_as_large_again_is_found_in_one_window(released: Released, clean: list[Frame]) -> None:
    """In each of 200 windows of 2,000, by its name and no other. The index alone misses it on a smoother score."""
    found = 0
    for week in clean:
        window = part(week, slice(0, DRIFT.window))
        window["score"] = np.clip(window["score"] * np.float32(1.5), 0, 1)
        verdict = judged(released, window)
        found += [column.name for column in verdict.columns if column.drifted] == ["score"]
    assert found == len(clean)


def test_a_window_of_one_hour_is_held_against_that_hour(released: Released, clean: list[Frame]) -> None:
    """A busy service fills its window within minutes. Against whole days most hours would be drift; against theirs none is."""
    unmatched = released.profile.model_copy(update={"strata": None})
    orders = {name: np.concatenate([week[name] for week in clean[:WEEKS]]) for name in clean[0]}
    crying = 0
    for hour in range(24):
        window = {name: values[orders[MATCH] == hour][: DRIFT.window] for name, values in orders.items()}
        assert len(window["score"]) > DRIFT.minimum
        assert judged(released, window).state == "OK"
        crying += conclude(measure(unmatched, window, DRIFT), DRIFT).state == "DRIFT"
    assert crying >= 8


def test_a_camera_change_is_found_within_one_window_and_clean_photos_are_no_drift() -> None:
    """Reference of 800 photos; clean windows of 400 by other people; then windows a half and three quarters changed."""
    drift = weeks.domains.load("listing").drift

    def seen(start: int, count: int, shift: str | None = None) -> tuple[Columns, NDArray[np.float32]]:
        pictures = photos(count, seed=5, first=24 * start, shift=shift)["image"]
        return image.statistics(pictures), image.descriptors(pictures)

    reference, embedded = seen(0, 800)
    learned, sample = profile.build(reference), embedding.sample(embedded)

    def drifted(*parts: tuple[Columns, NDArray[np.float32], slice]) -> set[str]:
        columns = {name: np.concatenate([part[name][rows] for part, _, rows in parts]) for name in reference}
        separation = embedding.separate(sample, np.concatenate([vectors[rows] for _, vectors, rows in parts]))
        found = conclude(measure(learned, columns, drift, separation=separation), drift)
        assert found.state in ("OK", "DRIFT") and found.rows == 400
        return {column.name for column in found.columns if column.drifted}

    clean, changed = seen(1000, 600), seen(2000, 300, "camera_change")
    for at in range(0, 201, 40):
        assert drifted((*clean, slice(at, at + 400))) == set()
    assert "sharpness" in drifted((*clean, slice(200, 400)), (*changed, slice(0, 200)))
    assert {"sharpness", "contrast", embedding.NAME} <= drifted((*clean, slice(0, 100)), (*changed, slice(0, 300)))
