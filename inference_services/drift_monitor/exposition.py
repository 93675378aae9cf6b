"""The monitor's numbers in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterable

from hallmark.drift.verdict import Verdict
from inference_services.drift_monitor.monitor import Monitor

_STATES = ("OK", "DRIFT", "INSUFFICIENT")


def text(monitor: Monitor, verdicts: dict[str, Verdict]) -> str:
    """All families; a column's index only for windows that are large enough to have one worth reading."""
    labels = {name: f'variant="{name}"' for name in verdicts}
    windows = {name: monitor.windows[name] for name in verdicts}
    columns = [(labels[name], column) for name, verdict in verdicts.items() for column in verdict.columns]
    families = [
        _family(
            "events_total",
            "counter",
            "Exchanges joined, and what became of other events.",
            ((f'fate="{fate}"', count) for fate, count in sorted(monitor.counts.items())),
        ),
        _family("unreadable_total", "counter", "Records that cannot be observed.", [("", monitor.decoder.unreadable)]),
        _family("waiting", "gauge", "Halves that wait for the other half.", [("", monitor.waiting())]),
        _family(
            "requests_total",
            "counter",
            "Requests joined with their responses.",
            ((labels[name], window.requests) for name, window in windows.items()),
        ),
        _family(
            "window_rows",
            "gauge",
            "Records in the window.",
            ((labels[name], window.rows) for name, window in windows.items()),
        ),
        _family(
            "verdict",
            "gauge",
            "1 for the state that holds.",
            (
                (f'{labels[name]},state="{state}"', int(verdict.state == state))
                for name, verdict in verdicts.items()
                for state in _STATES
            ),
        ),
        _family(
            "captured_ratio",
            "gauge",
            "Share of the served requests that came here.",
            ((labels[name], verdict.captured) for name, verdict in verdicts.items() if verdict.captured is not None),
        ),
        _family(
            "psi",
            "gauge",
            "Population stability index against the reference, less what chance gives.",
            ((f'{label},column="{_escaped(column.name)}"', column.psi) for label, column in columns),
        ),
        _family(
            "shift",
            "gauge",
            "Shift of a number's ranks (Cliff's delta), of embeddings (2 AUC - 1), or growth of the error on labels.",
            ((f'{label},column="{_escaped(column.name)}"', column.shift) for label, column in columns),
        ),
        _family(
            "effect",
            "gauge",
            "The larger of index and shift over its threshold; drift begins at 1.",
            ((f'{label},column="{_escaped(column.name)}"', column.effect) for label, column in columns),
        ),
        _family(
            "input_lag_seconds",
            "gauge",
            "From an input's event time to its scoring.",
            (
                (f'{labels[name]},quantile="{quantile}"', value)
                for name, verdict in verdicts.items()
                if verdict.lag is not None
                for quantile, value in (("0.5", verdict.lag.median), ("0.99", verdict.lag.p99))
                if value is not None
            ),
        ),
        _family(
            "stale_ratio",
            "gauge",
            "Share of records whose input was too old when it was scored.",
            ((labels[name], verdict.lag.stale) for name, verdict in verdicts.items() if verdict.lag is not None),
        ),
        _family(
            "final_labels",
            "gauge",
            "Final labels that the error is judged on.",
            ((labels[name], verdict.labels.rows) for name, verdict in verdicts.items() if verdict.labels is not None),
        ),
        _family(
            "missing_ratio",
            "gauge",
            "Share of records without the value.",
            ((f'{label},column="{_escaped(column.name)}"', column.missing) for label, column in columns),
        ),
    ]
    return "".join(families)


def _family(name: str, kind: str, shown: str, samples: Iterable[tuple[str, float]]) -> str:
    full = f"hallmark_drift_{name}"
    lines = [f"# HELP {full} {shown}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{{{labels}}} {value:g}" if labels else f"{full} {value:g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
