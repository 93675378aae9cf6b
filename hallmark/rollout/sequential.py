"""Tests with interim analyses after every answer, at one rate of false alarms.

Each gives the logarithm of an e-value: evidence that multiplies as answers come, and that under the null hypothesis ever exceeds
1/alpha with probability alpha at most (Ville 1939; Ramdas, Grunwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe
anytime-valid inference"). So "reject once it exceeds ln(1/alpha)" has the false-alarm rate alpha however many interim analyses there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate

_WORSE = (1.0, 2.0, 8.0, 64.0)
"""Alternatives of the ratio test, as multiples of the ratio that matters: slightly over it up to hopeless."""
_ABOVE = (1.25, 2.0, 5.0, 20.0, 100.0)
"""Alternatives of the test against a limit, as multiples of the limit's odds, so that none reaches 1."""
_BELOW = (0.2, 0.5, 0.75)
"""Alternatives of the test that a rate is under a limit, as parts of the limit."""


def worse(bad: float, of: int, bad_before: float, of_before: int, *, ratio: float) -> float:
    """Evidence against "its rate of bad answers is no higher than the other's", strongest for `ratio` times that and more.

    Given how many answers are bad in all, those of the candidate are binomial with its share of the traffic where both rates
    are equal (the conditional test of two Poisson rates, Przyborowski and Wilenski 1940). What is bad on both sides, such as an
    outage behind them, so counts for nothing. The alternatives are mixed with equal weights.
    """
    return _mixture([_ratio_test(bad, of, bad_before, of_before, ratio * each) for each in _WORSE])


def not_worse(bad: int, of: int, bad_before: int, of_before: int, *, ratio: float) -> float:
    """Evidence against "its rate of bad answers is `ratio` times the other's or more": `worse` the other way round."""
    return -_ratio_test(bad, of, bad_before, of_before, ratio)


def above(bad: int, of: int, *, limit: float) -> float:
    """Evidence against "its rate of bad answers is at most `limit`"."""
    if limit <= 0:
        return math.inf if bad else 0.0
    if limit >= 1:
        return 0.0
    return _mixture([bad * worse + (of - bad) * better for worse, better in _gains_above(limit)])


def below(bad: int, of: int, *, limit: float) -> float:
    """Evidence against "its rate of bad answers is `limit` or more"."""
    if limit <= 0:
        return 0.0
    if limit >= 1:
        return math.inf if bad < of else 0.0
    return _mixture([bad * worse + (of - bad) * better for worse, better in _gains_below(limit)])


def radius(count: int, *, alpha: float) -> float:
    """Largest distance of an empirical distribution of `count` answers from the true one, at any count, but for chance alpha.

    The time-uniform form of the Dvoretzky-Kiefer-Wolfowitz inequality: Howard and Ramdas 2022, "Sequential estimation of
    quantiles with applications to A/B testing and best-arm identification", with their constants 0.85, 0.8 and 1612.
    """
    if count < 1:
        return 1.0
    return min(1.0, 0.85 * math.sqrt((math.log(math.log(math.e * count)) + 0.8 * math.log(1612 / alpha)) / count))


def distance(first: Sequence[int], second: Sequence[int]) -> float:
    """Kolmogorov-Smirnov's distance of two sets of counts over the same ordered bins; 0 where one is empty."""
    one, two = sum(first), sum(second)
    if not one or not two:
        return 0.0
    return max(
        abs(mine / one - theirs / two) for mine, theirs in zip(accumulate(first), accumulate(second), strict=True)
    )


def mean_radius(count: int, deviation: float, *, alpha: float, tuned: int = 500) -> float:
    """Half the width of the asymptotic confidence sequence of a mean of `count` values, tightest around `tuned`; their standard deviation.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences".
    """
    if count < 2:
        return math.inf
    rho = math.sqrt((2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha))) / tuned)
    grown = count * rho**2 + 1
    return deviation * math.sqrt(2 * grown / (count * rho) ** 2 * math.log(math.sqrt(grown) / alpha))


def _ratio_test(bad: float, of: int, bad_before: float, of_before: int, ratio: float) -> float:
    if not of or not of_before:
        return 0.0
    share = of / (of + of_before)
    other = ratio * share / (ratio * share + 1 - share)
    return bad * math.log(other / share) + bad_before * math.log((1 - other) / (1 - share))


@cache
def _gains_above(limit: float) -> tuple[tuple[float, float], ...]:
    return tuple(_gains(limit, each * limit / (1 - limit + each * limit)) for each in _ABOVE)


@cache
def _gains_below(limit: float) -> tuple[tuple[float, float], ...]:
    return tuple(_gains(limit, limit * each) for each in _BELOW)


def _gains(null: float, other: float) -> tuple[float, float]:
    """Gain of a bad answer, and of a good one, in evidence for the rate `other` and against `null`."""
    return math.log(other / null), math.log((1 - other) / (1 - null))


def _mixture(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))
