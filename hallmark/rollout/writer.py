"""InferenceService writer, the only client that changes what is served: patches InferenceServices through the Kubernetes API, here and on EKS alike."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hallmark import object_labels, people
from hallmark.artifacts.release import Target
from hallmark.declaration.traffic import BUILDS, KNATIVE, STANDARD, Mode, TrafficAdapter
from hallmark.errors import Conflict, HallmarkError, ModelRefused, NotFound, Refused, TimedOut, Unavailable
from hallmark.names import MONITOR_PORT
from hallmark.remote import broken
from hallmark.render.inferenceservice import OWNED, model_of, target_of
from hallmark.rollout import clusters, mirror, standard
from hallmark.rollout.capacity import Floors
from hallmark.settings import Settings

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
SHADOW_NOTE, FENCE_NOTE = object_labels.SHADOW, object_labels.FENCE
_SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
_CONTAINER = "kserve-container"
_POLL = 0.2
_TRIES = 5

Object = dict[str, Any]
Note = Callable[[str], None]


class InferenceServiceWriter:
    """InferenceServices of one cluster, read and patched with their resourceVersion as compare-and-set."""

    def __init__(self, client: Any) -> None:
        from kubernetes import client as kubernetes

        self.custom = kubernetes.CustomObjectsApi(client)
        self.core = kubernetes.CoreV1Api(client)
        self.host = str(client.configuration.host)
        self._build: str | None = None

    @classmethod
    def connect(
        cls, settings: Settings, *, kubeconfig: Path | None = None, context: str | None = None
    ) -> InferenceServiceWriter:
        """The cluster of `kubeconfig` and `context`; by default as `clusters.choose` has it."""
        return cls(clusters.client(clusters.choose(settings, kubeconfig=kubeconfig, context=context)))

    def live(self, name: str) -> Object | None:
        """The InferenceService of domain `name` as it is now; none where there is none."""
        try:
            found = self._call(self.custom.get_namespaced_custom_object, GROUP, VERSION, name, PLURAL, name)
        except NotFound:
            return None
        return dict(found)

    def all(self) -> list[Object]:
        """Every InferenceService of the cluster."""
        return list(self._call(self.custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)["items"])

    def adapter(self, live: Object | None) -> TrafficAdapter:
        """What carries the traffic of a live object, or of one that is to come: the local cluster says in its version what it is."""
        if live is not None and standard.is_standard(live):
            return STANDARD
        if self._build is None:
            self._build = str(self._raw("GET", "/version").get("gitVersion")).partition("+")[2]
        return BUILDS.get(self._build, KNATIVE)

    def person(self) -> str:
        """The one who asks, as the cluster knows them; the account of this machine where it does not say."""
        from kubernetes.client import AuthenticationV1Api, V1SelfSubjectReview

        ask = AuthenticationV1Api(self.core.api_client).create_self_subject_review
        try:
            name = self._call(ask, V1SelfSubjectReview()).status.user_info.username
        except HallmarkError:
            name = ""
        return str(name or people.account())

    def pods(self, name: str) -> list[Object]:
        """The pods that serve domain `name`."""
        answer = self._call(
            self.core.list_namespaced_pod,
            name,
            label_selector=f"serving.kserve.io/inferenceservice={name}",
            _preload_content=False,
        )
        return list(json.loads(answer.data)["items"])

    def count_ready(self, name: str, revision: str) -> int:
        """Number of ready pods of a revision that have not been told to end."""
        mine = [pod for pod in self.pods(name) if object_labels.revision_of(pod) == revision]
        return sum(object_labels.is_ready(pod) for pod in mine if not pod["metadata"].get("deletionTimestamp"))

    def served(self, name: str, revision: str) -> Target | None:
        """The version that the pods of a revision serve; none where none of them says."""
        for pod in self.pods(name):
            meta = pod["metadata"]
            uri = (meta.get("annotations") or {}).get(_SOURCE)
            for container in (pod.get("spec") or {}).get("containers") or []:
                told = object_labels.revision_of(pod) == revision and container["name"] == _CONTAINER
                if told and (found := target_of({"model": {"storageUri": uri, "env": container.get("env")}})):
                    return found
        return None

    def sidecar(self, pod: Object, path: str, *, port: int = MONITOR_PORT, body: Any = None) -> bytes:
        """GET `path` of a pod's sidecar through the API server's proxy; POST where there is a `body`, as JSON."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        where, _, query = path.partition("?")
        answer = self._call(
            self.core.api_client.call_api,
            f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{where}",
            "GET" if body is None else "POST",
            query_params=[tuple(pair.split("=", 1)) for pair in query.split("&") if pair],
            body=body,
            header_params={} if body is None else {"Content-Type": "application/json"},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        return bytes(answer.data)

    def apply(self, wanted: Object, *, force: bool = False) -> str:
        """Make an object what `wanted` says: "created", "configured", "unchanged", or "kept" where a running
        rollout owns the model and the share and only the rest was applied (`force` takes them back)."""
        namespace = wanted["metadata"].get("namespace")
        if namespace:
            self.namespace(namespace)
        for _ in range(_TRIES):
            # A controller may write the status between our read and our write: what is asked for is merged into what is there then.
            with contextlib.suppress(Conflict):
                return self._merge(wanted, force=force)
        return self._merge(wanted, force=force)

    def _merge(self, wanted: Object, *, force: bool) -> str:
        """One try of `apply`; `Conflict` where the object changed since it was read."""
        name, base = wanted["metadata"]["name"], _path(wanted)
        try:
            current = self._raw("GET", f"{base}/{name}")
        except NotFound:
            self._raw("POST", base, wanted)
            return "created"
        desired = copy.deepcopy(current)
        for key in wanted.keys() - {"metadata", "status"}:
            desired[key] = copy.deepcopy(wanted[key])
        for key in ("labels", "annotations"):
            if wanted["metadata"].get(key):
                desired["metadata"][key] = {**(current["metadata"].get(key) or {}), **wanted["metadata"][key]}
        kept = wanted["kind"] == "InferenceService" and _keep_rollout(current, desired, force=force)
        desired.pop("status", None)
        if desired == {key: value for key, value in current.items() if key != "status"}:
            return "kept" if kept else "unchanged"
        # What a webhook filled in is missing in `wanted`, and is filled in again.
        after = self._raw("PUT", f"{base}/{name}", desired)
        if kept:
            return "kept"
        return "unchanged" if _asked(after) == _asked(current) else "configured"

    def namespace(self, name: str) -> None:
        """Make sure that namespace `name` exists."""
        try:
            self._raw("GET", f"/api/v1/namespaces/{name}")
        except NotFound:
            self._raw(
                "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )

    def config_map(self, namespace: str, name: str) -> Object:
        """A ConfigMap; `NotFound` where there is none."""
        return self._raw("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def write_config_map(self, wanted: Object, *, create: bool) -> Object:
        """Create a ConfigMap, or replace it with its resourceVersion as compare-and-set; `Conflict` where it lost."""
        path = f"/api/v1/namespaces/{wanted['metadata']['namespace']}/configmaps"
        if create:
            return self._raw("POST", path, wanted)
        return self._raw("PUT", f"{path}/{wanted['metadata']['name']}", wanted)

    def provide(self, wanted: Object) -> None:
        """Make sure that a ConfigMap named by its digest is there; who may not create it waits for Git's to come."""
        meta = wanted["metadata"]
        try:
            self._raw("POST", _path(wanted), wanted)
        except Conflict:
            return
        except Refused as error:
            try:
                self.config_map(meta["namespace"], meta["name"])
            except HallmarkError:
                raise Refused(
                    f"ConfigMap {meta['name']}, the serving config of {meta['namespace']}, is not there and cannot be made",
                    expected="the right to create it, or Git's: `hallmark render` wrote it",
                    got=error.message,
                    fix="merge it and let it be applied, then release again",
                ) from error

    def shift(
        self,
        live: Object,
        *,
        percent: int | None,
        target: Target | None = None,
        notes: Mapping[str, str | None] | None = None,
        floors: Floors | None = None,
    ) -> Object:
        """Patch model, share and annotations in one write; `Conflict` where the object changed since `live` was read.

        percent: the share of the newest; None promotes it.   target: a new newest.
        notes:   annotations to set, or with None to take away; untouched by default.
        floors:  lowest numbers of pods, where the object itself says them, as in Standard mode; elsewhere `hold` does.
        """
        if standard.is_standard(live):
            spec = standard.moved(live, percent=percent, to=target, floors=floors)
        else:
            spec = {"predictor": {"canaryTrafficPercent": percent, **(model_of(target) if target else {})}}
        body: Object = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "spec": spec}
        if notes:
            body["metadata"]["annotations"] = dict(notes)
        return self._patch(live, body)

    def shift_away(self, live: Object, *, notes: Mapping[str, str | None], minimum: int) -> Object:
        """Take the candidate out of an object in Standard mode, and set annotations; compare-and-set as in `shift`.

        minimum: of stable's pods, from now on.
        """
        meta = {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": dict(notes)}
        return self._patch(live, {"metadata": meta, "spec": {"predictor": {"minReplicas": minimum}, "canary": []}})

    def hold(self, live: Object, floors: Floors) -> Object:
        """Scale both variants to at least `floors`, and change nothing else; the object after it.

        Standard mode: minReplicas of the InferenceService. Knative mode, where another minReplicas is another revision: the
        annotation of the revisions themselves, which Knative hands on to their autoscalers.
        """
        if standard.is_standard(live):
            spec = standard.moved(live, percent=standard.share(live), floors=floors)
            now = live["spec"]
            if spec["canary"] == now.get("canary") and spec["predictor"].items() <= now["predictor"].items():
                return live
            return self._patch(
                live, {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "spec": spec}
            )
        stable, newest = revisions(live)
        for revision, pods in {stable: floors.stable, newest: floors.candidate}.items():
            with contextlib.suppress(NotFound):  # the local cluster has no such objects, nor anything that scales
                if revision and pods > self._floor(live, revision):
                    self._set_floor(live, revision, pods)
        return live

    def let_go(self, live: Object) -> None:
        """Give stable's number of pods back to what its InferenceService says; in Knative mode, where `hold` did not change that."""
        revision = revisions(live).stable
        if not standard.is_standard(live) and revision:
            with contextlib.suppress(NotFound):
                self._set_floor(live, revision, int(live["spec"]["predictor"].get("minReplicas", 1)))

    def mirror(self, live: Object) -> None:
        """Make our HTTPRoute what the object says, in Standard mode: it is there while the candidate gets copies and nothing else."""
        if not standard.is_standard(live):
            return None
        for _ in range(_TRIES):
            # A watch does the same at its ticks: whoever comes second finds what the other made or took away.
            with contextlib.suppress(Conflict):
                return self._mirror(live)
        return self._mirror(live)

    def _mirror(self, live: Object) -> None:
        """One try of `mirror`; `Conflict` where the route changed since it was looked for."""
        path, name = mirror.path(live), mirror.name(live)
        found: Object | None = None
        with contextlib.suppress(NotFound):
            found = self._raw("GET", f"{path}/{name}")
        if not mirror.share(live):
            if found is not None:
                with contextlib.suppress(NotFound):
                    self._raw("DELETE", f"{path}/{name}")
            return
        wanted = mirror.route(self._raw("GET", f"{path}/{live['metadata']['name']}"), live)
        if found is None:
            self._raw("POST", path, wanted)
        elif found["spec"]["rules"] != wanted["spec"]["rules"]:
            self._raw("PUT", f"{path}/{name}", {**found, "spec": wanted["spec"]})

    def _floor(self, live: Object, revision: str) -> int:
        notes = self._raw("GET", _revision(live, revision))["metadata"].get("annotations") or {}
        return int(notes.get(_MIN_SCALE) or 0)

    def _set_floor(self, live: Object, revision: str, pods: int) -> None:
        body = {"metadata": {"annotations": {_MIN_SCALE: str(pods)}}}
        self._raw("PATCH", _revision(live, revision), body, content="application/merge-patch+json")

    def note(self, live: Object, notes: Mapping[str, str | None]) -> Object:
        """Set annotations, or with None take them away, and nothing else; compare-and-set as in `shift`."""
        meta = {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": dict(notes)}
        return self._patch(live, {"metadata": meta})

    def wait(
        self,
        name: str,
        settled: Callable[[Object], bool],
        *,
        generation: int,
        seconds: float,
        what: str,
        failing: bool = True,
        moved: Callable[[Object], bool] | None = None,
    ) -> Object:
        """The live object once `settled`, its pods marked; with `failing`, a newest revision that cannot load ends the wait at once.

        generation: the object's, as of the patch. KServe writes its Knative service's or Deployment's own into the status,
        which may never reach it.   moved: does a status that is behind it know of the patch all the same?
        """
        deadline = time.monotonic() + seconds
        live: Object | None = None
        while time.monotonic() < deadline:
            live = self.live(name)
            if live is None:
                raise NotFound(f"InferenceService {name}/{name} was deleted while {what}")
            status = live.get("status") or {}
            known = standard.is_standard(live) or int(status.get("observedGeneration") or 0) >= generation
            if known or (moved is not None and moved(live)):
                if settled(live):
                    self.mark(live)
                    return live
                if failing:
                    self._raise_failed(name, live)
            time.sleep(_POLL)
        raise TimedOut(
            f"{name}: {what} did not happen in {seconds:g} s",
            expected="the InferenceService to settle",
            got=condition(live or {}, "Ready"),
            fix=f"look at `kubectl describe isvc {name} -n {name}`, or give it longer with --timeout",
        )

    def _raise_failed(self, name: str, live: Object) -> None:
        if got := refusal(live) or self._crashed(name, live):
            raise ModelRefused(
                f"{name}: the new revision does not load, and gets no traffic",
                expected=f"{predictor_status(live).get('latestCreatedRevision') or 'a first revision'} to become ready",
                got=got,
                fix=f"`hallmark rollback {name}`, mend the model, release again",
            )

    def _crashed(self, name: str, live: Object) -> str:
        """Reason from the candidate's pods in Standard mode, where KServe's status does not name why one does not load."""
        if not standard.is_standard(live) or standard.candidate(live) is None or ready(live):
            return ""
        newest = predictor_status(live)["latestCreatedRevision"]
        for pod in self.pods(name):
            status = pod.get("status") or {}
            told = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
            for container in told if object_labels.revision_of(pod) == newest else []:
                waiting = (container.get("state") or {}).get("waiting") or {}
                ended = (container.get("lastState") or {}).get("terminated") or {}
                if waiting.get("reason") in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull"):
                    why = ended.get("message") or waiting.get("message") or "no message"
                    return f"{container['name']}: {waiting['reason']}: {why}"
        return ""

    def mark(self, live: Object) -> None:
        """Label the pods of both variants `endpoint: stable` or `canary`, where this account may: for metrics and people.

        No template can say it: a revision is made as canary and lives on as stable, and a change of it makes new pods.
        """
        meaning = variants(live)
        try:
            for pod in self.pods(live["metadata"]["name"]):
                meta = pod["metadata"]
                variant = meaning.get(object_labels.revision_of(pod))
                if variant and (meta.get("labels") or {}).get(object_labels.VARIANT) != variant:
                    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
                    body = {"metadata": {"labels": {object_labels.VARIANT: variant}}}
                    self._raw("PATCH", path, body, content="application/merge-patch+json")
        except HallmarkError:
            return  # Nothing of ours reads it: who is stable is the InferenceService's to say.

    def _patch(self, live: Object, body: Object) -> Object:
        """Compare-and-set on what people and programs ask for: a status that was written meanwhile is nobody's change."""
        path = f"{_path(live)}/{live['metadata']['name']}"
        for _ in range(_TRIES):
            try:
                return self._raw("PATCH", path, body, content="application/merge-patch+json")
            except Conflict:
                now = self.live(live["metadata"]["name"])
                if now is None or _asked(now) != _asked(live):
                    raise
                body["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
        return self._raw("PATCH", path, body, content="application/merge-patch+json")

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """One call of a resource that has no method here, such as a Lease; errors as everywhere."""
        return self._raw(method, path, body)

    def _raw(self, method: str, path: str, body: Object | None = None, *, content: str = "application/json") -> Object:
        answer = self._call(
            self.core.api_client.call_api,
            path,
            method,
            body=body,
            header_params={"Accept": "application/json", "Content-Type": content},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        return dict(json.loads(answer.data))

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return function(*args, _request_timeout=10, **kwargs)
        except ApiException as error:
            raise _translated(error) from error
        except HTTPError as error:
            raise Unavailable(
                f"the cluster at {self.host} does not answer",
                got=broken(error),
                fix="run `hallmark up`, or check --kubeconfig",
            ) from error


def _asked(live: Object) -> tuple[Any, ...]:
    """All of an object but its status."""
    meta = live["metadata"]
    asked = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    return meta.get("uid"), asked, meta.get("annotations") or {}, meta.get("labels") or {}


def share(live: Object) -> int | None:
    """The candidate's percent of the traffic; none where no rollout runs."""
    if standard.is_standard(live):
        return standard.share(live)
    value = live["spec"]["predictor"].get("canaryTrafficPercent")
    return None if value is None else int(value)


def live_target(live: Object) -> Target:
    """The version that the newest revision serves."""
    target = standard.target(live) if standard.is_standard(live) else target_of(live["spec"]["predictor"])
    if target is None:
        raise Refused(
            f"InferenceService {live['metadata']['name']} was not released by Hallmark",
            expected="a predictor with HALLMARK_MODEL_VERSION and HALLMARK_MODEL_DIGEST in its env",
            got="none",
            fix="apply a rendered file first: `hallmark apply`",
        )
    return target


def predictor_status(live: Object) -> Object:
    """status.components.predictor, or {}; in Standard mode what says the same there."""
    if standard.is_standard(live):
        return standard.component(live)
    return dict(((live.get("status") or {}).get("components") or {}).get("predictor") or {})


def condition(live: Object, kind: str) -> str:
    """A condition in words: "True", or status, reason and message."""
    for item in (live.get("status") or {}).get("conditions") or []:
        if item.get("type") == kind:
            words = [str(item.get(key)) for key in ("status", "reason", "message") if item.get(key)]
            return ": ".join(words)
    return "Unknown"


def ready(live: Object) -> bool:
    """Is it ready, with its newest revision the one that answers readiness?"""
    component = predictor_status(live)
    created = component.get("latestCreatedRevision")
    return (
        condition(live, "Ready").startswith("True")
        and bool(created)
        and created == component.get("latestReadyRevision")
    )


def gets(percent: int) -> Callable[[Object], bool]:
    """Is the newest revision ready and routed exactly `percent` of the traffic?"""

    def settled(live: Object) -> bool:
        newest = predictor_status(live).get("latestCreatedRevision")
        routed = sum(
            int(item.get("percent") or 0)
            for item in predictor_status(live).get("traffic") or []
            if item.get("revisionName") == newest
        )
        return ready(live) and routed == percent

    return settled


def mode_of(live: Object) -> Mode:
    """KServe's mode of a live object; it keeps that as long as it lives."""
    return "Standard" if standard.is_standard(live) else "Knative"


class Revisions(NamedTuple):
    """The revision that is stable, and the newest, which may be the same; empty while there is none."""

    stable: str
    newest: str


def revisions(live: Object) -> Revisions:
    """The revisions that the object's status names, in both modes."""
    component = predictor_status(live)
    return Revisions(*(str(component.get(f"latest{each}Revision") or "") for each in ("Rolledout", "Created")))


def variants(live: Object) -> dict[str, str]:
    """stable or canary of each revision that the traffic names, if only with nothing.

    The status tells of revisions, and the record of who is stable: a newest one that has all of the traffic is a canary until it is promoted.
    """
    from hallmark.rollout import record as records

    component = predictor_status(live)
    named = {str(item.get("revisionName")) for item in component.get("traffic") or []}
    stable, newest = revisions(live)
    found = {newest: "canary"} if share(live) is not None else {}
    resting = (records.written(live) or records.RolloutRecord()).stable
    if found and stable == newest and resting is not None and resting != live_target(live):
        stable = str(component.get("previousRolledoutRevision") or "")
    return {name: variant for name, variant in {**found, stable: "stable"}.items() if name in named}


def _keep_rollout(current: Object, desired: Object, *, force: bool) -> bool:
    if standard.is_standard(current):
        return standard.kept(current, desired, force=force)
    mine, theirs = desired["spec"]["predictor"], current["spec"]["predictor"]
    if force or theirs.get("canaryTrafficPercent") is None:
        return False
    before = copy.deepcopy(mine)
    mine["canaryTrafficPercent"] = theirs["canaryTrafficPercent"]
    model = theirs.get("model") or {}
    for key in ("storageUri", "env"):
        if key in model:
            mine["model"][key] = copy.deepcopy(model[key])
    mine |= {key: copy.deepcopy(theirs[key]) for key in OWNED if key in theirs}
    return bool(before != mine)


def refusal(live: Object) -> str:
    """Reason why the newest revision does not load; empty where it does, or it is not known yet.

    modelStatus has it where a pod of the revision ended; a revision that never got a pod, as for an image that cannot be pulled,
    is told in the conditions alone. KServe 0.20 names no revision in lastFailureInfo and never clears it, so that the
    conditions' word on the newest one comes first.
    """
    if standard.is_standard(live) and standard.candidate(live) is not None:
        return standard.refusal(live)
    status = (live.get("status") or {}).get("modelStatus") or {}
    failed = status.get("transitionStatus") in standard.FAILED
    failure = status.get("lastFailureInfo") or {}
    newest, named = predictor_status(live).get("latestCreatedRevision"), failure.get("modelRevisionName")
    if failed and named and named == newest:
        return standard.reason(status)
    if told := _unready(live, newest, failed=failed):
        return told
    return standard.reason(status) if failed and named in (newest, None) else ""


def _unready(live: Object, newest: str | None, *, failed: bool) -> str:
    """Condition that says why the newest revision is not ready; one that names no revision counts where the model has failed."""
    for kind in ("PredictorConfigurationReady", "PredictorReady"):
        told = condition(live, kind)
        revision = re.search(r'Revision "([^"]+)"', told)
        if told.startswith("False: ") and (revision[1] == newest if revision else failed):
            return told.removeprefix("False: ")
    return ""


def _translated(error: Any) -> HallmarkError:
    try:  # Kubernetes' own Status, or what a pod behind its proxy said
        told = json.loads(error.body)
        message = str(told.get("message") or told.get("error") or "; ".join(told["errors"]))
    except (TypeError, ValueError, KeyError, AttributeError):
        message = str(error.reason)
    kinds: dict[int, type[HallmarkError]] = {404: NotFound, 409: Conflict, 403: Refused, 422: Refused, 503: Unavailable}
    kind = kinds.get(int(error.status or 0), HallmarkError)
    fix = "somebody else changed it first: look at `hallmark status`, then decide again" if kind is Conflict else ""
    return kind(message, fix=fix)


_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices",
    "ClusterServingRuntime": "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes",
}


_MIN_SCALE = "autoscaling.knative.dev/min-scale"


def _revision(live: Object, name: str) -> str:
    return f"/apis/serving.knative.dev/v1/namespaces/{live['metadata']['namespace']}/revisions/{name}"


def _path(wanted: Object) -> str:
    try:
        return _PATHS[wanted["kind"]].format(namespace=wanted["metadata"].get("namespace", ""))
    except KeyError as error:
        raise Refused(
            f"{wanted.get('kind')} is not applied by Hallmark", expected=", ".join(_PATHS), got=str(wanted.get("kind"))
        ) from error
