"""Trainings handed in to Kubeflow Pipelines: runs of a domain's compiled graph, over the v2beta1 REST API.

A run's name is its key. Kubeflow knows no unique names, so that of several runs with one key the first (by time, then by id) is
the run, and whoever started another one stops it: all who look at the list agree on which is which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hallmark.errors import Conflict, HallmarkError, NotFound, Refused, Unavailable
from hallmark.names import PIPELINE
from hallmark.remote import Remote
from hallmark.training.submit import Request, Run, State

if TYPE_CHECKING:
    from hallmark.registry.store import Registry

_API = "/apis/v2beta1"
_PAGE = 50
_MOST_PAGES = 100
_KINDS: dict[int, type[HallmarkError]] = {401: Refused, 403: Refused, 404: NotFound, 409: Conflict}
_STATES: dict[str, State] = {
    **dict.fromkeys(("RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "CANCELING", "PAUSED"), "running"),
    "SUCCEEDED": "succeeded",
    **dict.fromkeys(("SKIPPED", "FAILED", "CANCELED"), "failed"),
}
_WORDS = {"SKIPPED": "Kubeflow skipped it: nothing was trained", "CANCELED": "it was cancelled"}


class _Part(BaseModel):
    """A part of an answer: what we read of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Error(_Part):
    message: str = ""


class _Task(_Part):
    display_name: str = ""
    state: str = ""
    error: _Error | None = None


class _Details(_Part):
    task_details: tuple[_Task, ...] = ()


class _Config(_Part):
    parameters: dict[str, Any] = {}


class _Found(_Part):
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
        self._remote = remote
        self._registry = registry

    @classmethod
    def at(cls, url: str, *, registry: Registry, token: Path | None = None) -> Kubeflow:
        """The Kubeflow Pipelines at this address, such as http://ml-pipeline.kubeflow:8888."""
        return cls(Remote.at(url, what="Kubeflow Pipelines", token=token), registry)

    def submit(self, request: Request) -> Run:
        """Start it, or give the run of its key. Where an answer is lost on its way (`Unavailable`), asking again finds the run."""
        experiment = self._experiment(request.domain) or self._new_experiment(request.domain)
        runs = self._runs(experiment, request.key)
        if not runs:
            body = self._body(request, experiment)
            self._ask("POST", "/runs", query={"experiment_id": experiment}, body=body)
            runs = self._runs(experiment, request.key)
        for late in runs[1:]:
            if _STATES.get(late.state) == "running" and late.state != "CANCELING":
                self._stop(late)
        if not runs:
            raise self._remote.unavailable(f"the run {request.key} was taken, and is not in the list", do="ask again")
        return self._run(runs[0], request.domain)

    def find(self, key: str, domain: str) -> Run | None:
        """The run of this key, as it stands."""
        experiment = self._experiment(domain)
        runs = self._runs(experiment, key) if experiment else []
        return self._run(runs[0], domain) if runs else None

    def _body(self, request: Request, experiment: str) -> dict[str, Any]:
        pipeline = self._pipeline(request.domain)
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
            "pipeline_version_reference": pipeline,
            "runtime_config": {"parameters": {name: value for name, value in given.items() if value}},
            "service_account": PIPELINE,
        }

    def _pipeline(self, domain: str) -> dict[str, str]:
        """The domain's graph in its newest version."""
        found = self._ask("GET", f"/pipelines/names/{domain}-training")
        pipeline = str(found["pipeline_id"])
        query = {"sort_by": "created_at desc", "page_size": "1"}
        versions = self._ask("GET", f"/pipelines/{pipeline}/versions", query=query).get("pipeline_versions") or []
        if not versions:
            raise NotFound(
                f"the pipeline {domain}-training has no version",
                expected="a compiled graph",
                came="none",
                do="let CI upload what pipelines.training compiles",
            )
        return {"pipeline_id": pipeline, "pipeline_version_id": str(versions[0]["pipeline_version_id"])}

    def _experiment(self, domain: str) -> str | None:
        query = {"namespace": domain, "filter": _named(domain)}
        for each in self._all("/experiments", "experiments", query):
            if each.get("display_name") == domain:
                return str(each["experiment_id"])
        return None

    def _new_experiment(self, domain: str) -> str:
        try:
            body = {"display_name": domain, "namespace": domain}
            return str(self._ask("POST", "/experiments", body=body)["experiment_id"])
        except Conflict:  # somebody else has just made it
            found = self._experiment(domain)
            if found is None:
                raise
            return found

    def _runs(self, experiment: str, key: str) -> list[_Found]:
        """All runs of this name, the first one first. The filter takes Capitals for small letters; we do not."""
        query = {"experiment_id": experiment, "filter": _named(key)}
        try:
            found = [_Found.model_validate(each) for each in self._all("/runs", "runs", query)]
        except ValidationError as error:
            raise self._remote.unavailable(f"another form of answer: {error.errors()[0]['loc']}") from error
        return sorted((run for run in found if run.display_name == key), key=lambda run: (run.created_at, run.run_id))

    def _stop(self, run: _Found) -> None:
        try:
            self._ask("POST", f"/runs/{run.run_id}:terminate")
        except (Refused, Unavailable):
            raise
        except HallmarkError:  # it has ended meanwhile, or somebody else has stopped it
            return

    def _run(self, found: _Found, domain: str) -> Run:
        state = _STATES.get(found.state, "running")
        version, message = None, _WORDS.get(found.state, "")
        if state == "succeeded":
            correlation = str(found.runtime_config.parameters.get("correlation") or "")
            version = self._registry.correlated(domain, correlation) if correlation else None
            if correlation and version is None:
                state, message = "refused", "it ended and registered no version: the gate did not pass the candidate"
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

    def _all(self, path: str, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """What a list holds, page after page."""
        token = ""
        for _ in range(_MOST_PAGES):
            page = self._ask("GET", path, query={**query, "page_size": str(_PAGE), "page_token": token})
            yield from page.get(name) or []
            token = page.get("next_page_token") or ""
            if not token:
                return
        raise self._remote.unavailable(f"more than {_MOST_PAGES} pages of {name}", do="archive what is old")

    def _ask(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        answer = self._remote.ask(method, _API + path, **parts)
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status < 300:
            return body
        kind = _KINDS.get(answer.status, HallmarkError)
        raise kind(
            "Kubeflow Pipelines refused a call",
            expected=f"{method} {_API}{path} to be allowed",
            came=f"{answer.status}: {body.get('message') or body.get('error') or 'no reason'}",
            do="see that the graph is uploaded and that the token may use pipelines in the domain's namespace",
        )


def _failures(found: _Found) -> list[str]:
    """Which steps failed, and what Kubeflow knows of it."""
    told = [found.error.message] if found.error and found.error.message else []
    for task in found.run_details.task_details:
        if task.state == "FAILED":
            told.append(f"step {task.display_name} failed" + (f": {task.error.message}" if task.error else ""))
    return [text[:500] for text in told]


def _named(name: str) -> str:
    """The filter for a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
