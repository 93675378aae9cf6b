"""A watch: changes of one kind as JSON lines, with bookmarks, until its time is up."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from local_cluster.feed import Feed, FellBehind
from local_cluster.forms import Form
from local_cluster.problems import ApiProblem
from local_cluster.resources import Object
from local_cluster.selectors import Selection
from local_cluster.store import ObjectStore, StoreChange

BOOKMARK_SECONDS = 30.0
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Watch:
    """The scope of a watch; `since` is "" to begin with what there is."""

    kind: str
    namespace: str | None
    selection: Selection
    since: str
    seconds: float | None
    bookmarks: bool
    initial: bool


def lines(store: ObjectStore, watch: Watch, *, form: Form) -> AsyncIterator[bytes]:
    """The lines of a watch, objects in the form that was asked for.

    The feed begins before this returns, so that nothing is lost between; `TooOld` is raised here.
    """
    with store.lock:
        first: list[Object] = []
        version = watch.since
        if watch.since in ("", "0") or watch.initial:
            first, version = store.list(watch.kind, namespace=watch.namespace, labels=watch.selection)
        feed = store.watch(watch.kind, namespace=watch.namespace, since=version)
    return _lines(store, feed, watch, first, version, form)


async def _lines(
    store: ObjectStore, feed: Feed[StoreChange], watch: Watch, first: list[Object], version: str, form: Form
) -> AsyncIterator[bytes]:
    # A little luck in the default length keeps many clients from coming back at once.
    seconds = min(watch.seconds or 1800 * (1 + random.random()), LONGEST_SECONDS)  # noqa: S311
    ends = asyncio.get_running_loop().time() + seconds
    try:
        for obj in first:
            yield _line("ADDED", form.one(obj))
        if watch.initial:
            yield _line("BOOKMARK", _initial_end(form.bookmark(version)))
        async with aclosing(_changes(feed, ends)) as changes:
            async for change in changes:
                if change is None:
                    # Under the lock nothing is pushed: everything up to the bookmark has been sent.
                    with store.lock:
                        reached = None if feed.waiting else store.version
                    if watch.bookmarks and reached:
                        yield _line("BOOKMARK", form.bookmark(reached))
                    continue
                seen = _seen(change, watch.selection)
                if seen:
                    yield _line(seen, form.one(_as_seen(change, seen)))
    except FellBehind:
        yield _line("ERROR", ApiProblem("Expired", "the watch fell behind: list again").status())
    finally:
        feed.close()


async def _changes(feed: Feed[StoreChange], ends: float) -> AsyncGenerator[StoreChange | None]:
    loop = asyncio.get_running_loop()
    while (left := ends - loop.time()) > 0 and not feed.closed:
        yield await feed.next(min(left, BOOKMARK_SECONDS))
        while feed.closed and (change := await feed.next(0)) is not None:
            yield change


def _seen(change: StoreChange, selection: Selection) -> str | None:
    """The change as it appears to a client that sees only the selection."""
    now = change.type != "DELETED" and selection.matches(change.object)
    before = change.previous is not None and selection.matches(change.previous)
    if change.type == "DELETED":
        return "DELETED" if before or selection.matches(change.object) else None
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def _as_seen(change: StoreChange, seen: str) -> Object:
    if seen == "DELETED" and change.type != "DELETED" and change.previous is not None:
        # It left the selection: its last state in it, at the version of this change.
        meta = {**change.previous["metadata"], "resourceVersion": str(change.version)}
        return {**change.previous, "metadata": meta}
    return change.object


def _initial_end(obj: Object) -> Object:
    meta = {**obj["metadata"], "annotations": {"k8s.io/initial-events-end": "true"}}
    return {**obj, "metadata": meta}


def _line(type_: str, obj: Object) -> bytes:
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"
