"""A domain in house: its share of nodes, the platform under it, and the people who run it."""

from __future__ import annotations

from hallmark.section import amount
from hallmark.tco.assumptions import Assumptions
from hallmark.tco.bill import Bill, BillLine
from hallmark.tco.environment import Environment
from hallmark.tco.plan import Plan
from hallmark.tco.prices import HOURS, Prices

_CORES, _GIB = 4.0, 16.0
"""Of the node that pods without a GPU are put on."""


def bill(plan: Plan, prices: Prices, assumed: Assumptions, environment: Environment, *, domains: int) -> Bill:
    """A month of the domain on the platform, which `domains` of them share."""
    domain = plan.domain
    serving, training, reviewer = domain.serving, domain.training, domain.reviewer
    units = serving.gpu or amount(serving.cpu)
    running = plan.replicas(units, minimum=serving.replicas.minimum, target=assumed.target)
    if serving.gpu:
        cost = running * HOURS * serving.gpu * prices[f"ec2.{plan.gpu_node}"]
        how = f"{running:.2f} x {plan.gpu_node} on average"
    else:
        steady = min(running, float(serving.replicas.minimum))
        paid = steady + (running - steady) * (1 - assumed.spot * assumed.spot_discount)
        cost = paid * HOURS * _share(amount(serving.cpu), amount(serving.memory) / 2**30, prices, assumed)
        how = f"{running:.2f} pods on average"
    learning = (
        prices["ec2.g5.2xlarge"]
        if training.gpu
        else _share(amount(training.cpu), amount(training.memory) / 2**30, prices, assumed, sidecar=False)
    )
    rest = environment.bill(prices).total
    lines = [
        BillLine(item="serving", monthly=cost, how=how),
        BillLine(item="training", monthly=plan.training * learning, how=f"{plan.training:.0f} node hours"),
        BillLine(item="storage", monthly=plan.stored * prices["s3.standard"], how=f"{plan.stored:.0f} GB"),
        BillLine(
            item="network",
            monthly=plan.gigabytes * (prices["nlb.unit"] + assumed.outbound * prices["nat.data"]),
            how=f"{plan.gigabytes:.0f} GB",
        ),
        BillLine(item="platform", monthly=rest / domains, how=f"1/{domains} of {environment.name} at rest"),
        BillLine(
            item="people",
            monthly=assumed.wage * (assumed.house_hours + assumed.platform_hours / domains),
            how=f"{assumed.house_hours + assumed.platform_hours / domains:.0f} h",
        ),
    ]
    if reviewer:
        # Nothing wakes one that is scaled to zero, so one runs around the clock at least (docs/decisions/0013).
        hours = max(1, reviewer.replicas.minimum) * HOURS * reviewer.gpu
        lines.insert(
            1, BillLine(item="reviewer", monthly=hours * prices["ec2.g5.2xlarge"], how=f"{hours:.0f} GPU hours")
        )
    most = plan.most(units, target=assumed.target)
    short = most > serving.replicas.maximum
    return Bill(
        way="in house",
        lines=tuple(lines),
        ready=not short,
        reason=f"the peak needs {most} replicas, and {serving.replicas.maximum} are declared" if short else "",
    )


def _share(cores: float, gib: float, prices: Prices, assumed: Assumptions, *, sidecar: bool = True) -> float:
    """An hour of a pod: its larger share of a node, of which pods can use a part."""
    if sidecar:
        cores, gib = cores + assumed.sidecar_cpu, gib + assumed.sidecar_memory
    return max(cores / _CORES, gib / _GIB) / assumed.packing * prices["ec2.m5.xlarge"]
