"""The service's metrics, as hallmark/metrics.py declares them."""

from __future__ import annotations

from typing import Any

from hallmark import metrics as names


class DecisionMetrics:
    """One process's counters, with the labels of the service on each."""

    def __init__(self, *, model: str, unit: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._own = {"model": model, "unit": unit}
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._families: dict[str, Any] = {}
        for short, family in names.DECISION.items():
            more = {"buckets": family.buckets} if family.buckets else {}
            name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
            self._families[short] = kinds[family.kind](
                name, family.help, family.labels, registry=self._registry, **more
            )

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter, or move a gauge."""
        self._families[name].labels(**self._own, **labels).inc(amount)

    def set(self, name: str, amount: float, **labels: str) -> None:
        """Set a gauge."""
        self._families[name].labels(**self._own, **labels).set(amount)

    def observe(self, name: str, amount: float, **labels: str) -> None:
        """Put one measurement into a histogram."""
        self._families[name].labels(**self._own, **labels).observe(amount)

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
