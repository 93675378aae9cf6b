"""Counters that all workers of a server share: plain numbers in shared memory, summed when they are asked for."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from hallmark import metrics as names
from hallmark.declaration.retrieval import SELECTIVITIES
from inference_services.capture.queue import DROPS
from inference_services.protocol.errors import REASONS

PROTOCOLS = ("rest", "grpc")
CODES = ("200", "400", "403", "404", "405", "408", "413", "415", "422", "431", "500", "503", "other")
STAGES = ("decode", "features", "queue", "infer", "encode", "observe")
_VALUES = {
    "rest_requests": CODES,
    "grpc_requests": CODES,
    "refused": REASONS,
    "request_seconds": PROTOCOLS,
    "stage_seconds": STAGES,
    "cache_requests": ("hit", "miss"),
    "capture_dropped": DROPS,
    "item_changes": ("put", "delete", "refused", "failed"),
    **dict.fromkeys(("recall_checked", "recall_wanted", "recall_found"), tuple(SELECTIVITIES)),
}


_Family = tuple[str, str, str, tuple[str, ...], tuple[float, ...]]


def _families() -> dict[str, _Family]:
    found: dict[str, _Family] = {}
    for name, family in names.RUNTIME.items():
        label = "".join(family.labels[len(names.RUNTIME_LABELS) :])
        found[name] = (family.kind, family.help, label, _VALUES.get(name, ("",)), family.buckets)
    return found


# name -> (kind, help, label, values of the label, buckets)
_FAMILIES = _families()


def _layout() -> tuple[dict[tuple[str, str], int], int]:
    slots: dict[tuple[str, str], int] = {}
    size = 0
    for name, (kind, _, _, values, buckets) in _FAMILIES.items():
        for value in values:
            slots[name, value] = size
            size += len(buckets) + 2 if kind == "histogram" else 1
    return slots, size


_SLOTS, _SIZE = _layout()


class Metrics:
    """One row of numbers per worker; made before the workers are, so that they share it.

    A histogram takes a slot for each bucket, one for what is above them, and one for the sum.
    """

    def __init__(self, labels: Mapping[str, str], *, workers: int = 1) -> None:
        self._labels = dict(labels)
        self.workers = workers
        self._numbers = memoryview(mmap.mmap(-1, workers * _SIZE * 8)).cast("d")
        self._base = 0

    def attach(self, worker: int) -> None:
        """Count as `worker` from now on; what its predecessor had in flight is gone with it."""
        self._base = worker * _SIZE
        for (name, _), slot in _SLOTS.items():
            if _FAMILIES[name][0] == "gauge":
                self._numbers[self._base + slot] = 0.0

    def add(self, name: str, value: str = "", amount: float = 1.0) -> None:
        """Raise a counter or move a gauge."""
        self._numbers[self._base + _SLOTS[name, value]] += amount

    def fewest(self, name: str, value: str, more: int) -> bool:
        """With `more` of this gauge, has no other worker less by over a quarter?"""
        slot = _SLOTS[name, value]
        rest = (self._numbers[at] for at in range(slot, len(self._numbers), _SIZE) if at != self._base + slot)
        return self._numbers[self._base + slot] + more <= 1.25 * min(rest, default=float("inf"))

    def set(self, name: str, amount: float) -> None:
        """Set a gauge of this worker."""
        self._numbers[self._base + _SLOTS[name, ""]] = amount

    def answered(self, protocol: str, status: int, seconds: float) -> None:
        """Count one answer and its time."""
        code = str(status)
        self.add(f"{protocol}_requests", code if code in CODES else "other")
        self.observe("request_seconds", protocol, seconds)

    def observe(self, name: str, value: str, amount: float) -> None:
        """Put one measurement into a histogram."""
        buckets = _FAMILIES[name][4]
        slot = self._base + _SLOTS[name, value]
        self._numbers[slot + bisect_left(buckets, amount)] += 1.0
        self._numbers[slot + len(buckets) + 1] += amount

    def value(self, name: str, value: str = "") -> float:
        """A counter or gauge, summed over the workers."""
        return self._sum(_SLOTS[name, value])

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Any]:
        """The families, for prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for name, (kind, text, label, values, buckets) in _FAMILIES.items():
            names = [*self._labels, *([label] if label else [])]
            family: Any = kinds[kind](f"hallmark_{name}", text, labels=names)
            for value in values:
                labels = [*self._labels.values(), *([value] if label else [])]
                slot = _SLOTS[name, value]
                if kind != "histogram":
                    family.add_metric(labels, self._sum(slot))
                    continue
                total, counts = 0.0, []
                for at, edge in enumerate((*buckets, float("inf"))):
                    total += self._sum(slot + at)
                    counts.append(("+Inf" if edge == float("inf") else str(edge), total))
                family.add_metric(labels, counts, self._sum(slot + len(buckets) + 1))
            yield family

    def _sum(self, slot: int) -> float:
        return sum(self._numbers[worker * _SIZE + slot] for worker in range(self.workers))
