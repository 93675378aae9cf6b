"""Kubeflow Trainer's TrainJob: the object for a domain's distributed training, and its life from making to taking away."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from hallmark import names, templates
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError, NotFound, Refused, TimedOut, Unavailable
from hallmark.training import pods

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
_PATIENCE = 300.0
"""Seconds without an answer of the Kubernetes API after which waiting ends; the job goes on, and the next try takes it up."""
_QUEUED = 12 * 3600.0


def train_job(domain: Domain, name: str, *, image: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """The TrainJob: a process a node, on the nodes, in the queue and with the resources that the domain declares."""
    if not image:
        raise DeclarationError(
            "the nodes of a distributed training would have no image",
            expected=f"{pods.IMAGE_VARIABLE} in the environment of the step, as the compiled graph sets it",
            got="nothing",
            fix=f"compile the graph again: hallmark pipeline compile {domain.name}",
        )
    (made,) = templates.objects(
        "training/templates/trainjob.yaml",
        domain=domain,
        name=name,
        image=image,
        arguments=[part for pair in arguments.items() for part in pair],
        labels=pods.labels(domain.name, names.TRAINING_JOB),
        node=pods.node(domain),
        tolerations=[taint.model_dump(exclude_none=True) for taint in pods.GPU_TAINTS],
        **{"names": names, "pods": pods},
    )
    return made


class TrainJobs:
    """The TrainJobs of one namespace."""

    def __init__(self, custom: Any, namespace: str, *, pause: float = 5.0, patience: float = _PATIENCE) -> None:
        """`custom` is a kubernetes CustomObjectsApi; `pause` the seconds between two looks."""
        self._custom = custom
        self._of = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}
        self._pause, self._patience = pause, patience

    @classmethod
    def here(cls, namespace: str) -> TrainJobs:
        """Those that this pod's service account may touch."""
        from kubernetes import client, config

        config.load_incluster_config()
        return cls(client.CustomObjectsApi(), namespace)

    def run(
        self,
        job: dict[str, Any],
        *,
        limit: timedelta,
        done: Callable[[], bool],
        note: Callable[[], str] = lambda: "",
    ) -> None:
        """Start the job, or take up the one of its name; give back when it has ended well, and take it away however it ended.

        `limit` counts while it is not held in its queue. Only silence of the API leaves the job where it is, for the next try.
        """
        name = str(job["metadata"]["name"])
        self._start(job)
        try:
            self._wait(name, limit.total_seconds(), note)
        except Unavailable:
            raise
        except HallmarkError:
            self.delete(name)
            raise
        if not done():  # it says that it ended well: then what it left is there, or something else is wrong
            self.delete(name)
            raise HallmarkError(f"TrainJob {name} ended and left no model", expected="a sealed model", got="none")
        self.delete(name)

    def delete(self, name: str) -> None:
        """Take the job and its pods away."""
        with contextlib.suppress(NotFound), self._asked("deleted"):
            self._custom.delete_namespaced_custom_object(**self._of, name=name, propagation_policy="Background")

    def _start(self, job: dict[str, Any]) -> None:
        """One that is being deleted is waited for: its name is free again soon."""
        from kubernetes.client.exceptions import ApiException

        name, until = str(job["metadata"]["name"]), time.monotonic() + self._patience
        while True:
            try:
                with self._asked("created"):
                    self._custom.create_namespaced_custom_object(**self._of, body=job, field_validation="Strict")
                _say(f"TrainJob {name}: started on {job['spec']['trainer']['numNodes']} nodes")
                return
            except ApiException as error:
                if error.status != 409:
                    raise
            found = self._get(name)
            if found is not None and not found["metadata"].get("deletionTimestamp"):
                _say(f"TrainJob {name}: taken up as it runs")
                return
            if time.monotonic() > until:
                raise TimedOut(
                    f"the last TrainJob {name} does not go away",
                    expected=f"it gone within {self._patience:g} s",
                    got="still being deleted",
                    fix=f"kubectl get trainjob {name} -n {self._of['namespace']} -o yaml, and look at its finalizers",
                )
            time.sleep(self._pause)

    def _wait(self, name: str, limit: float, note: Callable[[], str]) -> None:
        began = heard = time.monotonic()
        ran, last, told = 0.0, began, ""
        while True:
            try:
                found, heard = self._get(name), time.monotonic()
            except Unavailable:
                if time.monotonic() - heard > self._patience:
                    raise
                time.sleep(self._pause)
                continue
            if found is None:
                raise HallmarkError(
                    f"TrainJob {name} is gone",
                    expected="it to end",
                    got="somebody deleted it",
                    fix="start the step again",
                )
            conditions = {each["type"]: each for each in found.get("status", {}).get("conditions") or []}
            if _true(conditions, "Complete"):
                return
            if _true(conditions, "Failed"):
                raise _failed(name, conditions["Failed"])
            queued, now = _true(conditions, "Suspended"), time.monotonic()
            ran, last = ran + (0.0 if queued else now - last), now
            if ran > limit + self._patience or now - began > limit + _QUEUED:
                raise _too_long(name, limit, queued=queued)
            line = "in the queue" if queued else f"{_nodes(found)} {note()}".strip()
            if line != told:
                _say(f"TrainJob {name}: {line}")
                told = line
            time.sleep(self._pause)

    def _get(self, name: str) -> dict[str, Any] | None:
        try:
            with self._asked("read"):
                found: dict[str, Any] = self._custom.get_namespaced_custom_object(**self._of, name=name)
                return found
        except NotFound:
            return None

    @contextlib.contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """A call of the API; its errors as ours, but for a name that is taken."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            if error.status == 409:
                raise
            kinds: dict[int, type[HallmarkError]] = {401: Refused, 403: Refused, 404: NotFound}
            kind = Unavailable if error.status >= 500 or error.status == 429 else kinds.get(error.status, HallmarkError)
            raise kind(
                f"a TrainJob cannot be {what}",
                expected=f"{PLURAL}.{GROUP}/{VERSION}, and a service account that may use it",
                got=f"{error.status}: {error.reason} {str(error.body or '')[:500]}".strip(),
                fix="see that Kubeflow Trainer is installed and that the tenant's manifest is applied",
            ) from error
        except HTTPError as error:
            raise Unavailable("the Kubernetes API does not answer", got=f"{type(error).__name__}: {error}") from error


def _true(conditions: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    return conditions.get(kind, {}).get("status") == "True"


def _failed(name: str, condition: Mapping[str, Any]) -> HallmarkError:
    kind = TimedOut if condition.get("reason") == "DeadlineExceeded" else HallmarkError
    return kind(
        f"TrainJob {name} failed",
        expected="every node to end well",
        got=f"{condition.get('reason', '')}: {condition.get('message', '')}",
        fix="look at the logs of its pods, and start the step again",
    )


def _too_long(name: str, limit: float, *, queued: bool) -> TimedOut:
    return TimedOut(
        f"TrainJob {name} took too long",
        expected=f"an end within {limit:.0f} s (training.timeout in domain.yaml)",
        got="still in the queue: too few nodes of this kind" if queued else "still running",
        fix="raise quota and node limits" if queued else "raise the timeout, or train on less",
    )


def _nodes(job: Mapping[str, Any]) -> str:
    """Number of its nodes that are ready, as far as its status has it."""
    for each in job.get("status", {}).get("jobsStatus") or []:
        if each.get("name") == "node":
            return f"nodes active {each.get('active', 0)}, ready {each.get('ready', 0)}"
    return "no node yet"


def _say(line: str) -> None:
    """For the step's log, which the UI shows."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
