"""Placement of a step: resources, nodes, queue, user, time limit and MLflow; kfp.local takes notice of retries alone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from kfp import kubernetes

from hallmark import names
from hallmark.declaration.domain import Domain
from hallmark.settings import FEATURE_OFFLINE
from hallmark.training import pods

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
RETRIED = ("load", "load-corpus", "register", "log", "materialize", "score-batch")
"""Steps that ask others (a store, MLflow) and may be asked again: all give the same for the same, however often."""
QUEUED = timedelta(hours=12)
"""Longest time a distributed training may queue; a step's own limit counts from when its pod runs."""
_MLFLOW = ("compare", "quantize", "register", "log", "score-batch")
_BORROWS = ("embed", "build-index", "export")
"""Steps that fetch the encoder where it is another domain's."""


def place(task: Any, domain: Domain, *, image: str, retries: bool = True) -> None:
    """Say of one task, by its name, where and how its pod runs; retries: may it be asked again after a failure?"""
    step = re.sub(r"-\d+$", "", task.name)  # the second of a kind in a graph is called so
    wanted = pods.amounts(domain, step)
    task.set_container_image(image)
    task.set_cpu_request(wanted.cpu_request).set_cpu_limit(wanted.cpu)
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    for name, value in QUIET.items():
        task.set_env_variable(name, value)
    for key, value in pods.labels(domain.name, "pipeline").items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.set_security_context(task, run_as_user=pods.USER, run_as_group=pods.USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=pods.SCRATCH)
    kubernetes.set_timeout(task, int(_limit(domain, step).total_seconds()))
    if retries and step in RETRIED:
        task.set_retry(num_retries=3, backoff_duration="30s", backoff_factor=2, backoff_max_duration="300s")
    borrows = step in _BORROWS and domain.retrieval is not None and domain.retrieval.borrowed is not None
    if step in _MLFLOW or borrows:
        kubernetes.use_config_map_as_env(task, names.MLFLOW, {name: name for name in pods.TRACKING_CONFIG})
        kubernetes.use_secret_as_env(task, names.MLFLOW, {name: name for name in pods.TRACKING_SECRET}, optional=True)
    if step == "load" and domain.features is not None:  # it joins examples with stored events
        where = {"offline": FEATURE_OFFLINE}
        kubernetes.use_config_map_as_env(task, names.FEATURE_STORE, where, optional=True)
    if step == "train" and domain.training.nodes > 1:
        task.set_env_variable(pods.IMAGE_VARIABLE, image)
    _choose_nodes(task, on_gpu=pods.trains_on_gpu(domain, step))


def _choose_nodes(task: Any, *, on_gpu: bool) -> None:
    kubernetes.add_node_selector(task, names.POOL, names.TRAINING_POOL if on_gpu else names.CPU_POOL)
    if not on_gpu:
        return
    task.set_accelerator_type(names.GPU).set_accelerator_limit(1)
    kubernetes.add_pod_label(task, names.QUEUE_LABEL, names.QUEUE)
    for taint in pods.GPU_TAINTS:
        kubernetes.add_toleration(task, taint.key, taint.operator, value=taint.value, effect=taint.effect)


def _limit(domain: Domain, step: str) -> timedelta:
    """Time limit of a step's pod: that of a training, plus the queue for a step that waits for nodes of their own."""
    waits = step == "train" and domain.training.nodes > 1
    return domain.training.timeout + (QUEUED if waits else timedelta(0))
