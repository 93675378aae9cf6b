"""What the platform's dashboard shows: every domain beside the others, the gateway, the watch, queues, pipelines, nodes and GPUs."""

from __future__ import annotations

from hallmark import names
from hallmark.metrics import GATEWAY_MILLISECONDS, GATEWAY_REQUESTS, WATCH
from hallmark.render import slo
from hallmark.render.alerts import REPLICAS, UNWATCHED
from hallmark.render.dashboard import Limit, Panel, Query, Row, dashboard
from hallmark.render.loop import STATES, marks, verdicts
from hallmark.render.platform import KFP_FAILED, PENDING
from hallmark.render.rules import Json


def of_platform() -> Json:
    """The dashboard of the platform."""
    rows = [_domains(), _gateway(), _rollouts(), _trainings(), _nodes(), _gpus()]
    return dashboard("platform", title="Hallmark / platform", rows=rows, tags=["platform"], marks=marks(""))


def _domains() -> Row:
    buckets = f"sum by (namespace, le) (rate({GATEWAY_MILLISECONDS.samples[0]}[5m]))"
    return Row(
        "Domains",
        (
            Panel(
                "Requests by domain",
                (Query(f"sum by (domain) ({slo.REQUESTS})", "{{domain}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel("Requests that fail", (Query(f"{slo.ERRORS}5m", "{{domain}}"),), unit="percentunit"),
            Panel("Time to answer, p99", (Query(f"histogram_quantile(0.99, {buckets})", "{{namespace}}"),), unit="ms"),
            Panel(
                "Verdict on stable and candidate, the worse",
                (Query(verdicts("", "namespace"), "{{namespace}}"),),
                kind="state-timeline",
                words=STATES,
                width=24,
            ),
        ),
    )


def _gateway() -> Row:
    return Row(
        "Gateway",
        (
            Panel(
                "Requests by status",
                (Query(f"sum by (code) (rate({GATEWAY_REQUESTS.name}[5m]))", "{{code}}"),),
                unit="reqps",
                width=12,
            ),
            Panel("Pods ready", (Query(f'sum({REPLICAS}{{namespace="{names.INGRESS}"}})', "gateway"),), width=6),
            Panel(
                "MLflow's pods ready",
                (Query(f'sum({REPLICAS}{{namespace="{names.SYSTEM}",deployment="mlflow"}})', "mlflow"),),
                width=6,
            ),
        ),
    )


def _rollouts() -> Row:
    def newest(short: str) -> str:
        return f"max by (domain) ({WATCH[short].name})"

    return Row(
        "Rollouts",
        (
            Panel("Share of the candidate", (Query(newest("rollout_percent"), "{{domain}}"),), unit="percent"),
            Panel(
                "Version that is stable",
                (Query(f'max by (domain) ({WATCH["rollout_version"].name}{{variant="stable"}})', "{{domain}}"),),
            ),
            Panel(
                "Since the last look",
                (Query(f"time() - {newest('watch_last_look_timestamp_seconds')}", "{{domain}}"),),
                unit="s",
                limits=(Limit(UNWATCHED.total_seconds()),),
            ),
            Panel("Leases held", (Query(f"sum by (pod) ({WATCH['watch_lease_held'].name})", "{{pod}}"),)),
            Panel(
                "Looks that failed",
                (
                    Query(
                        f'sum by (domain) (rate({WATCH["watch_looks_total"].name}{{result="failed"}}[5m])) > 0',
                        "{{domain}}",
                    ),
                ),
                unit="ops",
            ),
            Panel(
                "Age of the newest version",
                (Query(f"time() - {newest('registry_newest_timestamp_seconds')}", "{{domain}}"),),
                unit="s",
            ),
        ),
    )


def _trainings() -> Row:
    waited = "sum by (cluster_queue, le) (rate(kueue_admission_wait_time_seconds_bucket[6h]))"
    return Row(
        "Trainings",
        (
            Panel(
                "Waiting in Kueue",
                (Query("sum by (cluster_queue, status) (kueue_pending_workloads)", "{{cluster_queue}} {{status}}"),),
            ),
            Panel(
                "Time to admission, p90 of 6 hours",
                (Query(f"histogram_quantile(0.9, {waited})", "{{cluster_queue}}"),),
                unit="s",
            ),
            Panel(
                "Admitted and running",
                (Query("sum by (cluster_queue) (kueue_admitted_active_workloads)", "{{cluster_queue}}"),),
            ),
            Panel("Workflows by phase", (Query("sum by (phase) (argo_workflows_gauge)", "{{phase}}"),), width=12),
            Panel(
                "Pipeline runs that failed and are kept",
                (Query(f"sum by (profile) ({KFP_FAILED})", "{{profile}}"),),
                width=12,
            ),
        ),
    )


def _nodes() -> Row:
    ready = 'sum(kube_node_status_condition{condition="Ready",status="true"})'
    return Row(
        "Nodes",
        (
            Panel("Nodes ready", (Query(ready, "ready"), Query("count(kube_node_info)", "all"))),
            Panel(
                "Processor that pods asked for",
                (
                    Query('sum(kube_pod_container_resource_requests{resource="cpu"})', "asked"),
                    Query('sum(kube_node_status_allocatable{resource="cpu"})', "there"),
                ),
            ),
            Panel(
                "Pods that wait",
                (Query('sum by (namespace) (kube_pod_status_phase{phase="Pending"}) > 0', "{{namespace}}"),),
            ),
        ),
    )


def _gpus() -> Row:
    by = "max by (Hostname, gpu)"
    return Row(
        "GPUs",
        (
            Panel("Busy", (Query(f"{by} (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}"),), unit="percent"),
            Panel("Memory used", (Query(f"{by} (DCGM_FI_DEV_FB_USED)", "{{Hostname}} {{gpu}}"),), unit="decmbytes"),
            Panel("Temperature", (Query(f"{by} (DCGM_FI_DEV_GPU_TEMP)", "{{Hostname}} {{gpu}}"),), unit="celsius"),
            Panel("Pods that wait for one", (Query(PENDING, "{{namespace}}"),), width=12),
            Panel("XID errors", (Query(f"{by} (DCGM_FI_DEV_XID_ERRORS) > 0", "{{Hostname}} {{gpu}}"),), width=12),
        ),
    )
