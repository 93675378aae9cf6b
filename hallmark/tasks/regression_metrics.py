"""Errors of numbers and quantiles, also where some labels are only bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hallmark.tasks import metric as figures
from hallmark.tasks.metric import Metric, Reference
from hallmark.tasks.targets import Bools, Floats, Targets

Bound = Literal["lower", "upper"]


@dataclass(frozen=True)
class Scale:
    """Quantiles of the columns of predictions (n, quantiles), none for (n,), and the bound that a censored label sets."""

    quantiles: tuple[float, ...]
    bound: Bound

    def point(self, predictions: Floats) -> Floats:
        """(n,) the number itself, or the quantile nearest to the median."""
        if not self.quantiles:
            return predictions
        return np.asarray(predictions[:, int(np.argmin(np.abs(np.array(self.quantiles) - 0.5)))])

    @property
    def nominal(self) -> float:
        """Share of labels that the outermost quantiles should hold."""
        return self.quantiles[-1] - self.quantiles[0]


def known(targets: Targets) -> Bools:
    """(n,) the label is the true number, not a bound."""
    return np.ones(len(targets), dtype=np.bool_) if targets.censored is None else ~targets.censored


def allowed(targets: Targets, predictions: Floats, bound: Bound) -> Floats:
    """Predictions (n, q), those of censored rows moved onto the bound where they are on the side that it allows (Powell, 1986).

    Their error is then 0 there, and on the wrong side the distance to the bound: the least that it can be.
    """
    labels, exact = targets.labels[:, None], known(targets)[:, None]
    cut = np.minimum(predictions, labels) if bound == "lower" else np.maximum(predictions, labels)
    return np.where(exact, predictions, cut)


def coverage(targets: Targets, predictions: Floats, weights: Floats, bound: Bound) -> Floats:
    """(r,) share of labels that the outermost of (n, q) predictions hold, under each of (r, n) weights; NaN where no label is known.

    Where some are only bounds, they count as what they were completed to; where nobody said that, the shares beyond each end are Kaplan
    and Meier's, of labels less the end in widths of the band.
    """
    labels, low, high = targets.labels, predictions[:, 0], predictions[:, -1]
    exact = known(targets)
    if targets.completed is not None:
        labels, exact = targets.completed, np.ones(len(targets), dtype=np.bool_)
    if exact.all() or not exact.any():
        held = np.where(exact, (low <= labels) & (labels <= high), 0.0)
        return figures.divided(weights @ held, weights @ exact.astype(np.float64))
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0) * 1e-9)
    from_low, from_high = (labels - low) / width, (labels - high) / width
    if bound == "upper":
        most, less = _beyond(from_low, labels >= low, exact, weights), _beyond(from_high, labels > high, exact, weights)
    else:
        most, less = (
            _beyond(-from_high, labels <= high, exact, weights),
            _beyond(-from_low, labels < low, exact, weights),
        )
    some = np.where(weights @ exact.astype(np.float64) > 0, most - less, np.nan)
    return np.asarray(np.clip(some, 0.0, 1.0))


def _beyond(values: Floats, beyond: Bools, exact: Bools, weights: Floats) -> Floats:
    """(r,) share of the truth that is `beyond`; of rows that are not exact it is their value or less (Kaplan and Meier, 1958)."""
    order = np.lexsort((~exact, -values))  # of equal ones the known come first
    drawn = weights[:, order]
    left = np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1]
    stays = np.where(exact[order], 1.0, 1.0 - figures.divided(drawn, left))
    before = np.ones_like(drawn)
    np.cumprod(np.nan_to_num(stays[:, :-1], nan=1.0), axis=1, out=before[:, 1:])
    mass = np.where((exact & beyond)[order], figures.divided(drawn, np.where(before > 1e-9, before, 0.0)), 0.0)
    return figures.divided(np.nan_to_num(mass).sum(axis=1), drawn.sum(axis=1))


def pinball(labels: Floats | float, predictions: Floats, quantiles: Floats) -> Floats:
    """(…, q) loss of each quantile: q of what the label is above it, 1 - q of what it is below (Koenker and Bassett, 1978)."""
    over = np.asarray(labels)[..., None] - predictions
    return np.asarray(np.maximum(quantiles * over, (quantiles - 1) * over))


def of(scale: Scale, *, unit: str) -> tuple[Metric, ...]:
    """The metrics of a scale. Errors of the point are over rows whose label is known; their wording says the rest."""

    def error(targets: Targets, predictions: Floats) -> Floats:
        return np.where(known(targets), scale.point(predictions) - targets.labels, np.nan)

    def relative(targets: Targets, predictions: Floats) -> Floats:
        size = np.abs(targets.labels)
        return np.abs(error(targets, predictions)) / np.where(size > 0, size, np.nan)

    def squared(targets: Targets, predictions: Floats, weights: Floats) -> Floats:
        return np.sqrt(figures.mean(lambda t, p: error(t, p) ** 2)(targets, predictions, weights))

    def explained(targets: Targets, predictions: Floats, weights: Floats) -> Floats:
        rows = known(targets)
        # Around the mean, or the squares of large labels would cancel.
        labels = np.where(rows, targets.labels - (targets.labels[rows].mean() if rows.any() else 0.0), 0.0)
        left = weights @ np.where(rows, error(targets, predictions) ** 2, 0.0)
        count = weights @ rows.astype(np.float64)
        spread = weights @ labels**2 - figures.divided((weights @ labels) ** 2, count)
        return 1 - figures.divided(left, np.where(spread > 1e-12 * count, spread, 0.0))

    def rows_of(targets: Targets, predictions: Floats, *, zero: bool = True) -> tuple[Floats, Floats, Floats | None]:
        rows = known(targets) & (zero | (targets.labels != 0))
        return (
            targets.labels[rows],
            scale.point(predictions)[rows],
            None if targets.weights is None else targets.weights[rows],
        )

    def sklearn(name: str, *, zero: bool = True) -> Reference:
        def called(targets: Targets, predictions: Floats) -> float:
            from sklearn import metrics

            labels, point, weights = rows_of(targets, predictions, zero=zero)
            return float(getattr(metrics, name)(labels, point, sample_weight=weights))

        return called

    common = (
        Metric(
            "mean_absolute_error",
            "lower",
            figures.mean(lambda targets, predictions: np.abs(error(targets, predictions))),
            "Mean distance, over rows that are not censored.",
            unit=unit,
            library=sklearn("mean_absolute_error"),
        ),
        Metric(
            "root_mean_squared_error",
            "lower",
            squared,
            "Root of the mean squared distance, over rows that are not censored.",
            unit=unit,
            library=sklearn("root_mean_squared_error"),
        ),
        Metric(
            "mean_absolute_percentage_error",
            "lower",
            figures.mean(relative),
            "Mean distance by the size of the label, as a share; rows that are censored or 0 are left out.",
            library=sklearn("mean_absolute_percentage_error", zero=False),
        ),
        Metric(
            "r2",
            "higher",
            explained,
            "Share of the labels' variance that is explained, over rows that are not censored. Not told of one value.",
            library=sklearn("r2_score"),
        ),
    )
    violations = Metric(
        "bound_violations",
        "lower",
        figures.mean(lambda targets, predictions: _violations(scale, targets, predictions)),
        "Share of the censored rows whose prediction is beyond their bound. Not told without such rows.",
    )
    return (*common, *_quantile_metrics(scale, unit), violations)


def _violations(scale: Scale, targets: Targets, predictions: Floats) -> Floats:
    point = scale.point(predictions)
    beyond = point < targets.labels if scale.bound == "lower" else point > targets.labels
    return np.where(known(targets), np.nan, beyond)


def _quantile_metrics(scale: Scale, unit: str) -> tuple[Metric, ...]:
    if not scale.quantiles:
        return ()
    quantiles = np.array(scale.quantiles)

    def losses(targets: Targets, predictions: Floats) -> Floats:
        return np.asarray(pinball(targets.labels, allowed(targets, predictions, scale.bound), quantiles).mean(axis=1))

    def library(targets: Targets, predictions: Floats) -> float:
        from sklearn.metrics import mean_pinball_loss

        cut = allowed(targets, predictions, scale.bound)
        each = [
            mean_pinball_loss(targets.labels, cut[:, i], alpha=q, sample_weight=targets.weights)
            for i, q in enumerate(scale.quantiles)
        ]
        return float(np.mean(each))

    loss = Metric(
        "pinball_loss",
        "lower",
        figures.mean(losses),
        "Mean over rows and quantiles; a censored row costs nothing on the side that its bound allows, else as if the "
        "bound were the label.",
        unit=unit,
        library=library,
    )
    return (loss, *_interval_metrics(scale, unit)) if len(quantiles) > 1 else (loss,)


def _interval_metrics(scale: Scale, unit: str) -> tuple[Metric, ...]:
    def held_share(targets: Targets, predictions: Floats, weights: Floats) -> Floats:
        return coverage(targets, predictions, weights, scale.bound)

    def gap(targets: Targets, predictions: Floats, weights: Floats) -> Floats:
        return np.asarray(np.abs(held_share(targets, predictions, weights) - scale.nominal))

    def crossed(targets: Targets, predictions: Floats) -> Floats:
        return np.asarray((np.diff(predictions, axis=1) < 0).any(axis=1), dtype=np.float64)

    def width(targets: Targets, predictions: Floats) -> Floats:
        return np.asarray(predictions[:, -1] - predictions[:, 0])

    held = f"the outermost quantiles should hold {scale.nominal:.0%}"
    return (
        Metric(
            "interval_coverage",
            "neither",
            held_share,
            "Share of labels between the outermost quantiles, both ends included; of those that are only bounds by what the model "
            f"says they hide, where it says that, else by Kaplan and Meier; {held}.",
        ),
        Metric("interval_coverage_gap", "lower", gap, f"Distance of the coverage from what it should be; {held}."),
        Metric("interval_width", "lower", figures.mean(width), "Mean distance of the outermost quantiles.", unit=unit),
        Metric(
            "quantile_crossings",
            "lower",
            figures.mean(crossed),
            "Share of rows in which a higher quantile is a lower number; a model that serves has none, its learner may.",
        ),
    )
