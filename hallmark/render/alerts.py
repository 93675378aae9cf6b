"""A domain's alerts: what the templates of templates/alerts ask of its declaration."""

from __future__ import annotations

from datetime import timedelta

from hallmark import names, templates
from hallmark.cron import longest_gap
from hallmark.declaration.domain import Domain
from hallmark.render import parity, slo
from hallmark.render.rules import Json, number, span, whole

CAPTURED = 0.95
"""With less of the traffic captured the drift monitor gives no verdict (hallmark.drift.verdict.COMPLETE)."""
STALE = 0.01
"""With more stale inputs neither (hallmark.drift.analysis.FORGIVEN)."""
RECALLED = 1000
"""Items that live queries should have found before their recall is told: ten a query."""
UNWATCHED = timedelta(minutes=5)
"""After this long without a look the watch is gone."""


def groups(domain: Domain) -> list[Json]:
    """All of them: on its service levels, the model, its inputs and its rollout."""
    training, rollout = domain.training, domain.rollout
    gap, hour = longest_gap(training.schedule), timedelta(hours=1)
    loop = training.timeout + rollout.deadline if domain.retrain.on_drift else timedelta(0)
    values = {
        "domain": domain,
        "patience": span(loop + hour),
        "gap": span(gap),
        "overdue": f"{(2 * gap + training.timeout).total_seconds():.0f}",
        "unwatched": f"{UNWATCHED.total_seconds():.0f}",
        **{"captured": CAPTURED, "stale": STALE},
        **{"slo": slo, "ready_pods": ready_pods, "number": number, "span": span, "names": names, "parity": parity},
        **{"recall_lost": recall_lost, "recall_floors": recall_floors},
    }
    files = ("service-levels.yaml", "domain.yaml")
    found = [each for file in files for each in templates.objects(f"render/templates/alerts/{file}", **values)]
    return whole(found, team=domain.owner.team, domain=domain.name)


def pods(domain: Domain) -> str:
    """A pattern for the names of the domain's model servers, pods and Deployments, in either mode of KServe."""
    return f"{domain.name}(-v[0-9]+b?)?-predictor.*"


def ready_pods(domain: Domain) -> str:
    """Number of ready pods, over all revisions."""
    available = "kube_deployment_status_replicas_available"  # of kube-state-metrics
    return f'sum({available}{{namespace="{domain.namespace}",deployment=~"{pods(domain)}"}})'


def recall_lost(domain: Domain) -> str:
    """Recall of live queries by variant and selectivity, where it is under what the domain's retrieval requires."""
    found = []
    for selectivity, floor in domain.retrieval.required.items() if domain.retrieval else ():
        of = f'{{namespace="{domain.namespace}",selectivity="{selectivity}"}}'
        seen, wanted = (
            f"sum by (variant, selectivity) (increase(hallmark_recall_{each}_total{of}[6h]))"
            for each in ("found", "wanted")
        )
        found.append(f"({seen} / ({wanted} > {RECALLED}) < {number(floor)})")
    return " or ".join(found)


def recall_floors(domain: Domain) -> str:
    """The declared floors, in words."""
    return (
        ", ".join(f"{each} {number(floor)}" for each, floor in domain.retrieval.required.items())
        if domain.retrieval
        else ""
    )
