"""Figures of an uplift: how well it ranks whom to treat, and what a policy that follows it would have brought.

Conventions, since libraries differ. The Qini curve is Radcliffe's (2007): responders with treatment less those without,
scaled to as many; equal uplifts are one straight step. Its area over that of treating by lot is divided by the same of
the best order, in which treated responders come first and untreated ones last: so it counts people that a treatment
puts off, as scikit-uplift does unless told otherwise. 1 is that order, 0 is by lot. It is told for outcomes of 0 and 1; for others there is no best order, and the policy's value says it.
Where lots had different chances, outcomes count by the inverse of their propensity, here and among the best 30%; with one chance for all that changes neither figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hallmark.tasks import metric as figures
from hallmark.tasks.metric import Measure, Metric
from hallmark.tasks.targets import Floats, Ints, Targets

SHARE = 0.3


def of(worth: float, share: float = 1.0) -> tuple[Metric, ...]:
    """The metrics, of a policy that gives the best treatment whose uplift is `worth` or more, to the best `share` of all rows at most."""
    return (
        Metric(
            "qini",
            "higher",
            _over_arms(_qini),
            "Area between Qini curve and treating by lot, by that of the best order; mean over treatments. Not told for "
            "outcomes other than 0 and 1.",
        ),
        Metric(
            "uplift_at_30pct",
            "higher",
            _over_arms(_uplift_at_share),
            "Mean outcome with treatment less that without, among the 30% with the highest uplift; of equal uplifts at "
            "the edge each counts in part. Mean over treatments.",
        ),
        Metric(
            "policy_value_ips",
            "higher",
            figures.mean(lambda targets, uplifts: _ips(targets, uplifts, worth, share)),
            "Mean outcome if each got the treatment that the uplift says: outcomes of those who did, by their propensity.",
        ),
        Metric(
            "policy_value_dr",
            "higher",
            _policy_value(worth, share),
            "The same, doubly robust (Dudík, Langford and Li, 2011): expected outcomes are the uplift and one constant, "
            "corrected by what those who got that treatment did beyond it.",
        ),
        Metric(
            "policy_gain_dr",
            "higher",
            _policy_gain(worth, share),
            "That value less the value of giving the same number of treatments by lot, doubly robust too. 0 for scores that say nothing.",
        ),
    )


def arms(targets: Targets, uplifts: Floats) -> list[tuple[Targets, Floats]]:
    """For each treatment, the rows with it or with none and their uplifts, with treatment 0 or 1."""
    columns = uplifts[:, None] if uplifts.ndim == 1 else uplifts
    treatment = _treatment(targets)
    found = []
    for arm in range(1, columns.shape[1] + 1):
        rows = (treatment == 0) | (treatment == arm)
        part = targets.take(rows)
        mine = Targets(
            part.labels,
            weights=part.weights,
            treatment=(treatment[rows] == arm).astype(np.int64),
            propensity=part.propensity,
            values=part.values,
        )
        found.append((mine, columns[rows, arm - 1]))
    return found


def qini_curve(targets: Targets, uplift: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(r, d + 1) each: weight of the records treated so far, best first and from 0, and outcomes gained among them."""
    order = np.argsort(-uplift, kind="stable")
    last = np.append(np.flatnonzero(np.diff(uplift[order])), len(order) - 1)
    sums = _running(targets, order, weights)
    whole, treated, control, gained, control_gained = (each[:, last] for each in sums)
    scale = np.divide(treated, control, out=np.zeros_like(treated), where=control > 0)
    start = ((0, 0), (1, 0))
    return np.pad(whole, start), np.pad(gained - control_gained * scale, start)


@dataclass(frozen=True, eq=False)
class Tenths:
    """What came true by tenths of the rows, those with the highest uplift first.

    share: (11,) 0, 0.1, .. 1.     among_best: (11,) uplift of the best so far, NaN of none.     sales: (11,) value that treating them gains, a row of all.
    said, seen: (10,) mean uplift that was said of each tenth, and the one that came true.
    """

    share: Floats
    among_best: Floats
    sales: Floats
    said: Floats
    seen: Floats


def by_tenth(targets: Targets, uplift: Floats, *, parts: int = 10) -> Tenths:
    """Uplifts by tenths, from means weighed by the inverse propensity; equal uplifts are parted by lot. Treatment is 0 or 1."""
    lot = np.random.default_rng(len(uplift)).random(len(uplift))
    order = np.lexsort((lot, -uplift))
    edges = np.round(np.linspace(0, len(order), parts + 1)).astype(np.int64)
    values = targets.labels if targets.values is None else targets.values
    best = [_difference(targets, targets.labels, order[:edge]) for edge in edges]
    money = [_difference(targets, values, order[:edge]) for edge in edges]
    tenths = [order[first:last] for first, last in itertools.pairwise(edges)]
    share = edges / max(1, len(order))
    return Tenths(
        share=share,
        among_best=np.array(best),
        sales=np.nan_to_num(np.array(money)) * share,
        said=np.array([uplift[rows].mean() if len(rows) else np.nan for rows in tenths]),
        seen=np.array([_difference(targets, targets.labels, rows) for rows in tenths]),
    )


def _difference(targets: Targets, values: Floats, rows: Ints) -> float:
    """Mean value with treatment less that without, rows by the inverse of their propensity."""
    treated, weights = _treatment(targets)[rows] == 1, targets.weighed()[rows]
    if targets.propensity is not None:
        weights = weights / targets.propensity[rows]
    sides = [weights * side for side in (treated, ~treated)]
    if not all(side.sum() > 0 for side in sides):
        return float("nan")
    first, second = (float(side @ values[rows] / side.sum()) for side in sides)
    return first - second


def _running(targets: Targets, order: Ints, weights: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """(r, n) each, over rows in this order: rows; those with the treatment, those without; outcomes of both. All but the first by `_stable`."""
    treated, outcome = _treatment(targets)[order].astype(np.float64), targets.labels[order]
    sorted_weights, stable = weights[:, order], _stable(targets)[order]
    with_it, without = stable * treated, stable * (1 - treated)
    whole, both, control, gained, lost = (
        np.cumsum(sorted_weights * each, axis=1)
        for each in (np.ones(len(order)), with_it, without, with_it * outcome, without * outcome)
    )
    return whole, both, control, gained, lost


def _stable(targets: Targets) -> Floats:
    """(n,) the inverse of each row's propensity, by its mean on that side: 1 where all had one chance. Treatment is 0 or 1."""
    found = np.ones(len(targets))
    if targets.propensity is None:
        return found
    for side in (_treatment(targets) == 0, _treatment(targets) == 1):
        if side.any():
            inverse = 1 / targets.propensity[side]
            found[side] = inverse / inverse.mean()
    return found


def _qini(targets: Targets, uplift: Floats, weights: Floats) -> Floats:
    if not len(targets) or not np.isin(targets.labels, (0.0, 1.0)).all():
        return np.full(len(weights), np.nan)
    treated = _treatment(targets)
    best = _stable(targets) * targets.labels * (2 * treated - 1)
    areas = []
    for ranking in (uplift, best):
        across, up = qini_curve(targets, ranking, weights)
        by_lot = across[:, -1] * up[:, -1] / 2
        areas.append(np.trapezoid(up, across, axis=1) - by_lot)
    possible = np.where(areas[1] > 1e-12, areas[1], 0.0)
    return figures.divided(areas[0], possible)


def _uplift_at_share(targets: Targets, uplift: Floats, weights: Floats) -> Floats:
    if not len(targets):
        return np.full(len(weights), np.nan)
    order = np.argsort(-uplift, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(uplift[order])), len(order) - 1)
    whole, treated, control, gained, control_gained = (
        np.pad(each[:, edges], ((0, 0), (1, 0))) for each in _running(targets, order, weights)
    )
    wanted = SHARE * whole[:, -1:]
    # The block of equal uplifts in which the share ends, and what part of it is inside.
    place = np.minimum((whole < wanted).sum(axis=1, keepdims=True), whole.shape[1] - 1)
    part = _between(whole, place, wanted)
    treated, control, gained, control_gained = (
        _upto(each, place, part) for each in (treated, control, gained, control_gained)
    )
    return figures.divided(gained, treated) - figures.divided(control_gained, control)


def _between(whole: Floats, place: Ints, wanted: Floats) -> Floats:
    before = np.take_along_axis(whole, np.maximum(place - 1, 0), axis=1)
    size = np.take_along_axis(whole, place, axis=1) - before
    return np.divide(wanted - before, size, out=np.zeros_like(size), where=size > 0)


def _upto(sums: Floats, place: Ints, part: Floats) -> Floats:
    before = np.take_along_axis(sums, np.maximum(place - 1, 0), axis=1)
    return np.asarray((before + part * (np.take_along_axis(sums, place, axis=1) - before))[:, 0])


def _over_arms(measure: Measure) -> Measure:
    def measured(targets: Targets, uplifts: Floats, weights: Floats) -> Floats:
        treatment = _treatment(targets)
        found = [
            measure(part, uplift, weights[:, (treatment == 0) | (treatment == arm)])
            for arm, (part, uplift) in enumerate(arms(targets, uplifts), start=1)
        ]
        return np.asarray(np.mean(found, axis=0))

    return measured


def chosen(uplifts: Floats, worth: float, share: float = 1.0) -> Ints:
    """(n,) treatment with the highest uplift where that is worth it, else 0; of the best `share` of rows at most, equal ones by lot."""
    columns = uplifts[:, None] if uplifts.ndim == 1 else uplifts
    best = columns.max(axis=1)
    found = np.where(best >= worth, columns.argmax(axis=1) + 1, 0)
    most = int(share * len(best))
    if most < len(best):
        lot = np.random.default_rng(len(best)).random(len(best))
        found[np.lexsort((lot, -best))[most:]] = 0
    return found


def _ips(targets: Targets, uplifts: Floats, worth: float, share: float) -> Floats:
    followed = _treatment(targets) == chosen(uplifts, worth, share)
    return np.asarray(followed * targets.labels / _propensity(targets))


def _doubly_robust(targets: Targets, uplifts: Floats, weights: Floats, policies: Sequence[Ints]) -> Floats:
    """(policies, r) mean outcome of each policy, (n,) treatments, under each of r weights."""
    columns = uplifts[:, None] if uplifts.ndim == 1 else uplifts
    with_none = np.column_stack([np.zeros(len(columns)), columns])
    rows, treatment, propensity = np.arange(len(columns)), _treatment(targets), _propensity(targets)
    beyond = (targets.labels - with_none[rows, treatment]) / propensity
    # Expected outcome of treatment a: base + uplift of a. The base is the mean of what uplifts leave over.
    base = figures.divided(weights @ beyond, weights @ (1 / propensity))
    found = []
    for policy in policies:
        followed = treatment == policy
        fixed = weights @ (with_none[rows, policy] + followed * beyond)
        moving = weights @ (1 - followed / propensity)
        found.append(figures.divided(fixed + base * moving, weights.sum(axis=1)))
    return np.stack(found)


def _policy_value(worth: float, share: float) -> Measure:
    def measure(targets: Targets, uplifts: Floats, weights: Floats) -> Floats:
        return np.asarray(_doubly_robust(targets, uplifts, weights, [chosen(uplifts, worth, share)])[0])

    return measure


def _policy_gain(worth: float, share: float) -> Measure:
    def measure(targets: Targets, uplifts: Floats, weights: Floats) -> Floats:
        policy = chosen(uplifts, worth, share)
        arms = range(1 if uplifts.ndim == 1 else uplifts.shape[1], -1, -1)
        constant = [np.full(len(policy), arm, dtype=np.int64) for arm in arms]
        value, *alone = _doubly_robust(targets, uplifts, weights, [policy, *constant])
        shares = [figures.divided(weights @ (policy == arm).astype(np.float64), weights.sum(axis=1)) for arm in arms]
        return np.asarray(value - sum(part * each for part, each in zip(shares, alone, strict=True)))

    return measure


def _treatment(targets: Targets) -> Ints:
    if targets.treatment is None:
        raise ValueError("expected targets with treatments, as Uplift.targets gives them")
    return targets.treatment


def _propensity(targets: Targets) -> Floats:
    if targets.propensity is None:
        raise ValueError("expected targets with propensities, as Uplift.targets gives them")
    return targets.propensity
