"""The objects of the local cluster: a SQLite file with resourceVersions, watches and events.

One process owns the file. Every method is synchronous, thread-safe (one re-entrant lock) and takes well under a
millisecond but for the write to disk, so that the reconciler calls it from any thread and the API from its event loop.
Objects are plain dicts; those given out are copies. `kind` is the plural name ("inferenceservices"), `namespace` is ""
for what has none.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from hallmark.errors import Conflict, HallmarkError, NotFound, Unavailable
from local_cluster import resources
from local_cluster.feed import Feed
from local_cluster.resources import Object
from local_cluster.selectors import Selection

HISTORY = 4096
EVENT_AGE = timedelta(hours=1)
EVENT_LIMIT = 2000

Key = tuple[str, str, str]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class AlreadyExists(HallmarkError):
    """An object of that name is there already."""


class Missing(NotFound):
    """There is no such object."""


class Stale(Conflict):
    """The object was changed since the caller read it: its resourceVersion or uid is another."""


class Terminating(HallmarkError):
    """The namespace is being deleted: nothing new is made in it."""


class TooOld(HallmarkError):
    """Changes since that resourceVersion are no longer known: list again."""


@dataclass(frozen=True)
class StoreChange:
    """One write, in resourceVersion order. `object` and `previous` are shared between readers: do not change them."""

    type: ChangeType
    kind: str
    object: Object
    previous: Object | None
    version: int


class ObjectStore:
    """The objects in one SQLite file; `Unavailable` where it cannot be opened or another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._objects: dict[Key, Object] = {}
        self._subscribers: list[Callable[[StoreChange], None]] = []
        self._feeds: list[Feed[StoreChange]] = []
        self._history: deque[StoreChange] = deque(maxlen=HISTORY)
        self._open()
        self._oldest = self._version
        if ("namespaces", "", "default") not in self._objects:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})

    def close(self) -> None:
        """Close the file and end every watch."""
        with self.lock:
            self.end_watches()
            self._database.close()

    def end_watches(self) -> None:
        """End every watch that is open, so that the server that streams them can stop."""
        with self.lock:
            for feed in tuple(self._feeds):
                feed.close()

    @property
    def version(self) -> str:
        """The resourceVersion of the newest change."""
        return str(self._version)

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """The object, or `Missing`."""
        with self.lock:
            return _copy(self._find((kind, namespace, name)))

    def list(
        self, kind: str, *, namespace: str | None = None, labels: dict[str, str] | Selection | None = None
    ) -> tuple[list[Object], str]:
        """The objects of a kind by namespace and name, and the resourceVersion to watch from."""
        selection = labels if isinstance(labels, Selection) else Selection.equal(labels or {})
        with self.lock:
            found = [
                _copy(obj)
                for key, obj in sorted(self._objects.items())
                if key[0] == kind and namespace in (None, key[1]) and selection.matches(obj)
            ]
            return found, self.version

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Keep a new object, status and all; gives it uid, creationTimestamp and generation. `AlreadyExists`, `Missing` namespace."""
        resource = resources.of(obj)
        obj = _copy(obj)
        meta = obj.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName'][:58]}{uuid.uuid4().hex[:5]}"
        if not resource.namespaced:
            meta.pop("namespace", None)
        with self.lock:
            key = (resource.plural, str(meta.get("namespace", "")), str(meta["name"]))
            if key in self._objects:
                raise AlreadyExists(f'{resource.qualified} "{key[2]}" already exists')
            if resource.namespaced:
                home = self._find(("namespaces", "", key[1]))
                if home["metadata"].get("deletionTimestamp"):
                    raise Terminating(f"namespace {key[1]} is being terminated")
            for given in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
                meta.pop(given, None)
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
            meta.pop("generation", None)
            if resource.custom:
                meta["generation"] = 1
            if resource is resources.NAMESPACES:
                meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": key[2]}
                obj["spec"] = {"finalizers": ["kubernetes"]}
                obj["status"] = {"phase": "Active"}
            return self._write("ADDED", key, obj, None, dry_run=dry_run)

    def update(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Replace all but the status, which stays as it is; `Missing`, or `Stale` where a resourceVersion is given and is not the newest.

        A change of anything but metadata makes a new generation of a custom resource. What changes nothing writes nothing.
        """
        resource = resources.of(obj)
        meta = obj["metadata"]
        key = (resource.plural, str(meta.get("namespace") or "") if resource.namespaced else "", str(meta["name"]))
        with self.lock:
            current = self._find(key)
            _check_fresh(current, meta, resource.qualified)
            wanted = _copy(obj)
            wanted.pop("status", None)
            if "status" in current:
                wanted["status"] = _copy(current["status"])
            _keep_identity(current, wanted)
            if _without_version(wanted) == _without_version(current):
                return _copy(current)
            if resource.custom and _content(wanted) != _content(current):
                wanted["metadata"]["generation"] = int(current["metadata"].get("generation") or 0) + 1
            if wanted["metadata"].get("deletionTimestamp") and not wanted["metadata"].get("finalizers"):
                return self._remove(key, wanted, dry_run=dry_run)
            return self._write("MODIFIED", key, wanted, current, dry_run=dry_run)

    def update_status(
        self,
        kind: str,
        namespace: str,
        name: str,
        status: Object,
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Replace the status and nothing else; what changes nothing writes nothing. `Missing`, `Stale`."""
        with self.lock:
            key = (kind, namespace, name)
            current = self._find(key)
            if resource_version:
                _check_fresh(current, {"resourceVersion": resource_version}, resources.BY_PLURAL[kind].qualified)
            if current.get("status") == status:
                return _copy(current)
            wanted = _copy(current)
            wanted["status"] = _copy(status)
            return self._write("MODIFIED", key, wanted, current, dry_run=dry_run)

    def modify(self, kind: str, namespace: str, name: str, change: Callable[[Object], Object]) -> Object:
        """Read, `change` and `update` in one step that nobody comes between; `change` may alter and return what it gets."""
        with self.lock:
            return self.update(change(self.get(kind, namespace, name)))

    def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Remove the object and give its last state. One with finalizers is only marked, until they are gone;
        a namespace goes after everything in it."""
        with self.lock:
            key = (kind, namespace, name)
            current = self._find(key)
            _check_fresh(
                current, {"uid": uid, "resourceVersion": resource_version}, resources.BY_PLURAL[kind].qualified
            )
            if kind == "namespaces":
                return self._delete_namespace(name, current, dry_run=dry_run)
            if current["metadata"].get("finalizers"):
                return self._mark(key, current, dry_run=dry_run)
            return self._remove(key, current, dry_run=dry_run)

    def record(self, involved: Object, type_: Literal["Normal", "Warning"], reason: str, message: str) -> Object | None:
        """Make an Event about `involved`, or count one more of the same; none where its namespace is gone or going."""
        meta = involved["metadata"]
        about = {
            "apiVersion": involved["apiVersion"],
            "kind": involved["kind"],
            "name": meta["name"],
            "uid": meta.get("uid", ""),
        }
        if meta.get("namespace"):
            about["namespace"] = meta["namespace"]
        namespace = meta.get("namespace") or "default"
        with self.lock:
            for event in self._events(namespace):
                same = (event.get("involvedObject"), event.get("type"), event.get("reason"), event.get("message"))
                if same == (about, type_, reason, message):
                    return self.update({**event, "count": int(event.get("count") or 1) + 1, "lastTimestamp": now()})
            try:
                return self.create(_event(about, namespace, type_, reason, message))
            except (Missing, Terminating):
                return None

    def subscribe(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back for each change, in order; gives the function that ends it.

        The writing thread calls it while it holds the lock: pass the change on (a queue, `call_soon_threadsafe`), do no work.
        """
        with self.lock:
            self._subscribers.append(callback)

        def end() -> None:
            with self.lock:
                if callback in self._subscribers:
                    self._subscribers.remove(callback)

        return end

    def watch(self, kind: str, *, namespace: str | None = None, since: int | str | None = None) -> Feed[StoreChange]:
        """The changes of a kind after resourceVersion `since` (none: from now), to be read on the running event loop:
        `async for change in feed`, or `await feed.next(seconds)`; close it. `TooOld` where they are no longer known."""

        def wanted(change: StoreChange) -> bool:
            return change.kind == kind and namespace in (None, change.object["metadata"].get("namespace", ""))

        with self.lock:
            start = self._version if since is None else int(since)
            if start < self._oldest or start > self._version:
                raise TooOld(f"too old resource version: {start} ({self._oldest})")
            feed = Feed(wanted, ended=self._forget)
            for change in self._history:
                if change.version > start:
                    feed.push(change)
            self._feeds.append(feed)
            return feed

    def _forget(self, feed: Feed[StoreChange]) -> None:
        with self.lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def _find(self, key: Key) -> Object:
        try:
            return self._objects[key]
        except KeyError:
            raise Missing(f'{resources.BY_PLURAL[key[0]].qualified} "{key[2]}" not found') from None

    def _write(self, type_: ChangeType, key: Key, obj: Object, previous: Object | None, *, dry_run: bool) -> Object:
        if dry_run:
            return _copy(obj)
        version = self._version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        text = json.dumps(obj, separators=(",", ":"), allow_nan=False)
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*key, text))
            database.execute("UPDATE counter SET version = ?", (version,))
        kept: Object = json.loads(text)
        self._objects[key] = kept
        self._publish(StoreChange(type_, key[0], kept, previous, version))
        return _copy(kept)

    def _remove(self, key: Key, last: Object, *, dry_run: bool) -> Object:
        gone = _copy(last)
        if dry_run:
            return gone
        version = self._version + 1
        gone["metadata"]["resourceVersion"] = str(version)
        with self._transaction() as database:
            database.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key)
            database.execute("UPDATE counter SET version = ?", (version,))
        previous = self._objects.pop(key)
        self._publish(StoreChange("DELETED", key[0], gone, previous, version))
        self._finish_namespace(key[1])
        return _copy(gone)

    def _mark(self, key: Key, current: Object, *, dry_run: bool) -> Object:
        if current["metadata"].get("deletionTimestamp"):
            return _copy(current)
        wanted = _copy(current)
        wanted["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
        return self._write("MODIFIED", key, wanted, current, dry_run=dry_run)

    def _delete_namespace(self, name: str, current: Object, *, dry_run: bool) -> Object:
        key = ("namespaces", "", name)
        wanted = _copy(current)
        wanted["metadata"].setdefault("deletionTimestamp", now())
        wanted["status"] = {"phase": "Terminating"}
        marked = self._write("MODIFIED", key, wanted, current, dry_run=dry_run)
        if dry_run:
            return marked
        inside = sorted(each for each in self._objects if each[1] == name)
        for kind, namespace, each in inside:
            self.delete(kind, namespace, each)
        self._finish_namespace(name)
        return marked

    def _finish_namespace(self, name: str) -> None:
        key = ("namespaces", "", name)
        home = self._objects.get(key)
        if home and home["metadata"].get("deletionTimestamp") and not any(each[1] == name for each in self._objects):
            self._remove(key, home, dry_run=False)

    def _events(self, namespace: str) -> Iterator[Object]:
        oldest = (datetime.now(UTC) - EVENT_AGE).strftime(_TIME)
        events = [(_last(obj), key) for key, obj in self._objects.items() if key[0] == "events"]
        events.sort()
        for index, (last, key) in enumerate(events):
            if last < oldest or index < len(events) - EVENT_LIMIT:
                self._remove(key, self._objects[key], dry_run=False)
            elif key[1] == namespace:
                yield self._objects[key]

    def _publish(self, change: StoreChange) -> None:
        self._version = change.version
        if len(self._history) == HISTORY:
            self._oldest = self._history[0].version
        self._history.append(change)
        for feed in list(self._feeds):
            feed.push(change)
        for callback in list(self._subscribers):
            callback(change)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            raise Unavailable(
                "the cluster's objects cannot be written",
                expected=f"a writable {self.path.name}",
                got=str(error),
                fix="free some disk space, then try again",
            ) from error

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            self._database = sqlite3.connect(self.path, check_same_thread=False, timeout=1.0)
            self._database.executescript(_SCHEMA)
            self._version = int(self._database.execute("SELECT version FROM counter").fetchone()[0])
            for kind, namespace, name, text in self._database.execute("SELECT * FROM objects"):
                self._objects[(kind, namespace, name)] = json.loads(text)
        except (OSError, sqlite3.Error, ValueError) as error:
            raise Unavailable(
                "the cluster's objects cannot be opened",
                expected=f"a SQLite file of ours at {self.path}, and no other process that has it",
                got=str(error),
                fix="stop the other `hallmark up`; where the file is broken, remove it and apply again",
            ) from error


_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 100);
"""


def now() -> str:
    """This second, as Kubernetes writes it."""
    return datetime.now(UTC).strftime(_TIME)


def _copy(obj: Object) -> Object:
    copied: Object = json.loads(json.dumps(obj, allow_nan=False))
    return copied


def _check_fresh(current: Object, given: Object, qualified: str) -> None:
    meta = current["metadata"]
    if given.get("uid") and given["uid"] != meta["uid"]:
        raise Stale(
            f'Operation cannot be fulfilled on {qualified} "{meta["name"]}": Precondition failed: '
            f"UID in precondition: {given['uid']}, UID in object meta: {meta['uid']}"
        )
    if given.get("resourceVersion") and str(given["resourceVersion"]) != meta["resourceVersion"]:
        raise Stale(
            f'Operation cannot be fulfilled on {qualified} "{meta["name"]}": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )


def _keep_identity(current: Object, wanted: Object) -> None:
    for key in (
        "uid",
        "creationTimestamp",
        "generation",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        wanted["metadata"].pop(key, None)
        if key in current["metadata"]:
            wanted["metadata"][key] = current["metadata"][key]
    wanted["metadata"].pop("selfLink", None)


def _without_version(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    fields = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in obj["metadata"].get("managedFields") or []
    ]
    return {**obj, "metadata": {**meta, "managedFields": fields}}


def _content(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _last(event: Object) -> str:
    return str(event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])


def _event(about: Object, namespace: str, type_: str, reason: str, message: str) -> Object:
    moment = now()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": about,
        "type": type_,
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
    }


COMPONENT = "inferenceservice-controller"
