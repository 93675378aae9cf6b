"""The ports and addresses of a tenant's NetworkPolicies (templates/tenant/network.yaml), which the mesh and Prometheus read too.

The addresses stand for what differs by cluster; each cluster replaces them by its own.
"""

from __future__ import annotations

from hallmark import names

REASON = "hallmark.dev/reason"
"""The annotation by which each policy says why it is there."""

CONTROL_PLANE = "10.0.208.0/24"
"""The subnets of the interfaces by which EKS' API server reaches into the VPC: theirs alone, with no pod in them."""
STORES = "10.0.192.0/22"
"""The subnets of the data stores, the online store among them."""

HTTP = 8080
"""The model server's own port: what clients reach in Standard mode, and in Knative mode only Prometheus."""
QUEUE, QUEUE_H2, QUEUE_SCALING, QUEUE_METRICS = 8012, 8013, 9090, 9091
"""Knative's queue-proxy, beside the model server: requests in two forms, what the autoscaler reads, what Prometheus reads."""
MONITOR = names.MONITOR_PORT
"""The drift monitor."""
PROXY_METRICS = 15090
"""Istio's proxy of a pod, where Prometheus reads its counts; the mesh's policies do not hold there, which is left out of its interception."""
VALKEY = 6379
"""The online store, where it is Valkey."""
COLLECTIONS = {"opensearch": (443, 9200), "qdrant": (443, 6333)}
"""What a domain's vectors may be searched in, where it declares a backend: the ports of OpenSearch and Qdrant."""
STREAM_METRICS = 9100
"""The feature stream, where Prometheus reads."""
REVIEWER = 8000
"""vLLM, in an LLMInferenceService's pods."""
REVIEWS = 8422
"""The page of reviews, beside the decision, where the gateway brings people."""
POSTGRES = 5432
"""The queue of cases for people, among the data stores."""
DOORS = (HTTP, QUEUE, QUEUE_H2)
"""Ports at which requests to a model arrive at its pod, in either mode."""
