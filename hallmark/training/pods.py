"""Nodes, accounts and resources of training pods on a cluster: for pipeline steps and distributed training alike."""

from __future__ import annotations

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.section import Frozen

USER = 10001
"""The numeric user of every image of ours; Pod Security wants a number to know that it is not root."""
TRACKING_CONFIG = ("MLFLOW_TRACKING_URI", "MLFLOW_WORKSPACE")
TRACKING_SECRET = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
IMAGE_VARIABLE = "HALLMARK_IMAGE"
"""Tells the step that trains which image it runs, so that the nodes of a distributed training run the same."""
SCRATCH = "/tmp"  # noqa: S108  an emptyDir there; nothing else of our images is written


class Toleration(Frozen):
    """A taint that does not keep a pod away."""

    key: str
    operator: str
    value: str | None = None
    effect: str = "NoSchedule"


GPU_TAINTS = (
    Toleration(key=names.GPU, operator="Exists"),
    Toleration(key=names.POOL, operator="Equal", value=names.TRAINING_POOL),
)


class ContainerResources(Frozen):
    """Resources of one container, limit and request: the same memory, and a part of the processors."""

    cpu: str
    memory: str
    cpu_request: str


def amounts(domain: Domain, step: str) -> ContainerResources:
    """Of a step by its name.

    What holds the examples gets the declared memory of training, one or two processors; the step that trains, all of it. Where
    nodes of their own train, that step only waits for them.
    """
    training = domain.training
    if _fits_here(domain, step):
        return node(domain)
    if step in ("train", "gate", "register", "log", "propose", "choose"):
        return ContainerResources(cpu="1", memory="2Gi", cpu_request="100m")
    return ContainerResources(cpu="2", memory=training.memory, cpu_request="500m")


def node(domain: Domain) -> ContainerResources:
    """Of what trains: each node, where there are several."""
    training = domain.training
    return ContainerResources(cpu=training.cpu, memory=training.memory, cpu_request=training.cpu)


def labels(domain: str, job: str) -> dict[str, str]:
    """Of a pod."""
    return {**names.labels(domain), names.JOB: job}


def trains_on_gpu(domain: Domain, step: str) -> bool:
    """True if this step's own pod needs a GPU."""
    return _fits_here(domain, step) and domain.training.accelerator == "gpu"


def _fits_here(domain: Domain, step: str) -> bool:
    """True if this step's own pod fits the model: a training on one node, and each try of a search."""
    return step in ("try-options", "judge-declared") or (step == "train" and domain.training.nodes == 1)
