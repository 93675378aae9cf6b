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
