"""The service's metrics, as hallmark/metrics.py declares them."""

from __future__ import annotations

from hallmark import metrics as names
from inference_services.transport.one_model import ServiceMetrics


class DecisionMetrics(ServiceMetrics):
    """Those of a decision."""

    def __init__(self, *, model: str, unit: str) -> None:
        super().__init__(names.DECISION, model=model, unit=unit)
