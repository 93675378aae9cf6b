"""Status of an InferenceService, in KServe's own fields, reasons and words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from local_cluster.predictor import InvalidSpec
from local_cluster.rollout import RevisionTraffic
from local_cluster.supervisor import ContainerEnd

Json = dict[str, Any]

# These decide Ready; the others are information, by their severity.
_DECIDING = ("PredictorReady", "IngressReady")


class Condition(BaseModel):
    """A condition without its time: True, False or Unknown, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: str = "True"
    reason: str = ""
    message: str = ""


class RevisionHealth(BaseModel):
    """State of a revision's pod: whether it is ready, how it last failed, and how many copies there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ready: bool = False
    failure: ContainerEnd | None = None
    copies: int = 0


class StatusFacts(BaseModel):
    """All that a status is made from.

    problem: why the spec cannot be served; the revisions before it go on serving.
    gateway: why the gateway does not have the traffic yet; empty when it does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    url: str
    generation: int
    rollout: RevisionTraffic
    health: dict[str, RevisionHealth]
    runtime: str = ""
    problem: InvalidSpec | None = None
    gateway: str = ""
    stopped: bool = False


def build(facts: StatusFacts, was: Json, *, at: str) -> Json:
    """The status, with the transition times of `was` kept where a condition did not change."""
    configuration, route = _configuration(facts), _route(facts)
    predictor = _predictor(facts, configuration, route)
    ingress = _ingress(facts)
    conditions: dict[str, Condition] = {
        "PredictorReady": predictor,
        "IngressReady": ingress,
        "Stopped": Condition(status="True" if facts.stopped else "False"),
    }
    if not facts.stopped:
        conditions |= {
            "PredictorConfigurationReady": configuration,
            "PredictorRouteReady": route,
            "LatestDeploymentReady": _across(configuration, "PredictorConfigurationReady"),
            "RoutesReady": _across(route, "PredictorRouteReady"),
        }
    conditions["Ready"] = all_of([predictor, ingress])
    status: Json = {
        "observedGeneration": facts.generation,
        "deploymentMode": "Knative",
        "conditions": dated(conditions, was, at),
        "modelStatus": _model_status(facts, was, at),
    }
    if facts.runtime:
        status["clusterServingRuntimeName"] = facts.runtime
    if facts.stopped:
        return status
    component = facts.rollout.status()
    if facts.rollout.traffic:
        component |= {"url": facts.url, "restUrl": facts.url, "address": {"url": facts.url}}
        status |= {"url": facts.url, "address": {"url": facts.url}}
    if component:
        status["components"] = {"predictor": component}
    return status


def condition(status: Json, type_: str) -> Json:
    """The condition of a type in a status; empty where there is none."""
    return next((c for c in status.get("conditions") or [] if c.get("type") == type_), {})


def _configuration(facts: StatusFacts) -> Condition:
    if facts.problem:
        return Condition(status="False", reason=facts.problem.reason, message=facts.problem.message)
    created = facts.rollout.created
    health = facts.health.get(created, RevisionHealth())
    if health.ready:
        return Condition()
    if health.failure:
        return Condition(
            status="False",
            reason="RevisionFailed",
            message=f'Revision "{created}" failed with message: Container failed with: {failed_with(health.failure)}.',
        )
    return Condition(status="Unknown")


def _route(facts: StatusFacts) -> Condition:
    rollout = facts.rollout
    if not rollout.traffic:
        failed = facts.problem or facts.health.get(rollout.created, RevisionHealth()).failure
        configuration = f'Configuration "{facts.name}-predictor"'
        if failed:
            text = f"{configuration} does not have any ready Revision."
            return Condition(status="False", reason="RevisionMissing", message=text)
        text = f"{configuration} is waiting for a Revision to become ready."
        return Condition(status="Unknown", reason="RevisionMissing", message=text)
    if facts.gateway:
        return Condition(status="False", reason="IngressNotConfigured", message=facts.gateway)
    for name, share in rollout.shares.items():
        health = facts.health.get(name, RevisionHealth())
        if not share or health.ready:
            continue
        if health.failure:
            text = f'Revision "{name}" failed to become ready.'
            return Condition(status="False", reason="RevisionMissing", message=text)
        return Condition(status="Unknown", reason="RevisionMissing", message=f'Revision "{name}" is not yet ready.')
    return Condition()


def _predictor(facts: StatusFacts, configuration: Condition, route: Condition) -> Condition:
    if facts.stopped:
        return Condition(status="False", reason="Stopped")
    return all_of([configuration, route])


def _ingress(facts: StatusFacts) -> Condition:
    if facts.stopped:
        return Condition(status="False", reason="Stopped")
    if facts.gateway:
        return Condition(status="False", reason="IngressNotConfigured", message=facts.gateway)
    if not facts.rollout.traffic:
        return Condition(status="False", reason="Predictor ingress not created")
    return Condition()


def all_of(conditions: list[Condition]) -> Condition:
    """False where one is False, else Unknown where one is, with its reason; a False that only waits for an Unknown is that."""
    for status in ("False", "Unknown"):
        found = next((c for c in conditions if c.status == status), None)
        if found and not (status == "False" and found.reason == "Predictor ingress not created" and _waits(conditions)):
            return found
    return Condition()


def _waits(conditions: list[Condition]) -> bool:
    return any(c.status == "Unknown" for c in conditions)


def _across(one: Condition, type_: str) -> Condition:
    return Condition() if one.status == "True" else Condition(status=one.status, reason=f"{type_} not ready")


def dated(conditions: dict[str, Condition], was: Json, at: str) -> list[Json]:
    """Conditions as a status has them, with the times of `was` where nothing changed."""
    shown = []
    for type_ in sorted(conditions):
        now = conditions[type_]
        before = condition(was, type_)
        time = before.get("lastTransitionTime", at) if before.get("status") == now.status else at
        item: Json = {"type": type_, "status": now.status, "lastTransitionTime": time}
        if type_ not in (*_DECIDING, "Ready"):
            item["severity"] = "Info"
        item |= {key: value for key, value in (("reason", now.reason), ("message", now.message)) if value}
        shown.append(item)
    return shown


def _model_status(facts: StatusFacts, was: Json, at: str) -> Json:
    rollout, before = facts.rollout, was.get("modelStatus") or {}
    target = facts.health.get(rollout.created, RevisionHealth())
    active = (before.get("states") or {}).get("activeModelState", "")
    if any(facts.health.get(name, RevisionHealth()).ready for name, share in rollout.shares.items() if share):
        active = "Loaded"
    info: Json | None = before.get("lastFailureInfo")
    if facts.stopped:
        return {"transitionStatus": "UpToDate", "states": {"activeModelState": "", "targetModelState": ""}}
    if facts.problem:
        transition, state = "InvalidSpec", "FailedToLoad"
        info = failure(info, facts.problem.reason, facts.problem.message, None, "", at)
    elif target.ready:
        transition, state, info = "UpToDate", "Loaded", None
    elif target.failure:
        transition, state = "BlockedByFailedLoad", "FailedToLoad"
        message, code = failed_with(target.failure), target.failure.code
        info = failure(info, "ModelLoadFailed", message, code, rollout.created, at)
    else:
        transition, state = "InProgress", "Loading" if target.copies else "Pending"
    shown: Json = {
        "transitionStatus": transition,
        "states": {"activeModelState": active, "targetModelState": state},
        "copies": {"failedCopies": int(bool(target.failure)), "totalCopies": int(target.ready)},
    }
    return shown | ({"lastFailureInfo": info} if info else {})


def failure(before: Json | None, reason: str, message: str, code: int | None, revision: str, at: str) -> Json:
    """lastFailureInfo, with the time of `before` where it says the same."""
    info: Json = {"reason": reason, "message": message}
    info |= {"exitCode": code} if code is not None else {}
    info |= {"modelRevisionName": revision} if revision else {}
    same = {key: value for key, value in (before or {}).items() if key != "time"} == info
    return info | {"time": before["time"] if same and before and "time" in before else at}


def failed_with(end: ContainerEnd) -> str:
    """Reason for a container's end, in a line: its last one, else its exit code."""
    return (end.message or f"exit code {end.code}").rstrip(".")
