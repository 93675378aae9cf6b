"""A stand-in for the Kubernetes API with Kubeflow Trainer's TrainJobs: strict about fields, and silent about what happens in a pod."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs"
Job = dict[str, Any]


def strange(job: Job) -> str:
    """The first field that Kubeflow Trainer's own models do not know, or would write otherwise; empty where there is none."""
    known = TrainerV1alpha1TrainJob.from_dict(job)
    assert known is not None
    return missing(job, known.to_dict(), "")


def missing(given: Any, kept: Any, path: str) -> str:
    """Where `kept` lacks what `given` has, or has it otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept:
                return f"{path}.{key}"
            if found := missing(value, kept[key], f"{path}.{key}"):
                return found
        return ""
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return next(
            filter(None, (missing(a, b, f"{path}[{n}]") for n, (a, b) in enumerate(zip(given, kept, strict=True)))), ""
        )
    return "" if given == kept else path


@dataclass
class Fake:
    """What the API server keeps. Each GET of a job takes the next of `story`: conditions, or a function of the job."""

    story: list[Any] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    made: list[Job] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, request: Request, body: Job) -> Response:
        name = body["metadata"]["name"]
        if request.query_params.get("fieldValidation") != "Strict" or (field := strange(body)):
            return status(400, f"strict decoding error: unknown field {field!r}")
        if body["metadata"]["namespace"] != request.path_params["namespace"]:
            return status(400, "the namespace of the object does not match")
        if name in self.jobs:
            return status(409, f'trainjobs "{name}" already exists')
        self.jobs[name] = body
        self.made.append(body)
        return JSONResponse(body, status_code=201)

    def read(self, request: Request, body: Any) -> Response:
        job = self.jobs.get(request.path_params["name"])
        if job is None:
            return status(404, "not found")
        if self.story:
            step = self.story.pop(0)
            if isinstance(step, Callable):  # type: ignore[arg-type]
                step(job)
                if job["metadata"]["name"] not in self.jobs:
                    return status(404, "not found")
            else:
                conditions = [condition(kind) for kind in step]
                job["status"] = {"conditions": conditions, "jobsStatus": [NODE]}
        return JSONResponse(job)

    def remove(self, request: Request, body: Any) -> Response:
        if self.jobs.pop(request.path_params["name"], None) is None:
            return status(404, "not found")
        return JSONResponse({"kind": "Status", "status": "Success"})

    @property
    def app(self) -> Starlette:
        def route(path: str, method: str, call: Any) -> Route:
            async def answer(request: Request) -> Response:
                with self.lock:
                    self.seen.append(request.method)
                    if self.fail.get(request.method, 0):
                        self.fail[request.method] -= 1
                        return status(503, "etcdserver: leader changed")
                    body = await request.json() if await request.body() else None
                    answered: Response = call(request, body)
                    return answered

            return Route(path, answer, methods=[method])

        return Starlette(
            routes=[
                route(PATH, "POST", self.create),
                route(PATH + "/{name}", "GET", self.read),
                route(PATH + "/{name}", "DELETE", self.remove),
            ]
        )


NODE = {"name": "node", "ready": 2, "succeeded": 0, "failed": 0, "active": 2, "suspended": 0}


def condition(kind: str) -> dict[str, str]:
    """`Complete`, or `Failed=DeadlineExceeded: it took too long`."""
    name, _, told = kind.partition("=")
    reason, _, message = told.partition(": ")
    at = "2026-11-21T00:00:00Z"
    return {"type": name, "status": "True", "reason": reason or name, "message": message, "lastTransitionTime": at}


def status(code: int, message: str) -> Response:
    """What the API server says where it does not do it."""
    return JSONResponse({"kind": "Status", "status": "Failure", "message": message, "code": code}, status_code=code)
