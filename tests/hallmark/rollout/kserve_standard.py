"""A Kubernetes API with KServe 0.21 behind it, in Standard mode with enableGatewayApi: as much as a rollout meets of it.

Learned from KServe's source (inference_service_validation.go, components/predictor.go, httproute_reconciler.go,
inference_service_status.go): what it refuses, which Deployments it keeps, what it routes, and what it writes into the status.
The controller lags behind the API, as a real one does.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.hallmark.rollout import pods

Json = dict[str, Any]

LAG = 0.06
"""Seconds until the controller sees a change, and as many until a pod it made is ready."""
HOST = "fraud-fraud.models.hallmark.example"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/fraud/httproutes"


class Invalid(ValueError):
    """What the validating webhook refuses."""


class KServe:
    """One InferenceService at most a namespace; `broken` names storageUris whose pods never come up.

    load:    pods that stable's autoscaler wants for all of the traffic, and for a share that part of them.
    room:    pods that the cluster has place for, those of both variants together.
    moments: each division of the traffic with each Deployment's ready pods then, as often as either changed.
    """

    def __init__(self) -> None:
        self.load, self.room = 0, 100
        self.moments: list[tuple[dict[str, int], dict[str, int]]] = []
        self.lock = threading.RLock()
        self.objects: dict[str, Json] = {}
        self.others: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.routes: list[dict[str, int]] = []
        self.answers: dict[str, list[Json]] = {}
        self.broken: set[str] = set()
        self.misrouted: list[str] = []
        self.forbidden = False
        self.closed: set[str] = set()
        self.posted: Callable[[Json], object] = lambda _: None
        self._version = 1
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._timers: list[threading.Timer] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> KServe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for timer in self._timers:
            timer.cancel()
            timer.join()

    # The webhook.

    @staticmethod
    def validate(new: Json, old: Json | None) -> None:
        spec, mode = new["spec"], (new["metadata"].get("annotations") or {}).get("serving.kserve.io/deploymentMode")
        stable = spec["predictor"]
        if stable["model"].get("name"):
            raise Invalid("the 'name' field is not allowed in standard predictor")
        if old is not None:
            if (old.get("status") or {}).get("deploymentMode") not in (None, mode):
                raise Invalid("update rejected: deploymentMode cannot be changed")
            before = old["spec"]["predictor"]
            renamed = (before.get("name") or "") != (stable.get("name") or "")
            if renamed and before["model"]["storageUri"] == stable["model"]["storageUri"]:
                raise Invalid("predictor.name change requires a model change (e.g. storageUri)")
        seen, total = set(), 0
        for index, entry in enumerate(spec.get("canary") or []):
            predictor = entry["predictor"]
            name = predictor.get("name")
            if mode != "Standard":
                raise Invalid("canary is only supported in Standard deployment mode")
            if not name:
                raise Invalid(f"canary[{index}] predictor.name is required")
            if name in seen:
                raise Invalid(f'canary predictor.name "{name}" is duplicated')
            if name == stable.get("name"):
                raise Invalid(f'canary predictor.name "{name}" conflicts with stable predictor name')
            seen.add(name)
            total += entry["trafficPercent"]
            if not {"modelFormat", "name"} <= (predictor.get("model") or {}).keys():
                raise Invalid("spec.canary[].predictor.model: required value: modelFormat, name")
            for key in ("workerSpec", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
                if predictor.get(key):
                    raise Invalid(f'canary "{name}" must not set {key}')
            if predictor.get("minReplicas", 0) > stable.get("minReplicas", 1):
                raise Invalid(f'canary "{name}" minReplicas must not exceed stable predictor minReplicas')
        if total > 100:
            raise Invalid(f"sum of canary trafficPercent values ({total}) must be <= 100")

    # The controller.

    def reconcile(self, name: str) -> None:
        with self.lock:
            if name not in self.objects:
                return
            isvc = self.objects[name]
            stable, wanted = isvc["spec"]["predictor"], {}
            replicas, statuses = stable.get("minReplicas", 1), []
            for entry in isvc["spec"].get("canary") or []:
                mine, percent = entry["predictor"], entry["trafficPercent"]
                count = mine.get("minReplicas", math.ceil(stable.get("minReplicas", 1) * percent / 100))
                deployment = self._deployment(name, mine["name"])
                wanted[deployment] = (_overridden(stable, mine), count)
                ready = self.deployments.get(deployment, {}).get("ready", 0) > 0
                statuses.append(
                    {
                        "name": mine["name"],
                        "ready": ready,
                        "trafficPercent": percent,
                        "modelStatus": {"transitionStatus": ""},
                    }
                )
                replicas = max(replicas - count, 1)
            own = self._deployment(name, stable.get("name", ""))
            share = (self.routes or [{}])[-1].get(own, 100)
            replicas = min(max(replicas, math.ceil(self.load * share / 100)), stable["maxReplicas"])
            wanted[own] = (stable, replicas)
            for gone in set(self.deployments) - set(wanted):
                del self.deployments[gone]
            for deployment, (predictor, count) in wanted.items():
                self._keep(deployment, _template(isvc, predictor), count)
            up = self.deployments[own]["ready"] > 0
            if up:
                self._route(isvc, own, {each["name"]: each["ready"] for each in statuses})
            self._status(isvc, own, up, statuses)

    def _keep(self, name: str, template: Json, replicas: int) -> None:
        known = self.deployments.get(name)
        if known is None or known["template"] != template:
            made = {"template": template, "replicas": replicas, "ready": 0, "uid": uuid.uuid4().hex, "generation": 1}
            self.deployments[name] = made if known is None else {**made, "generation": known["generation"] + 1}
        elif known["replicas"] == replicas:
            return
        found = self.deployments[name]
        found["replicas"], found["ready"] = replicas, min(found["ready"], replicas)
        self._later(lambda: self._up(name))

    def _up(self, name: str) -> None:
        """One more pod is ready, where it loads and there is room for it."""
        with self.lock:
            found = self.deployments.get(name)
            if found and found["template"]["model"]["storageUri"] not in self.broken:
                room = self.room - sum(each["ready"] for each in self.deployments.values())
                found["ready"] += min(1, max(0, min(room, found["replicas"] - found["ready"])))
                if found["ready"] < found["replicas"]:
                    self._later(lambda: self._up(name))
            for each in list(self.objects):
                self.reconcile(each)

    def _route(self, isvc: Json, own: str, ready: dict[str, bool]) -> None:
        name = isvc["metadata"]["name"]
        weights = {
            self._deployment(name, entry["predictor"]["name"]): entry["trafficPercent"]
            for entry in isvc["spec"].get("canary") or []
            if ready[entry["predictor"]["name"]]
        }
        weights = {own: 100 - sum(weights.values()), **weights}
        self.others[f"{ROUTES}/{name}"] = _http_route(name, weights)
        if not self.routes or self.routes[-1] != weights:
            self.routes.append(weights)
            self._later(lambda: self.reconcile(name))
        moment = (weights, {each: found["ready"] for each, found in self.deployments.items()})
        if not self.moments or self.moments[-1] != moment:
            self.moments.append(moment)
        self.misrouted += [each for each, share in weights.items() if share and not self.deployments[each]["ready"]]

    def _status(self, isvc: Json, own: str, up: bool, statuses: list[Json]) -> None:
        conditions = {"PredictorReady": up, "IngressReady": up, "Ready": up}
        if statuses:
            conditions["CanaryPredictorReady"] = all(each["ready"] for each in statuses)
        status: Json = {
            # The Deployment's own, and not the object's.
            "observedGeneration": self.deployments[own]["generation"],
            "deploymentMode": "Standard",
            "conditions": [{"type": kind, "status": str(true)} for kind, true in conditions.items()],
            "components": {"predictor": {"url": "http://fraud"}},
            "url": f"https://{HOST}",
            "modelStatus": {"transitionStatus": "UpToDate" if up else "InProgress"},
        }
        if statuses:
            status["canaryStatuses"] = statuses
        if isvc.get("status") != status:
            isvc["status"] = status
            self._stamp(isvc)

    @staticmethod
    def _deployment(name: str, predictor: str) -> str:
        return "-".join(part for part in (name, predictor, "predictor") if part)

    def _later(self, work: Callable[[], None]) -> None:
        timer = threading.Timer(LAG, work)
        self._timers.append(timer)
        timer.start()

    # The API.

    def pods(self) -> list[Json]:
        found = []
        for name, each in self.deployments.items():
            for number in range(each["replicas"]):
                ready = number < each["ready"]
                broken = each["template"]["model"]["storageUri"] in self.broken
                state = (
                    {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}} if broken else {"running": {}}
                )
                last = {"terminated": {"exitCode": 3, "message": "ModelRefused: model.onnx of the model was changed"}}
                meta = {
                    "name": f"{name}-{each['uid'][:9]}-{number:05d}",
                    "namespace": "fraud",
                    "uid": f"{each['uid']}-{number}",
                    "labels": each.setdefault("labels", {}).setdefault(
                        number, {**each["template"]["labels"], "app": f"isvc.{name}"}
                    ),
                }
                container = {"name": "kserve-container", "state": state, **({"lastState": last} if broken else {})}
                found.append(
                    {
                        "metadata": meta,
                        "status": {
                            "conditions": [{"type": "Ready", "status": str(ready)}],
                            "containerStatuses": [container],
                        },
                    }
                )
        return found

    def _monitor(self, pod: str, what: str, query: str) -> Json | bytes:
        """The drift monitor of a pod: content, and with the answers that a test put there."""
        revision = next(name for name, each in self.deployments.items() if pod.startswith(f"{name}-{each['uid'][:9]}"))
        if what == "verdict":
            return {"variants": {revision: {"state": "OK", "columns": [], "reasons": []}}}
        return pods.told(self.answers.get(revision, []) if pod.endswith("00000") else [], query)

    def call(self, method: str, path: str, body: Json | None, query: str = "") -> tuple[int, Json | bytes]:
        with self.lock:
            parts = path.strip("/").split("/")
            if parts[-1] == "pods":
                return 200, {"items": self.pods()}
            if parts[-2:-1] == ["proxy"] and parts[-1] == "sketch":
                return 404, {"message": "a monitor from before there were sketches"}
            if parts[-2:-1] == ["proxy"]:
                return 200, self._monitor(parts[-3].partition(":")[0], parts[-1], query)
            if parts[-2:-1] == ["pods"] and method == "PATCH":
                if self.forbidden:
                    return 403, {"message": "pods is forbidden"}
                pod = next(each for each in self.pods() if each["metadata"]["name"] == parts[-1])
                pod["metadata"]["labels"].update((body or {})["metadata"]["labels"])
                return 200, pod
            if "inferenceservices" in parts:
                return self._inferenceservice(method, parts, body or {})
            if method == "GET":
                return (200, self.others[path]) if path in self.others else (404, {"message": f"{path} not found"})
            where = path if method != "POST" else f"{path}/{(body or {})['metadata']['name']}"
            if where in self.closed:
                return 403, {"message": f"{where} is forbidden"}
            if method == "DELETE":
                return (200, self.others.pop(path)) if path in self.others else (404, {"message": "not found"})
            if method == "PATCH":
                if path not in self.others:
                    return 404, {"message": f"{path} not found"}
                body = merged(self.others[path], body or {})
            self.posted(body or {})
            self.others[where] = made = copy.deepcopy(body or {})
            self._stamp(made)
            return 201, made

    def _inferenceservice(self, method: str, parts: list[str], body: Json) -> tuple[int, Json]:
        name = parts[-1]
        if parts[-1] == "inferenceservices":
            if method == "GET":
                return 200, {"items": list(self.objects.values())}
            name = body["metadata"]["name"]
            body["metadata"]["uid"] = uuid.uuid4().hex
            body["metadata"]["generation"] = 1
        elif name not in self.objects:
            return 404, {"message": f"inferenceservices {name!r} not found"}
        elif method == "GET":
            return 200, copy.deepcopy(self.objects[name])
        old = self.objects.get(name)
        new = merged(old, body) if method == "PATCH" else copy.deepcopy(body)
        given = (body["metadata"].get("resourceVersion")) if old else None
        if old and given and given != old["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified"}
        try:
            self.validate(new, old)
        except Invalid as error:
            return 403, {"message": f"admission webhook denied the request: {error}"}
        if old:
            changed = new["spec"] != old["spec"]
            new["metadata"]["generation"] = old["metadata"]["generation"] + changed
            new["status"] = old.get("status")
        self.objects[name] = new
        self._stamp(new)
        self._later(lambda: self.reconcile(name))
        return 200, copy.deepcopy(new)

    def _stamp(self, found: Json) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        kserve = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                where = urlsplit(self.path)
                status, found = kserve.call(self.command, where.path, body, where.query)
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  http.server's names

            def log_message(self, *_: Any) -> None:
                return

        return Handler


def _http_route(name: str, weights: dict[str, int]) -> Json:
    """KServe's route of a service, as httproute_reconciler.go makes it."""
    headers = [{"name": "KServe-Isvc-Name", "value": name}, {"name": "KServe-Isvc-Namespace", "value": name}]
    refs = [
        {"group": "", "kind": "Service", "name": each, "namespace": name, "port": 80, "weight": weight}
        for each, weight in weights.items()
    ]
    rule = {
        "matches": [{"path": {"type": "RegularExpression", "value": "^/.*$"}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}],
        "backendRefs": refs,
        "timeouts": {"request": "2s"},
    }
    gateway = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "istio-ingress",
        "name": "hallmark",
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": name},
        "spec": {"hostnames": [HOST], "parentRefs": [gateway], "rules": [rule]},
    }


def _overridden(stable: Json, mine: Json) -> Json:
    """mergo.Merge with override: maps merge, lists and values replace, what is empty changes nothing."""
    found = dict(stable)
    for key, value in mine.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _overridden(found[key], value)
        elif value not in (None, "", 0, [], {}):
            found[key] = value
    return found


def _template(isvc: Json, predictor: Json) -> Json:
    """What is in a pod's template; a change of it makes new pods."""
    left_out = ("name", "minReplicas", "maxReplicas", "timeout", "labels")
    labels = {**isvc["metadata"].get("labels", {}), **predictor.get("labels", {})}
    labels |= {"serving.kserve.io/inferenceservice": isvc["metadata"]["name"], "component": "predictor"}
    model = {key: value for key, value in predictor["model"].items() if key != "name"}
    return {**{k: v for k, v in predictor.items() if k not in left_out}, "labels": labels, "model": model}


def merged(whole: Any, patch: Any) -> Any:
    """A JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(whole) if isinstance(whole, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return copy.deepcopy(found)
