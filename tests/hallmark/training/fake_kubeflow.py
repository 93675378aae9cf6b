"""A stand-in for Kubeflow Pipelines that speaks the v2beta1 wire format, and refuses what the API server would refuse.

Fields and query parameters are those of the generated client (kfp_server_api), so that a name that is not in the API fails here.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import kfp_server_api as api
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

RUN_INPUT = {"display_name", "description", "experiment_id", "pipeline_version_reference", "runtime_config"}
RUN_INPUT |= {"service_account", "pipeline_spec", "recurring_run_id", "plugins_input"}
LIST = {"page_token", "page_size", "sort_by", "filter"}
assert set(api.V2beta1Run.attribute_map) > RUN_INPUT


class Problem(Exception):
    """A google.rpc.Status; `code` is gRPC's, `status` what the gateway makes of it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message


def bad(message: str) -> Problem:
    return Problem(400, 3, f"InvalidInputError: {message}")


@dataclass
class Fake:
    """What the API server keeps. `delay` widens the gap between looking and making; `lose` drops one answer."""

    token: str = "secret"
    namespaces: set[str] = field(default_factory=lambda: {"fraud", "listing"})
    parameters: set[str] = field(default_factory=set)
    pipelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    page_limit: int = 200
    lose: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[str] = field(default_factory=list)

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # it keeps whole seconds

    def add_pipeline(self, name: str, versions: int = 1) -> None:
        pipeline = str(uuid.uuid4())
        self.pipelines[name] = [
            {
                "pipeline_id": pipeline,
                "pipeline_version_id": f"{name}-v{number}",
                "display_name": f"{name} {number}",
                "created_at": f"2026-11-{number + 1:02d}T00:00:00Z",
            }
            for number in range(versions)
        ]

    def end(self, key: str, state: str, **more: Any) -> None:
        for run in self.runs:
            if run["display_name"] == key and run["state"] in ("PENDING", "RUNNING"):
                run.update({"state": state, "finished_at": self.now(), **more})

    # Routes: each is given its query and body, and answers or raises.

    def list_experiments(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, LIST | {"namespace"})
        self.authorize(query.get("namespace", ""))
        found = [each for each in self.experiments if each["namespace"] == query["namespace"]]
        return self.page("experiments", found, query)

    def create_experiment(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, set())
        fields(body, {"display_name", "description", "namespace"})
        self.authorize(body["namespace"])
        with self.lock:
            if any(
                (e["display_name"], e["namespace"]) == (body["display_name"], body["namespace"])
                for e in self.experiments
            ):
                raise Problem(409, 6, "AlreadyExistError: experiment already exists")
            made = {**body, "experiment_id": str(uuid.uuid4()), "created_at": self.now(), "storage_state": "AVAILABLE"}
            self.experiments.append(made)
        return made

    def pipeline_named(self, query: dict[str, str], body: Any, name: str) -> Any:
        allowed(query, {"namespace"})
        if name not in self.pipelines:
            raise Problem(404, 5, f"ResourceNotFoundError: Namespace/Pipeline {name} not found")
        first = self.pipelines[name][0] if self.pipelines[name] else {"pipeline_id": "empty"}
        return {"pipeline_id": first["pipeline_id"], "display_name": name, "name": name}

    def pipeline_versions(self, query: dict[str, str], body: Any, pipeline: str) -> Any:
        allowed(query, LIST)
        found = [each for versions in self.pipelines.values() for each in versions if each["pipeline_id"] == pipeline]
        return self.page("pipeline_versions", found, query)

    def list_runs(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, LIST | {"namespace", "experiment_id"})
        self.authorize(self.space(query["experiment_id"]))
        return self.page("runs", [r for r in self.runs if r["experiment_id"] == query["experiment_id"]], query)

    def create_run(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, {"experiment_id"})
        fields(body, RUN_INPUT)
        fields(body["pipeline_version_reference"], set(api.V2beta1PipelineVersionReference.attribute_map))
        fields(body["runtime_config"], set(api.V2beta1RuntimeConfig.attribute_map))
        if not body.get("display_name"):
            raise bad("The run name is empty")
        experiment = body.get("experiment_id") or query.get("experiment_id", "")
        if query.get("experiment_id", experiment) != experiment:
            raise bad("experiment ids differ")
        self.authorize(self.space(experiment))
        known = {v["pipeline_version_id"]: v["pipeline_id"] for each in self.pipelines.values() for v in each}
        reference = body["pipeline_version_reference"]
        if known.get(reference.get("pipeline_version_id")) != reference.get("pipeline_id"):
            raise Problem(404, 5, "ResourceNotFoundError: PipelineVersion not found")
        unknown = set(body["runtime_config"].get("parameters", {})) - self.parameters
        if self.parameters and unknown:
            raise bad(f"pipeline has no parameter {sorted(unknown)[0]}")
        made = {
            **body,
            "experiment_id": experiment,
            "run_id": str(uuid.uuid4()),
            "created_at": self.now(),
            "scheduled_at": self.now(),
            "finished_at": "1970-01-01T00:00:00Z",
            "storage_state": "AVAILABLE",
            "state": "PENDING",
        }
        self.runs.append(made)
        if self.lose:
            self.lose = False
            raise Problem(504, 4, "context deadline exceeded")
        return made

    def terminate(self, query: dict[str, str], body: Any, run: str) -> Any:
        allowed(query, {"experiment_id"})
        for each in self.runs:
            if each["run_id"] == run:
                if each["state"] not in ("PENDING", "RUNNING", "CANCELING"):
                    raise bad("Failed to terminate a run: it is in a terminal state")
                each["state"] = "CANCELING"
                return {}
        raise Problem(404, 5, "ResourceNotFoundError: Run not found")

    # What they share.

    def authorize(self, namespace: str) -> None:
        if not namespace:
            raise bad("In multi-user mode, a namespace must be specified")
        if namespace not in self.namespaces:
            raise Problem(403, 7, f"PermissionDenied: not authorized in namespace {namespace}")

    def space(self, experiment: str) -> str:
        for each in self.experiments:
            if each["experiment_id"] == experiment:
                return str(each["namespace"])
        raise Problem(404, 5, f"ResourceNotFoundError: Experiment {experiment} not found")

    def page(self, name: str, found: list[dict[str, Any]], query: dict[str, str]) -> Any:
        """One page; what is empty is left out, and a token is good for the very list that it came with."""
        found = [each for each in found if matches(each, query.get("filter", ""))]
        key, _, order = query.get("sort_by", "").partition(" ")
        found = sorted(found, key=lambda each: each.get(key or "created_at", ""), reverse=order == "desc")
        asked = {k: v for k, v in query.items() if k not in ("page_token", "page_size") and v}
        start = 0
        if query.get("page_token"):
            kept = json.loads(base64.b64decode(query["page_token"], validate=True))
            if kept["asked"] != asked:
                raise bad("page token does not match the supplied sort by and/or filtering criteria")
            start = kept["start"]
        size = int(query.get("page_size") or 20)
        if not 0 < size <= self.page_limit:
            size = self.page_limit
        answer: dict[str, Any] = {"total_size": len(found)} if found else {}
        if found[start : start + size]:
            answer[name] = found[start : start + size]
        if start + size < len(found):
            token = json.dumps({"asked": asked, "start": start + size}).encode()
            answer["next_page_token"] = base64.b64encode(token).decode()
        return answer

    @property
    def app(self) -> Starlette:
        def route(path: str, method: str, call: Any) -> Route:
            async def answer(request: Request) -> Response:
                self.seen.append(f"{request.method} {request.url.path}")
                if request.headers.get("authorization") != f"Bearer {self.token}":
                    return PlainTextResponse("Jwt verification fails", status_code=401)
                try:
                    pairs = request.query_params.multi_items()
                    if len(dict(pairs)) != len(pairs):
                        raise bad("a parameter twice")
                    body = await request.json() if await request.body() else None
                    return JSONResponse(call(dict(pairs), body, **request.path_params))
                except Problem as problem:
                    told = {"error": problem.message, "code": problem.code, "message": problem.message}
                    return JSONResponse(told, status_code=problem.status)

            return Route("/apis/v2beta1" + path, answer, methods=[method])

        return Starlette(
            routes=[
                route("/experiments", "GET", self.list_experiments),
                route("/experiments", "POST", self.create_experiment),
                route("/pipelines/names/{name}", "GET", self.pipeline_named),
                route("/pipelines/{pipeline}/versions", "GET", self.pipeline_versions),
                route("/runs", "GET", self.list_runs),
                route("/runs", "POST", self.create_run),
                route("/runs/{run}:terminate", "POST", self.terminate),
            ]
        )


def allowed(query: dict[str, str], names: set[str]) -> None:
    if strange := set(query) - names:
        raise bad(f"unknown query parameter {sorted(strange)[0]}")


def fields(body: Any, names: set[str]) -> None:
    if not isinstance(body, dict) or set(body) - names:
        raise bad(f"unknown field in {body}")


def matches(each: dict[str, Any], text: str) -> bool:
    """The filter, a JSON Filter message in either spelling of its fields; text is compared without regard to case."""
    if not text:
        return True
    message = json.loads(text)
    fields(message, {"predicates"})
    for predicate in message["predicates"]:
        fields(predicate, {"operation", "key", "stringValue", "string_value"})
        if predicate["operation"] not in ("EQUALS", 1):
            raise bad("the stand-in knows EQUALS")
        if predicate["key"] not in ("display_name", "name", "id", "state", "storage_state", "namespace"):
            raise bad(f"no support for filtering on unrecognized field {predicate['key']!r}")
        value = predicate.get("stringValue", predicate.get("string_value"))
        if str(each.get(predicate["key"], "")).lower() != value.lower():
            return False
    return True
