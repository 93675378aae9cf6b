"""Names that are derived and never written twice: accounts, buckets, hosts and images, for every reader of a declaration."""

from __future__ import annotations

from hallmark import __version__

PART_OF = "app.kubernetes.io/part-of"
DOMAIN_LABEL = "hallmark.dev/domain"
PIPELINE, PREDICTOR = "pipeline", "predictor"
"""The two service accounts of a domain's namespace: what trains, and what serves."""
SYSTEM = "hallmark-system"
"""The namespace of Hallmark's own programs on a cluster: the watch, and MLflow."""
MONITORING = "monitoring"
"""The namespace of Prometheus and Grafana."""
INGRESS = "istio-ingress"
"""The namespace of the one shared gateway."""
GATEWAY = "hallmark"
"""The Gateway in it."""
KUBEFLOW = "kubeflow"
BUCKET = "hallmark-artifacts"
"""The bucket as the manifests name it; each cluster replaces it by its own."""
HOST = "hallmark.example"
"""The host name under which everything is reached; each cluster replaces it by its own."""
REGISTRY = "hallmark"
"""The prefix of our images; each cluster replaces it by its own registry, and the tag by a digest."""

_TAKEN = frozenset(
    {"default", "kubeflow", "monitoring", "karpenter", "kyverno", "kserve", "argocd", "mlflow", "hallmark"}
)
_OTHERS = (
    "kube-",
    "istio-",
    "knative-",
    "kueue-",
    "cert-",
    "external-",
    "hallmark-",
    "aws-",
    "amazon-",
    "nvidia-",
    "gpu-",
    "argo",
)


def taken(domain: str) -> bool:
    """Would a domain of this name take a namespace that the platform itself uses?"""
    return domain in _TAKEN or domain.startswith(_OTHERS)


def labels(domain: str) -> dict[str, str]:
    """What every object of a domain carries."""
    return {PART_OF: "hallmark", DOMAIN_LABEL: domain}


def image(job: str) -> str:
    """The image of a job: training-python, serving, drift or platform."""
    return f"{REGISTRY}/{job}:{__version__}"


def prefix(domain: str) -> str:
    """Where a domain's objects begin in the bucket; its accounts reach nothing outside it."""
    return f"{domain}/"


def storage(domain: str, *parts: str) -> str:
    """An address in the domain's part of the bucket, such as s3://hallmark-artifacts/fraud/pipelines."""
    return "/".join([f"s3://{BUCKET}", domain, *parts])


def members(domain: str) -> str:
    """The group whose people work on the domain, as tokens and RBAC name it."""
    return f"hallmark:{domain}"
