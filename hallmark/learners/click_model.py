"""What a place brings by itself: how likely readers look at each place of a list, told from clicks on lists in any order.

A click is a look and a liking: P(click) = P(look | place) x P(liking | what the model reads of the row). Both are found at once, as
those that make the log likeliest (the examination hypothesis; Joachims et al., 2017). Likings are logistic in the inputs,
so that what they tell of a row is not taken for the doing of its place, and readers who stop early, as a cascade has them,
show in the looks that are left for later places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken

RIDGE = 1e-3
_FEWEST = 50
"""Clicks at a place below which its looks are told together with those of the places after it."""


def looks(
    positions: NDArray[np.int64], labels: NDArray[np.float64], inputs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(places,) chance that a reader looks at each place, by that of the first, from the rows' (n,) places, from 1, and labels.

    inputs: (n, k) what is known of each row; what is missing counts as the mean. Places with few clicks share one chance.
    `ContractBroken` where places are not counted from 1.
    """
    if not len(positions) or positions.min() < 1:
        got = str(int(positions.min())) if len(positions) else "no rows"
        raise ContractBroken("a place is not one of a list", expected="places counted from 1", got=got)
    from scipy.optimize import minimize

    clicked = labels > 0
    place = _together(positions, clicked)
    count = int(place.max()) + 1
    x = _scaled(inputs)
    rows = len(x)

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta, weights = values[: count - 1], values[count - 1 :]
        look = np.append(1.0, _chance(theta))[place]
        like = _chance(x @ weights)
        chance = np.clip(look * like, 1e-9, 1 - 1e-9)
        fit = -float(np.where(clicked, np.log(chance), np.log1p(-chance)).mean())
        loss = fit + RIDGE * float(weights[1:] @ weights[1:])
        by_log = np.where(clicked, 1.0, -chance / (1 - chance)) / rows
        at = np.bincount(place, weights=by_log * (1 - look), minlength=count)[1:]
        liked = x.T @ (by_log * (1 - like))
        slope = np.concatenate((-at, -liked[:1], 2 * RIDGE * weights[1:] - liked[1:]))
        return loss, np.asarray(slope, dtype=np.float64)

    start = np.zeros(count - 1 + x.shape[1])
    start[count - 1] = np.log(max(clicked.mean(), 1e-6))
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x[: count - 1]
    each = np.append(1.0, _chance(found))
    first = np.full(int(positions.max()), count - 1)
    first[: count - 1] = np.arange(count - 1)
    return np.asarray(each[first])


def _together(positions: NDArray[np.int64], clicked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) places from 0, the last of which holds all that come after the first with few clicks."""
    few = np.flatnonzero(np.bincount(positions, weights=clicked)[1:] < _FEWEST)
    last = max(1, int(few[0])) if len(few) else int(positions.max())
    return np.minimum(positions - 1, last - (0 if len(few) else 1)).astype(np.int64)


def _scaled(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, k + 1) a one, and each input less its mean by its deviation."""
    x = inputs.astype(np.float64)
    there = ~np.isnan(x)
    middle = np.where(there, x, 0).sum(axis=0) / np.maximum(1, there.sum(axis=0))
    x = np.where(there, x, middle) - middle
    spread = x.std(axis=0)
    return np.hstack((np.ones((len(x), 1)), x / np.where(spread > 1e-9, spread, 1.0)))


def _chance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -40, 40))))
