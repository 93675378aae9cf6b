"""Items of a served index as they change: put in and deleted over the wire, logged before they are acknowledged, followed by every version."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.retriever import Retriever as Declared
from hallmark.artifacts.signature import Signature
from hallmark.errors import ContractBroken, HallmarkError, NotFound, Refused
from hallmark.features.fields import Columns
from hallmark.files import replace
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import is_id
from inference_services.protocol.column import UNREADABLE, explain
from inference_services.protocol.errors import BadRequest, ServeError, StoreDown
from inference_services.protocol.schema import Schema
from inference_services.protocol.v1 import V1Codec
from inference_services.runtime.change_log import Changes, ItemChange, Logged
from inference_services.runtime.metrics import Metrics

MOST = 1000
"""Changes in one request."""
_READ = 1024
_TOGETHER = 256
"""Items that are encoded in one call."""
_COMPACTS = 60.0
"""Seconds after which a server sees whether compacting the log pays."""
_POSITION = "position"
Encode = Callable[[Columns, int], NDArray[np.float32]]
_log = logging.getLogger(__name__)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    put: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MOST)] = []
    delete: Annotated[list[str | int], msgspec.Meta(max_length=MOST)] = []


_body = msgspec.json.Decoder(_Body).decode
_item = msgspec.json.Decoder(dict[str, Any]).decode


class Taken(NamedTuple):
    """Changes that were taken.

    position: the log's next.   bound: when, on the monotonic clock, no server answers from a log without their deletions any more.
    """

    position: int
    bound: float


class ItemCodec:
    """Items as they come over the wire and lie in the log, checked against the fields that the model's index is made of."""

    def __init__(self, signature: Signature, declared: Declared) -> None:
        self._declared = declared
        plain = signature.model_copy(update={"fields": declared.put, "views": (), "retriever": None})
        self._codec = V1Codec(Schema(signature.domain, plain))
        self._numbered = declared.corpus.datatype == "INT64"

    def changes(self, body: bytes, at: float) -> list[ItemChange]:
        """The changes in a request's body, deletions last; `BadRequest` names the item and the field."""
        try:
            found = _body(body)
        except UNREADABLE as error:
            raise BadRequest(f"body: {explain(error)}; expected put and delete, at most {MOST} of each") from None
        if not found.put and not found.delete:
            raise BadRequest("body: expected items to put, or ids to delete")
        kind = int if self._numbered else str
        if any(type(each) is not kind or each == "" for each in found.delete):
            raise BadRequest(f"delete: expected ids, each a {'whole number' if self._numbered else 'text'}")
        try:
            raw = [_item(each) for each in found.put]
        except UNREADABLE as error:
            raise BadRequest(f"put: {explain(error)}; expected items, each an object") from None
        if raw:
            self.columns(raw)
        key = self._declared.corpus.id
        ids = [str(each[key]) for each in raw] + [str(each) for each in found.delete]
        if len(set(ids)) < len(ids):
            raise BadRequest("body: an id comes twice")
        return [ItemChange(str(each[key]), at, each) for each in raw] + [
            ItemChange(str(each), at) for each in found.delete
        ]

    def columns(self, items: Sequence[Mapping[str, Any]]) -> Columns:
        """The columns of items, as `encode_item` reads them; `BadRequest` where one is not what the index is made of."""
        return self._codec.decode(msgspec.json.encode({"instances": list(items)})).columns

    def upserts(self, items: Sequence[Mapping[str, Any]], encode: Encode) -> list[Upsert]:
        """The items with their vectors; `BadRequest` where one has none."""
        columns = self.columns(items)
        vectors = encode(columns, len(items))
        nothing = ~np.isfinite(vectors).all(axis=1) | (np.linalg.norm(vectors, axis=1) == 0)
        if nothing.any():
            raise BadRequest(
                f"put[{int(nothing.argmax())}]: the model makes no vector of it: it has learnt nothing of this item,"
                " and knows nothing of what is told of it"
            )
        corpus = self._declared.corpus
        ids = columns[corpus.id]
        kinds = {each.column: str(each.datatype) for each in corpus.filters}
        kinds |= {field.name: field.datatype for field in self._declared.kept}
        return [
            Upsert(
                str(ids[row]),
                vectors[row],
                {name: _plain(columns[name][row], kind) for name, kind in kinds.items()},
                " ".join(str(text) for name in corpus.words if (text := columns[name][row])),
            )
            for row in range(len(items))
        ]


def _plain(value: Any, datatype: str) -> Any:
    """A value of a column as the index takes it; None where it is missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if datatype in ("INT32", "INT64"):
        return int(value)
    if datatype == "BOOL":
        return bool(value)
    return float(value) if datatype in ("FP32", "FP64") else str(value)


class LiveItems:
    """The changes of a domain's items as one server's index has them.

    Whatever happens first reads the log: a search takes deletions at once, and whoever put an item in waits until it is found. A
    thread takes what other servers put in, within `fresh` seconds.

    generation: changes by which answers may differ.
    """

    def __init__(
        self,
        index: Retriever,
        *,
        codec: ItemCodec,
        encode: Encode,
        log: Changes,
        state: Path,
        fresh: float,
        metrics: Metrics,
    ) -> None:
        self.generation = 0
        self._codec, self._encode = codec, encode
        self._metrics = metrics
        self._changes = log
        self._deltas = Deltas.open(state, index.unit)
        self._index = index
        index.deltas = self._deltas
        self._position = state / f"{index.unit.digest.removeprefix('sha256:')[:32]}.{_POSITION}"
        self._next = self._known()
        self._pending: dict[str, Logged] = {}
        self._ready: dict[int, Upsert] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._pause = max(min(0.1, fresh / 4), log.lag / 4)
        self._fault, self._other, self._began = "", "", float("-inf")
        self._replay()
        self._thread = threading.Thread(target=self._follow, name="items", daemon=True)
        self._thread.start()

    def change(self, body: bytes) -> Taken:
        """Take the changes of a request; once they are kept, and this server's searches see them.

        `BadRequest` where the request is none and nothing was changed; `StoreDown` where the log does not take it.
        """
        changes = self._codec.changes(body, time.time())
        if self.broken:
            raise StoreDown("this server cannot take changes of items now")
        items = [each.item for each in changes if each.item is not None]
        made = {each.id: each for each in self._codec.upserts(items, self._encode)} if items else {}
        try:
            self._deltas.check([made[each.id] if each.item is not None else Delete(each.id) for each in changes])
        except ContractBroken as error:
            raise BadRequest(f"{error.message}; expected {error.expected}, got {error.got}") from None
        with self._lock:
            known = self._next
        try:
            first = self._changes.append(changes)
        except HallmarkError as error:
            _log.warning("%s", " ".join(str(error).split()))
            raise StoreDown("the log of item changes takes nothing now") from error
        bound = time.monotonic() + (self._changes.lag if len(items) < len(changes) else 0.0)
        with self._lock:
            if first < known:  # as after a backup was brought back: what this server has read is another log
                self._other = (
                    "the log of item changes is another than the one that this server has read: start it again"
                )
                _log.error("%s", self._other)
                self._metrics.add("item_changes", "failed")
                raise StoreDown("the log of item changes began anew: start this server again")
            self._ready |= {
                offset: made[each.id] for offset, each in enumerate(changes, first) if each.item is not None
            }
            last = first + len(changes)
            with self._told_of_faults():
                self._read()
                while any(first <= each.offset < last for each in self._pending.values()):
                    self._apply()
        return Taken(last, bound)

    @property
    def broken(self) -> str:
        """Why it neither follows the log nor takes changes now; "" where it does. Such a server is not ready.

        A log that cannot be read is asked again all the time. A journal of its own that failed, or another log, needs a new start.
        """
        return (
            self._fault or self._other or ("the journal of the index takes nothing more" if self._deltas.broken else "")
        )

    @property
    def behind(self) -> bool:
        """Will the next answer wait for the log, which is far away? Of a folder never: it is read in no time."""
        return 0 < self._changes.lag <= time.monotonic() - self._began

    def refresh(self) -> None:
        """Read what was logged since, and take deletions: from now on no search finds what a deletion was acknowledged for.

        A log that may lag is read again once what was read of it is so old; a deletion is acknowledged when it is older for all.
        `StoreDown` where that cannot be done, since a search would find what was deleted.
        """
        if self._other:
            raise StoreDown("the changes of the items cannot be taken now")
        if self._changes.lag and not self.behind:
            return
        with self._told_of_faults():
            self._read()

    def _read(self) -> None:
        with self._lock:
            began = time.monotonic()
            gone: dict[str, None] = {}
            at = self._next
            while new := self._changes.read(at, _READ):
                at = new[-1].offset + 1
                for each in new:
                    if each.change.item is not None:
                        self._pending.pop(each.change.id, None)
                        self._pending[each.change.id] = each
                    elif each.change.id:
                        self._pending.pop(each.change.id, None)
                        gone[each.change.id] = None
            if gone:
                self._deltas.apply([Delete(each) for each in gone if is_id(each)])
                self.generation += len(gone)
                self._metrics.add("item_changes", "delete", len(gone))
            self._next, self._began = at, began
            if gone:
                self._told()

    def close(self) -> None:
        """End the thread and let another process have the state."""
        self._ended.set()
        self._thread.join(5.0)
        self._deltas.close()

    def _known(self) -> int:
        """The position in the log that the state has; 0 where its own journal was cut, so that all is read again.

        `HallmarkError` where the log ends before it.
        """
        position = _number(self._position)
        if self._deltas.dropped:
            _log.warning(
                "the end of the items' journal was damaged: the log of item changes is read again from its beginning"
            )
            return 0
        try:
            there = not position or bool(self._changes.read(position - 1, 1))
        except NotFound:
            there = False
        if not there:
            raise HallmarkError(
                "the log of item changes is another than the one that this state was made from",
                expected=f"{position} changes at least",
                got="fewer",
                fix=f"bring the log back, or delete {self._position.parent} and have all of the log read again",
            )
        return position

    def _replay(self) -> None:
        """Take all that was logged before anything is served."""
        self._read()
        while self._pending:
            self._apply()
        self._told()

    @contextlib.contextmanager
    def _told_of_faults(self) -> Iterator[None]:
        """Log, count and keep what goes wrong, until the thread that follows the log gets through; `StoreDown` to who asked."""
        try:
            yield
        except ServeError:
            raise
        except Exception as error:  # whatever it is, the server is not ready, and its thread goes on trying
            self._fault = " ".join(str(error).split()) or type(error).__name__
            _log.error("item changes cannot be taken: %s", self._fault)
            self._metrics.add("item_changes", "failed")
            raise StoreDown("the changes of the items cannot be taken now") from error

    def _follow(self) -> None:
        compacts = time.monotonic() + _COMPACTS
        while not self._ended.wait(self._pause):
            try:
                with self._told_of_faults():
                    self._read()
                    while self._pending and not self._ended.is_set():
                        self._apply()
                self._fault = ""
                if time.monotonic() > compacts:
                    compacts = time.monotonic() + _COMPACTS
                    self._compact()
            except ServeError:
                self._ended.wait(1.0)

    def _compact(self) -> None:
        try:
            if gone := self._changes.compact():
                _log.info("the log of item changes was compacted: %d changes taken out that later ones replaced", gone)
        except (HallmarkError, OSError) as error:
            _log.warning("the log of item changes cannot be compacted: %s", " ".join(str(error).split()))

    def _apply(self) -> None:
        """Make vectors of some that wait, and let searches see them; one that changed again meanwhile waits for its turn."""
        with self._lock:
            some = list(self._pending.values())[:_TOGETHER]
            ready = {each.offset: found for each in some if (found := self._ready.get(each.offset)) is not None}
        made = dict(self._made([each for each in some if each.offset not in ready])) | ready
        with self._lock:
            taken = [each for each in some if self._pending.get(each.change.id) is each]
            for each in taken:
                del self._pending[each.change.id]
            kept = [each for each in taken if each.offset in made]
            self._put([made[each.offset] for each in kept])
            for each in some:
                self._ready.pop(each.offset, None)
            now = time.time()
            for each in kept:
                self._metrics.observe("item_seconds", "", max(0.0, now - each.change.at))
            if not self._pending:
                self._ready.clear()
                if taken:
                    replace(self._position, f"{self._next}\n")
            self._told()

    def _put(self, items: Sequence[Upsert]) -> None:
        """Have the index take items; one that it refuses is counted, and the others are taken."""
        if not items:
            return
        try:
            self._deltas.apply(items)
        except Refused as error:
            if len(items) > 1:
                for each in items:
                    self._put([each])
                return
            _log.warning("item refused: %s", " ".join(str(error).split()))
            self._metrics.add("item_changes", "refused")
            return
        self.generation += len(items)
        self._metrics.add("item_changes", "put", len(items))

    def _made(self, changes: Sequence[Logged]) -> Iterator[tuple[int, Upsert]]:
        """Changes with their vectors. What this version cannot read, of another's item, is counted and left out."""
        if not changes:
            return
        try:
            made = self._codec.upserts([each.change.item or {} for each in changes], self._encode)
            yield from zip((each.offset for each in changes), made, strict=True)
        except ServeError as error:
            if len(changes) > 1:
                for each in changes:
                    yield from self._made([each])
                return
            _log.warning("an item of the log is none of this version's: %s", error.message)
            self._metrics.add("item_changes", "refused")

    def _told(self) -> None:
        self._metrics.set("items", self._index.count())
        self._metrics.set("items_waiting", len(self._pending))


def _number(path: Path) -> int:
    """The position that a server before this one came to; 0 where there was none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return 0
