"""The reconciler in KServe's Standard mode: Deployments and HTTPRoutes instead of Knative's revisions and routes.

KServe's HTTPRoutes are objects of the API, and the gateway follows whatever routes there are for a service's host: one of ours with a
path prefix comes before KServe's, as on Istio, so that shares and shadows go the way that they go on a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from hallmark.declaration import timeouts
from hallmark.errors import HallmarkError
from local_cluster import containers, deployments, httproutes
from local_cluster.deployments import Deployment
from local_cluster.pods import RunningPod
from local_cluster.predictor import InvalidSpec
from local_cluster.reconciler import Json, Key, Reconciler
from local_cluster.resources import HTTP_ROUTES
from local_cluster.routes import PodAddress, RevisionBackend, RoutedService
from local_cluster.status import RevisionHealth
from local_cluster.store import Missing, Stale, StoreChange

_LOG = logging.getLogger(__name__)


class StandardReconciler(Reconciler):
    """Keeps InferenceServices served as KServe does in Standard mode with the Gateway API; one pod for each Deployment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._generations: dict[str, tuple[str, int]] = {}

    def _changed(self, change: StoreChange) -> None:
        super()._changed(change)
        if change.kind == HTTP_ROUTES.plural:
            self._call(self._enqueue_all, change.object["metadata"]["namespace"])

    async def _follow(self, key: Key, service: Json) -> None:
        was = service.get("status") or {}
        try:
            asked = deployments.wanted(service, self._store.list("clusterservingruntimes")[0])
        except InvalidSpec as problem:
            # KServe does not touch what runs while the spec cannot be served.
            self._write_status(key, service, deployments.invalid(problem, was))
            return
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            wrong = InvalidSpec("InvalidPredictorSpec", f"the spec has a value of the wrong type: {error}")
            self._write_status(key, service, deployments.invalid(wrong, was))
            return
        needed = self._keep(key, service, asked)
        found = self._running.setdefault(key, {})
        up = frozenset(one.revision.workload for name, one in found.items() if name in needed and one.pod.ready)
        if asked[0].name in up:
            self._make_routes(service, asked, up)
        routes = self._store.list(HTTP_ROUTES.plural, namespace=key[0])[0]
        self._services[key] = routed = self._routed(key, asked, routes)
        trouble = ""
        try:
            await self._envoy.apply(tuple(self._services[each] for each in sorted(self._services)))
        except HallmarkError as error:
            trouble = error.message
            _LOG.warning("the gateway did not take over %s/%s: %s", *key, error)
            asyncio.get_running_loop().call_later(1.0, self._enqueue, key)
        for name, running in found.items():
            named = {each.revision: each.variant for each in routed.backends}
            self._write_pod(key, running, named.get(running.revision.workload, "") if name in needed else "")
        health = {
            each.name: RevisionHealth(ready=one.pod.ready, failure=one.pod.failure, copies=1)
            for each in asked
            if (one := found.get(each.revision.name)) is not None and not one.pod.stopping
        }
        self._write_status(
            key,
            service,
            deployments.status(
                asked,
                health,
                was,
                up=up,
                routed=any(each["metadata"]["name"] == key[1] for each in routes),
                urls=self._urls(key),
                gateway=trouble,
                generation=self._generation(key, service, asked[0]),
            ),
        )
        self._retire(key, needed)

    def _keep(self, key: Key, service: Json, asked: tuple[Deployment, ...]) -> frozenset[str]:
        """See that each Deployment has a pod; the names of those that are needed. Its pod of before serves until the new one is ready."""
        found, needed = self._running.setdefault(key, {}), set()
        for each in asked:
            if not each.pods:
                continue
            revision = each.revision
            self._run(key, service, revision)
            needed.add(revision.name)
            if not found[revision.name].pod.ready:
                before = [
                    name for name, one in found.items() if one.revision.workload == each.name and one.pod.was_ready
                ]
                for name in before:
                    self._run(key, service, found[name].revision)
                needed |= set(before)
        return frozenset(needed)

    def _make_routes(self, service: Json, asked: tuple[Deployment, ...], up: frozenset[str]) -> None:
        shares = deployments.weights(asked, up)
        for wanted in httproutes.made(service, shares, seconds=asked[0].template["timeoutSeconds"]):
            meta = wanted["metadata"]
            try:
                live = self._store.get(HTTP_ROUTES.plural, meta["namespace"], meta["name"])
                if live["spec"] != wanted["spec"]:
                    self._store.update({**live, "spec": wanted["spec"]})
            except Missing:
                self._store.create(wanted)

    def _routed(self, key: Key, asked: tuple[Deployment, ...], routes: list[Json]) -> RoutedService:
        own, behind = httproutes.hosts(*key).values()
        rule = httproutes.rule(routes, own)
        weights = rule.weights if rule else {}
        # What only drains keeps its place with no weight: requests that are under way there end well.
        drains = [one.revision.workload for one in self._running.get(key, {}).values() if one.pod.was_ready]
        backends = []
        for name in dict.fromkeys([*weights, *drains]):
            pods = [one for one in self._running.get(key, {}).values() if one.revision.workload == name]
            if not pods and name not in {each.name for each in asked}:
                continue
            backends.append(
                RevisionBackend(
                    revision=name,
                    variant="stable" if name == asked[0].name or name not in weights else "canary",
                    weight=weights.get(name, 0),
                    shadow=rule.copies.get(name, 0.0) if rule else 0.0,
                    addresses=_addresses(pods),
                    **({"health": containers.health(pods[0].revision.template["containers"][0])} if pods else {}),
                )
            )
        return RoutedService(
            namespace=key[0],
            name=key[1],
            timeout=timeouts.UNSET if rule is None or rule.seconds is None else rule.seconds,
            fails_over=False,
            aliases=(behind,),
            backends=tuple(backends),
        )

    def _urls(self, key: Key) -> dict[str, str]:
        port = self._envoy.port
        own, behind = (f"http://{host}:{port}" for host in httproutes.hosts(*key).values())
        here = f"http://127.0.0.1:{port}{RoutedService(namespace=key[0], name=key[1]).prefix}"
        return {"own": own, "predictor": behind, "here": here}

    def _generation(self, key: Key, service: Json, stable: Deployment) -> int:
        """The generation of stable's Deployment: it counts what changed in it, and begins anew with another."""
        name = f"{key[0]}/{stable.name}"
        asked = f"{stable.revision.name} {stable.template['minReplicas']}"
        known, number = self._generations.get(name, ("", 0))
        if known != asked:
            number += 1
            self._generations[name] = (asked, number)
        return number

    def _stopped_status(self, key: Key, service: Json) -> Json:
        return deployments.stopped(int(service["metadata"].get("generation", 1)), service.get("status") or {})

    async def _forget(self, key: Key) -> None:
        """Besides its pods, the routes that are a deleted or stopped service's: the garbage collector's work."""
        await super()._forget(key)
        for route in self._store.list(HTTP_ROUTES.plural, namespace=key[0])[0]:
            meta = route["metadata"]
            if any(
                each["name"] == key[1] and each["kind"] == "InferenceService"
                for each in meta.get("ownerReferences") or []
            ):
                with contextlib.suppress(Missing, Stale):
                    self._store.delete(HTTP_ROUTES.plural, key[0], meta["name"])


def _addresses(pods: list[RunningPod]) -> tuple[PodAddress, ...]:
    """Endpoints of a Deployment's Service: its ready pods, those that drain too, so that the gateway has the new one before the old one goes."""
    return tuple(one.address for one in pods if one.pod.ready)
