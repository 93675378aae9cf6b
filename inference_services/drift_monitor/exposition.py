"""The monitor's numbers in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from hallmark import metrics
from hallmark.drift.verdict import Verdict
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.drift_monitor.monitor import Monitor

_STATES = ("OK", "DRIFT", "INSUFFICIENT")
_AGES = (0, 0.5, 0.99)
"""Quantiles of the ages of features: the least says how old the freshest is that anybody got."""
_ENOUGH = 100
"""Answers about entities with an event from which their ages say something."""
_Sample = tuple[Mapping[str, object], float]


def text(monitor: Monitor, verdicts: dict[str, Verdict]) -> str:
    """All families; a column's index only for windows that are large enough to have one worth reading."""
    windows = {name: monitor.windows[name] for name in verdicts}
    columns = [(name, column) for name, verdict in verdicts.items() for column in verdict.columns]
    families: dict[str, Iterable[_Sample]] = {
        "events_total": (({"fate": fate}, count) for fate, count in sorted(monitor.counts.items())),
        "unreadable_total": [({}, monitor.decoder.unreadable)],
        "waiting": [({}, monitor.waiting())],
        "requests_total": (({"variant": name}, window.requests) for name, window in windows.items()),
        "window_rows": (({"variant": name}, window.rows) for name, window in windows.items()),
        "verdict": (
            ({"variant": name, "state": state}, int(verdict.state == state))
            for name, verdict in verdicts.items()
            for state in _STATES
        ),
        "captured_ratio": (
            ({"variant": name}, verdict.captured) for name, verdict in verdicts.items() if verdict.captured is not None
        ),
        "psi": (({"variant": name, "column": column.name}, column.psi) for name, column in columns),
        "shift": (({"variant": name, "column": column.name}, column.shift) for name, column in columns),
        "effect": (({"variant": name, "column": column.name}, column.effect) for name, column in columns),
        "input_lag_seconds": (
            ({"variant": name, "quantile": quantile}, value)
            for name, verdict in verdicts.items()
            if verdict.lag is not None
            for quantile, value in (("0.5", verdict.lag.median), ("0.99", verdict.lag.p99))
            if value is not None
        ),
        "stale_ratio": (
            ({"variant": name}, verdict.lag.stale) for name, verdict in verdicts.items() if verdict.lag is not None
        ),
        "final_labels": (
            ({"variant": name}, verdict.labels.rows) for name, verdict in verdicts.items() if verdict.labels is not None
        ),
        "promise_kept_ratio": (
            ({"variant": name}, verdict.labels.kept)
            for name, verdict in verdicts.items()
            if verdict.labels is not None and verdict.labels.kept is not None
        ),
        "promise_labels": (
            ({"variant": name}, verdict.labels.promised)
            for name, verdict in verdicts.items()
            if verdict.labels is not None and verdict.labels.promised
        ),
        "feature_age_seconds": ages(monitor.lookups),
        "missing_ratio": (({"variant": name, "column": column.name}, column.missing) for name, column in columns),
    }
    return "".join(metrics.exposed(family, families[short]) for short, family in metrics.DRIFT.items())


def ages(lookups: LookupRing) -> list[_Sample]:
    """How old the features of the newest answers were, by view; nothing of a view of which too few say anything."""
    return [
        ({"variant": lookups.variant, "view": view, "quantile": f"{quantile:g}"}, float(value))
        for view, known in lookups.ages().items()
        if len(known) >= _ENOUGH
        for quantile, value in zip(_AGES, np.quantile(known, _AGES), strict=True)
    ]
