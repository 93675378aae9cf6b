"""What other projects' exporters give, as far as the rules and dashboards read it: metric -> labels, and where that is documented.

Nothing of these runs here: a name that they change is not noticed by a test. Versions are those that manifests/platform pins.
"""

from __future__ import annotations

ISTIO = {
    # Istio, "Standard Metrics": istio.io/latest/docs/reference/config/metrics. Counted at the source by the gateway's Envoy.
    name: ("reporter", "destination_service_name", "destination_service_namespace", *more)
    for name, more in {
        "istio_requests_total": ("response_code", "grpc_response_status"),
        "istio_request_duration_milliseconds_bucket": ("le",),
        "istio_request_duration_milliseconds_sum": (),
        "istio_request_duration_milliseconds_count": (),
    }.items()
}
KUBE_STATE_METRICS: dict[str, tuple[str, ...]] = {
    # kube-state-metrics, docs/metrics: deployment-metrics.md, cronjob-metrics.md, pod-metrics.md, node-metrics.md. Scraped with honorLabels.
    "kube_deployment_status_replicas_available": ("namespace", "deployment"),
    "kube_cronjob_created": ("namespace", "cronjob"),
    "kube_cronjob_status_last_schedule_time": ("namespace", "cronjob"),
    "kube_cronjob_status_last_successful_time": ("namespace", "cronjob"),
    "kube_pod_status_phase": ("namespace", "pod", "uid", "phase"),
    "kube_pod_container_resource_requests": ("namespace", "pod", "container", "node", "resource", "unit"),
    "kube_node_status_condition": ("node", "condition", "status"),
    "kube_node_status_allocatable": ("node", "resource", "unit"),
    "kube_node_info": ("node",),
}
CADVISOR: dict[str, tuple[str, ...]] = {
    # The kubelet's /metrics/cadvisor, kubernetes.io/docs/reference/instrumentation/cri-pod-container-metrics.
    "container_cpu_usage_seconds_total": ("namespace", "pod", "container"),
    "container_memory_working_set_bytes": ("namespace", "pod", "container"),
}
_GPU = ("gpu", "UUID", "device", "modelName", "Hostname", "exported_namespace", "namespace")
DCGM: dict[str, tuple[str, ...]] = {
    # NVIDIA/dcgm-exporter, etc/default-counters.csv. Its own namespace and pod are called exported_... unless honoured.
    "DCGM_FI_DEV_GPU_UTIL": _GPU,
    "DCGM_FI_DEV_FB_USED": _GPU,
    "DCGM_FI_DEV_GPU_TEMP": _GPU,
    "DCGM_FI_DEV_XID_ERRORS": _GPU,
}
KUEUE: dict[str, tuple[str, ...]] = {
    # kubernetes-sigs/kueue, site/content/en/docs/reference/metrics.md.
    "kueue_pending_workloads": ("cluster_queue", "status"),
    "kueue_admitted_active_workloads": ("cluster_queue",),
    "kueue_admission_wait_time_seconds_bucket": ("cluster_queue", "le"),
}
PIPELINES: dict[str, tuple[str, ...]] = {
    # kubeflow/pipelines, backend/src/apiserver/resource/resource_manager.go; Argo Workflows 3.6 and later, docs/metrics.md.
    "resource_manager_workflow_runs_failed": ("profile", "workflow"),
    "argo_workflows_gauge": ("phase",),
}
EVERY: dict[str, tuple[str, ...]] = {**ISTIO, **KUBE_STATE_METRICS, **CADVISOR, **DCGM, **KUEUE, **PIPELINES}
