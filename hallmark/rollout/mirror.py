"""Shadow in KServe's Standard mode: an HTTPRoute of ours beside KServe's, for as long as a candidate gets copies and no traffic.

KServe's route matches by a regular expression, and the Gateway API orders a path prefix on the same host before it. All else is
taken from KServe's: the gateway, the headers, the timeout, the port. The gateway's number of a request is in its copy too.
"""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlsplit

from hallmark import object_labels
from hallmark.errors import Unavailable
from hallmark.rollout import standard

Object = dict[str, Any]


def path(live: Object) -> str:
    """The HTTPRoutes of the object's namespace."""
    return f"/apis/gateway.networking.k8s.io/v1/namespaces/{live['metadata']['namespace']}/httproutes"


def name(live: Object) -> str:
    """The name of our route."""
    return f"{live['metadata']['name']}-rollout"


def share(live: Object) -> int:
    """Percent of stable's requests that the object wants copied, in whole ones; 0 where its candidate has traffic or there is none."""
    told = (live["metadata"].get("annotations") or {}).get(object_labels.SHADOW)
    if not told or not standard.is_standard(live) or standard.share(live) != 0:
        return 0
    return max(1, round(float(told)))


def route(theirs: Object, live: Object) -> Object:
    """Our route, made from KServe's: stable answers, and copies of the share go to the candidate.

    `Unavailable` where KServe's does not lead to stable at the object's own host yet.
    """
    component = standard.component(live)
    stable, candidate = component["latestRolledoutRevision"], component["latestCreatedRevision"]
    host = urlsplit(str((live.get("status") or {}).get("url") or "")).hostname
    leads = [
        (rule, ref)
        for rule in theirs["spec"].get("rules") or []
        for ref in rule.get("backendRefs") or []
        if ref.get("name") == stable
    ]
    if host not in theirs["spec"].get("hostnames", []) or not leads:
        raise Unavailable(
            f"{live['metadata']['name']}: no shadow yet",
            expected=f"KServe's HTTPRoute to lead from {host} to {stable}",
            got=", ".join(theirs["spec"].get("hostnames", [])) or "no host",
        )
    rule, ref = leads[-1]  # where KServe has several, the last one is for what is not gRPC
    target = {key: value for key, value in ref.items() if key in ("group", "kind", "namespace", "port")}
    copies = {"backendRef": {**target, "name": candidate}, "percent": share(live)}
    mine = {
        **{key: copy.deepcopy(rule[key]) for key in ("timeouts",) if key in rule},
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [*copy.deepcopy(rule.get("filters") or []), {"type": "RequestMirror", "requestMirror": copies}],
        "backendRefs": [{**target, "name": stable, "weight": 100}],
    }
    meta = live["metadata"]
    owner = {"apiVersion": live["apiVersion"], "kind": live["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": name(live),
            "namespace": meta["namespace"],
            "labels": {key: value for key, value in (meta.get("labels") or {}).items() if key.startswith("app.")},
            "ownerReferences": [owner],
        },
        "spec": {"parentRefs": copy.deepcopy(theirs["spec"]["parentRefs"]), "hostnames": [host], "rules": [mine]},
    }
