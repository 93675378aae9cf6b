"""Trainings handed in to Kubeflow Pipelines: runs of a domain's compiled graph, over the v2beta1 REST API.

A run's name is its key. Kubeflow knows no unique names, so that of several runs with one key the first (by time, then by id) is
the run, and whoever started another one stops it: all who look at the list agree on which is which.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hallmark.errors import HallmarkError, Refused, Unavailable
from hallmark.names import PIPELINE
from hallmark.remote import Remote
from hallmark.training import kubeflow_graph
from hallmark.training.kubeflow_api import KubeflowApi, Reference, named
from hallmark.training.submit import Run, RunRequest, State

if TYPE_CHECKING:
    from hallmark.registry.store import Registry

_STATES: dict[str, State] = {
    **dict.fromkeys(("RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "CANCELING", "PAUSED"), "running"),
    "SUCCEEDED": "succeeded",
    **dict.fromkeys(("SKIPPED", "FAILED", "CANCELED"), "failed"),
}
_WORDS = {"SKIPPED": "Kubeflow skipped it: nothing was trained", "CANCELED": "it was cancelled"}


class _KubeflowRecord(BaseModel):
    """A part of an answer: what we read of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Error(_KubeflowRecord):
    message: str = ""


class _Task(_KubeflowRecord):
    display_name: str = ""
    state: str = ""
    error: _Error | None = None


class _Details(_KubeflowRecord):
    task_details: tuple[_Task, ...] = ()


class _Config(_KubeflowRecord):
    parameters: dict[str, Any] = {}


class _KubeflowRun(_KubeflowRecord):
    """A run as Kubeflow tells it; `finished_at` is the year 1970 while it has not ended."""

    run_id: str
    display_name: str = ""
    state: str = "RUNTIME_STATE_UNSPECIFIED"
    created_at: datetime
    finished_at: datetime | None = None
    runtime_config: _Config = _Config()
    run_details: _Details = _Details()
    error: _Error | None = Field(default=None)


class Kubeflow:
    """The trainings of every domain, each in its domain's namespace and experiment.

    A run that succeeded without a version that carries its correlation was refused by the gate: the graph ends before `register`.
    A broken contract fails the step `validate`; Kubeflow does not say why, so it counts as failed, with the step's name.
    """

    def __init__(self, remote: Remote, registry: Registry) -> None:
        self.api = KubeflowApi(remote)
        self._registry = registry

    @classmethod
    def at(cls, url: str, *, registry: Registry, token: Path | None = None) -> Kubeflow:
        """The Kubeflow Pipelines at this address, such as http://ml-pipeline.kubeflow:8888."""
        return cls(Remote.at(url, what="Kubeflow Pipelines", token=token), registry)

    def submit(self, request: RunRequest, *, graph: Reference | None = None) -> Run:
        """Start it, or give the run of its key. Where an answer is lost on its way (`Unavailable`), asking again finds the run.

        graph: the version to run; else the one that was uploaded last.
        """
        experiment = self.api.experiment_made(request.domain)
        runs = self._runs(experiment, request.key)
        if not runs:
            body = self._body(request, experiment, graph or kubeflow_graph.newest(self.api, request.domain))
            self.api.ask("POST", "/runs", query={"experiment_id": experiment}, body=body)
            runs = self._runs(experiment, request.key)
        for late in runs[1:]:
            if _STATES.get(late.state) == "running" and late.state != "CANCELING":
                self._stop(late)
        if not runs:
            raise self.api.remote.unavailable(
                f"the run {request.key} was taken, and is not in the list", fix="ask again"
            )
        return self._run(runs[0], request.domain)

    def find(self, key: str, domain: str) -> Run | None:
        """The run of this key, as it stands."""
        experiment = self.api.experiment(domain)
        runs = self._runs(experiment, key) if experiment else []
        return self._run(runs[0], domain) if runs else None

    def _body(self, request: RunRequest, experiment: str, graph: Reference) -> dict[str, Any]:
        given = {
            "source": request.source,
            "as_of": request.as_of,
            "window": request.window,
            "shift": request.shift,
            "options": request.options,
            "correlation": request.correlation,
        }
        return {
            "display_name": request.key,
            "description": request.reason,
            "experiment_id": experiment,
            "pipeline_version_reference": graph,
            "runtime_config": {"parameters": {name: value for name, value in given.items() if value}},
            "service_account": PIPELINE,
        }

    def _runs(self, experiment: str, key: str) -> list[_KubeflowRun]:
        """All runs of this name, the first one first. The filter takes Capitals for small letters; we do not."""
        query = {"experiment_id": experiment, "filter": named(key)}
        try:
            found = [_KubeflowRun.model_validate(each) for each in self.api.all("/runs", "runs", query)]
        except ValidationError as error:
            raise self.api.remote.unavailable(f"another form of answer: {error.errors()[0]['loc']}") from error
        return sorted((run for run in found if run.display_name == key), key=lambda run: (run.created_at, run.run_id))

    def _stop(self, run: _KubeflowRun) -> None:
        try:
            self.api.ask("POST", f"/runs/{run.run_id}:terminate")
        except (Refused, Unavailable):
            raise
        except HallmarkError:  # it has ended meanwhile, or somebody else has stopped it
            return

    def _run(self, found: _KubeflowRun, domain: str) -> Run:
        state = _STATES.get(found.state, "running")
        version, message = None, _WORDS.get(found.state, "")
        if state == "succeeded":
            correlation = str(found.runtime_config.parameters.get("correlation") or "")
            version = self._registry.correlated(domain, correlation) if correlation else None
            if correlation and version is None:
                state, message = "refused", "it ended and registered no version: the gate did not pass the candidate"
        elif state == "running":
            message = ", ".join(task.display_name for task in found.run_details.task_details if task.state == "RUNNING")
        elif state == "failed":
            message = "; ".join(filter(None, [message, *_failures(found)])) or "Kubeflow does not say why"
        ended = found.finished_at if found.finished_at and found.finished_at >= found.created_at else None
        return Run(
            key=found.display_name,
            id=found.run_id,
            domain=domain,
            state=state,
            version=version,
            message=message,
            started=found.created_at,
            ended=ended if state != "running" else None,
        )


def _failures(found: _KubeflowRun) -> list[str]:
    """Failed steps, with Kubeflow's reason for each."""
    told = [found.error.message] if found.error and found.error.message else []
    for task in found.run_details.task_details:
        if task.state == "FAILED":
            told.append(f"step {task.display_name} failed" + (f": {task.error.message}" if task.error else ""))
    return [text[:500] for text in told]
