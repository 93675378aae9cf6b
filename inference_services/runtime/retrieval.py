"""A served model that answers with items: encodes a request, retrieves by vectors and words, ranks, and says where each item came from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hallmark.artifacts.bundle import Bundle
from hallmark.artifacts.folder import INDEX
from hallmark.artifacts.retriever import WANTED, OnnxPart
from hallmark.declaration.corpus import Filter
from hallmark.errors import ModelRefused, Refused
from hallmark.features.encoding import Features
from hallmark.features.fields import Columns
from hallmark.features.image import BadImage
from hallmark.retrieval import filters, pairing
from hallmark.retrieval.candidates import VECTORS, WORDS, found_columns, item_columns, number
from hallmark.retrieval.card import UNIT
from hallmark.retrieval.fusion import Fused, fuse
from hallmark.retrieval.search import Nearest, Retriever
from hallmark.retrieval.unit import open_unit
from inference_services.protocol.errors import BadRequest, ModelFault
from inference_services.protocol.schema import Outputs, RequestLimits, Schema, reason
from inference_services.runtime.items import LiveItems
from inference_services.runtime.model import bounds_of, check_graph, sane, session
from inference_services.runtime.recall import Asked, RecallCheck

Looked = Callable[[Columns, int], Columns]
"""Adds what feature views give of `rows` candidates to their columns."""
Order = Callable[[Mapping[str, Any], Columns, NDArray[np.float32]], NDArray[np.int64]]


class Part:
    """One ONNX model of the folder behind the function of features.py that gives its inputs."""

    def __init__(self, part: OnnxPart, bundle: Bundle, features: Features, provider: str) -> None:
        self.name = part.file
        self._output = part.output
        code = features if part.source == "features.py" else bundle.features_of(part.source)
        self._features = code.part(part.code, inputs=part.inputs)
        self._session: onnxruntime.InferenceSession = session(bundle.file(part.file), provider, shown=part.file)
        check_graph(self._session, part.inputs, [part.output], shown=part.file)

    def __call__(self, columns: Columns, rows: int) -> NDArray[np.float32]:
        """(rows, …) what the model gives for these records; `ServeError` where it gives nothing that can be used."""
        try:
            encoded = self._features.encode(columns, rows=rows)
            found = np.asarray(self._session.run([self._output], encoded)[0], dtype=np.float32)
        except BadImage as error:
            raise BadRequest(f"photo: {reason(error)}") from None
        except ModelRefused as error:
            raise ModelFault(f"the model's feature code failed: {error.message}") from error
        except Exception as error:  # onnxruntime and the model's own feature code may raise anything
            raise ModelFault(f"{self.name} failed: {type(error).__name__}") from error
        if len(found) != rows or not np.isfinite(found).all():
            raise ModelFault(f"{self.name} gave shape {list(found.shape)}, or values that are not finite")
        return found


class RetrievalModel:
    """One verified model folder with its index.

    live:   takes the changes of its items, where the domain declares `fresh`.
    recall: runs a share of the queries again exactly.   looked: reads the views of candidates.
    near:   finds the nearest vectors: the index itself, or the collection of a declared backend.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        *,
        version: str = "",
        provider: str = "cpu",
        limits: RequestLimits | None = None,
        looked: Looked | None = None,
    ) -> None:
        self.digest = bundle.digest
        self.signature = bundle.signature
        declared = self.signature.retriever
        if declared is None or bundle.index is None:
            raise ModelRefused(
                "the model has an index or a retriever, and not both",
                expected="index/ in the folder, and a retriever in signature.json",
                got="no index" if bundle.index is None else "no retriever",
                fix="train it again",
            )
        self.retriever = declared
        pair = pairing.of(bundle.digests, self.signature)
        unit = open_unit(bundle.index, **pair._asdict(), digest=bundle.digests[f"{INDEX}/{UNIT}"])
        self.index = Retriever(unit)
        self.near: Nearest = self.index
        self.live: LiveItems | None = None
        self.recall: RecallCheck | None = None
        self.looked = looked
        features = bundle.features
        self._encoder = Part(declared.encoder, bundle, features, provider)
        self.put_in = Part(declared.put_in, bundle, features, provider) if declared.items else None
        self._features, self._bundle, self._provider = features, bundle, provider
        self._ranker = Part(declared.ranker, bundle, features, provider) if declared.ranker else None
        self._answer, added = bundle.answer
        self._order: Order | None = None
        if "serving.py" in bundle.files:
            self._order = getattr(bundle.code("serving.py"), "order", None)
        self.schema = Schema(name, self.signature, version=version, added=added, limits=limits)
        self._bounds = {name: bounds_of(output) for name, output in self.schema.outputs.items()}
        self.names = [field.name for field in self.signature.asked]

    @property
    def blocking(self) -> bool:
        """An index is searched beside the event loop, whatever it takes."""
        return True

    @property
    def generation(self) -> int:
        """How many changes of the items its answers know of."""
        if self.live is None:
            return 0
        self.live.refresh()
        return self.live.generation

    def item_encoder(self) -> Part:
        """The model that encodes items that are put in."""
        return self.put_in or Part(self.retriever.put_in, self._bundle, self._features, self._provider)

    def cost(self, *, rows: int = 1, repeats: int = 5) -> float:
        """Seconds that one call with `rows` records takes now: the best of a few; raises what `predict` raises."""
        columns, best = self.schema.example(rows), float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            self.predict(columns, rows)
            best = min(best, time.perf_counter() - start)
        return best

    def predict(self, columns: Columns, rows: int) -> Outputs:
        """The items for `rows` records, best first; `ServeError` where it cannot answer."""
        known = self.generation
        vectors = self._encoder(columns, rows)
        found = [self._retrieved(vectors[row], columns, row) for row in range(rows)]
        scores = self._ranked(columns, found)
        outputs = self._filled(
            [
                self._ordered(columns, row, each, score)
                for row, (each, score) in enumerate(zip(found, scores, strict=True))
            ],
            columns,
            gone=self._gone if self.generation != known else None,
        )
        try:
            if self._answer is not None:
                outputs.update(self._answer(outputs, self.signature.labels))
        except Exception as error:  # the domain's answer code raises many kinds, all the model's fault
            raise ModelFault(f"the model failed: {type(error).__name__}") from error
        return {
            name: sane(output, self._bounds[name], outputs[name], rows) for name, output in self.schema.outputs.items()
        }

    def _retrieved(self, vector: NDArray[np.float32], columns: Columns, row: int) -> list[Fused]:
        most, text = self.retriever.candidates, self.retriever.text
        where = filters.parse(_asked(self.retriever.corpus.filters, columns, row))
        try:
            if text is not None and (words := columns[text][row]):
                if vector.any():
                    found = self.index.hybrid(vector, str(words), most, where, depth=most, near=self.near)
                else:  # no word of it is known to the encoder
                    return fuse({WORDS: self.index.search_words(str(words), most, where)}, most)
            else:
                pairs = self.near.search(vector[None], most, where).of()
                found = [
                    Fused(item, score, {VECTORS: rank}, {VECTORS: score})
                    for rank, (item, score) in enumerate(pairs, start=1)
                ]
        except Refused as error:
            raise BadRequest(f"{error.message}; expected {error.expected}") from None
        if self.recall is not None:
            self.recall.offer(Asked(vector, where))
        return found

    def _ranked(self, columns: Columns, found: Sequence[Sequence[Fused]]) -> list[NDArray[np.float32]]:
        """The scores of each record's candidates."""
        sizes = [len(each) for each in found]
        if self._ranker is None or not sum(sizes):
            return [np.array([item.score for item in each], dtype=np.float32) for each in found]
        candidates = self.candidates(columns, found)
        scores = self._ranker(candidates, sum(sizes)).reshape(-1)
        if len(scores) != sum(sizes):
            raise ModelFault(f"{self._ranker.name} gave {len(scores)} scores for {sum(sizes)} candidates")
        return np.split(scores, np.cumsum(sizes)[:-1])

    def candidates(self, columns: Columns, found: Sequence[Sequence[Fused]]) -> dict[str, NDArray[Any]]:
        """The columns of all candidates, one after another: of their record, of the item, and of how they were found."""
        sizes = [len(each) for each in found]
        rows = np.repeat(np.arange(len(found)), sizes)
        items = [item for each in found for item in each]
        made = {name: values[rows] for name, values in columns.items()}
        ids = [item.id for item in items]
        made |= item_columns(self.retriever, ids, self._known(ids))
        made |= found_columns(items)
        return dict(self.looked(made, len(items))) if self.looked is not None else made

    def _known(self, ids: Sequence[str]) -> dict[str, Any]:
        """The values of items by column: numbers as (m,) with NaN for none, others as a list; nothing of what was deleted meanwhile."""
        corpus, unit = self.retriever.corpus, self.index.unit
        rows = np.array([unit.rows.get(item, 0) for item in ids], dtype=np.int64)
        others = self._others(ids)
        whole = {field.name for field in self.retriever.kept}
        plain = {each.column for each in corpus.filters if each.datatype != "BYTES"} - whole
        known: dict[str, Any] = {}
        for name in unit.card.columns:
            if name in plain:
                known[name] = unit.columns.numbers(name, rows) if len(unit) else np.full(len(ids), np.nan)
                for place, values in others:
                    known[name][place] = number(values.get(name))
            else:
                known[name] = unit.columns.texts(name, rows) if len(unit) else [None] * len(ids)
                for place, values in others:
                    known[name][place] = values.get(name)
        return known

    def _others(self, ids: Sequence[str]) -> list[tuple[int, Mapping[str, Any]]]:
        """Places and values of the items that are not as the sealed index has them; nothing of what was deleted meanwhile."""
        deltas = self.index.deltas
        latest = deltas.now.latest if deltas is not None else {}
        sealed = self.index.unit.rows
        dead = deltas.now.dead if deltas is not None else None
        return [
            (place, self.index.values(item) or {})
            for place, item in enumerate(ids)
            if item in latest or item not in sealed or (dead is not None and dead[sealed[item]])
        ]

    def _ordered(
        self, columns: Columns, row: int, found: Sequence[Fused], scores: NDArray[np.float32]
    ) -> list[tuple[Fused, float]]:
        """The candidates in the order of the answer, with their scores."""
        if self._order is None:
            order = np.argsort(-scores, kind="stable")
        else:
            record = {name: values[row] for name, values in columns.items()}
            one = {name: values[row : row + 1] for name, values in columns.items()}
            try:
                order = np.asarray(self._order(record, self.candidates(one, [found]), scores), dtype=np.int64)
                fits = order.ndim == 1 and len(set(order.tolist())) == len(order) and (order < len(found)).all()
            except Exception as error:  # the domain's own code
                raise ModelFault(f"serving.py's order failed: {type(error).__name__}") from error
            if not fits or (order < 0).any():
                raise ModelFault("serving.py's order gave something else than places of candidates, each once")
        return [(found[place], float(scores[place])) for place in order]

    def _gone(self, item: str) -> bool:
        return self.index.values(item) is None

    def _filled(
        self,
        answers: Sequence[Sequence[tuple[Fused, float]]],
        columns: Columns,
        *,
        gone: Callable[[str], bool] | None,
    ) -> dict[str, NDArray[Any]]:
        """The outputs, filled up with nothing. gone: tells what was deleted while the request was worked on."""
        k, rows = self.retriever.k, len(answers)
        numbered = self.retriever.corpus.datatype == "INT64"
        items = np.full((rows, k), -1, dtype=np.int64) if numbered else np.full((rows, k), "", dtype=np.object_)
        numbers = {name: np.zeros((rows, k), dtype=np.float32) for name in ("scores", "vector_score", "word_score")}
        ranks = {name: np.zeros((rows, k), dtype=np.int32) for name in ("vector_rank", "word_rank")}
        found = np.zeros(rows, dtype=np.int32)
        wanted = columns[WANTED]
        for row, answer in enumerate(answers):
            most = k if np.isnan(wanted[row]) else int(wanted[row])
            kept = [each for each in answer if gone is None or not gone(each[0].id)][:most]
            found[row] = len(kept)
            for place, (item, score) in enumerate(kept):
                items[row, place] = int(item.id) if numbered else str(item.id)
                numbers["scores"][row, place] = score
                for name, way in (("vector", VECTORS), ("word", WORDS)):
                    ranks[f"{name}_rank"][row, place] = item.ranks.get(way, 0)
                    numbers[f"{name}_score"][row, place] = item.scores.get(way, 0.0)
        return {"items": items, "found": found, **numbers, **ranks}


def _asked(declared: Sequence[Filter], columns: Columns, row: int) -> dict[str, Any]:
    """What a record filters by, as the index takes it; nothing of what it leaves out."""
    made: dict[str, Any] = {}
    for each in declared:
        if each.by == "range":
            ends = {end: columns[f"filter_{each.column}_{end}"][row] for end in ("min", "max")}
            bounds = {end: float(value) for end, value in ends.items() if not np.isnan(value)}
            if each.datatype == "TIME":
                made |= {each.column: {end: _instant(value) for end, value in bounds.items()}} if bounds else {}
            elif bounds:
                made[each.column] = bounds
        elif each.datatype == "BOOL":
            if not np.isnan(value := columns[f"filter_{each.column}"][row]):
                made[each.column] = bool(value)
        elif len(values := columns[f"filter_{each.column}"][row]):
            made[each.column] = [str(value) for value in values]
    return made


def _instant(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise BadRequest("a filter of a time: expected seconds since 1970") from None
