"""State of a live InferenceService in KServe's Standard mode, and the specs that move its traffic there.

KServe 0.21 keeps a Deployment for spec.predictor and one for each entry of spec.canary, named by `predictor.name`; the
Deployment's name is the revision here. Of a canary it writes name, ready and trafficPercent into status.canaryStatuses, and
nothing of why one does not load. status.observedGeneration is the Deployment's, so it says nothing of this object.
"""

from __future__ import annotations

import copy
from typing import Any

from hallmark import object_labels
from hallmark.artifacts.release import Target
from hallmark.errors import Refused
from hallmark.render.inferenceservice import OWNED, canary, model_of, target_of
from hallmark.rollout.capacity import Floors

Object = dict[str, Any]

_NAMES = ("Standard", "RawDeployment")
FAILED = ("BlockedByFailedLoad", "InvalidSpec")
"""What modelStatus.transitionStatus says of a model that does not load."""


def is_standard(live: Object) -> bool:
    """Is it served in Standard mode, which KServe called RawDeployment before?"""
    return (live["metadata"].get("annotations") or {}).get(object_labels.MODE) in _NAMES


def candidate(live: Object) -> Object | None:
    """The entry of spec.canary; none where no rollout runs, `Refused` where there are several."""
    entries = live["spec"].get("canary") or []
    if len(entries) > 1:
        name = live["metadata"]["name"]
        raise Refused(
            f"InferenceService {name} has {len(entries)} canaries",
            expected="one candidate at a time",
            got=", ".join(str(entry["predictor"].get("name")) for entry in entries),
            fix=f"take all but one out of spec.canary: `kubectl edit inferenceservice {name} -n {name}`",
        )
    return dict(entries[0]) if entries else None


def share(live: Object) -> int | None:
    """trafficPercent of the candidate; none where there is none."""
    entry = candidate(live)
    return None if entry is None else int(entry["trafficPercent"])


def target(live: Object) -> Target | None:
    """The version of the candidate, or of stable where there is none; none where Hallmark did not write it."""
    entry = candidate(live)
    return target_of(entry["predictor"] if entry else live["spec"]["predictor"])


def revision(live: Object, predictor: Object) -> str:
    """The Deployment of a predictor of this object."""
    parts = (live["metadata"]["name"], str(predictor.get("name") or ""), "predictor")
    return "-".join(part for part in parts if part)


def component(live: Object) -> Object:
    """The predictor's status in the words that KServe has for Knative mode, so that one reader reads both."""
    entry = candidate(live)
    stable = revision(live, live["spec"]["predictor"])
    told = {str(each.get("name")): each for each in (live.get("status") or {}).get("canaryStatuses") or []}
    if entry is None:
        # While canaries are told of that the spec has no more, the status is older than the spec.
        traffic = [] if told else [{"revisionName": stable, "percent": 100}]
        return {
            "latestCreatedRevision": stable,
            "latestReadyRevision": "" if told else stable,
            "latestRolledoutRevision": stable,
            "traffic": traffic,
        }
    newest = revision(live, entry["predictor"])
    mine = told.get(str(entry["predictor"].get("name"))) or {}
    ready, percent = bool(mine.get("ready")), int(mine.get("trafficPercent") or 0) if mine else None
    # What is not ready is left out of the route, and stable gets its share.
    routed = int(percent or 0) if ready else 0
    whole = ready and routed == 100
    found = {
        "latestCreatedRevision": newest,
        "latestReadyRevision": newest if ready else stable,
        "latestRolledoutRevision": newest if whole else stable,
        "traffic": [{"revisionName": stable, "percent": 100 - routed}, {"revisionName": newest, "percent": routed}],
    }
    return found | ({"previousRolledoutRevision": stable} if whole else {})


def refusal(live: Object) -> str:
    """Reason why the candidate does not load, where KServe's status has one."""
    for each in (live.get("status") or {}).get("canaryStatuses") or []:
        status = each.get("modelStatus") or {}
        if status.get("transitionStatus") in FAILED:
            return reason(status)
    return ""


def reason(status: Object) -> str:
    """Reason of a failed load in a modelStatus, or that it has none."""
    failure = status.get("lastFailureInfo") or {}
    message = failure.get("message") or "its status says no more; `kubectl describe` its pods"
    return f"{failure.get('reason') or status.get('transitionStatus')}: {message}"


def moved(live: Object, *, percent: int | None, to: Target | None = None, floors: Floors | None = None) -> Object:
    """The spec to merge that gives `to`, or the candidate there is, `percent` of the traffic; with None promotes it.

    floors: lowest numbers of pods; by default the candidate keeps those it has, and one where it gets nothing.
    """
    entry = candidate(live)
    if to is not None and percent is None:
        return {"predictor": {**model_of(to), **_minimum(live, floors)}, "canary": []}
    if to is not None:
        entry = canary(to, percent=percent or 0, name=_free_name(live, to))
    if entry is None:
        return {"canary": []}
    if percent is not None:
        entry = copy.deepcopy(entry)
        entry["trafficPercent"] = percent
        if floors is not None:
            entry["predictor"]["minReplicas"] = min(floors.candidate, _most(live))
        elif not percent:
            entry["predictor"]["minReplicas"] = 1
        return {"canary": [entry], **({"predictor": _minimum(live, floors)} if floors else {})}
    # All that the candidate says, in stable's place: the pods stay, since their Deployment keeps its name and its template.
    promoted = {key: value for key, value in entry["predictor"].items() if key != "minReplicas"}
    promoted["model"] = {key: value for key, value in promoted["model"].items() if key != "name"}
    return {"predictor": {**promoted, **_minimum(live, floors)}, "canary": []}


def _minimum(live: Object, floors: Floors | None) -> Object:
    """minReplicas of the predictor for these floors: KServe takes the candidate's pods off it, and allows those no more of them."""
    return {} if floors is None else {"minReplicas": min(floors.stable + floors.candidate, _most(live))}


def _most(live: Object) -> int:
    """Pods that a predictor may have; without a limit as many as it has at least, which KServe makes the limit."""
    predictor = live["spec"]["predictor"]
    return int(predictor.get("maxReplicas") or predictor.get("minReplicas") or 1)


def kept(current: Object, desired: Object, *, force: bool) -> bool:
    """Keep in `desired` what the live object owns: its predictor's name, and unless `force` its candidate; was there one?"""
    predictor = current["spec"]["predictor"]
    if "name" in predictor:
        # Without a new model KServe refuses another name; with one the Deployment is renewed in place.
        desired["spec"]["predictor"]["name"] = predictor["name"]
    if force or not current["spec"].get("canary"):
        return False
    desired["spec"]["canary"] = copy.deepcopy(current["spec"]["canary"])
    mine = desired["spec"]["predictor"]
    for key in ("storageUri", "env"):
        if key in (predictor.get("model") or {}):
            mine["model"][key] = copy.deepcopy(predictor["model"][key])
    mine |= {key: copy.deepcopy(predictor[key]) for key in OWNED if key in predictor}
    return True


def _free_name(live: Object, to: Target) -> str:
    name = f"v{to.version}"
    return name if name != live["spec"]["predictor"].get("name") else f"{name}b"
