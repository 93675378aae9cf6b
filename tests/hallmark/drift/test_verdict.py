"""Verdicts on simulated windows: how often it cries wolf, what it finds, what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.drift.profile import Profile
from hallmark.drift.verdict import judge
from hallmark.features.fields import Columns

DRIFT = Drift(window=2000, minimum=300, threshold=0.2)
Frame = dict[str, NDArray[Any]]


def draw(rows: int, *, seed: int) -> Frame:
    """17 inputs of the kinds that orders have, and a score."""
    random = np.random.default_rng(seed)
    columns: Frame = {f"amount{at}": random.lognormal(3 + at / 4, 1.0, rows) for at in range(6)}
    columns |= {f"count{at}": random.poisson(0.3 + at, rows) for at in range(4)}
    columns |= {f"rare{at}": np.where(random.random(rows) < 0.9, 0.0, random.exponential(9.0, rows)) for at in range(2)}
    columns |= {f"flag{at}": random.random(rows) < 0.05 + at / 5 for at in range(2)}
    for at, size in enumerate((3, 8, 40)):
        shares = np.arange(size, 0, -1) / np.arange(1, size + 1).sum()
        columns[f"word{at}"] = random.choice(
            np.array([f"w{each}" for each in range(size)], dtype=object), rows, p=shares
        )
    return {**columns, "score": random.beta(0.4, 9.0, rows).astype(np.float32)}


@pytest.fixture(scope="module")
def reference() -> Frame:
    return draw(20_000, seed=1)


@pytest.fixture(scope="module")
def learned(reference: Frame) -> Profile:
    inputs = {name: values for name, values in reference.items() if name != "score"}
    assert len(inputs) == 17
    return profile.build(inputs, scores={"score": reference["score"]})


def bootstrap(reference: Frame, rows: int, *, seed: int) -> Frame:
    chosen = np.random.default_rng(seed).integers(0, len(reference["score"]), rows)
    return {name: values[chosen] for name, values in reference.items()}


def drifted(learned: Profile, window: Columns) -> list[str]:
    verdict = judge(learned, window, DRIFT)
    assert (verdict.state == "DRIFT") == any(column.drifted for column in verdict.columns)
    return sorted(column.name for column in verdict.columns if column.drifted)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [300, 2000])
def test_of_500_clean_windows_at_most_1_percent_alarm(reference: Frame, learned: Profile, rows: int) -> None:
    alarms = sum(bool(drifted(learned, bootstrap(reference, rows, seed=seed))) for seed in range(500))
    assert alarms <= 5


@pytest.mark.slow
def test_fresh_windows_of_50_rows_do_not_alarm_either(learned: Profile) -> None:
    small = Drift(window=50, minimum=50, threshold=0.2)
    alarms = sum(judge(learned, draw(50, seed=100 + seed), small).state == "DRIFT" for seed in range(200))
    assert alarms <= 2


def moved(window: Frame, name: str, values: NDArray[Any]) -> Frame:
    return {**window, name: values}


@pytest.mark.parametrize("rows", [300, 2000])
@pytest.mark.parametrize("shift", ["dearer", "category", "zeros", "flag", "score"])
def test_planted_shifts_are_found_and_only_they(learned: Profile, shift: str, rows: int) -> None:
    """Power: each of these is found in 20 of 20 windows, by its name and no other."""
    for seed in range(20):
        window, random = draw(rows, seed=1000 + seed), np.random.default_rng(seed)
        name, values = {
            "dearer": ("amount0", window["amount0"] * 2.0),
            "category": ("word1", np.where(random.random(rows) < 0.35, "w6", window["word1"])),
            "zeros": ("rare0", np.where(random.random(rows) < 0.35, 5.0, window["rare0"])),
            "flag": ("flag0", window["flag0"] | (random.random(rows) < 0.25)),
            "score": ("score", np.clip(window["score"] * 4, 0, 1)),
        }[shift]
        assert drifted(learned, moved(window, name, np.asarray(values, dtype=window[name].dtype))) == [name]


POISONS: dict[str, list[Any]] = {
    "inf": [float("inf")],
    "million": [1e6],
    "minus": [-1e9],
    "nan": [float("nan")],
    "types": [None, "x", b"\xff", True, [], {}, 10**400],
    "mixed": [float("inf"), 1e6, None, "never seen", True],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", POISONS)
def test_one_percent_of_poisoned_rows_changes_no_verdict(learned: Profile, kind: str) -> None:
    """On clean windows and on ones that lie close to the threshold."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        for factor in (1.0, 1.5, 1.56, 1.62, 2.0):
            window = draw(2000, seed=2000 + seed)
            window["amount0"] = window["amount0"] * factor
            poisoned = {name: values.astype(object) for name, values in window.items()}
            rows = random.choice(2000, 20, replace=False)
            for values in poisoned.values():
                for row in rows:
                    values[row] = POISONS[kind][random.integers(len(POISONS[kind]))]
            healthy = np.setdiff1d(np.arange(2000), rows)
            without = drifted(learned, {name: values[healthy] for name, values in window.items()})
            assert drifted(learned, poisoned) == without


@pytest.mark.parametrize("name", ["amount0", "count0", "flag0", "word1", "score"])
def test_30_percent_missing_is_drift_with_its_name(learned: Profile, name: str) -> None:
    for rows in (300, 2000):
        window = draw(rows, seed=5)
        values = window[name].astype(object)
        values[np.random.default_rng(1).random(rows) < 0.3] = None
        verdict = judge(learned, moved(window, name, values), DRIFT)
        assert [column.name for column in verdict.columns if column.drifted] == [name]
        assert verdict.reasons[0].startswith(f"{name}: missing in ")


def test_a_missing_column_is_drift_with_its_name(learned: Profile) -> None:
    window = draw(300, seed=5)
    del window["word1"]
    verdict = judge(learned, window, DRIFT)
    assert (verdict.state, verdict.reasons) == ("DRIFT", ("word1: the column is missing",))


def test_what_the_reference_missed_too_may_be_missing() -> None:
    random = np.random.default_rng(1)
    values = np.where(random.random(9000) < 0.3, np.nan, random.normal(size=9000))
    learned = profile.build({"x": values[:8000]})
    assert judge(learned, {"x": values[8000:]}, DRIFT).state == "OK"
    assert judge(learned, {"x": np.where(random.random(1000) < 0.6, np.nan, values[:1000])}, DRIFT).state == "DRIFT"


def test_a_category_never_seen_is_drift_once_it_is_common(learned: Profile) -> None:
    random, window = np.random.default_rng(1), draw(2000, seed=5)
    few, many = (np.where(random.random(2000) < share, "new", window["word0"]) for share in (0.008, 0.2))
    assert drifted(learned, moved(window, "word0", few)) == []
    assert drifted(learned, moved(window, "word0", many)) == ["word0"]


def test_a_new_unit_is_drift(learned: Profile) -> None:
    """Cents where euros were: mostly far outside, and far more than the share that is forgiven."""
    window = draw(300, seed=5)
    assert drifted(learned, moved(window, "amount0", window["amount0"] * 100)) == ["amount0"]


def test_too_few_rows_are_insufficient_however_far(learned: Profile) -> None:
    window = draw(299, seed=5)
    window["amount0"] = window["amount0"] * 100
    verdict = judge(learned, window, DRIFT)
    assert verdict.state == "INSUFFICIENT" and verdict.reasons == ("299 rows in the window, 300 are needed",)
    assert judge(learned, {}, DRIFT).state == "INSUFFICIENT"


@pytest.mark.parametrize(("captured", "state"), [(None, "OK"), (1.0, "OK"), (0.95, "OK"), (0.949, "INSUFFICIENT")])
def test_a_window_with_holes_proves_nothing(learned: Profile, captured: float | None, state: str) -> None:
    assert judge(learned, draw(300, seed=5), DRIFT, captured=captured).state == state


def test_loss_outweighs_drift(learned: Profile) -> None:
    window = draw(300, seed=5)
    window["amount0"] = window["amount0"] * 9
    assert judge(learned, window, DRIFT, captured=0.5).state == "INSUFFICIENT"
    assert judge(learned, window, DRIFT, doubts=["nobody counted"]).reasons == ("nobody counted",)


def test_only_the_declared_columns_are_watched(learned: Profile) -> None:
    window = draw(300, seed=5)
    window["amount0"] = window["amount0"] * 9
    few = DRIFT.model_copy(update={"columns": ("amount1", "score")})
    verdict = judge(learned, window, few)
    assert verdict.state == "OK" and [column.name for column in verdict.columns] == ["amount1", "score"]


def test_a_column_to_watch_that_has_no_reference_is_never_ok(learned: Profile) -> None:
    few = DRIFT.model_copy(update={"columns": ("amount0", "typo")})
    verdict = judge(learned, draw(300, seed=5), few)
    assert verdict.state == "INSUFFICIENT" and verdict.reasons[0].startswith("typo: ")


def test_pooled_variants_hide_what_each_of_them_shows(reference: Frame, learned: Profile) -> None:
    """8,000 answers of stable and 2,000 of a canary whose scores are shifted: why variants are judged apart."""
    stable, canary = bootstrap(reference, 8000, seed=1), bootstrap(reference, 2000, seed=2)
    canary["score"] = np.clip(canary["score"] * 2.5, 0, 1)
    pooled = {name: np.concatenate([stable[name], canary[name]]) for name in stable}
    assert drifted(learned, canary) == ["score"]
    assert drifted(learned, stable) == [] and drifted(learned, pooled) == []


GAPS = np.full(20_000, np.nan)
EVEN = np.linspace(-1, 1, 20_000)
WORD = np.array(["0"] * 20_000, dtype=object)


@pytest.mark.parametrize(
    ("reference", "window", "state"),
    [
        (WORD, WORD[:2000], "OK"),
        (np.zeros(20_000), np.zeros(2000), "OK"),
        (np.zeros(20_000), np.ones(2000), "DRIFT"),
        (GAPS, GAPS[:2000], "OK"),
        (GAPS, EVEN[::10], "DRIFT"),
        (np.where(EVEN < -0.4, np.nan, EVEN), EVEN[::10], "DRIFT"),
        (np.array([None, "a"] * 10_000, dtype=object), np.array([np.nan, "a"] * 1000, dtype=object), "OK"),
    ],
    ids=["one word", "one number", "another number", "never a value", "values now", "no gaps now", "gaps of two kinds"],
)
def test_a_column_of_one_value_or_of_none_is_judged_like_any_other(
    reference: np.ndarray[Any, Any], window: np.ndarray[Any, Any], state: str
) -> None:
    """Evidently #187 and #1929, NannyML #327 and #339, deepchecks #1833: gaps are rows, and no effect is NaN."""
    found = judge(profile.build({"x": reference}), {"x": window}, Drift())
    assert found.state == state and all(np.isfinite(column.effect) for column in found.columns)


def test_gaps_of_one_column_take_no_rows_from_another() -> None:
    """Evidently #241."""
    words = np.array(["a", "b"] * 10_000, dtype=object)
    found = judge(profile.build({"x": EVEN, "y": words}), {"x": GAPS[:2000], "y": words[:2000]}, Drift())
    assert [(column.name, column.drifted) for column in sorted(found.columns, key=lambda each: each.name)] == [
        ("x", True),
        ("y", False),
    ]
