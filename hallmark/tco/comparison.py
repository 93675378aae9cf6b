"""In house against managed: who is cheaper at this traffic, where that turns round, and what moves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hallmark.declaration.domain import Domain
from hallmark.section import Section
from hallmark.tco import house, managed
from hallmark.tco.assumptions import Assumptions
from hallmark.tco.bill import Bill
from hallmark.tco.environment import Environment
from hallmark.tco.plan import Plan
from hallmark.tco.prices import Prices
from hallmark.tco.throughput import Throughput

_LOW, _HIGH, _STEPS = 1e-4, 1e5, 450
"""Factors of the declared traffic between which a break-even is looked for, on a log scale."""
_SWING = 0.2


class Inputs(Section):
    """All that an answer depends on; the same inputs give the same answer."""

    prices: Prices
    assumed: Assumptions
    throughput: Throughput
    environment: Environment
    domains: int


class Comparison(Section):
    """One domain's answer, USD a month.

    break_even: mean requests a second from which on in house is cheaper; none where it never is, 0 where it always is.
    """

    domain: str
    mean: float
    bills: tuple[Bill, ...]
    break_even: float | None

    @property
    def house(self) -> Bill:
        """In house."""
        return self.bills[0]

    @property
    def managed(self) -> Bill:
        """The cheapest managed way that keeps the latency objective."""
        return min((bill for bill in self.bills[1:] if bill.ready), key=lambda bill: bill.total)

    @property
    def cheapest(self) -> str:
        """Its way."""
        return min((self.house, self.managed), key=lambda bill: bill.total).way


class Swing(Section):
    """Effect of one input a fifth lower and a fifth higher: in house less managed, USD a month, and the break-even."""

    domain: str
    input: str
    change: float
    difference: float
    break_even: float | None
    cheapest: str


def compare(domain: Domain, inputs: Inputs, *, factor: float = 1.0) -> Comparison:
    """All ways to run `domain` at its declared traffic times `factor`."""
    return Comparison(
        domain=domain.name,
        mean=domain.serving.traffic.mean * factor,
        bills=bills(domain, inputs, factor=factor),
        break_even=break_even(domain, inputs),
    )


def bills(domain: Domain, inputs: Inputs, *, factor: float = 1.0) -> tuple[Bill, ...]:
    """In house, real-time, serverless, batch."""
    plan = Plan.of(domain, inputs.throughput, inputs.assumed, factor=factor)
    prices, assumed, many = inputs.prices, inputs.assumed, inputs.domains
    return (
        house.bill(plan, prices, assumed, inputs.environment, domains=many),
        managed.realtime(plan, prices, assumed, domains=many),
        managed.serverless(plan, prices, assumed, domains=many),
        managed.batch(plan, prices, assumed, domains=many),
    )


def break_even(domain: Domain, inputs: Inputs) -> float | None:
    """Mean requests a second above which in house stays cheaper than every managed way that keeps the objective.

    Costs rise in steps, so the two may cross more than once near it; this is the last crossing, found on a log scale and then halved
    down to a thousandth.
    """
    factors: list[float] = [_LOW * (_HIGH / _LOW) ** (at / _STEPS) for at in range(_STEPS + 1)]
    cheaper = [_saved(domain, inputs, factor) > 0 for factor in factors]
    if not cheaper[-1]:
        return None
    at = len(cheaper)
    while at and cheaper[at - 1]:
        at -= 1
    if at == 0:
        return 0.0
    low, high = factors[at - 1], factors[at]
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _saved(domain, inputs, middle) > 0 else (middle, high)
    return float(high * domain.serving.traffic.mean)


def _saved(domain: Domain, inputs: Inputs, factor: float) -> float:
    inside, *outside = bills(domain, inputs, factor=factor)
    return min(bill.total for bill in outside if bill.ready) - inside.total


def sensitivity(domains: Sequence[Domain], inputs: Inputs) -> Iterator[Swing]:
    """Traffic, the price of GPUs and the hours of people, each alone a fifth lower and a fifth higher."""
    for domain in domains:
        for name in ("traffic", "GPU price", "people's hours"):
            for change in (-_SWING, _SWING):
                factor, changed = _moved(inputs, name, 1 + change)
                found = compare(domain, changed, factor=factor)
                yield Swing(
                    domain=domain.name,
                    input=name,
                    change=change,
                    difference=found.house.total - found.managed.total,
                    break_even=found.break_even,
                    cheapest=found.cheapest,
                )


def _moved(inputs: Inputs, name: str, factor: float) -> tuple[float, Inputs]:
    if name == "traffic":
        return factor, inputs
    if name == "GPU price":
        return 1.0, inputs.model_copy(update={"prices": inputs.prices.scaled(".g5.", factor)})
    hours = ("platform_hours", "house_hours")
    changed = {key: getattr(inputs.assumed, key) * factor for key in hours}
    return 1.0, inputs.model_copy(update={"assumed": inputs.assumed.model_copy(update=changed)})
