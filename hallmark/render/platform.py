"""The alerts on what all domains share: the gateway, the registry, queues, GPUs and pipelines.

Nodes, disks, the API server and Prometheus itself have the chart's own alerts (kube-prometheus-stack); they are not written twice.
"""

from __future__ import annotations

from functools import partial

from hallmark import names
from hallmark.render.alerts import REPLICAS
from hallmark.render.rules import PLATFORM_TEAM, Json, alert, group
from hallmark.render.slo import ERRORS

MANY = 3
"""This many domains that fail at once have a common cause."""
KFP_FAILED = "resource_manager_workflow_runs_failed"
PENDING = (
    'sum by (namespace) ((sum by (namespace, pod) (kube_pod_status_phase{phase="Pending"}) > 0)'
    ' and on (namespace, pod) kube_pod_container_resource_requests{resource="nvidia_com_gpu"})'
)
"""Pods that wait for a GPU, by namespace."""


def groups() -> list[Json]:
    """All of them."""
    say = partial(alert, team=PLATFORM_TEAM)
    failed = f"sum by (profile) ({KFP_FAILED})"
    rules = [
        say(
            "GatewayGone",
            f'sum({REPLICAS}{{namespace="{names.INGRESS}"}}) == 0',
            wait="2m",
            severity="page",
            summary="No pod of the gateway is ready: nobody reaches any model",
            description="Every request from outside fails. Calls inside the cluster that go through the gateway fail too.",
        ),
        say(
            "ManyDomainsFail",
            f"count({ERRORS}5m > 0.1) >= {MANY}",
            wait="2m",
            severity="page",
            summary="{{ $value }} domains fail more than one request in ten",
            description="So many at once have a common cause: the gateway, the mesh, DNS, a node pool. Look there first.",
        ),
        say(
            "RegistryGone",
            f'sum({REPLICAS}{{namespace="{names.SYSTEM}",deployment="mlflow"}}) == 0',
            wait="10m",
            severity="ticket",
            summary="No pod of MLflow is ready: no model can be registered or promoted",
            description="What is served goes on. Trainings fail when they register; rollouts hold before they promote.",
        ),
        say(
            "TrainingQueued",
            'sum by (cluster_queue, status) (kueue_pending_workloads{cluster_queue="training"}) > 0',
            wait="4h",
            severity="ticket",
            summary="{{ $value }} trainings have waited in Kueue for hours ({{ $labels.status }})",
            description="Models grow old meanwhile. `inadmissible` never fits the quota as it is; `active` waits for its turn.",
        ),
        say(
            "GpuPodsPending",
            f"{PENDING} > 0",
            wait="20m",
            severity="ticket",
            summary="{{ $labels.namespace }}: {{ $value }} pods wait for a GPU",
            description="A model that was scaled to zero does not come up, or a training does not start. A node takes 5 minutes.",
        ),
        say(
            "GpuFaulty",
            "max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS) > 0",
            wait="5m",
            severity="ticket",
            summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reports XID {{ $value }}",
            description="Programs on it may get wrong numbers or hang. The driver keeps the last code until the node is gone.",
        ),
        say(
            "PipelineRunFails",
            f"{failed} - (sum by (profile) ({KFP_FAILED} offset 1h) or 0 * {failed}) > 0",
            wait="1m",
            severity="ticket",
            summary="{{ $labels.profile }}: {{ $value }} pipeline runs failed within an hour",
            description="No new version comes of them. A run that the gate refused fails too: then the new model was no better.",
        ),
    ]
    return [group("hallmark-platform", rules)]
