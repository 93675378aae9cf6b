"""A domain on managed endpoints: real-time, serverless and batch, with the training and the people that go with them."""

from __future__ import annotations

import math

from hallmark.section import amount
from hallmark.tco.assumptions import Assumptions
from hallmark.tco.bill import Bill, BillLine
from hallmark.tco.plan import Plan
from hallmark.tco.prices import HOURS, Prices

_CORES = 4.0
"""Of the instance that domains without a GPU are put on; the model server is the same, in a container of our own."""
_MOST_MEMORY = 6
"""GB of a serverless endpoint at most: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html"""
_MOST_PAYLOAD = 4e6
"""Bytes of a serverless request at most, by the same page."""


def realtime(plan: Plan, prices: Prices, assumed: Assumptions, *, domains: int) -> Bill:
    """An endpoint that scales between instances; to none where the domain may (inference components, since the end of 2024)."""
    serving = plan.domain.serving
    name = plan.gpu_node if serving.gpu else "m5.xlarge"
    # Two zones only where the domain asks for more than one replica.
    minimum = min(serving.replicas.minimum, 2)
    running = plan.replicas(serving.gpu or _CORES - assumed.sidecar_cpu, minimum=minimum, target=assumed.target)
    line = BillLine(
        item="serving",
        monthly=running * HOURS * prices[f"sagemaker.{name}"] * max(1, serving.gpu),
        how=f"{running:.2f} x ml.{name} on average",
    )
    return Bill(way="real-time", lines=(line, *_rest(plan, prices, assumed, domains=domains)))


def serverless(plan: Plan, prices: Prices, assumed: Assumptions, *, domains: int) -> Bill:
    """Billed by memory and time of each request; no GPU, and seconds of cold start."""
    serving = plan.domain.serving
    memory = max(1, math.ceil(amount(serving.memory) / 2**30))
    seconds = assumed.serverless_overhead + plan.core_seconds
    line = BillLine(
        item="serving",
        monthly=plan.requests * seconds * memory * prices["sagemaker.serverless"],
        how=f"{plan.requests / 1e6:.1f} M requests x {seconds * 1000:.0f} ms x {memory} GB",
    )
    objective = serving.latency_objective.total_seconds()
    reasons = [
        ("it has no GPU", bool(serving.gpu)),
        (f"it has {_MOST_MEMORY} GB at most", memory > _MOST_MEMORY),
        ("the payload is over 4 MB", amount(serving.traffic.payload) > _MOST_PAYLOAD),
        (
            f"99 of 100 within {objective * 1000:.0f} ms is less than it promises",
            objective < assumed.serverless_latency,
        ),
    ]
    reason = "; ".join(text for text, holds in reasons if holds)
    lines = (line, *_rest(plan, prices, assumed, domains=domains))
    return Bill(way="serverless", lines=lines, ready=not reason, reason=reason)


def batch(plan: Plan, prices: Prices, assumed: Assumptions, *, domains: int) -> Bill:
    """All requests of a day together, at night: what it would cost where nobody waits for the answer."""
    serving = plan.domain.serving
    name = plan.gpu_node if serving.gpu else "m5.xlarge"
    hours = plan.requests / (plan.unit_rate * (serving.gpu or _CORES)) / 3600
    # A day's job takes at least some minutes to start.
    hours = max(hours, 730 / 24 * 0.1)
    line = BillLine(item="serving", monthly=hours * prices[f"sagemaker.{name}"], how=f"{hours:.1f} h of ml.{name}")
    lines = (line, *_rest(plan, prices, assumed, domains=domains))
    return Bill(way="batch", lines=lines, ready=False, reason="answers come the next day")


def _rest(plan: Plan, prices: Prices, assumed: Assumptions, *, domains: int) -> list[BillLine]:
    domain = plan.domain
    training = domain.training
    name = "g5.2xlarge" if training.gpu else "m5.xlarge"
    hours = assumed.managed_hours + assumed.managed_platform_hours / domains
    lines = [
        BillLine(
            item="training",
            monthly=plan.training * prices[f"sagemaker.{name}"],
            how=f"{plan.training:.0f} h of ml.{name}",
        ),
        BillLine(item="storage", monthly=plan.stored * prices["s3.standard"], how=f"{plan.stored:.0f} GB"),
        BillLine(item="network", monthly=plan.gigabytes * prices["sagemaker.data"], how=f"{plan.gigabytes:.0f} GB"),
        BillLine(item="people", monthly=assumed.wage * hours, how=f"{hours:.0f} h"),
    ]
    if domain.reviewer:
        reviewer = domain.reviewer
        running = max(1, reviewer.replicas.minimum) * HOURS * reviewer.gpu
        lines.insert(
            0,
            BillLine(item="reviewer", monthly=running * prices["sagemaker.g5.2xlarge"], how=f"{running:.0f} GPU hours"),
        )
    return lines
