"""Istio's counts of a domain's requests under the names that a rollout reads (docs/gateway.md).

What Istio gives, by its documentation of standard metrics: `istio_requests_total` and `istio_request_duration_milliseconds`, counted
by the proxy that sends (`reporter="source"`) and the one that receives. Only the sender counts what no pod answered, and its
`destination_service_name` is the Kubernetes Service that a route names, which is called as the revision is: Knative's own for each
revision, also where the activator stands in between, and in Standard mode KServe's for each Deployment. `destination_workload` would be the activator then, and
`destination_canonical_revision` follows labels that Knative does not set. What the activator itself sends on goes to
`<revision>-private` and is not counted a second time.

Series stay apart by the pod that counts: a sum over pods falls when one of them ends, which reads as a counter that began again.
Who answered (`answered`) is left out: without failover between revisions it is the one that was meant.
"""

from __future__ import annotations

from hallmark.declaration.domain import Domain
from hallmark.metrics import GATEWAY_MILLISECONDS, GATEWAY_REQUESTS
from hallmark.render.rules import Json, group, record

REQUESTS = "istio_requests_total"
MILLISECONDS = "istio_request_duration_milliseconds"
INTERVAL = "15s"
"""A rollout looks every few seconds and takes what is older than two minutes for missing."""


def groups(domain: Domain) -> list[Json]:
    """The recording rules of one domain."""
    labels = {"namespace": domain.namespace, "service": f"{domain.namespace}/{domain.name}"}
    requests = _renamed(
        f"sum by (pod, instance, destination_service_name, response_code, grpc_response_status) ({REQUESTS}{_meant(domain)})",
        ("revision", "destination_service_name"),
        ("code", "response_code"),
        ("grpc", "grpc_response_status"),
    )
    rules = [record(GATEWAY_REQUESTS.name, requests, labels)]
    for sample in GATEWAY_MILLISECONDS.samples:
        suffix = sample.removeprefix(GATEWAY_MILLISECONDS.name)
        edge = ", le" if suffix == "_bucket" else ""
        summed = f"sum by (pod, instance, destination_service_name{edge}) ({MILLISECONDS}{suffix}{_meant(domain)})"
        rules.append(record(sample, _renamed(summed, ("revision", "destination_service_name"), also=edge), labels))
    return [group(f"hallmark-{domain.name}-gateway", rules, interval=INTERVAL)]


def _meant(domain: Domain) -> str:
    """A request that was meant for one of the domain's revisions: fraud-predictor-00002, in Standard mode fraud-v2-predictor."""
    services = rf"{domain.name}(-v[0-9]+b?)?-predictor(-[0-9]{{5}})?"
    return f'{{reporter="source",destination_service_namespace="{domain.namespace}",destination_service_name=~"{services}"}}'


def _renamed(summed: str, *labels: tuple[str, str], also: str = "") -> str:
    """`summed` with labels under other names: (new, old) each, and without the old ones."""
    expr = summed
    for new, old in labels:
        expr = f'label_replace({expr}, "{new}", "$1", "{old}", "(.*)")'
    return f"sum by (pod, instance, {', '.join(new for new, _ in labels)}{also}) ({expr})"
