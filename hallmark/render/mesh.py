"""The names by which a tenant's policies of the mesh (templates/tenant/mesh.yaml) know who asks, and what a token says."""

from __future__ import annotations

from hallmark import names
from hallmark.render.network import HTTP, MONITOR, QUEUE_METRICS

CLAIM = "hallmark/domains"
"""The claim of a token that lists the domains whose models its bearer may call."""
PROVEN = "x-hallmark-domain"
"""The header in which the gateway says which domain a token proved, once it has taken the token away."""
ISSUER = f"https://login.{names.HOST}"
KEYS = f"{ISSUER}/.well-known/jwks.json"
AUDIENCE = "hallmark"

GATEWAY = f"cluster.local/ns/{names.INGRESS}/sa/{names.GATEWAY}-istio"
"""The shared gateway, as Istio names the account of a Gateway of class `istio`."""
ACTIVATOR = "cluster.local/ns/knative-serving/sa/activator"
AUTOSCALER = "cluster.local/ns/knative-serving/sa/controller"
WATCH = f"cluster.local/ns/{names.SYSTEM}/sa/watch"
METRICS = tuple(sorted({HTTP, QUEUE_METRICS, MONITOR}))
"""Ports that Prometheus reads, without a name in the mesh."""
