"""A stand-in for Kubeflow Pipelines that speaks the v2beta1 wire format, and refuses what the API server would refuse.

Fields and query parameters are those of the generated client (kfp_server_api), so that a name that is not in the API fails here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import kfp_server_api as api
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

RUN_INPUT = {"display_name", "description", "experiment_id", "pipeline_version_reference", "runtime_config"}
RUN_INPUT |= {"service_account", "pipeline_spec", "recurring_run_id", "plugins_input"}
LIST = {"page_token", "page_size", "sort_by", "filter"}
RECURRING_INPUT = {"display_name", "description", "experiment_id", "pipeline_version_reference", "runtime_config"}
RECURRING_INPUT |= {
    "service_account",
    "max_concurrency",
    "trigger",
    "mode",
    "no_catchup",
    "pipeline_spec",
    "plugins_input",
}
assert set(api.V2beta1Run.attribute_map) > RUN_INPUT
assert set(api.V2beta1RecurringRun.attribute_map) > RECURRING_INPUT


class Problem(Exception):
    """A google.rpc.Status; `code` is gRPC's, `status` what the gateway makes of it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message


def bad(message: str) -> Problem:
    return Problem(400, 3, f"InvalidInputError: {message}")


@dataclass
class Fake:
    """What the API server keeps. `lose` drops one answer; `clock` is its time."""

    token: str = "secret"
    namespaces: set[str] = field(default_factory=lambda: {"fraud", "listing"})
    parameters: set[str] = field(default_factory=set)
    pipelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    graphs: dict[str, str] = field(default_factory=dict)
    clock: datetime | None = None
    page_limit: int = 200
    lose: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[str] = field(default_factory=list)

    def now(self) -> str:
        now = self.clock or datetime.now(UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")  # it keeps whole seconds

    def add_pipeline(self, name: str, versions: int = 1) -> None:
        pipeline = self.ids[name] = str(uuid.uuid4())
        self.spaces[name] = name.removesuffix("-training")
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
        if query.get("namespace"):
            self.authorize(query["namespace"])
        if name not in self.pipelines or self.spaces.get(name, query.get("namespace")) != query.get("namespace"):
            raise Problem(404, 5, f"ResourceNotFoundError: Namespace/Pipeline {name} not found")
        first = self.pipelines[name][0] if self.pipelines[name] else {"pipeline_id": self.ids.get(name, "empty")}
        return {"pipeline_id": first["pipeline_id"], "display_name": name, "name": name}

    def create_pipeline(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, set())
        fields(body, set(api.V2beta1Pipeline.attribute_map) - {"pipeline_id", "created_at", "error"})
        self.authorize(body.get("namespace", ""))
        with self.lock:
            if body["name"] in self.pipelines:
                raise Problem(409, 6, "AlreadyExistError: The name already exist. Please specify a new name")
            self.pipelines[body["name"]], self.spaces[body["name"]] = [], body["namespace"]
            self.ids[body["name"]] = str(uuid.uuid4())
        return {**body, "pipeline_id": self.ids[body["name"]], "created_at": self.now()}

    def upload_version(self, query: dict[str, str], body: Any) -> Any:
        """The multipart form; its parameters are in the query."""
        allowed(query, {"name", "display_name", "description", "pipelineid", "tags", "code_source_url"})
        name = next((name for name, made in self.ids.items() if made == query.get("pipelineid")), None)
        if name is None or not query.get("name"):
            raise Problem(400, 3, "Failed to create a pipeline version")
        self.authorize(self.spaces[name])
        if not body["filename"].endswith((".yaml", ".yml", ".zip", ".tar.gz")):
            raise Problem(400, 3, "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML")
        spec = next(yaml.safe_load_all(body["content"]))
        if not {"pipelineInfo", "root", "deploymentSpec", "schemaVersion"} <= set(spec):
            raise bad("unknown template format: pipeline spec is invalid")
        with self.lock:
            if any(each["name"] == query["name"] for each in self.pipelines[name]):
                raise Problem(409, 6, "Failed to create a pipeline version")
            made = {
                "pipeline_id": query["pipelineid"],
                "pipeline_version_id": str(uuid.uuid4()),
                "name": query["name"],
                "display_name": query.get("display_name") or query["name"],
                "created_at": self.now(),
            }
            self.pipelines[name].append(made)
            self.graphs[made["pipeline_version_id"]] = body["content"].decode()
        return made

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

    def list_recurring(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, LIST | {"namespace", "experiment_id"})
        self.authorize(self.space(query["experiment_id"]))
        found = [each for each in self.recurring if each["experiment_id"] == query["experiment_id"]]
        return self.page("recurringRuns", found, query)

    def create_recurring(self, query: dict[str, str], body: Any) -> Any:
        allowed(query, set())
        fields(body, RECURRING_INPUT)
        fields(body["runtime_config"], set(api.V2beta1RuntimeConfig.attribute_map))
        fields(body["trigger"], set(api.V2beta1Trigger.attribute_map))
        fields(body["trigger"]["cron_schedule"], set(api.V2beta1CronSchedule.attribute_map))
        reference = body["pipeline_version_reference"]
        fields(reference, set(api.V2beta1PipelineVersionReference.attribute_map))
        namespace = self.space(body["experiment_id"])
        self.authorize(namespace)
        if not 1 <= int(body.get("max_concurrency") or 0) <= 10:
            raise bad("Max concurrency of a recurring run must be at least 1 and at most 10")
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise bad("Schedule cron is not a supported format")
        known = {v["pipeline_version_id"]: v["pipeline_id"] for each in self.pipelines.values() for v in each}
        if known.get(reference.get("pipeline_version_id")) != reference.get("pipeline_id"):
            raise Problem(404, 5, "ResourceNotFoundError: PipelineVersion not found")
        made = {
            **{name: value for name, value in body.items() if name != "mode"},
            "recurring_run_id": str(uuid.uuid4()),
            "namespace": namespace,
            "created_at": self.now(),
            "updated_at": self.now(),
            "status": "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED",
        }
        self.recurring.append(made)
        return made

    def enable_recurring(self, query: dict[str, str], body: Any, run: str) -> Any:
        return self._switched(query, run, "ENABLED")

    def disable_recurring(self, query: dict[str, str], body: Any, run: str) -> Any:
        return self._switched(query, run, "DISABLED")

    def _switched(self, query: dict[str, str], run: str, status: str) -> Any:
        allowed(query, set())
        self._recurring(run)["status"] = status
        return {}

    def delete_recurring(self, query: dict[str, str], body: Any, run: str) -> Any:
        """Without ORPHAN, Kubernetes takes the workflows that it has started with it."""
        allowed(query, {"propagation_policy"})
        self.recurring.remove(self._recurring(run))
        if query.get("propagation_policy") != "ORPHAN":
            self.runs = [each for each in self.runs if each.get("recurring_run_id") != run]
        return {}

    def _recurring(self, run: str) -> dict[str, Any]:
        for each in self.recurring:
            if each["recurring_run_id"] == run:
                self.authorize(each["namespace"])
                return each
        raise Problem(404, 5, f"ResourceNotFoundError: Job {run} not found")

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
                    form = request.headers.get("content-type", "").startswith("multipart/form-data")
                    body = await upload(request) if form else await request.json() if await request.body() else None
                    return JSONResponse(call(dict(pairs), body, **request.path_params))
                except Problem as problem:
                    told = {"error": problem.message, "code": problem.code, "message": problem.message}
                    return JSONResponse(told, status_code=problem.status)

            return Route("/apis/v2beta1" + path, answer, methods=[method])

        return Starlette(
            routes=[
                route("/experiments", "GET", self.list_experiments),
                route("/experiments", "POST", self.create_experiment),
                route("/pipelines", "POST", self.create_pipeline),
                route("/pipelines/upload_version", "POST", self.upload_version),
                route("/pipelines/names/{name}", "GET", self.pipeline_named),
                route("/pipelines/{pipeline}/versions", "GET", self.pipeline_versions),
                route("/runs", "GET", self.list_runs),
                route("/runs", "POST", self.create_run),
                route("/runs/{run}:terminate", "POST", self.terminate),
                route("/recurringruns", "GET", self.list_recurring),
                route("/recurringruns", "POST", self.create_recurring),
                route("/recurringruns/{run}:enable", "POST", self.enable_recurring),
                route("/recurringruns/{run}:disable", "POST", self.disable_recurring),
                route("/recurringruns/{run}", "DELETE", self.delete_recurring),
            ]
        )


def client(kubeflow: Fake) -> httpx.Client:
    """A client of the stand-in without a network between them."""
    app = httpx.ASGITransport(app=kubeflow.app)

    async def asked(request: httpx.Request) -> httpx.Response:
        same = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        answer = await app.handle_async_request(same)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

    transport = httpx.MockTransport(lambda request: asyncio.run(asked(request)))
    return httpx.Client(base_url="http://kubeflow.test", transport=transport)


async def upload(request: Request) -> dict[str, Any]:
    """The one file of a form; its field is called uploadfile."""
    async with request.form() as form:
        if set(form) != {"uploadfile"}:
            raise bad("Failed to read pipeline from file")
        file: Any = form["uploadfile"]
        return {"filename": file.filename, "content": await file.read()}


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
