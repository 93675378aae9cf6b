"""The gateway of a real cluster's HTTPRoutes: the local cluster's Envoy, its routes and endpoints from the API server.

    python -m tests.conformance.gateway --kubeconfig FILE --folder FOLDER --port N

There are no kube-proxy and no istiod: weights come from the HTTPRoute of an InferenceService, addresses from the EndpointSlices of the
Services that it names. KServe 0.20 makes the pods of spec.canary and routes nothing to them; the weights that KServe 0.21 gives a ready
canary are put into its route here, until the Go module proxy has that version. The folder gets state.json, as the local cluster writes it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from hallmark import leash
from hallmark.errors import HallmarkError
from hallmark.files import replace
from hallmark.leash import Leash
from hallmark.rollout import standard
from local_cluster.envoy import Envoy
from local_cluster.remote_feed import client, follow
from local_cluster.routes import PodAddress, RevisionBackend, RoutedService

Object = dict[str, Any]

SERVED_BY = "kubernetes.io/service-name"
_COLLECTIONS = {
    "services": "/apis/serving.kserve.io/v1beta1/inferenceservices",
    "routes": "/apis/gateway.networking.k8s.io/v1/httproutes",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
}


class Gateway:
    """Envoy, kept to what the API server says."""

    def __init__(self, api: httpx.AsyncClient, envoy: Envoy) -> None:
        self._api = api
        self._envoy = envoy
        self._known: dict[str, dict[tuple[str, str], Object]] = {each: {} for each in _COLLECTIONS}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, path in _COLLECTIONS.items():
                group.create_task(follow(self._api, path, lambda each, gone, kind=kind: self._seen(kind, each, gone)))
            group.create_task(self._apply())

    def _seen(self, kind: str, each: Object, gone: bool) -> None:
        key = (each["metadata"]["namespace"], each["metadata"]["name"])
        if gone:
            self._known[kind].pop(key, None)
        else:
            self._known[kind][key] = each
        self._changed.set()

    async def _apply(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for route in list(self._known["routes"].values()):
                await self._accept(route)
            wanted = tuple(self._routed(key) for key in sorted(self._known["services"]))
            try:
                await self._envoy.apply(wanted)
            except HallmarkError as error:
                sys.stderr.write(f"{error}\n")
                self._changed.set()
                await asyncio.sleep(0.2)

    async def _accept(self, route: Object) -> None:
        """Say that a route is taken, as the controller of its Gateway does; KServe waits for it."""
        meta = route["metadata"]
        told = (route.get("status") or {}).get("parents") or []
        if told and all(each["conditions"][0]["observedGeneration"] == meta["generation"] for each in told):
            return
        parents = [
            {
                "parentRef": parent,
                "controllerName": "hallmark.dev/conformance",
                "conditions": [
                    {
                        "type": kind,
                        "status": "True",
                        "reason": kind,
                        "message": "",
                        "observedGeneration": meta["generation"],
                        "lastTransitionTime": meta["creationTimestamp"],
                    }
                    for kind in ("Accepted", "ResolvedRefs")
                ],
            }
            for parent in route["spec"]["parentRefs"]
        ]
        path = f"{_COLLECTIONS['routes'].rpartition('/')[0]}/namespaces/{meta['namespace']}/httproutes/{meta['name']}/status"
        body = json.dumps({"status": {"parents": parents}})
        await self._api.patch(path, content=body, headers={"Content-Type": "application/merge-patch+json"})

    def _routed(self, key: tuple[str, str]) -> RoutedService:
        service, route = self._known["services"][key], self._known["routes"].get(key)
        weights = shares(service, route) if route is not None else {}
        stable = standard.revision(service, service["spec"]["predictor"])
        return RoutedService(
            namespace=key[0],
            name=key[1],
            fails_over=False,
            backends=tuple(
                RevisionBackend(
                    revision=name,
                    variant="stable" if name == stable else "canary",
                    weight=weight,
                    addresses=self._addresses(key[0], name),
                )
                for name, weight in weights.items()
                if name == stable or self._addresses(key[0], name)
            ),
        )

    def _addresses(self, namespace: str, service: str) -> tuple[PodAddress, ...]:
        """The HTTP ports of a Service's ready endpoints."""
        found = []
        for (space, _), each in self._known["slices"].items():
            if space == namespace and each["metadata"]["labels"].get(SERVED_BY) == service:
                port = next(one["port"] for one in each["ports"] if "grpc" not in (one.get("name") or ""))
                for endpoint in each.get("endpoints") or []:
                    if endpoint["conditions"].get("ready"):
                        found += [PodAddress(host=host, port=port) for host in endpoint["addresses"]]
        return tuple(sorted(found, key=lambda each: each.host))


def shares(service: Object, route: Object) -> dict[str, int]:
    """Weight of each Service behind an InferenceService's own HTTPRoute; a ready canary that KServe left out has its share of it.

    The share is the status's, which KServe writes after the route: one and the other never contradict each other.
    """
    rule = route["spec"]["rules"][-1]
    found = {each["name"]: int(each.get("weight", 1)) for each in rule["backendRefs"]}
    if len(found) > 1:
        return found
    (main,) = found
    told = (service.get("status") or {}).get("canaryStatuses") or []
    canaries = {
        standard.revision(service, each): int(each.get("trafficPercent") or 0) for each in told if each.get("ready")
    }
    return {main: 100 - sum(canaries.values()), **canaries}


async def serve(arguments: argparse.Namespace) -> None:
    """Be the gateway until SIGTERM."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    children = Leash(folder)
    envoy = Envoy(folder / "envoy", port=arguments.port, on=children)
    await envoy.start()
    state = {"pid": os.getpid(), "identity": leash.identity(os.getpid()), "admin": envoy.admin}
    replace(folder / "state.json", json.dumps(state))
    api = client(arguments.kubeconfig)
    running = asyncio.ensure_future(Gateway(api, envoy).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        await running
    finally:
        await envoy.stop(grace=1)
        await api.aclose()
        children.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args()))
