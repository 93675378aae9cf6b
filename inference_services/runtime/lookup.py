"""Features of the entities that requests are about: read from the online store between decoding and the model, one read for all of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts import views
from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.declaration.serving_config import FeatureReading
from hallmark.declaration.source import Datatype
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.feature_store.lookups import AGE, AT, UNREAD
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED, Key, entity_key
from hallmark.feature_store.online.store import OnlineStore
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.tiles import TYPES, Plan, demand_entity
from hallmark.features.fields import Columns
from inference_services.protocol.errors import BadRequest, NoFeatures, ServeError, StoreDown
from inference_services.protocol.v2 import InferenceRequest

_WARMING = 2.0
_log = logging.getLogger(__name__)
DEFAULTED = b"x-hallmark-features: default\r\n"
"""The line of an answer whose request got at least one default for want of a value."""


class Store(Protocol):
    """What is asked of an online store: payloads of (view, entity), in order, None where there is none."""

    async def payloads(self, keys: Sequence[tuple[str, Any]]) -> Sequence[bytes | None]:
        """One read for all; `HallmarkError` where the store does not answer."""


class Reader(Protocol):
    """Reads a view's payload at a time."""

    def values(self, payload: bytes | None, at: int) -> tuple[Sequence[Any], int]:
        """The values of the columns that the model reads, None for nothing, and when the entity's newest event happened (0: never)."""


@dataclass(frozen=True)
class _View:
    """A view with the fields that it gives."""

    use: ViewUse
    reader: Reader
    fields: tuple[views.GivenField, ...]


class Lookup:
    """Fills requests of one model in with what its views say of their entities at the moment of reading."""

    def __init__(
        self, signature: Signature, *, store: Store, readers: Mapping[str, Reader], reading: FeatureReading
    ) -> None:
        self._views = [
            _View(use, readers[use.view.reference], views.given(use, signature.fields)) for use in signature.views
        ]
        self._store = store
        self._reading = reading
        # Where a folder's field is of its contract's type, decoding a request has said so already.
        self._mistyped = any(_kind(each.use) != each.use.entity.datatype for each in self._views)

    async def warm(self) -> bool:
        """Connect and read once before requests wait for it; False where the store does not answer, which ends no server."""
        keys = [(view.use.view.reference, "") for view in self._views]
        until = time.monotonic() + _WARMING
        while True:
            try:
                await self._store.payloads(keys)
                return True
            except (HallmarkError, OSError) as error:
                if time.monotonic() > until:
                    _log.warning("the features' store does not answer: %s", " ".join(str(error).split()))
                    return False
                await asyncio.sleep(0.05)

    async def fill(self, requests: Sequence[InferenceRequest], *, within: float) -> list[ServeError | None]:
        """Add the views' fields to the columns of each request, or say why it is refused; takes `within` seconds at most."""
        if self._mistyped and any(map(self._odd, requests)):
            return await self._without_odd(requests, within=within)
        wait = min(self._reading.wait, within)
        keys: dict[tuple[str, Any], None] = {}
        for request in requests:
            for view in self._views:
                entities = request.columns[view.use.entity.name]
                keys.update(
                    ((view.use.view.reference, entity), None) for entity in entities.tolist() if entity is not None
                )
        try:
            async with asyncio.timeout(wait):
                found = await self._store.payloads(list(keys))
            payloads = dict(zip(keys, found, strict=True))
        except DeclarationError:
            return await self._without_odd(requests, within=within)
        except (HallmarkError, TimeoutError, OSError):
            if self._reading.missing == "refuse":
                return [StoreDown("the features of the request could not be read in time")] * len(requests)
            payloads = None
        at = time.time_ns() // 1000
        if len(requests) > 1 and payloads is not None and self._together(requests, payloads, at):
            return [None] * len(requests)
        return [self._outcome(request, payloads, at) for request in requests]

    async def _without_odd(self, requests: Sequence[InferenceRequest], *, within: float) -> list[ServeError | None]:
        """The outcome where some requests ask for what can be no entity: they are refused, and the others filled."""
        odd = [self._odd(request) for request in requests]
        others = [request for request, wrong in zip(requests, odd, strict=True) if wrong is None]
        if len(others) == len(requests):
            return [StoreDown("the features of the request could not be read")] * len(requests)
        rest = iter(await self.fill(others, within=within) if others else ())
        return [next(rest) if wrong is None else wrong for wrong in odd]

    def _odd(self, request: InferenceRequest) -> ServeError | None:
        """The refusal of a request with an entity that is of another type than the contract's, or can be no key; none of others."""
        for view in self._views:
            name = view.use.entity.name
            for entity in request.columns[name].tolist():
                if entity is None:
                    continue
                try:
                    demand_entity(view.use.view, TYPES[_kind(view.use)], entity)
                except DeclarationError as error:
                    said = f"expected {error.expected}, got {error.got}: {error.fix}"
                    return BadRequest(f"input {name!r}: {error.message}: {said}")
                try:
                    entity_key(entity)
                except DeclarationError as error:
                    return NoFeatures(f"input {name!r}: {error.message}: expected {error.expected}, got {error.got}")
        return None

    def _together(
        self, requests: Sequence[InferenceRequest], payloads: Mapping[tuple[str, Any], bytes | None], at: int
    ) -> bool:
        """Fill all requests in as one, since an array costs more than its values; False where one of them lacks a value."""
        names = {view.use.entity.name for view in self._views}
        entities = {name: np.concatenate([request.columns[name] for request in requests]) for name in names}
        whole = InferenceRequest("", entities, sum(request.rows for request in requests))
        if self._outcome(whole, payloads, at) is not None or whole.notes:
            return False
        given = {name: values for name, values in whole.columns.items() if name not in names}
        begin = 0
        for request in requests:
            end = begin + request.rows
            request.columns = {**request.columns, **{name: values[begin:end] for name, values in given.items()}}
            begin = end
        return True

    def _outcome(
        self, request: InferenceRequest, payloads: Mapping[tuple[str, Any], bytes | None] | None, at: int
    ) -> ServeError | None:
        try:
            return self._filled(request, payloads, at)
        except HallmarkError:  # a payload that is none
            refuse = self._reading.missing == "refuse"
            return (
                StoreDown("the features of the request could not be read")
                if refuse
                else self._filled(request, None, at)
            )

    def _filled(
        self, request: InferenceRequest, payloads: Mapping[tuple[str, Any], bytes | None] | None, at: int
    ) -> ServeError | None:
        columns: dict[str, NDArray[Any]] = dict(request.columns)
        columns[AT] = np.full(request.rows, at, dtype=np.int64)
        defaulted = False
        for view in self._views:
            reference = view.use.view.reference
            entities = columns[view.use.entity.name].tolist()
            if payloads is None:
                rows: list[Sequence[Any]] = [(None,) * len(view.fields)] * request.rows
                newest = [UNREAD] * request.rows
            else:
                told = [view.reader.values(payloads.get((reference, entity)), at) for entity in entities]
                rows, newest = [values for values, _ in told], [when for _, when in told]
            for place, given in enumerate(view.fields):
                name = given.field.name
                if payloads is None and given.field.optional:
                    values, defaulted = [given.default] * request.rows, True
                else:
                    values, lacking, stands_in = given.filled([row[place] for row in rows], self._reading.missing)
                    if lacking:
                        return NoFeatures(f"input {view.use.entity.name!r}: nothing is known that gives {name!r}")
                    defaulted |= stands_in
                columns[name] = given.array(values)
            columns[f"{AGE}{reference}"] = np.array(newest, dtype=np.int64)
        request.columns = columns
        if defaulted:
            request.notes = DEFAULTED
        return None


def _kind(use: ViewUse) -> Datatype:
    """The type of a view's entities, as its source's contract has it."""
    return use.types[use.view.entity]


class _Payloads:
    """An online store, asked for payloads only."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store

    async def payloads(self, keys: Sequence[tuple[str, Any]]) -> Sequence[bytes | None]:
        rows = await self._store.aread([Key(view, entity_key(entity)) for view, entity in keys])
        return [None if row is None else row.payload for row in rows]


class _Columns:
    """The columns of a view that a model reads, from the view's payloads."""

    def __init__(self, use: ViewUse) -> None:
        self._payload = Payload(Plan(use.view, {name: TYPES[kind] for name, kind in use.types.items()}))
        places = [self._payload.columns.index(name) for name in use.fields]
        self._chosen = itemgetter(*places) if len(places) > 1 else lambda values: (values[places[0]],)

    def values(self, payload: bytes | None, at: int) -> tuple[Sequence[Any], int]:
        found, newest = self._payload.dated(payload, at)
        return self._chosen(found), newest


def connected(signature: Signature, url: str, *, reading: FeatureReading) -> Lookup:
    """The lookup of a request's features in the online store at `url`, which is not asked yet."""
    return _connected(_of(signature, signature.request_views), url, reading=reading)


def of_items(signature: Signature, url: str, *, reading: FeatureReading) -> Callable[[Columns, int], Columns]:
    """What reads the views of items that were retrieved; it waits for them, on an event loop and a thread of its own.

    It adds the views' fields to the columns of `rows` candidates; a `ServeError` where the declaration has requests refused then.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="item features", daemon=True).start()

    async def made() -> Lookup:
        return _connected(_of(signature, signature.item_views), url, reading=reading)

    found = asyncio.run_coroutine_threadsafe(made(), loop).result()
    asyncio.run_coroutine_threadsafe(found.warm(), loop).result()

    def looked(columns: Columns, rows: int) -> Columns:
        request = InferenceRequest("", columns, rows)
        waiting = asyncio.run_coroutine_threadsafe(found.fill([request], within=reading.wait), loop)
        (refused,) = waiting.result()
        if refused is not None:
            raise refused
        return request.columns

    return looked


def _of(signature: Signature, uses: tuple[ViewUse, ...]) -> Signature:
    """The signature with these views alone, and the fields that they may give."""
    fields = signature.fields if signature.retriever is None else signature.retriever.looked_up
    return signature.model_copy(update={"views": uses, "fields": fields})


def _connected(signature: Signature, url: str, *, reading: FeatureReading) -> Lookup:
    store = connect(url, namespace=SHARED, read_seconds=reading.wait)
    readers = {use.view.reference: _Columns(use) for use in signature.views}
    return Lookup(signature, store=_Payloads(store), readers=readers, reading=reading)
