"""Deployments of an InferenceService in KServe's Standard mode: stable's, and one of each entry of spec.canary; and their status.

Learned from KServe's source, as tests/hallmark/rollout/kserve_standard.py: a canary's predictor is merged over stable's, lists replaced
whole; one that is not ready is left out of the route; the status says of a canary whether it is ready, and not why it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from hallmark.rollout.standard import revision as deployment_name
from local_cluster import predictor, revisions
from local_cluster.predictor import InvalidSpec
from local_cluster.revisions import Revision
from local_cluster.status import Condition, RevisionHealth, all_of, dated, failed_with, failure
from local_cluster.supervisor import now

Json = dict[str, Any]

_NOT_IN_PODS = ("timeoutSeconds", "minReplicas", "maxReplicas")
"""Parts of a template that are the route's or the autoscaler's here: a change of them makes no pods anew."""


class Deployment(BaseModel):
    """A Deployment that is asked for.

    canary: the name of its entry in spec.canary; empty for stable's.   percent: its share.   pods: how many it asks for, of which one runs here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    template: Json
    canary: str = ""
    percent: int = 0
    pods: int = 1

    @property
    def revision(self) -> Revision:
        """Its template of now, under the name of its ReplicaSet."""
        own = {key: value for key, value in self.template.items() if key not in _NOT_IN_PODS}
        name = f"{self.name}-{revisions.digest(own)}"
        return Revision(name=name, number=1, template=self.template, created=now(), deployment=self.name)


def wanted(service: Json, runtimes: list[Json]) -> tuple[Deployment, ...]:
    """The Deployments of an InferenceService, stable's first; `InvalidSpec` where it cannot be served."""
    spec = service.get("spec") or {}
    stable = _checked(service, spec.get("predictor"), runtimes)
    found = [Deployment(name=deployment_name(service, spec["predictor"]), template=stable)]
    least = int(stable["minReplicas"] or 1)
    for entry in spec.get("canary") or []:
        mine, percent = entry["predictor"], int(entry.get("trafficPercent") or 0)
        given = mine.get("minReplicas")
        found.append(
            Deployment(
                name=deployment_name(service, mine),
                template=_checked(service, overridden(spec["predictor"], mine), runtimes),
                canary=str(mine["name"]),
                percent=percent,
                pods=math.ceil(least * percent / 100) if given is None else int(given),
            )
        )
    return tuple(found)


def _checked(service: Json, given: Any, runtimes: list[Json]) -> Json:
    return predictor.checked({**service, "spec": {"predictor": given}}, runtimes, mode="Standard")[0]


def overridden(under: Json, over: Json) -> Json:
    """mergo.Merge with override, as KServe merges predictors: maps merge, all else replaces, and what is empty changes nothing."""
    found = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = overridden(found[key], value)
        elif value not in (None, "", 0, [], {}):
            found[key] = value
    return found


def weights(asked: Sequence[Deployment], up: frozenset[str]) -> dict[str, int]:
    """Weight of each Deployment in KServe's route: a canary that is not ready is left out, and stable has what is left."""
    canaries = {each.name: each.percent for each in asked[1:] if each.name in up}
    return {asked[0].name: 100 - sum(canaries.values()), **canaries}


def status(
    asked: Sequence[Deployment],
    health: Mapping[str, RevisionHealth],
    was: Json,
    *,
    up: frozenset[str],
    routed: bool,
    urls: Mapping[str, str],
    gateway: str = "",
    generation: int = 1,
) -> Json:
    """The status that KServe writes.

    health: of the newest pod by Deployment.   up: Deployments with a ready pod.   routed: are the HTTPRoutes there?
    urls: of the service (`own`), of its predictor, and at which it is reached from this machine (`here`).
    gateway: why the gateway does not have the traffic yet.   generation: of stable's Deployment.
    """
    at, stable = now(), asked[0]
    predictor_ready = (
        Condition() if stable.name in up else Condition(status="False", reason="MinimumReplicasUnavailable")
    )
    if not routed:
        ingress = Condition(status="False", reason="Predictor ingress not created")
    else:
        ingress = Condition(status="False", reason="IngressNotConfigured", message=gateway) if gateway else Condition()
    conditions = {"PredictorReady": predictor_ready, "IngressReady": ingress, "Stopped": Condition(status="False")}
    conditions["Ready"] = all_of([predictor_ready, ingress])
    found: Json = {
        "observedGeneration": generation,
        "deploymentMode": "Standard",
        "clusterServingRuntimeName": stable.template["runtime"],
        "modelStatus": _model_status(health.get(stable.name, RevisionHealth()), was, up=stable.name in up, at=at),
    }
    if len(asked) > 1:
        ready = all(each.name in up for each in asked[1:])
        conditions["CanaryPredictorReady"] = Condition(status=str(ready))
        found["canaryStatuses"] = [
            {
                "name": each.canary,
                "ready": each.name in up,
                "trafficPercent": each.percent,
                "modelStatus": {"transitionStatus": ""},
            }
            for each in asked[1:]
        ]
    if routed:
        found["url"], found["address"] = urls["own"], {"url": urls["here"]}
        found["components"] = {"predictor": {"url": urls["predictor"]}}
    return {**found, "conditions": dated(conditions, was, at)}


def invalid(problem: InvalidSpec, was: Json) -> Json:
    """The status `was` of a service whose spec cannot be served: what serves goes on, and the reason is told."""
    at = now()
    wrong = Condition(status="False", reason=problem.reason, message=problem.message)
    info = failure((was.get("modelStatus") or {}).get("lastFailureInfo"), problem.reason, problem.message, None, "", at)
    states = {"activeModelState": "", "targetModelState": "FailedToLoad"}
    told = {"transitionStatus": "InvalidSpec", "states": states, "lastFailureInfo": info}
    kept = {str(each["type"]): Condition.model_validate(_plain(each)) for each in was.get("conditions") or []}
    conditions = {**kept, "PredictorReady": wrong, "Ready": wrong}
    return {**was, "deploymentMode": "Standard", "modelStatus": told, "conditions": dated(conditions, was, at)}


def stopped(generation: int, was: Json) -> Json:
    """The status of a service that serving.kserve.io/stop keeps down."""
    down = Condition(status="False", reason="Stopped")
    conditions = {"PredictorReady": down, "IngressReady": down, "Ready": down, "Stopped": Condition()}
    return {
        "observedGeneration": generation,
        "deploymentMode": "Standard",
        "modelStatus": {"transitionStatus": "UpToDate"},
        "conditions": dated(conditions, was, now()),
    }


def _plain(condition: Json) -> Json:
    return {key: condition[key] for key in ("status", "reason", "message") if key in condition}


def _model_status(newest: RevisionHealth, was: Json, *, up: bool, at: str) -> Json:
    info = (was.get("modelStatus") or {}).get("lastFailureInfo")
    if newest.ready:
        transition, state, info = "UpToDate", "Loaded", None
    elif newest.failure:
        transition, state = "BlockedByFailedLoad", "FailedToLoad"
        info = failure(info, "ModelLoadFailed", failed_with(newest.failure), newest.failure.code, "", at)
    else:
        transition, state = "InProgress", "Loading" if newest.copies else "Pending"
    shown: Json = {
        "transitionStatus": transition,
        "states": {"activeModelState": "Loaded" if up else "", "targetModelState": state},
        "copies": {"failedCopies": int(bool(newest.failure)), "totalCopies": int(newest.ready)},
    }
    return shown | ({"lastFailureInfo": info} if info else {})
