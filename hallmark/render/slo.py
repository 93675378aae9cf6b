"""A domain's service levels: recorded ratios, and alerts on how fast they use up what may fail.

Objectives are `serving.availability` (answered well, over 30 days) and 99 of 100 answers within `serving.latency_objective`. What
may fail is the error budget, 1 - objective. An alert fires where the share of bad requests is over `factor` times the budget in a
long window (so that it matters) and in a short one (so that it is still so), by Google's SRE workbook, "Alerting on SLOs", 6:

    factor  windows      budget gone by then   severity
    14.4    1 h, 5 m     2 %                   page
    6       6 h, 30 m    5 %                   page; a ticket for latency
    1       3 d, 6 h     10 %                  ticket

Three departures. A threshold over `CEILING` could never be reached (14.4 times a budget of 10 % is 144 %), and is that. Fewer than
`FEWEST` bad requests in the long window alert nobody: at night one failure can be half of the traffic. Without a request there is
no ratio and no alert: a model that was scaled to zero and not asked is not down.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from hallmark.declaration.domain import Domain
from hallmark.metrics import GATEWAY_MILLISECONDS, GATEWAY_REQUESTS, GRPC_FAULTS, WATCH
from hallmark.render.rules import Json, Severity, group, number, record

WITHIN = 0.99
"""Share of answers that owe `serving.latency_objective`."""
CEILING = 0.9
FEWEST = 10
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
ERRORS = "hallmark:errors:ratio_rate"
SLOW = "hallmark:slow:ratio_rate"
REQUESTS = "hallmark:requests:rate5m"
VARIANT_REQUESTS = "hallmark:variant_requests:rate5m"
VARIANT_ERRORS = "hallmark:variant_errors:ratio_rate5m"
VARIANT_SLOW = "hallmark:variant_slow:ratio_rate5m"


class Burn(NamedTuple):
    """Burn rate of an error budget: the share of bad requests is `factor` times what it may be, in both windows."""

    factor: float
    long: str
    short: str
    wait: str
    availability: Severity
    latency: Severity


BURNS = (
    Burn(14.4, "1h", "5m", "2m", "page", "page"),
    Burn(6, "6h", "30m", "15m", "page", "ticket"),
    Burn(1, "3d", "6h", "1h", "ticket", "ticket"),
)


def edge(objective: timedelta) -> float:
    """The first edge of the gateway's times, in milliseconds, that is not under the objective; the last one where none is."""
    wanted = objective.total_seconds() * 1000
    return next(
        (le for le in GATEWAY_MILLISECONDS.buckets if le >= wanted * (1 - 1e-9)), GATEWAY_MILLISECONDS.buckets[-1]
    )


def groups(domain: Domain) -> list[Json]:
    """The ratios of a domain, which its alerts read (templates/alerts/service-levels.yaml)."""
    labels = {"domain": domain.name}
    ratios = []
    for window in WINDOWS:
        errors = f"{failed(domain, window)} / ({requests(domain, window)} > 0)"
        late = f"{slow(domain, window)} / (sum(rate({timed(domain, window)})) > 0)"
        ratios += [record(f"{ERRORS}{window}", errors, labels), record(f"{SLOW}{window}", late, labels)]
    return [
        group(f"hallmark-{domain.name}-slo", ratios),
        group(f"hallmark-{domain.name}-variants", _variants(domain)),
    ]


def failed(domain: Domain, window: str, *, function: str = "rate", by: str = "") -> str:
    """Requests that were answered with 5xx, or with a gRPC status that is the server's fault."""
    mine = f'namespace="{domain.namespace}"'
    parts = (f'{{{mine},code=~"5.."}}', f'{{{mine},code!~"5..",grpc=~"{"|".join(sorted(GRPC_FAULTS, key=int))}"}}')
    if by:
        either = " or ".join(f"{function}({GATEWAY_REQUESTS.name}{part}[{window}])" for part in parts)
        return f"sum by ({by}) ({either})"
    # A series begins with its first failure, so that none is nought and not unknown.
    return (
        "("
        + " + ".join(f"(sum({function}({GATEWAY_REQUESTS.name}{part}[{window}])) or vector(0))" for part in parts)
        + ")"
    )


def slow(domain: Domain, window: str, *, function: str = "rate") -> str:
    """Answers later than the objective, or than the first edge over it."""
    return f"(sum({function}({timed(domain, window)})) - sum({function}({within(domain, window)})))"


def timed(domain: Domain, window: str) -> str:
    """Answers whose time was taken."""
    return f'{GATEWAY_MILLISECONDS.samples[2]}{{namespace="{domain.namespace}"}}[{window}]'


def within(domain: Domain, window: str) -> str:
    """Those of them that kept the objective, or the first edge over it."""
    # From version 3 on Prometheus keeps whole edges as 50.0.
    le = f'le=~"{number(edge(domain.serving.latency_objective))}([.]0)?"'
    return f'{GATEWAY_MILLISECONDS.samples[0]}{{namespace="{domain.namespace}",{le}}}[{window}]'


def requests(domain: Domain, window: str, *, by: str = "") -> str:
    """All requests a second."""
    grouped = f"sum by ({by})" if by else "sum"
    return f'{grouped}(rate({GATEWAY_REQUESTS.name}{{namespace="{domain.namespace}"}}[{window}]))'


def _variants(domain: Domain) -> list[Json]:
    """The same by revision and by variant. Which revision is which, the watch says; without it these are missing, and nothing else."""
    labels = {"domain": domain.name}
    known = f'topk by (revision) (1, {WATCH["rollout_revision"].name}{{domain="{domain.name}"}})'

    def of_variant(expr: str) -> str:
        return f"sum by (variant) ({expr} * on (revision) group_left (variant) {known})"

    total = of_variant(requests(domain, "5m", by="revision"))
    bad = of_variant(failed(domain, "5m", by="revision"))
    counted = of_variant(f"sum by (revision) (rate({timed(domain, '5m')}))")
    good = of_variant(f"sum by (revision) (rate({within(domain, '5m')}))")
    return [
        record(REQUESTS, requests(domain, "5m", by="revision"), labels),
        record(VARIANT_REQUESTS, total, labels),
        record(VARIANT_ERRORS, f"({bad} or 0 * {total}) / ({total} > 0)", labels),
        record(VARIANT_SLOW, f"1 - {good} / ({counted} > 0)", labels),
    ]


def span_ms(time: timedelta) -> str:
    """A short time as people say it: 50 ms, 1500 ms."""
    return f"{time.total_seconds() * 1000:g} ms"
