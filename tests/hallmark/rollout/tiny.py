"""A cluster in memory with one InferenceService: what the operator needs of the Kubernetes API, with real compare-and-set."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hallmark.artifacts.release import Target
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.serving_config import ConfigReference
from hallmark.declaration.traffic import LOCAL, TrafficAdapter
from hallmark.errors import Conflict, HallmarkError, NotFound, TimedOut, Unavailable
from hallmark.render.inferenceservice import model_of
from hallmark.rollout.capacity import Floors
from hallmark.rollout.samples import Sample
from hallmark.settings import Settings
from hallmark.training.submit import Run, RunRequest
from tests.hallmark.rollout import pods

NAME = "fraud"
Json = dict[str, Any]


CONFIG = serving_config.of(
    domains.load(NAME, Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[3])}))
).reference


def target(version: int, config: ConfigReference = CONFIG) -> Target:
    digest = "sha256:" + f"{version:064x}"
    return Target(version=version, storageUri=f"pvc://models/{NAME}/{version}", digest=digest, config=config)


@dataclass
class Clock:
    now: datetime = datetime(2026, 10, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Cluster:
    """Stands in for `InferenceServiceWriter`. A new model gets a revision that is ready at once; `refused` says why it never is.

    scaled: ready pods of a revision, where it is not one.   held: what they were asked to be at least.   full: no more pods come.
    """

    verdicts: dict[str, Json] = field(default_factory=dict)
    answers: dict[str, list[Json]] = field(default_factory=dict)
    refused: str = ""
    writes: int = 0
    scaled: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    full: bool = False
    traffic: TrafficAdapter = LOCAL
    name: str = NAME

    def __post_init__(self) -> None:
        self.revisions = [f"{NAME}-predictor-00001"]
        self.rolled_out = self.revisions[0]
        self.maps: dict[str, Json] = {}
        self.models = {self.rolled_out: target(1)}
        self.object: Json = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": NAME, "namespace": NAME, "resourceVersion": "1", "generation": 1, "annotations": {}},
            "spec": {"predictor": {**model_of(target(1)), "canaryTrafficPercent": None}},
        }

    # As InferenceServiceWriter has them.

    def live(self, name: str) -> Json | None:
        found = copy.deepcopy(self.object)
        found["status"] = self._status()
        return found if name == NAME else None

    def pods(self, name: str) -> list[Json]:
        return [
            {
                "metadata": {
                    "name": r,
                    "namespace": self.name,
                    "uid": r,
                    "labels": {"serving.knative.dev/revision": r},
                },
                "status": {"conditions": [{"type": "Ready", "status": str(number < self.ready(r))}]},
            }
            for r in {self.rolled_out, self.revisions[-1]}
            for number in range(max(1, self.ready(r)))
        ]

    def count_ready(self, name: str, revision: str) -> int:
        return self.ready(revision)

    def ready(self, revision: str) -> int:
        return self.scaled.get(revision, 1)

    def hold(self, live: Json, floors: Floors) -> Json:
        for revision, least in {self.rolled_out: floors.stable, self.revisions[-1]: floors.candidate}.items():
            self.held[revision] = max(least, self.held.get(revision, 0))
        if not self.full:
            self.scaled |= {each: max(pods, self.ready(each)) for each, pods in self.held.items()}
        return live

    def mirror(self, live: Json) -> None:
        """Copies are the annotation's alone here."""

    def let_go(self, live: Json) -> None:
        self.held.pop(self.rolled_out, None)

    def adapter(self, live: Json) -> TrafficAdapter:
        return self.traffic

    def served(self, name: str, revision: str) -> Target | None:
        return self.models.get(revision)

    def sidecar(self, pod: Json, path: str, *, port: int = 9191, body: Any = None) -> bytes:
        revision = pod["metadata"]["name"]
        if path.startswith("sketch"):
            raise NotFound("a monitor from before there were sketches")
        if path == "verdict":
            found = self.verdicts.get(revision, {"state": "OK", "columns": [], "reasons": []})
            return json.dumps({"variants": {revision: found}}).encode()
        return pods.told(self.answers.get(revision, []), path)

    def shift(
        self,
        live: Json,
        *,
        percent: int | None,
        target: Target | None = None,
        notes: Mapping[str, str | None] | None = None,
        floors: Floors | None = None,
    ) -> Json:
        self._compare(live)
        predictor = self.object["spec"]["predictor"]
        predictor["canaryTrafficPercent"] = percent
        if target is not None and model_of(target)["model"] != predictor["model"]:
            predictor |= model_of(target)
            self.revisions.append(f"{NAME}-predictor-{len(self.revisions) + 1:05d}")
            self.models[self.revisions[-1]] = target
        if percent is None and not self.refused:
            self.rolled_out = self.revisions[-1]
        return self._written(notes or {})

    def provide(self, wanted: Json) -> None:
        self.maps.setdefault(wanted["metadata"]["name"], copy.deepcopy(wanted))

    def note(self, live: Json, notes: Mapping[str, str | None]) -> Json:
        self._compare(live)
        return self._written(notes)

    def wait(self, name: str, settled: Any, *, what: str, **_: Any) -> Json:
        live = self.live(name)
        assert live is not None
        if self.full and not settled(live):
            raise TimedOut(f"{what} did not happen")
        return live

    def config_map(self, namespace: str, name: str) -> Json:
        if name not in self.maps:
            raise NotFound(f"no ConfigMap {name}")
        return copy.deepcopy(self.maps[name])

    def write_config_map(self, wanted: Json, *, create: bool) -> Json:
        name = wanted["metadata"]["name"]
        known = self.maps.get(name)
        if (known is not None) == create:
            raise Conflict("it is there already" if create else "it is gone")
        if known and known["metadata"]["resourceVersion"] != wanted["metadata"].get("resourceVersion"):
            raise Conflict("the object has been modified")
        made = copy.deepcopy(wanted)
        made["metadata"]["resourceVersion"] = str(
            int((known or {"metadata": {"resourceVersion": "0"}})["metadata"]["resourceVersion"]) + 1
        )
        self.maps[name] = made
        return copy.deepcopy(made)

    # For tests.

    @property
    def percent(self) -> int | None:
        value = self.object["spec"]["predictor"]["canaryTrafficPercent"]
        return None if value is None else int(value)

    @property
    def version(self) -> int:
        return int(self.object["spec"]["predictor"]["labels"]["hallmark.dev/model-version"])

    def _compare(self, live: Json) -> None:
        if live["metadata"]["resourceVersion"] != self.object["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")

    def _written(self, notes: Mapping[str, str | None]) -> Json:
        meta = self.object["metadata"]
        for key, value in notes.items():
            if value is None:
                meta["annotations"].pop(key, None)
            else:
                meta["annotations"][key] = value
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
        self.writes += 1
        found = self.live(NAME)
        assert found is not None
        return found

    def _status(self) -> Json:
        newest, percent = self.revisions[-1], self.percent
        traffic = [{"revisionName": newest, "percent": 100 if percent is None else percent}]
        if percent is not None:
            traffic.append({"revisionName": self.rolled_out, "percent": 100 - percent})
        failure = {
            "transitionStatus": "BlockedByFailedLoad",
            "lastFailureInfo": {"modelRevisionName": newest, "reason": "ModelLoadFailed", "message": self.refused},
        }
        return {
            "observedGeneration": 99,
            "conditions": [{"type": "Ready", "status": "False" if self.refused else "True"}],
            "modelStatus": failure if self.refused else {"transitionStatus": "UpToDate"},
            "components": {
                "predictor": {
                    "latestCreatedRevision": newest,
                    "latestReadyRevision": newest,
                    "latestRolledoutRevision": self.rolled_out,
                    "traffic": traffic,
                }
            },
        }


@dataclass
class Counters:
    """Stands in for gateway and model servers: counters that rise with `serve`."""

    cluster: Cluster
    down: bool = False
    values: dict[tuple[str, ...], float] = field(default_factory=dict)

    def serve(self, count: int, *, failing: float = 0.0) -> None:
        """`count` requests, split as the cluster says; of those meant for a canary the share `failing` ends on stable."""
        newest, percent = self.cluster.revisions[-1], self.cluster.percent
        canary = count * (percent or 0) // 100
        bad = round(canary * failing)
        self._add("gateway", self.cluster.rolled_out, "stable", count - canary)
        self._add("gateway", newest, "canary", canary - bad)
        self._add("gateway", newest, "stable", bad)
        self._add("runtime", self.cluster.rolled_out, "", count - canary)
        self._add("runtime", newest, "", canary - bad)

    def read(self, namespace: str, names: Sequence[str]) -> list[Sample]:
        if self.down:
            raise Unavailable("Prometheus does not answer")
        found = []
        for (kind, revision, answered), value in self.values.items():
            if kind == "runtime":
                found.append(Sample("hallmark_rest_requests_total", {"revision": revision, "code": "200"}, value))
                continue
            labels = {
                "revision": revision,
                "answered": answered,
                "code": "200",
                "service": f"{self.cluster.name}/{self.cluster.name}",
            }
            found.append(Sample("envoy_hallmark_requests", labels, value))
            for edge in ("50", "+Inf"):
                found.append(
                    Sample(
                        "envoy_hallmark_milliseconds_bucket", {"revision": revision, "le": edge, "a": answered}, value
                    )
                )
        return found

    def _add(self, kind: str, revision: str, answered: str, count: float) -> None:
        key = (kind, revision, answered)
        self.values[key] = self.values.get(key, 0.0) + count


@dataclass
class Trainings:
    """Stands in for where trainings run: each submitted key is a run that ends when a test says so."""

    runs: dict[str, Run] = field(default_factory=dict)
    requests: list[RunRequest] = field(default_factory=list)
    down: bool = False

    def submit(self, request: RunRequest) -> Run:
        if self.down:
            raise Unavailable("Kubeflow does not answer")
        if request.key not in self.runs:
            self.requests.append(request)
            self.runs[request.key] = Run(key=request.key, id=request.key, domain=request.domain, state="running")
        return self.runs[request.key]

    def find(self, key: str, domain: str) -> Run | None:
        if self.down:
            raise Unavailable("Kubeflow does not answer")
        return self.runs.get(key)

    def end(self, state: str, *, version: int | None = None, message: str = "") -> None:
        key = next(reversed(self.runs))
        self.runs[key] = self.runs[key].model_copy(update={"state": state, "version": version, "message": message})


@dataclass
class Versions:
    """Stands in for the registry."""

    champion: int = 1
    down: bool = False

    def resolve(self, name: str, version: int | str) -> Any:
        if self.down:
            raise Unavailable("the registry does not answer")
        found = target(int(version))
        return type("Found", (), {"version": found.version, "storage_uri": found.storage_uri, "digest": found.digest})()

    def versions(self, name: str) -> list[Any]:
        if self.down:
            raise Unavailable("the registry does not answer")
        return [type("Version", (), {"version": self.champion, "aliases": ("champion",)})()]

    def alias(self, name: str, alias: str, version: int) -> None:
        if self.down:
            raise HallmarkError("the registry does not answer")
        self.champion = version
