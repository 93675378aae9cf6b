"""The reconciler: makes what runs follow what the objects ask for, as KServe does in Knative mode (in Standard mode: standard.py).

Work comes as names of InferenceServices in a queue: from changes of objects, and from pods that became ready or ended. One worker
takes them one after another, so that nothing here needs a lock. Traffic is confirmed by the gateway before a status reports that it moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hallmark.declaration import timeouts
from hallmark.declaration.traffic import LOCAL, TrafficAdapter
from hallmark.errors import HallmarkError
from hallmark.leash import Leash
from local_cluster import containers, pods, predictor, rollout, status
from local_cluster.envoy import Envoy
from local_cluster.pods import RunningPod
from local_cluster.predictor import InvalidSpec
from local_cluster.processes import tail
from local_cluster.resources import FINALIZERS
from local_cluster.revisions import Revision, RevisionHistory, RevisionStore
from local_cluster.rollout import RevisionTraffic
from local_cluster.routes import RevisionBackend, RoutedService, Variant, cluster_name
from local_cluster.store import Missing, ObjectStore, Stale, StoreChange
from local_cluster.supervisor import now

Json = dict[str, Any]
Key = tuple[str, str]

LINGER_SECONDS = 0.5
_TIDY_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class Reconciler:
    """Keeps the InferenceServices of a store served; `start` it on the running loop, and `stop` it.

    models: the folder behind pvc://models;  folder: where pods have theirs;  root: what `python -m` finds modules in.
    adapter: what the gateway can do with traffic.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        envoy: Envoy,
        on: Leash,
        models: Path,
        folder: Path,
        root: Path,
        adapter: TrafficAdapter = LOCAL,
    ) -> None:
        self._adapter = adapter
        self._store = store
        self._envoy = envoy
        self._leash = on
        self._models = models
        self._folder = folder
        self._root = root
        self._histories = RevisionStore(folder / "revisions")
        self._running: dict[Key, dict[str, RunningPod]] = {}
        self._services: dict[Key, RoutedService] = {}
        self._until: dict[Key, float] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ends: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Take up every InferenceService as it was left, and follow changes from now on."""
        self._loop = asyncio.get_running_loop()
        shutil.rmtree(self._folder / "pods", ignore_errors=True)
        for pod in self._store.list("pods")[0]:
            self._delete_pod(pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._unsubscribe = self._store.subscribe(self._changed)
        # Each is reconciled once before anybody can ask: a status from before the restart does not hold yet.
        self._enqueue_all(None)
        while not self._queue.empty():
            await self._next()
        self._tasks = [
            asyncio.create_task(self._work(), name="reconciler"),
            asyncio.create_task(self._tidy(), name="tidy"),
        ]

    async def halt(self) -> None:
        """Stop following changes; what runs goes on running."""
        self._unsubscribe()
        for timer in self._timers.values():
            timer.cancel()
        for task in [*self._tasks, *self._ends]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._ends, return_exceptions=True)

    async def stop(self) -> None:
        """Stop following, then stop every pod; the objects stay as they are."""
        await self.halt()
        left = [running.pod for found in self._running.values() for running in found.values()]
        await asyncio.gather(*(pod.stop() for pod in left))
        for pod in self._store.list("pods")[0]:
            self._delete_pod(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Local address of port `port` of a pod; none where there is no such pod or port."""
        running = self._find(namespace, pod)
        if running is None or port not in running.ports:
            return None
        return "127.0.0.1", running.ports[port]

    def log(self, namespace: str, pod: str, container: str, tail_lines: int | None = None) -> bytes:
        """Log of a container, its last `tail_lines` lines where given; `Missing` where there is no such container."""
        running = self._find(namespace, pod)
        if running is None or container not in running.pod.containers:
            raise Missing(f"there is no container {container!r} in pod {namespace}/{pod}")
        path = running.pod.log(container)
        text = tail(path.with_name(path.name + ".1"), 8 << 20) + tail(path, 8 << 20)
        if tail_lines is None:
            return text
        return b"".join(text.splitlines(keepends=True)[-tail_lines:]) if tail_lines > 0 else b""

    async def settled(self, *, timeout: float = 60.0) -> None:
        """Wait until nothing is queued; a help for tests and for `up`."""
        await asyncio.wait_for(self._queue.join(), timeout)

    @property
    def starting(self) -> bool:
        """Is there a pod that was never ready?"""
        found = (one.pod for each in self._running.values() for one in each.values())
        return any(not pod.was_ready and not pod.stopping for pod in found)

    def _find(self, namespace: str, pod: str) -> RunningPod | None:
        # Copies, since the API reads logs on another thread.
        found = (r for (ns, _), each in list(self._running.items()) if ns == namespace for r in list(each.values()))
        return next((running for running in found if running.pod.name == pod), None)

    def _changed(self, change: StoreChange) -> None:
        # Called on the thread that writes, with the store's lock held.
        if self._loop is None:
            return
        meta = change.object["metadata"]
        namespace = meta.get("namespace", "")
        if change.kind == "inferenceservices":
            if change.type != "MODIFIED" or _asks(change.object) != _asks(change.previous or {}):
                self._call(self._enqueue, (namespace, meta["name"]))
        elif change.kind in ("clusterservingruntimes", "configmaps"):
            self._call(self._enqueue_all, namespace or None)
        elif change.kind == "pods" and change.type == "DELETED":
            self._call(self._pod_deleted, namespace, meta["name"])

    def _call(self, function: Any, *args: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *args)

    def _enqueue(self, key: Key) -> None:
        if key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    def _enqueue_all(self, namespace: str | None) -> None:
        for service in self._store.list("inferenceservices", namespace=namespace)[0]:
            self._enqueue((service["metadata"]["namespace"], service["metadata"]["name"]))

    def _pod_deleted(self, namespace: str, name: str) -> None:
        """Somebody deleted a pod object: its processes are stopped, and a new pod takes its place."""
        running = self._find(namespace, name)
        if running is not None and not running.pod.stopping:
            key = running.key
            self._running[key].pop(running.revision.name, None)
            self._later(running.pod.stop())
            self._enqueue(key)

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _work(self) -> None:
        while True:
            await self._next()

    async def _next(self) -> None:
        key = await self._queue.get()
        self._waiting.discard(key)
        try:
            await self._reconcile(key)
        except Exception as error:  # noqa: BLE001  one service's trouble must not end the loop that serves the others
            _LOG.exception("reconciling %s/%s failed", *key)
            self._report(key, error)
            asyncio.get_running_loop().call_later(2.0, self._enqueue, key)
        finally:
            self._queue.task_done()

    def _report(self, key: Key, error: Exception) -> None:
        with contextlib.suppress(HallmarkError):
            service = self._store.get("inferenceservices", *key)
            self._store.record(service, "Warning", "InternalError", str(error) or repr(error))

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            self._envoy.trim()
            for found in self._running.values():
                for running in found.values():
                    running.pod.trim()

    async def _reconcile(self, key: Key) -> None:
        try:
            service = self._store.get("inferenceservices", *key)
        except Missing:
            await self._forget(key)
            return
        if service["metadata"].get("deletionTimestamp"):
            await self._forget(key)
            self._let_go(key)
            return
        if predictor.stopped(service):
            await self._forget(key)
            self._write_status(key, service, self._stopped_status(key, service))
            return
        await self._follow(key, service)

    def _stopped_status(self, key: Key, service: Json) -> Json:
        facts = self._facts(key, service, RevisionTraffic(), None)
        return status.build(facts, service.get("status") or {}, at=now())

    async def _follow(self, key: Key, service: Json) -> None:
        """Make what runs and what is routed follow a service that is to be served."""
        history, problem = self._record_revision(key, service)
        was = RevisionTraffic.read(((service.get("status") or {}).get("components") or {}).get("predictor") or {})
        if not set(was.needed) <= {*history.names, was.previous}:
            was = RevisionTraffic()
        decided = self._decide(was, history, service, problem, key)
        needed = decided.needed | self._warm(key, service, history, decided)
        for name in needed:
            revision = history.find(name)
            if revision is not None:
                self._run(key, service, revision)
        await self._route(key, service, history, decided, problem)
        self._retire(key, needed)

    def _let_go(self, key: Key) -> None:
        """Take KServe's finalizer from a service that is to go, and the garbage collector's: nothing else depends on it here."""

        def without(service: Json) -> Json:
            meta = service["metadata"]
            meta["finalizers"] = [each for each in meta.get("finalizers") or [] if each not in FINALIZERS]
            return service

        with contextlib.suppress(Missing):
            self._store.modify("inferenceservices", *key, without)

    def _record_revision(self, key: Key, service: Json) -> tuple[RevisionHistory, InvalidSpec | None]:
        """The service's revisions, with a new one where the predictor changed; and what is wrong with the spec."""
        history = self._histories.read(*key, uid=service["metadata"]["uid"])
        try:
            template, _ = predictor.checked(service, self._store.list("clusterservingruntimes")[0])
        except InvalidSpec as error:
            return history, error
        grown = history.with_template(key[1], template, created=now())
        if grown is not history:
            grown = grown.without_old(frozenset(self._running.get(key, {})) | _named(service))
            self._histories.write(*key, grown)
            self._store.record(service, "Normal", "Created", f'Created Revision "{grown.names[-1]}"')
        return grown, None

    def _decide(
        self, was: RevisionTraffic, history: RevisionHistory, service: Json, problem: InvalidSpec | None, key: Key
    ) -> RevisionTraffic:
        ready = {name for name, running in self._running.get(key, {}).items() if running.pod.ready}
        if problem is not None:
            # KServe does not touch what runs while the spec cannot be served.
            return was
        decided = rollout.decide(was, percent=predictor.percent(service), order=history.names, ready=ready)
        if decided.ready != was.ready:
            text = f'LatestReadyRevisionName updated to "{decided.ready}"'
            self._store.record(service, "Normal", "LatestReadyUpdate", text)
        return decided

    def _warm(self, key: Key, service: Json, history: RevisionHistory, decided: RevisionTraffic) -> frozenset[str]:
        """The former stable revision while its retention lasts, so that a roll-back moves a weight and starts nothing."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        noted = history.with_idle(decided.former, now=time.time())
        if noted.idle != history.idle:
            self._histories.write(*key, noted)
        until = noted.warm_until(decided.former)
        self._until[key] = until
        left = until - time.time()
        if left <= 0:
            return frozenset()
        self._timers[key] = asyncio.get_running_loop().call_later(left + 0.01, self._enqueue, key)
        if noted.idle != history.idle:
            text = f'Keeping the pod of revision "{decided.former}" warm for {left:.0f} s'
            self._store.record(service, "Normal", "KeptWarm", text)
        return frozenset({decided.former})

    def _run(self, key: Key, service: Json, revision: Revision) -> None:
        """See that a needed revision has a pod."""
        found = self._running.setdefault(key, {})
        running = found.get(revision.name)
        if running is not None and not running.pod.stopping:
            if running.draining is not None:
                running.draining.cancel()
                running.draining = None
            # A ConfigMap that changed reaches the files of pods that run, as in Kubernetes.
            with contextlib.suppress(HallmarkError, OSError):
                running.write_volumes()
            return
        if running is not None:
            return
        running = self._make(key, revision)
        found[revision.name] = running
        running.pod.start()
        self._write_pod(key, running, "")
        self._store.record(service, "Normal", "Started", f'Started pod "{running.pod.name}"')

    def _make(self, key: Key, revision: Revision) -> RunningPod:
        taken = {port for found in self._running.values() for one in found.values() for port in one.ports.values()}
        return pods.make(
            key,
            revision,
            folder=self._folder / "pods" / key[0],
            models=self._models,
            root=self._root,
            taken=taken,
            config_map=lambda name: self._config_map(key[0], name),
            on=self._leash,
            changed=lambda: self._enqueue(key),
        )

    def _config_map(self, namespace: str, name: str) -> Json | None:
        try:
            return self._store.get("configmaps", namespace, name)
        except Missing:
            return None

    async def _route(
        self, key: Key, service: Json, history: RevisionHistory, decided: RevisionTraffic, problem: InvalidSpec | None
    ) -> None:
        """Give the traffic to the gateway; when that is in effect, write the status."""
        shadow = predictor.shadow(service) if problem is None and self._adapter.mirrors else 0.0
        self._services[key] = self._service(key, history, decided, shadow=shadow)
        trouble = ""
        try:
            await self._envoy.apply(tuple(self._services[k] for k in sorted(self._services)))
        except HallmarkError as error:
            trouble = error.message
            _LOG.warning("the gateway did not take over %s/%s: %s", *key, error)
            asyncio.get_running_loop().call_later(1.0, self._enqueue, key)
        for running in self._running.get(key, {}).values():
            name = running.revision.name
            variant = "canary" if name == decided.canary else "stable"
            warm = self._until.get(key, 0.0) if name == decided.former else 0.0
            self._write_pod(key, running, variant if decided.shares.get(name) is not None else "", warm=warm)
        facts = self._facts(key, service, decided, problem).model_copy(update={"gateway": trouble})
        self._write_status(key, service, status.build(facts, service.get("status") or {}, at=now()))

    def _service(self, key: Key, history: RevisionHistory, decided: RevisionTraffic, *, shadow: float) -> RoutedService:
        backends = []
        running = self._running.get(key, {})
        shares = decided.shares
        timeout: float = timeouts.UNSET
        before = {b.revision: b.variant for b in self._services[key].backends} if key in self._services else {}
        # Those that only drain keep their place with no weight, and stable behind them where it was: what is under way there
        # ends well.
        for name in [*shares, *(n for n in running if n not in shares and running[n].pod.was_ready)]:
            revision, one = history.find(name), running.get(name)
            if revision is None:
                continue
            live = one is not None and (one.pod.ready or (one.draining is not None and not one.pod.stopping))
            named: Variant = "canary" if name == decided.canary else "stable"
            backends.append(
                RevisionBackend(
                    revision=name,
                    variant=named if name in shares else before.get(name, named),
                    weight=shares.get(name, 0),
                    # Copies are for the newest, while it has no requests of its own: not for one that was rolled back.
                    shadow=shadow if name == decided.canary == decided.created and not shares.get(name) else 0.0,
                    addresses=(one.address,) if one is not None and live else (),
                    health=containers.health(revision.template["containers"][0]),
                )
            )
            if shares.get(name):
                timeout = revision.template["timeoutSeconds"]
        return RoutedService(
            namespace=key[0],
            name=key[1],
            timeout=timeout,
            fails_over=self._adapter.fails_over,
            backends=tuple(backends),
        )

    def _retire(self, key: Key, needed: frozenset[str]) -> None:
        for name, running in self._running.get(key, {}).items():
            if name not in needed and running.draining is None and not running.pod.stopping:
                running.draining = asyncio.create_task(self._drain(key, running))
                self._ends.add(running.draining)
                running.draining.add_done_callback(self._ends.discard)

    async def _drain(self, key: Key, running: RunningPod) -> None:
        """Let what is under way end, take the pod out of the gateway, then stop it."""
        await asyncio.sleep(LINGER_SECONDS)
        service = self._services.get(key)
        named = running.revision.workload
        # One that another pod of its Deployment stands in for has no requests of its own to wait for: the gateway lets them end.
        others = [one for one in self._running.get(key, {}).values() if one is not running and one.pod.ready]
        shared = any(one.revision.workload == named for one in others)
        backend = next((b for b in service.backends if b.revision == named), None) if service else None
        deadline = asyncio.get_running_loop().time() + running.revision.template["timeoutSeconds"]
        while service and backend and not shared and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(HallmarkError):
                if not await self._envoy.active(cluster_name(service, backend)):
                    break
            await asyncio.sleep(0.05)
        running.draining = None
        running.pod.stopping = True
        await asyncio.shield(self._end(key, running))

    async def _end(self, key: Key, running: RunningPod) -> None:
        service = self._services.get(key)
        if service is not None:
            self._services[key] = service.without(running.revision.workload, running.address)
            with contextlib.suppress(HallmarkError):
                await self._envoy.apply(tuple(self._services[k] for k in sorted(self._services)))
        await running.pod.stop()
        if self._running.get(key, {}).get(running.revision.name) is running:
            del self._running[key][running.revision.name]
        self._delete_pod(key[0], running.pod.name)
        self._enqueue(key)

    async def _forget(self, key: Key) -> None:
        """A service that was deleted or stopped: out of the gateway first, then its pods end."""
        self._histories.drop(*key)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if self._services.pop(key, None) is not None:
            with contextlib.suppress(HallmarkError):
                await self._envoy.apply(tuple(self._services[k] for k in sorted(self._services)))
        for running in self._running.pop(key, {}).values():
            if running.draining is not None:
                running.draining.cancel()
            if not running.pod.stopping:
                running.pod.stopping = True
                self._later(self._end_forgotten(key, running))

    async def _end_forgotten(self, key: Key, running: RunningPod) -> None:
        await running.pod.stop()
        self._delete_pod(key[0], running.pod.name)

    def _facts(
        self, key: Key, service: Json, decided: RevisionTraffic, problem: InvalidSpec | None
    ) -> status.StatusFacts:
        running = self._running.get(key, {})
        route = RoutedService(namespace=key[0], name=key[1])
        created = running.get(decided.created)
        health = {
            name: status.RevisionHealth(ready=one.pod.ready, failure=one.pod.failure, copies=1)
            for name, one in running.items()
            if not one.pod.stopping
        }
        runtime = created.revision.template["runtime"] if created else ""
        return status.StatusFacts(
            name=key[1],
            url=f"http://127.0.0.1:{self._envoy.port}{route.prefix}",
            generation=int(service["metadata"].get("generation", 1)),
            rollout=decided,
            health=health,
            runtime=runtime,
            problem=problem,
            stopped=predictor.stopped(service),
        )

    def _write_status(self, key: Key, service: Json, built: Json) -> None:
        was = service.get("status") or {}
        try:
            self._store.update_status("inferenceservices", *key, built)
        except Missing:
            self._enqueue(key)
            return
        for type_, reason, message in _events(key[1], was, built):
            self._store.record(service, type_, reason, message)  # type: ignore[arg-type]

    def _write_pod(self, key: Key, running: RunningPod, variant: str, *, warm: float = 0.0) -> None:
        pod = running.object(variant, warm_until=warm)
        with contextlib.suppress(Missing, Stale):
            try:
                self._store.get("pods", key[0], running.pod.name)
                self._store.update(pod)
            except Missing:
                self._store.create(pod)
            self._store.update_status("pods", key[0], running.pod.name, running.pod.status())

    def _delete_pod(self, namespace: str, name: str) -> None:
        with contextlib.suppress(Missing):
            self._store.delete("pods", namespace, name)


def _asks(service: Json) -> Json:
    """The parts of an InferenceService that the reconciler follows."""
    meta = service.get("metadata") or {}
    kept = {k: meta.get(k) for k in ("labels", "annotations", "deletionTimestamp", "uid")}
    return {"spec": service.get("spec"), **kept}


def _named(service: Json) -> frozenset[str]:
    component = ((service.get("status") or {}).get("components") or {}).get("predictor") or {}
    was = RevisionTraffic.read(component)
    return was.needed | {was.previous}


def _events(name: str, was: Json, built: Json) -> list[tuple[str, str, str]]:
    """The events that KServe and Knative record for what changed between two statuses."""
    events = []
    before, after = status.condition(was, "Ready"), status.condition(built, "Ready")
    if before.get("status") == "True" and after.get("status") == "False":
        why = "; ".join(
            f"{c['type']}: {c.get('message') or c.get('reason', '')}".rstrip(": ")
            for c in built["conditions"]
            if c["status"] == "False" and "severity" not in c and c["type"] != "Ready"
        )
        text = f"InferenceService [{name}] is no longer Ready because of: {why}"
        events.append(("Warning", "InferenceServiceNotReady", text))
    elif before.get("status") != "True" and after.get("status") == "True":
        events.append(("Normal", "InferenceServiceReady", f"InferenceService [{name}] is Ready"))
    old, new = (status.condition(s, "PredictorConfigurationReady") for s in (was, built))
    if new.get("status") == "False" and (old.get("status"), old.get("message")) != ("False", new.get("message")):
        invalid = built["modelStatus"]["transitionStatus"] == "InvalidSpec"
        events.append(("Warning", "InternalError" if invalid else "LatestCreatedFailed", new.get("message", "")))
    return events
