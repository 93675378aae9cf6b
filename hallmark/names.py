"""Names that are derived and never written twice: accounts, buckets, hosts and images, for every reader of a declaration."""

from __future__ import annotations

import re
from keyword import iskeyword, issoftkeyword
from urllib.parse import unquote

from hallmark import __version__
from hallmark.errors import DeclarationError

PART_OF = "app.kubernetes.io/part-of"
JOB = "hallmark.dev/job"
"""Label of pods: `pipeline` on a run's steps, `training` on the nodes of a distributed training, which alone talk to each other."""
TRAINING_JOB = "training"
POOL = "hallmark.dev/pool"
"""Label of nodes, and key of the taint that keeps other work off the GPUs of training."""
CPU_POOL, INFERENCE_POOL, TRAINING_POOL = "cpu", "gpu-inference", "gpu-training"
GPU = "nvidia.com/gpu"
"""The resource, and the key of the taint of every node that has one."""
QUEUE_LABEL, QUEUE = "kueue.x-k8s.io/queue-name", "training"
"""By which a pod asks for its place; the LocalQueue and ClusterQueue of trainings."""
MLFLOW = "mlflow"
"""MLflow's Service, and the ConfigMap and the Secret of a tenant that say where it is and who asks."""
DOMAIN_LABEL = "hallmark.dev/domain"
PIPELINE, PREDICTOR = "pipeline", "predictor"
"""The two service accounts of a domain's namespace: what trains, and what serves."""
DECIDES = "hallmark.dev/decides"
"""Label of the pods of a domain's decision and of its reviewer: the domain's name."""
SHOWS = "hallmark.dev/shows"
"""Label of what fetches pictures of references out of the bucket, to show them to people: `references`."""
REVIEWS = "reviews"
"""What a domain's people judge: the Secret that says where the queue of cases is, the path of the page, and the account that deletes photos, which has no rights."""
PARITY = "parity"
"""The account of a domain that reads feature views which compares them with the offline store; its CronJob, and their ConfigMap."""
FEATURE_STORE = "feature-store"
"""The ConfigMap that says where the online store is (`address`), the sources' offline stores (`offline`), and their event logs (`log`)."""
ITEM_CHANGES = "item-changes"
"""The ConfigMap that says where a domain's model servers keep the changes of its items, and the part of its prefix that they lie in (`changes`)."""
SYSTEM = "hallmark-system"
"""The namespace of Hallmark's own programs on a cluster: the watch, and MLflow."""
FEATURES, STREAM = "features", "stream"
"""The namespace of the feature stream, and the account that it runs as: the one that writes rows of views."""
MONITORING = "monitoring"
"""The namespace of Prometheus and Grafana."""
INGRESS = "istio-ingress"
"""The namespace of the one shared gateway."""
GATEWAY = "hallmark"
"""The Gateway in it."""
KUBEFLOW = "kubeflow"
MONITOR_PORT = 9191
"""Port of a pod's drift monitor. Not 9090 or 9091: Knative's queue-proxy has these in every revision's pod."""
GRPC_PATH = "/inference.GRPCInferenceService/"
"""Below it are the paths of gRPC calls, at the model server and at every gateway."""
BUCKET = "hallmark-artifacts"
"""The bucket as the manifests name it; each cluster replaces it by its own."""
HOST = "hallmark.example"
"""The host name under which everything is reached; each cluster replaces it by its own."""
REGION = "eu-central-1"
"""The region, likewise."""
REGISTRY = "hallmark"
"""The prefix of our images; each cluster replaces it by its own registry, and the tag by a digest."""

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
# Namespaces of manifests/platform and those that its policies open ways to; prefixes of the platform in the bucket; packages beside
# the domains' own in inference_services and what generated files are called; words that YAML reads as something else.
_TAKEN = re.compile(
    "login|nodes|trainer|features|flink|default|kubeflow|monitoring|karpenter|kserve|argocd|mlflow|pipelines|hallmark|platform"
    "|kustomization|runtime|protocol|transport|capture|true|false|null|yes|no|on|off|nan|inf"
    "|(kube-|istio-|knative-|kueue-|cert-|external-|hallmark-|aws-|amazon-|nvidia-|gpu-|argo).*"
)


def taken(domain: str) -> bool:
    """Would a domain of this name take a namespace or a folder that the platform itself uses, or be no name in Python or YAML?"""
    return bool(_TAKEN.fullmatch(domain)) or iskeyword(domain) or issoftkeyword(domain)


def labels(domain: str) -> dict[str, str]:
    """Labels on every object of a domain."""
    return {PART_OF: "hallmark", DOMAIN_LABEL: domain}


def image(job: str) -> str:
    """The image of a job: training-python, serving, drift or platform."""
    return f"{REGISTRY}/{job}:{__version__}"


def prefix(domain: str) -> str:
    """Prefix of a domain's objects in the bucket; its accounts reach nothing outside it."""
    return f"{domain}/"


def storage(domain: str, *parts: str) -> str:
    """An address in the domain's part of the bucket, such as s3://hallmark-artifacts/fraud/pipelines.

    `DeclarationError` for a part that could lead out of it, or that KFP would read as settings (`?`).
    """
    for part in parts:
        if not _PATH.fullmatch(part):
            raise DeclarationError(
                "this cannot be a part of an address in the bucket",
                expected="names of letters, digits, '.', '_' and '-', with '/' between, each beginning with a letter or digit",
                got=repr(part),
            )
    return "/".join([f"s3://{BUCKET}", domain, *parts])


def outside(domain: str, uri: str) -> str:
    """Reason why this domain may not serve a model at `uri`; empty where it may."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if any(part in (".", "..") for part in re.split(r"[/\\]", unquote(key))):
        return "its path leads elsewhere by . or .."
    if scheme == "s3" and bucket == BUCKET and not key.startswith(prefix(domain)):
        return f"it lies in another domain's part of the bucket: {domain} has s3://{BUCKET}/{prefix(domain)}"
    return ""


def members(domain: str) -> str:
    """The group whose people work on the domain, as tokens and RBAC name it."""
    return f"hallmark:{domain}"
