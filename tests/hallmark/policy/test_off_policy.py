"""Values of policies from logs: by hand, against another implementation, and against a truth that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hallmark.policy.off_policy import Log, chances, gain, value


def test_a_small_log_by_hand() -> None:
    log = Log(np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 0.0, 4.0]), np.array([0.5, 0.25, 0.5, 0.8]))
    policy = np.array([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    expected = np.array([[1.0, 1.0], [0.0, 3.0], [1.0, 1.0], [2.0, 0.0]])
    found = value(log, policy, expected)
    # weights: 0, 4, 1, 1.25
    assert found.ips.value == pytest.approx((0 + 8 + 0 + 5) / 4)
    assert found.snips.value == pytest.approx((8 + 5) / (4 + 1 + 1.25))
    # direct 1, 3, 1, 2 and corrections 0, 4 (2 - 3), 1 (0 - 1), 1.25 (4 - 2)
    assert found.dr.value == pytest.approx((1 + 3 - 4 + 1 - 1 + 2 + 2.5) / 4)
    assert found.matched == 0 + 1 + 0.5 + 1
    assert found.effective == pytest.approx(6.25**2 / (16 + 1 + 1.25**2))


def reference(
    action: list[int], reward: list[float], propensity: list[float], policy: list[list[float]], model: list[list[float]]
) -> dict[str, tuple[float, float]]:
    """The three estimators row by row, as their papers write them, with the textbook error of a mean."""
    n = len(action)
    ips, dr, weights = [], [], []
    for row in range(n):
        a = action[row]
        w = policy[row][a] / propensity[row]
        weights.append(w)
        ips.append(w * reward[row])
        baseline = 0.0
        for arm in range(len(policy[row])):
            baseline += policy[row][arm] * model[row][arm]
        dr.append(baseline + w * (reward[row] - model[row][a]))

    def mean(values: list[float]) -> tuple[float, float]:
        middle = math.fsum(values) / n
        return middle, math.sqrt(math.fsum((each - middle) ** 2 for each in values) / (n - 1) / n)

    ratio = math.fsum(ips) / math.fsum(weights)
    share = math.fsum(weights) / n
    spread = math.fsum(((each - ratio * w) / share) ** 2 for each, w in zip(ips, weights, strict=True))
    return {"ips": mean(ips), "snips": (ratio, math.sqrt(spread / (n - 1) / n)), "dr": mean(dr)}


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_another_implementation_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, k = 500, 3
    logging, policy = (random.dirichlet(np.ones(k), n) for _ in range(2))
    action = np.array([random.choice(k, p=each) for each in logging])
    reward, model = random.normal(1, 2, n), random.normal(1, 1, (n, k))
    propensity = logging[np.arange(n), action]
    found = value(Log(action, reward, propensity), policy, model)
    theirs = reference(action.tolist(), reward.tolist(), propensity.tolist(), policy.tolist(), model.tolist())
    for name, (middle, error) in theirs.items():
        ours = getattr(found, name)
        assert (ours.value, ours.error) == (pytest.approx(middle, abs=1e-6), pytest.approx(error, abs=1e-6)), name
        assert ours.high - ours.low == pytest.approx(2 * 1.959963984540054 * error, abs=1e-6)


def test_intervals_hold_a_truth_that_is_known_in_95_of_100_logs() -> None:
    random = np.random.default_rng(0)
    n, logs, inside = 2000, 200, {"ips": 0, "snips": 0, "dr": 0}
    for _ in range(logs):
        x = random.random(n)
        chance = 0.2 + 0.6 * x
        action = (random.random(n) < chance).astype(np.int64)
        truth = np.stack((0.3 * x, 0.3 * x + 0.2 * (x - 0.4)), axis=1)
        reward = (random.random(n) < truth[np.arange(n), action]).astype(np.float64)
        log = Log(action, reward, np.where(action == 1, chance, 1 - chance))
        policy = chances((x > 0.4).astype(np.int64), 2)
        found = value(log, policy, truth + 0.1 * random.normal(size=truth.shape))
        expected = 0.15 + 0.2 * 0.6**2 / 2
        for name in inside:
            inside[name] += getattr(found, name).low <= expected <= getattr(found, name).high
    assert all(0.90 <= count / logs <= 0.99 for count in inside.values()), inside


def test_a_gain_is_the_difference_of_values_and_0_over_itself() -> None:
    random = np.random.default_rng(3)
    n = 1000
    log = Log(random.integers(0, 2, n), random.normal(size=n), np.full(n, 0.5))
    first, second = (chances(random.integers(0, 2, n), 2) for _ in range(2))
    model = random.normal(size=(n, 2))
    found = gain(log, first, second, model)
    assert found.value == pytest.approx(value(log, first, model).dr.value - value(log, second, model).dr.value)
    assert gain(log, first, first, model).error == 0 == gain(log, first, first, model).value


def test_rows_of_one_entity_are_not_taken_for_independent() -> None:
    random = np.random.default_rng(4)
    action, reward, chance = random.integers(0, 2, 300), random.normal(size=300), np.full(300, 0.5)
    policy = chances(np.ones(300, dtype=np.int64), 2)
    alone = value(Log(action, reward, chance), policy)
    thrice = Log(*(np.repeat(each, 3) for each in (action, reward, chance)), groups=np.repeat(np.arange(300), 3))
    assert value(thrice, np.repeat(policy, 3, axis=0)).ips.error == pytest.approx(alone.ips.error)


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (([0], [1.0], [0.0]), "propensities above 0"),
        (([0], [math.nan], [0.5]), "finite rewards"),
        (([], [], []), "above 0"),
    ],
)
def test_a_log_that_will_not_do_is_refused(log: tuple[list[float], ...], says: str) -> None:
    action, reward, chance = log
    with pytest.raises(ValueError, match=says):
        Log(np.array(action, dtype=np.int64), np.array(reward), np.array(chance))
