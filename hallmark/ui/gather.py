"""Gathering of a snapshot: files and a local registry at once where they have changed, all that is slow in threads while people look.

A page never waits for a cluster: it gets what was last told, and the stream of events says when there is more.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from hallmark.errors import HallmarkError, NotFound, Unavailable, foreseen
from hallmark.ui.snapshot import (
    Cost,
    Declared,
    DomainView,
    DriftLine,
    Link,
    LiveVariant,
    Part,
    Released,
    Snapshot,
)

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.registry.store import TrialLine, VersionLine
    from hallmark.rollout.timeline import Timeline
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

T = TypeVar("T")
FRESH = 1.0
"""Seconds that a snapshot stays as it is."""
_LIVE, _DRIFT, _REMOTE, _COST = 2.0, 15.0, 10.0, 300.0
"""Seconds after which the cluster, its drift monitors, a tracking server and the prices are asked again."""
_FARTHEST = 5
_SHOWN = 200
"""The newest of versions and of trials that a domain's page lists."""
_ASKING = "not asked yet"


class _Background(Generic[T]):
    """What a slow source says: given at once as it was last, asked anew in a thread where that is older than `ttl` seconds."""

    def __init__(self, ask: Callable[[], T], first: T, ttl: float) -> None:
        self._ask, self._ttl = ask, ttl
        self._value, self._at = (first, _ASKING), -1e9
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None

    def get(self) -> tuple[T, str]:
        """The last answer, and why there is none yet, empty once there is one."""
        if time.monotonic() - self._at > self._ttl and self._busy.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, name="gather", daemon=True)
            self._thread.start()
        return self._value

    def close(self, seconds: float) -> None:
        """Ask no more, and wait so long for the one that is asking."""
        self._ttl = math.inf
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._value = self._ask(), ""
        finally:
            self._at = time.monotonic()
            self._busy.release()


class _Live:
    """What a cluster says: which it is, or why it does not answer, and by domain its variants and its timeline."""

    def __init__(self, cluster: Part[str]) -> None:
        self.cluster = cluster
        self.variants: dict[str, Part[tuple[LiveVariant, ...]]] = {}
        self.timelines: dict[str, Part[Timeline | None]] = {}


class _Told(NamedTuple):
    """What slow sources have said, and why not yet."""

    live: _Live
    drift: Mapping[str, Part[tuple[DriftLine, ...]]]
    no_drift: str
    costs: Mapping[str, Part[Cost | None]]
    no_costs: str
    registry: Mapping[str, tuple[Part[tuple[VersionLine, ...]], Part[tuple[TrialLine, ...]]]]


class Gatherer:
    """What the page shows of an installation.

    connect: a client of the cluster; `HallmarkError` where there is none, which is a reason to show and no failure.
    links:   pages of other tools.
    """

    def __init__(
        self, settings: Settings, *, connect: Callable[[], InferenceServiceWriter], links: tuple[Link, ...] = ()
    ) -> None:
        self.settings = settings
        self._connect, self._links = connect, links
        self._writer: InferenceServiceWriter | None = None
        self._kept: dict[tuple[str, str], tuple[object, Any]] = {}
        self._lock = threading.Lock()
        self._last: tuple[float, Snapshot] | None = None
        self._live = _Background(self._ask_live, _Live(Part(value="", failed=_ASKING)), _LIVE)
        self._drift = _Background[dict[str, Part[tuple[DriftLine, ...]]]](self._ask_drift, {}, _DRIFT)
        self._costs = _Background[dict[str, Part[Cost | None]]](self._ask_costs, {}, _COST)
        self._remote = _Background[dict[str, tuple[Any, Any]]](self._ask_registry, {}, _REMOTE)

    def snapshot(self) -> Snapshot:
        """All that is known now, at most a second old where it lies on this machine."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > FRESH:
                found = self._gather()
                self._last = time.monotonic(), found
            return self._last[1]

    def close(self, seconds: float = 5.0) -> None:
        """Ask nothing more, and wait so long for what is asked: a thread that a library of C++ is in must not outlive the interpreter."""
        until = time.monotonic() + seconds
        for each in (self._live, self._drift, self._costs, self._remote):
            each.close(max(0.0, until - time.monotonic()))

    def timeline(self, name: str) -> Timeline:
        """The history of a domain with its points: of the cluster where that has told it, and what was done from this machine."""
        from hallmark.rollout.history import History
        from hallmark.rollout.timeline import Timeline

        known = self._live.get()[0].timelines.get(name)
        return History(self.settings, name).into((known.value if known else None) or Timeline())

    def domain(self, name: str) -> Domain:
        """The declaration of a domain; errors as of `declaration.domain.load`."""
        from hallmark.declaration import domain as declared

        path = self.settings.domains / name / "domain.yaml"
        return self._once("domain", name, [path], lambda: declared.load(name, self.settings))

    def _gather(self) -> Snapshot:
        from hallmark.declaration import domain as declared

        (live, asking), (drift, no_drift), (costs, no_costs) = self._live.get(), self._drift.get(), self._costs.get()
        registry = self._remote.get()[0] if self._database is None else {}
        told = _Told(live, drift, no_drift, costs, no_costs, registry)
        return Snapshot(
            cluster=live.cluster,
            asking=bool(asking),
            domains=tuple(self._view(name, told) for name in sorted({*declared.names(self.settings), *live.variants})),
            links=self._links,
        )

    def _view(self, name: str, told: _Told) -> DomainView:
        from hallmark.artifacts import release as releases

        release_file = releases.path(name, self.settings)
        waiting: Part[Any] = Part(value=(), failed=_ASKING)
        versions, trials = (
            self._registered(name) if self._database is not None else told.registry.get(name, (waiting, waiting))
        )
        known = told.live.cluster.failed
        return DomainView(
            name=name,
            declared=_part(None, lambda: _declared(self.domain(name))),
            released=_part(
                Released(), lambda: self._once("release", name, [release_file], lambda: self._released(name))
            ),
            live=told.live.variants.get(name, Part(value=(), failed=known)),
            drift=told.drift.get(name, Part(value=(), failed=known or told.no_drift)),
            versions=versions,
            trials=trials,
            entries=_part((), lambda: self._entries(name, told.live)),
            cost=told.costs.get(name, Part(value=None, failed=told.no_costs)),
        )

    @property
    def _database(self) -> Path | None:
        """File of the registry on this machine; None where it is a server."""
        from hallmark.registry.store import file_of

        return file_of(self.settings.tracking)

    def _once(self, kind: str, name: str, files: list[Path], make: Callable[[], T], also: object = None) -> T:
        """What `make` gives, until one of the files is another."""
        stamp = (also, *map(_stamp, files))
        known = self._kept.get((kind, name))
        if known is not None and known[0] == stamp:
            return known[1]  # type: ignore[no-any-return]
        found = make()
        self._kept[kind, name] = stamp, found
        return found

    def _released(self, name: str) -> Released:
        from hallmark.artifacts import release as releases

        found = releases.read(name, self.settings)
        return Released(
            stable=found.stable.version if found.stable else None,
            candidate=found.candidate.version if found.candidate else None,
            percent=found.percent,
        )

    def _registered(self, name: str) -> tuple[Any, Any]:
        from hallmark.registry.store import Registry

        database = self._database
        files = [] if database is None else [database, database.with_name(database.name + "-wal")]
        registry = Registry(self.settings)

        def once(kind: str, ask: Callable[[str], list[Any]]) -> Part[Any]:
            found = _part((), lambda: self._once(kind, name, files, lambda: tuple(ask(name)[:_SHOWN])))
            if found.failed:
                self._kept.pop((kind, name), None)
            return found

        return once("versions", registry.versions), once("trials", registry.trials)

    def _ask_registry(self) -> dict[str, tuple[Any, Any]]:
        from hallmark.declaration import domain as declared
        from hallmark.registry.store import Registry

        registry = Registry(self.settings)
        return {
            name: (
                _part((), lambda name=name: tuple(registry.versions(name)[:_SHOWN])),  # type: ignore[misc]
                _part((), lambda name=name: tuple(registry.trials(name)[:_SHOWN])),  # type: ignore[misc]
            )
            for name in declared.names(self.settings)
        }

    def _entries(self, name: str, live: _Live) -> tuple[Any, ...]:
        from hallmark.rollout.history import History
        from hallmark.rollout.timeline import Timeline

        told = live.timelines.get(name)
        whole = (told.value if told else None) or Timeline()
        history = History(self.settings, name)
        return self._once("entries", name, [history.path], lambda: history.into(whole).entries, also=whole.entries)

    def _client(self) -> InferenceServiceWriter:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _services(self, writer: InferenceServiceWriter) -> list[dict[str, Any]]:
        """What is live of all domains, or of those whose namespace may be read, as a member's account may theirs."""
        from hallmark.declaration import domain as declared
        from hallmark.rollout import status

        try:
            return status.of_domains(writer)[0]
        except Unavailable:
            raise
        except HallmarkError as error:
            found, allowed = [], False
            for name in declared.names(self.settings):
                try:
                    live = writer.live(name)
                except Unavailable:
                    raise
                except HallmarkError:
                    continue
                allowed = True
                found += [live] if live else []
            if not allowed:
                raise error from None
            return found

    def _ask_live(self) -> _Live:
        from hallmark.rollout import record as records
        from hallmark.rollout import status
        from hallmark.rollout.memory import MemoryStore

        try:
            writer = self._client()
            services = self._services(writer)
        except Exception as error:  # noqa: BLE001 - told on the page
            self._writer = None
            return _Live(Part(value="", failed=_why(error)))
        found = _Live(Part(value=str(writer.host)))
        for service in services:
            name = service["metadata"]["name"]
            record = records.written(service) or records.RolloutRecord()
            found.variants[name] = _part((), lambda service=service: _variants(status.revisions(writer, service)))  # type: ignore[misc]
            found.timelines[name] = _part(
                None,
                lambda name=name, record=record: MemoryStore(writer, name).read().with_changes(record).timeline,  # type: ignore[misc]
            )
        return found

    def _ask_drift(self) -> dict[str, Part[tuple[DriftLine, ...]]]:
        from hallmark.rollout import verdicts

        try:
            writer = self._client()
            names = [each["metadata"]["name"] for each in self._services(writer)]
        except Exception:  # noqa: BLE001 - _ask_live tells why
            return {}

        def lines(name: str) -> tuple[DriftLine, ...]:
            try:
                return tuple(_drift(each) for each in verdicts.collect(writer, name))
            except NotFound:  # no pod serves it
                return ()

        return {name: _part((), lambda name=name: lines(name)) for name in names}  # type: ignore[misc]

    def _ask_costs(self) -> dict[str, Part[Cost | None]]:
        from hallmark.declaration import domain as declared
        from hallmark.tco import environment, prices
        from hallmark.tco.assumptions import Assumptions
        from hallmark.tco.comparison import Inputs, compare
        from hallmark.tco.throughput import Throughput

        names = declared.names(self.settings)
        try:
            inputs = Inputs(
                prices=prices.read(None),
                assumed=Assumptions(),
                throughput=Throughput.read(self.settings.root / "docs" / "performance.json"),
                environment=environment.read("production", self.settings),
                domains=len(names),
            )
        except Exception as error:  # noqa: BLE001 - told on the page
            return {name: Part(value=None, failed=_why(error)) for name in names}

        def cost(name: str) -> Cost:
            found = compare(self.domain(name), inputs)
            return Cost(
                house=found.house.total,
                managed=found.managed.total,
                way=found.managed.way,
                cheapest=found.cheapest,
                prices=f"list prices of {inputs.prices.recorded}",
            )

        return {name: _part(None, lambda name=name: cost(name)) for name in names}  # type: ignore[misc]


def _part(empty: Any, make: Callable[[], Any]) -> Part[Any]:
    """The part, or the reason why there is none: one that fails takes no other with it."""
    try:
        return Part(value=make())
    except Exception as error:  # noqa: BLE001 - told on the page
        return Part(value=empty, failed=_why(error))


def _why(error: Exception) -> str:
    told = foreseen(error)
    return (told.message + (f": {told.got}" if told.got else "")).rstrip(".")


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _declared(domain: Domain) -> Declared:
    return Declared(
        description=domain.description,
        task=domain.task.kind,
        team=domain.owner.team,
        schedule=domain.training.schedule or "",
    )


def _variants(rows: list[dict[str, Any]]) -> tuple[LiveVariant, ...]:
    """Pods as revisions, stable first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["revision"], []).append(row)
    variants = [
        LiveVariant(
            variant=pods[0]["variant"] or "-",
            version=pods[0]["version"],
            revision=revision,
            percent=pods[0]["percent"],
            since=pods[0]["since"],
            ready=sum(bool(each["ready"]) for each in pods),
            pods=len(pods) if revision else 0,
            restarts=sum(each["restarts"] for each in pods),
            service=str(pods[0]["service"]),
        )
        for revision, pods in found.items()
    ]
    return tuple(sorted(variants, key=lambda each: (each.variant != "stable", each.revision)))


def _drift(each: Any) -> DriftLine:
    columns = [column for column in each.verdict.get("columns") or [] if column.get("drifted")]
    far = sorted(((str(one["name"]), float(one.get("effect") or 0)) for one in columns), key=lambda pair: -pair[1])
    return DriftLine(
        variant=each.variant,
        version=each.version,
        state=each.state,
        rows=int(each.verdict.get("rows", 0)),
        reasons=tuple(each.verdict.get("reasons") or ()),
        far=tuple(far[:_FARTHEST]),
    )


def links(settings: Settings, environment: Mapping[str, str], *, shared: bool = False) -> tuple[Link, ...]:
    """Pages of other tools, as far as they are known.

    shared: they stand beside this page, behind the same gateway. An address that is no web page's is left out.
    """
    if shared:
        return tuple(Link(name=name, address=path) for name, path in _BESIDE)
    tracking = environment.get("HALLMARK_MLFLOW") or settings.tracking
    known = (
        ("MLflow", tracking),
        ("Kubeflow", environment.get("HALLMARK_KUBEFLOW", "")),
        ("Grafana", environment.get("HALLMARK_GRAFANA", "")),
    )
    return tuple(Link(name=name, address=page) for name, address in known if (page := _page(address)))


_BESIDE = (("MLflow", "/mlflow/"), ("Kubeflow", "/pipeline/"), ("Grafana", "/grafana/"))
"""Paths of manifests/platform/gateway."""


def _page(address: str) -> str:
    """The address without account and secret; empty where it is none of a web page."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
