"""What a domain's dashboard shows: its requests against what it owes, the model, drift, the rollout, and the machines."""

from __future__ import annotations

from hallmark.declaration.domain import Domain
from hallmark.metrics import GATEWAY_MILLISECONDS, RUNTIME, RUNTIME_REFUSED, WATCH
from hallmark.render import loop, slo
from hallmark.render.alerts import pods, ready_pods
from hallmark.render.dashboard import Limit, Panel, Query, Row, dashboard
from hallmark.render.rules import Json


def of_domain(domain: Domain) -> Json:
    """The dashboard of one domain."""
    return dashboard(
        domain.name,
        title=f"Hallmark / {domain.name}",
        rows=[
            _now(domain),
            _traffic(domain),
            _levels(domain),
            _model(domain),
            loop.drift(domain),
            loop.rollout(domain),
            _machines(domain),
        ],
        tags=[domain.name],
        marks=loop.marks(f'domain="{domain.name}",'),
    )


def _now(domain: Domain) -> Row:
    mine = f'domain="{domain.name}"'
    serving = domain.serving
    stats = (
        Panel(
            f"Answered well, 3 days ({100 * serving.availability:g} % owed)",
            (Query(f"1 - {slo.ERRORS}3d{{{mine}}}"),),
            unit="percentunit",
        ),
        Panel(
            f"Within {slo.span_ms(serving.latency_objective)}, 3 days ({100 * slo.WITHIN:g} % owed)",
            (Query(f"1 - {slo.SLOW}3d{{{mine}}}"),),
            unit="percentunit",
        ),
        Panel("Requests a second", (Query(f"sum({slo.REQUESTS}{{{mine}}})"),), unit="reqps"),
        Panel("Stable version", (Query(f'max({WATCH["rollout_version"].name}{{{mine},variant="stable"}})'),)),
        Panel("Candidate's share", (Query(f"max({WATCH['rollout_percent'].name}{{{mine}}})"),), unit="percent"),
        Panel(
            "Pods ready",
            (Query(ready_pods(domain)),),
            help=f"{serving.replicas.minimum} to {serving.replicas.maximum} are declared.",
        ),
    )
    return Row("Now", tuple(each._replace(kind="stat", width=4, height=4) for each in stats))


def _traffic(domain: Domain) -> Row:
    mine = f'domain="{domain.name}"'
    return Row(
        "Requests",
        (
            Panel(
                "Requests by variant",
                (Query(f"{slo.VARIANT_REQUESTS}{{{mine}}}", "{{variant}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "Share of the candidate",
                (
                    Query(
                        f'sum({slo.VARIANT_REQUESTS}{{{mine},variant="canary"}}) / sum({slo.VARIANT_REQUESTS}{{{mine}}})',
                        "measured",
                    ),
                    Query(f"max({WATCH['rollout_percent'].name}{{{mine}}}) / 100", "asked"),
                ),
                unit="percentunit",
            ),
            Panel(
                "Requests by revision",
                (Query(f"{slo.REQUESTS}{{{mine}}}", "{{revision}}"),),
                unit="reqps",
                help="As the gateway meant them; also without a watch.",
            ),
        ),
    )


def _levels(domain: Domain) -> Row:
    mine, namespace = f'domain="{domain.name}"', f'namespace="{domain.namespace}"'
    budget = 1 - domain.serving.availability
    objective = domain.serving.latency_objective.total_seconds() * 1000
    buckets = f"sum by (le) (rate({GATEWAY_MILLISECONDS.samples[0]}{{{namespace}}}[5m]))"
    return Row(
        "What is owed",
        (
            Panel(
                "Requests that fail",
                (
                    Query(f"{slo.ERRORS}5m{{{mine}}}", "5 minutes"),
                    Query(f"{slo.ERRORS}1h{{{mine}}}", "1 hour"),
                    Query(f"{slo.VARIANT_ERRORS}{{{mine}}}", "{{variant}}, 5 minutes"),
                ),
                unit="percentunit",
                help="Lines: what may fail, and 14.4 times that, which pages.",
                limits=(Limit(round(budget, 6), "orange"), Limit(round(min(14.4 * budget, slo.CEILING), 6))),
            ),
            Panel(
                "Time to answer",
                tuple(Query(f"histogram_quantile({q}, {buckets})", name) for q, name in ((0.5, "p50"), (0.99, "p99"))),
                unit="ms",
                help="At the gateway, tries included. The line is the objective that 99 of 100 answers owe.",
                limits=(Limit(objective),),
            ),
            Panel(
                f"Answers over {slo.edge(domain.serving.latency_objective):g} ms",
                (
                    Query(f"{slo.SLOW}5m{{{mine}}}", "5 minutes"),
                    Query(f"{slo.SLOW}1h{{{mine}}}", "1 hour"),
                    Query(f"{slo.VARIANT_SLOW}{{{mine}}}", "{{variant}}, 5 minutes"),
                ),
                unit="percentunit",
                limits=(Limit(round(1 - slo.WITHIN, 6), "orange"), Limit(round(14.4 * (1 - slo.WITHIN), 6))),
            ),
        ),
    )


def _model(domain: Domain) -> Row:
    mine = f'namespace="{domain.namespace}"'
    rows, stages = RUNTIME["batch_rows"].samples[0], RUNTIME["stage_seconds"].samples[0]
    panels = [
        Panel(
            "Refused and held back",
            (Query(f"sum by (reason) (rate({RUNTIME_REFUSED}{{{mine}}}[5m])) > 0", "{{reason}}"),),
            unit="reqps",
            help="overloaded: the server is full. model: NaN or a broken answer. The rest is the caller's mistake.",
        ),
        Panel(
            "Records in one call of the model",
            tuple(
                Query(f"histogram_quantile({q}, sum by (le) (rate({rows}{{{mine}}}[5m])))", name)
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ),
        ),
        Panel(
            "Where the time goes, p99",
            (Query(f"histogram_quantile(0.99, sum by (le, stage) (rate({stages}{{{mine}}}[5m])))", "{{stage}}"),),
            unit="s",
        ),
        Panel(
            "Waiting for the model or in it",
            (Query(f"sum by (pod) ({RUNTIME['in_flight'].name}{{{mine}}})", "{{pod}}"),),
        ),
    ]
    if domain.serving.cache is not None:
        looked = RUNTIME["cache_requests"].name
        hits = f'sum(rate({looked}{{{mine},result="hit"}}[5m])) / (sum(rate({looked}{{{mine}}}[5m])) > 0)'
        panels.append(Panel("Answered from the cache", (Query(hits, "hits"),), unit="percentunit"))
    return Row("Model server", tuple(panels))


def _machines(domain: Domain) -> Row:
    mine = f'namespace="{domain.namespace}",pod=~"{pods(domain)}"'
    panels = [
        Panel("Pods ready", (Query(ready_pods(domain), "ready"),)),
        Panel(
            "Processor",
            (Query(f'sum by (pod) (rate(container_cpu_usage_seconds_total{{{mine},container!=""}}[5m]))', "{{pod}}"),),
            help=f"Cores; {domain.serving.cpu} a pod for the model server.",
        ),
        Panel(
            "Memory",
            (Query(f'sum by (pod) (container_memory_working_set_bytes{{{mine},container!=""}})', "{{pod}}"),),
            unit="bytes",
            help=f"{domain.serving.memory} a pod for the model server.",
        ),
    ]
    if domain.gpus:
        panels += [
            Panel(
                "GPU", (Query(_gpu("DCGM_FI_DEV_GPU_UTIL", domain), "{{Hostname}} {{gpu}}"),), unit="percent", width=12
            ),
            Panel(
                "GPU memory",
                (Query(_gpu("DCGM_FI_DEV_FB_USED", domain), "{{Hostname}} {{gpu}}"),),
                unit="decmbytes",
                width=12,
            ),
        ]
    return Row("Machines", tuple(panels))


def _gpu(metric: str, domain: Domain) -> str:
    """By the pod that uses it: the exporter's own labels are called exported_… where the scrape has labels of that name."""
    both = (f'{metric}{{{prefix}namespace="{domain.namespace}"}}' for prefix in ("exported_", ""))
    return f"max by (Hostname, gpu) ({' or '.join(both)})"
