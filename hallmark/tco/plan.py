"""A domain's month in numbers: how many replicas run, for how long, and what passes through them."""

from __future__ import annotations

import math

from hallmark.cron import times_a_month
from hallmark.declaration.domain import Domain
from hallmark.section import Section, amount
from hallmark.tco.assumptions import Assumptions
from hallmark.tco.prices import HOURS
from hallmark.tco.throughput import Throughput

GPU_NODE = (3.5, 14.0)
"""Cores and GiB that pods can use of the smaller GPU node."""


class Plan(Section):
    """Resources that a domain needs wherever it runs.

    unit_rate: requests a second that one core, or one GPU, answers at most.  core_seconds: of one request.
    mean, peak: requests a second, over the month and in the busiest minute.  active: share of the month with traffic, or measured
    for its GPU.  gigabytes: in and out, a month.  training: node hours a month.  stored: GB.
    """

    domain: Domain
    unit_rate: float
    core_seconds: float
    mean: float
    peak: float
    active: float
    gigabytes: float
    training: float
    stored: float

    @classmethod
    def of(cls, domain: Domain, throughput: Throughput, assumed: Assumptions, *, factor: float = 1.0) -> Plan:
        """The month of a domain with its declared traffic times `factor`."""
        traffic, training = domain.serving.traffic, domain.training
        seconds = throughput.core_seconds(domain)
        hours = training.timeout.total_seconds() / 3600 * assumed.training_hours * training.nodes
        active = traffic.active
        if domain.serving.gpu and assumed.gpu_hours is not None:
            active = max(assumed.gpu_hours, 1e-6)
        return cls(
            domain=domain,
            unit_rate=assumed.gpu_photos if domain.serving.gpu else 1 / seconds,
            core_seconds=seconds,
            mean=traffic.mean * factor,
            peak=traffic.peak * factor,
            active=active,
            gigabytes=traffic.mean * factor * HOURS * 3600 * amount(traffic.payload) / 1e9,
            training=hours * times_a_month(training.schedule),
            stored=amount(domain.quota.storage) / 1e9 * assumed.stored,
        )

    @property
    def requests(self) -> float:
        """In a month."""
        return self.mean * HOURS * 3600

    def replicas(self, units: float, *, minimum: int, target: float) -> float:
        """Replicas of `units` cores or GPUs that run on average: as many as the hours with traffic need, the minimum else."""
        busy = self.mean / self.active
        needed = max(minimum, 1, math.ceil(busy / (units * self.unit_rate * target)))
        return needed * self.active + minimum * (1 - self.active)

    def most(self, units: float, *, target: float) -> int:
        """Replicas that the busiest minute needs."""
        return max(1, math.ceil(self.peak / (units * self.unit_rate * target)))

    @property
    def gpu_node(self) -> str:
        """The GPU instance that one pod fits on."""
        serving = self.domain.serving
        small = amount(serving.cpu) <= GPU_NODE[0] and amount(serving.memory) / 2**30 <= GPU_NODE[1]
        return "g5.xlarge" if small else "g5.2xlarge"
