"""A domain's alerts beside those on its service levels: the model, its inputs, its rollout and who watches it.

Times and thresholds come from the declaration. Nothing fires for a domain that is declared and not released, nor for one that
nobody calls; a metric that is missing is told by an alert of its own where something hangs on it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from hallmark.cron import longest_gap
from hallmark.declaration.domain import Domain
from hallmark.metrics import DRIFT, FAULT, GATEWAY_REQUESTS, OVERLOADED, RUNTIME, RUNTIME_REFUSED, WATCH
from hallmark.render import slo
from hallmark.render.rules import Json, alert, group, number, span

CAPTURED = 0.95
"""With less of the traffic captured the drift monitor gives no verdict (hallmark.drift.verdict.COMPLETE)."""
STALE = 0.01
"""With more stale inputs neither (hallmark.drift.look.FORGIVEN)."""
LATE = timedelta(minutes=10)
"""A rollout that is over its deadline is rolled back at the next look; after this long it was not."""
UNWATCHED = timedelta(minutes=5)
OFFERED, DROPPED = RUNTIME["capture_offered"].name, RUNTIME["capture_dropped"].name
REPLICAS = "kube_deployment_status_replicas_available"
"""Of kube-state-metrics."""


def groups(domain: Domain) -> list[Json]:
    """All of them, in three groups."""
    say = partial(alert, team=domain.owner.team, domain=domain.name)
    return [
        group(
            f"hallmark-{domain.name}-model", [_refuses(domain, say), _invalid(domain, say), _none_ready(domain, say)]
        ),
        group(f"hallmark-{domain.name}-inputs", _inputs(domain, say), interval="1m"),
        group(f"hallmark-{domain.name}-rollout", _rollout(domain, say), interval="1m"),
    ]


def pods(domain: Domain) -> str:
    """A pattern for the names of the domain's model servers, pods and Deployments, in either mode of KServe."""
    return f"{domain.name}(-v[0-9]+b?)?-predictor.*"


def ready_pods(domain: Domain) -> str:
    """How many of them are ready, over all revisions."""
    return f'sum({REPLICAS}{{namespace="{domain.namespace}",deployment=~"{pods(domain)}"}})'


def traffic(domain: Domain, window: str, *, function: str = "rate") -> str:
    """Requests that the model server answered well; unlike its counters of answers, without probes and scrapes."""
    return f'sum({function}({OFFERED}{{namespace="{domain.namespace}"}}[{window}]))'


def _refuses(domain: Domain, say: Callable[..., Json]) -> Json:
    refused = f'{RUNTIME_REFUSED}{{namespace="{domain.namespace}",reason="{OVERLOADED}"}}'
    share = f"sum(rate({refused}[5m])) / ((sum(rate({refused}[5m])) + {traffic(domain, '5m')}) > 0)"
    return say(
        "ModelRefuses",
        f"{share} > 0.01 and on () (sum(increase({refused}[5m])) >= 10)",
        wait="5m",
        severity="ticket",
        summary=f"{domain.name}: the model server refuses {{{{ $value | humanizePercentage }}}} of requests because it is full",
        description="Callers get 503 with Retry-After at once. More pods are needed, or fewer rows a request."
        f" {domain.name} may have {domain.serving.replicas.maximum} pods.",
    )


def _invalid(domain: Domain, say: Callable[..., Json]) -> Json:
    broken = f'{RUNTIME_REFUSED}{{namespace="{domain.namespace}",reason="{FAULT}"}}'
    offered = f'{OFFERED}{{namespace="{domain.namespace}"}}'
    bad = f"sum by (revision) (rate({broken}[15m]))"
    share = f"{bad} / (({bad} + sum by (revision) (rate({offered}[15m]))) > 0)"
    limit = number(domain.rollout.limits.invalid)
    return say(
        "InvalidAnswers",
        f"{share} > {limit} and on (revision) (sum by (revision) (increase({broken}[15m])) >= 5)",
        wait="5m",
        severity="ticket",
        summary=f"{domain.name}: {{{{ $labels.revision }}}} gives NaN or broken answers to {{{{ $value | humanizePercentage }}}} of requests",
        description=f"The model server holds such answers back and callers get 500. A rollout allows {limit} of them; a stable"
        " version that gives them met inputs that nobody trained it on, or its feature code fails.",
    )


def _none_ready(domain: Domain, say: Callable[..., Json]) -> Json:
    ready = f"{ready_pods(domain)} == 0"
    if domain.serving.replicas.minimum:
        wait, more = "3m", f"{domain.serving.replicas.minimum} at least are declared."
    else:
        # Scaled to zero is how it should be while nobody asks; a GPU node takes minutes to come.
        ready += f' and on () (sum(rate({GATEWAY_REQUESTS.name}{{namespace="{domain.namespace}"}}[10m])) > 0)'
        wait, more = "15m", "It is scaled to zero when nobody asks; now somebody does, and none came up."
    return say(
        "NoPredictorReady",
        ready,
        wait=wait,
        severity="page",
        summary=f"{domain.name}: no pod of the model is ready, every request fails",
        description=f"Callers of {domain.name} get 503. {more}",
    )


def _inputs(domain: Domain, say: Callable[..., Json]) -> list[Json]:
    mine = f'namespace="{domain.namespace}"'
    verdict, drift = DRIFT["verdict"].name, domain.drift
    known = f'max({verdict}{{{mine},state=~"OK|DRIFT"}}) == 1'
    enough = drift.minimum * domain.serving.replicas.maximum
    loop = domain.training.timeout + domain.rollout.deadline + timedelta(hours=1)
    patience = loop if domain.retrain.on_drift else timedelta(hours=1)
    found = [
        say(
            "DriftLasts",
            f'max by (variant) ({verdict}{{{mine},state="DRIFT"}}) == 1',
            wait=span(patience),
            severity="ticket",
            summary=f"{domain.name}: {{{{ $labels.variant }}}} has been drifting for {span(patience)}",
            description="Its requests or answers no longer look like what it was trained on, so its decisions are doubtful. "
            + (
                f"A retraining and a rollout had their time ({span(domain.training.timeout)} and"
                f" {span(domain.rollout.deadline)}) and did not mend it."
                if domain.retrain.on_drift
                else "Drift starts no training here (retrain.on_drift: false)."
            ),
        ),
        say(
            "DriftUnknown",
            f"({traffic(domain, '6h', function='increase')} > {enough}) unless on () ({known})",
            wait="1h",
            severity="ticket",
            summary=f"{domain.name}: nobody can say whether its requests drift, with {{{{ $value | humanize }}}} of them in six hours",
            description="The drift monitor says INSUFFICIENT of every variant, or does not answer. Drift would not be noticed, and"
            " no rollout is promoted meanwhile.",
        ),
        say(
            "CaptureLost",
            f"min by (variant) ({DRIFT['captured_ratio'].name}{{{mine}}}) < {CAPTURED}"
            f" or 1 - sum(increase({DROPPED}{{{mine}}}[15m])) / (sum(increase({OFFERED}{{{mine}}}[15m])) > 100) < {CAPTURED}",
            wait="15m",
            severity="ticket",
            summary=f"{domain.name}: only {{{{ $value | humanizePercentage }}}} of the served requests reach the drift monitor",
            description=f"Users notice nothing. Under {number(100 * CAPTURED)} of 100 the monitor gives no verdict, so drift is not"
            " noticed and a rollout is not promoted.",
        ),
        say(
            "GatewayCountsMissing",
            f"({traffic(domain, '10m')} > 0.05)"
            f" unless on () (({slo.requests(domain, '10m')} > 0) and (sum(rate({slo.within(domain, '10m')})) >= 0))",
            wait="15m",
            severity="ticket",
            summary=f"{domain.name}: requests are answered that the gateway does not count",
            description="The alerts on errors or latency are blind, and no rollout is promoted: its counts are missing. Istio's"
            " metrics are not scraped, carry other labels than the recording rules expect, or have no edge at"
            f" {slo.edge(domain.serving.latency_objective):g} ms.",
        ),
    ]
    if drift.freshness is not None:
        found.append(
            say(
                "InputsStale",
                f"max by (variant) ({DRIFT['stale_ratio'].name}{{{mine}}}) > {STALE}",
                wait="15m",
                severity="ticket",
                summary=f"{domain.name}: {{{{ $value | humanizePercentage }}}} of inputs are older than {span(drift.freshness.limit)}",
                description=f"Answers are given on old facts, by the time in {drift.freshness.column}. The verdict is INSUFFICIENT"
                " until they are fresh again, and no rollout is promoted.",
            )
        )
    return found


def _rollout(domain: Domain, say: Callable[..., Json]) -> list[Json]:
    mine = f'domain="{domain.name}"'
    deadline, looked = WATCH["rollout_deadline_timestamp_seconds"].name, WATCH["watch_last_look_timestamp_seconds"].name
    newest = WATCH["registry_newest_timestamp_seconds"].name
    # Of several watches the lease's holder looks; one that never did has no such series, nor has one that is gone.
    gone = f"absent({looked}{{{mine}}}) or time() - max({looked}{{{mine}}}) > {UNWATCHED.total_seconds():.0f}"
    gap = longest_gap(domain.training.schedule)
    overdue = 2 * gap + domain.training.timeout
    return [
        say(
            "RolloutStuck",
            f"time() - max({deadline}{{{mine}}}) > {LATE.total_seconds():.0f}",
            wait="1m",
            severity="page",
            summary=f"{domain.name}: a rollout is {{{{ $value | humanizeDuration }}}} over its deadline, and not rolled back",
            description="The candidate still gets its share of the traffic. The watch tries to roll it back and cannot.",
        ),
        say(
            "WatchGone",
            gone,
            wait="10m",
            severity="ticket",
            summary=f"{domain.name}: no watch looks at it",
            description="Nothing is promoted, rolled back or retrained. What is served stays as it is.",
        ),
        say(
            "RolloutUnwatched",
            f"(count({slo.requests(domain, '5m', by='revision')} > 0) > 1) and on () ({gone})",
            wait="10m",
            severity="page",
            summary=f"{domain.name}: two versions get traffic and no watch looks at them",
            description="A candidate that fails would not be rolled back.",
        ),
        say(
            "RetrainingOverdue",
            f"time() - max({newest}{{{mine}}}) > {overdue.total_seconds():.0f}",
            wait="1h",
            severity="ticket",
            summary=f"{domain.name}: no new version for {{{{ $value | humanizeDuration }}}}",
            description=f"It is trained every {span(gap)}. Two runs in a row were not started, failed, or were refused by the gate."
            " The model that serves grows old.",
        ),
    ]
