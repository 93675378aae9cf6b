"""A sequential recommender: what a member looked at, in order, to the k items that come next; an encoder and vectors of items.

Imports torch, so only a domain's model.py imports it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hallmark.errors import DeclarationError
from hallmark.features.encoding import Input
from hallmark.features.fields import Output
from hallmark.learners import interactions, loop, onnx_model, reranker, sequence_onnx, weights
from hallmark.learners.checkpoint import Checkpoint, fingerprint
from hallmark.learners.interactions import Neighbours
from hallmark.learners.loop import TrainingLoop, fixed_threads
from hallmark.learners.model import Examples, OtherAnswers, Progress, refuse_weights
from hallmark.learners.reranker import Candidates, Reranker, TrainedReranker
from hallmark.learners.sequence_network import FIRST, NOTHING, PADDING, UNKNOWN, SequenceNetwork

IDS = "items.json"
BATCH = 256
"""Sequences that are encoded and scored at a time."""
_JUDGED = 4000
"""Validation rows, at most, that an early stop looks at after each epoch."""
ITEMS, FACTS = "recent", "facts"
"""The inputs: (n, t) ids as words, the oldest first and "" for padding at the end; and (n, t, f) INT16 hashes of what is known of each."""


class Recipe(loop.Recipe):
    """Architecture and training of a sequential recommender; what is not said here is said in `SequenceNetwork`."""

    dim: int = Field(default=64, ge=4, le=512)
    layers: int = Field(default=2, ge=1, le=8)
    heads: int = Field(default=2, ge=1, le=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    id_dropout: float = Field(default=0.2, ge=0, lt=1)
    negatives: int = Field(default=1024, ge=1)
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=4e-3, gt=0)
    decay: float = Field(default=0.0, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    patience: int = Field(default=8, ge=0)
    threads: int = Field(default=1, ge=1)
    half: bool = False


@dataclass(frozen=True)
class SequenceLearner:
    """A recipe for a sequential recommender, as a domain's model.py declares it.

    output:  the ids that it answers, (k,) of BYTES.   longest: items of a sequence that count.   facts: words of each item.
    quick:   the recipe of seconds, for tests and first looks.   bare: that of a log which tells nothing of its items; none: `recipe`.
    indexed: `export` writes encoder.onnx and items.onnx beside, and ranker.onnx where there is a `reranker`: a second stage over what an
    index of `vectors` finds, learnt from the validation examples.
    """

    output: Output
    longest: int
    facts: int
    recipe: Recipe
    quick: Recipe
    bare: Recipe | None = None
    indexed: bool = False
    reranker: Reranker | None = None

    def __post_init__(self) -> None:
        if len(self.output.shape) != 1 or self.output.datatype != "BYTES":
            raise DeclarationError(
                f"a recommender does not answer what the output {self.output.name} declares",
                expected="k ids a record: a shape of (k,), of BYTES",
                got=f"{self.output.datatype} of shape {self.output.shape}",
            )

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What `encode` of the domain's features.py gives."""
        return (
            Input(name=ITEMS, datatype="BYTES", shape=(None,)),
            Input(name=FACTS, datatype="INT16", shape=(None, self.facts)),
        )

    def fit(
        self,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
        quick: bool = False,
        **options: Any,
    ) -> TrainedSequence:
        """A recommender of the items in `train` and `validation`; rows with a label above 0 are learnt from, in the order of their sequences.

        A row is what was looked at before (the inputs) and what then (its item). Rows of label 0 only tell of items; where no row
        tells of any, the network has ids alone. `validation` says
        when to stop, by ndcg over all items. One seed, number of threads and kind of processor give the same weights, bit for bit.
        checkpoint: a folder in which each epoch is kept: a training that was killed goes on from there to the same weights.
        """
        if train.items is None or train.named.keys() != {ITEMS, FACTS}:
            raise DeclarationError(
                "a sequential recommender is learnt from sequences and the item after each",
                expected=f"data.item in domain.yaml, and inputs {ITEMS} and {FACTS}",
                got=", ".join(train.named) or "one input",
            )
        refuse_weights("a sequential recommender", train, validation)
        parts = [train] if validation.items is None else [train, validation]
        told = any(bool(each.named[FACTS].any()) for each in parts)
        usual = self.recipe if told or self.bare is None else self.bare
        recipe: Recipe = (self.quick if quick else usual).changed(options)
        if recipe.dim % recipe.heads:
            raise DeclarationError(
                "option heads does not divide dim",
                expected="dim a multiple of heads",
                got=f"{recipe.dim}, {recipe.heads}",
            )
        ids = np.unique(np.concatenate([np.asarray(each.items).astype(str) for each in parts]))
        if not (train.labels > 0).any():
            raise DeclarationError(
                "nothing is relevant in the examples", expected="labels above 0", got=f"{len(train)} rows of 0"
            )
        index = Numbers(ids.tolist())
        history = [index.of(each.named[ITEMS], longest=self.longest) for each in parts]
        sequences = interactions.whole(history[0], index.items(train.items), train.labels > 0)
        made = Examples(sequences, np.zeros(len(sequences), dtype=np.int64))
        kept = None
        if checkpoint is not None:
            kept = Checkpoint(checkpoint, of=fingerprint(made, validation, seed=seed, recipe=recipe.model_dump_json()))
        with fixed_threads(recipe.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SequenceNetwork(
                items=len(ids),
                facts=self.facts if told else 0,
                longest=self.longest,
                **recipe.model_dump(include={"dim", "layers", "heads", "dropout", "id_dropout", "negatives"}),
            )
            for each, numbers in zip(parts, history, strict=True) if told else ():
                _tell(network.known, numbers, each.named[FACTS])
            network.learnt[torch.from_numpy(np.unique(sequences))] = True
            network.learnt[:FIRST] = False
            judge = _judge(self, validation, history[-1], index, seed=seed) if len(validation) else None
            training = TrainingLoop(
                network,
                recipe,
                made,
                loss=lambda scores, _, __: functional.cross_entropy(scores, scores.new_zeros(len(scores)).long()),
                vary=lambda x, target, _: (x, target),
                judge=judge,
            )
            best = training.run(progress, kept)
        made_of = Neighbours.of(sequences, items=len(ids) + FIRST)
        found = TrainedSequence(self, best, index.ids, made_of, threads=recipe.threads)
        if self.reranker is not None and len(validation) and told:
            wanted = np.flatnonzero(validation.labels > 0)
            wanted = np.sort(np.random.default_rng(seed).permutation(wanted)[:_JUDGED])
            inputs = {name: each[wanted] for name, each in validation.named.items()}
            right = index.items(validation.items)[wanted]
            found.ranker = self.reranker.fit([each for _, each in found.candidates(inputs, right)], seed=seed)
        return found

    def restore(self, folder: Path) -> TrainedSequence:
        """The model that `save` wrote into `folder`; `ModelRefused` where its weights are not those of its architecture."""
        with weights.restoring(
            f"{weights.WEIGHTS} and {IDS} are not a recommender",
            expected="ids, and safetensors with the weights of the architecture they name",
        ):
            ids = [str(each) for each in json.loads((folder / IDS).read_bytes())]
            architecture, state = weights.read(folder)
            neighbours = Neighbours.restored(state)
            network = SequenceNetwork(**architecture)
            network.load_state_dict(state)
            if len(ids) != architecture["items"]:
                raise ValueError(f"{len(ids)} ids of {architecture['items']} items")
        ranker = self.reranker.restore(folder) if self.reranker is not None else None
        return TrainedSequence(self, network, ids, neighbours, ranker=ranker)


class TrainedSequence:
    """A trained recommender (hallmark.learners.model.Trained): `encode` and `vectors` for an index, `predict` for the k best of all."""

    def __init__(
        self,
        learner: SequenceLearner,
        network: Any,
        ids: list[str],
        neighbours: Neighbours,
        *,
        threads: int = 1,
        ranker: TrainedReranker | None = None,
    ) -> None:
        self.learner, self.network, self.ids = learner, network.eval(), ids
        self.ranker = TrainedReranker(learner.reranker, None) if learner.reranker and ranker is None else ranker
        self.neighbours, self.threads, self._index = neighbours, threads, Numbers(ids)

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(n, k) ids, best first, of items that are not in the sequence; "" where there are fewer."""
        return self._answered(inputs, self._scores(self.network))

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(n, dim) vectors whose inner product with an item's is its score."""
        numbers = self._index.of(inputs[ITEMS], longest=self.learner.longest)
        parts = [part for part, _ in self._encoded(self.network, numbers, inputs[FACTS])]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype=np.float32)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.network.architecture["dim"])

    def vectors(self) -> tuple[list[str], NDArray[np.float32]]:
        """The catalogue: ids and their vectors (items, dim)."""
        with torch.inference_mode(), fixed_threads(self.threads):
            made = self.network.vectors(torch.arange(FIRST, FIRST + len(self.ids)))
        return self.ids, np.ascontiguousarray(made.numpy(), dtype=np.float32)

    def others(self, inputs: Mapping[str, NDArray[Any]]) -> OtherAnswers:
        """Answers of popularity, of item-kNN, of this model with its second stage, and without what it knows of items, to the same sequences."""
        numbers = self._index.of(inputs[ITEMS], longest=self.learner.longest)
        k = self.learner.output.shape[0]
        named = np.array(["", "", *self.ids], dtype=object)
        answers = {
            "popularity": named[self.neighbours.popular(numbers, k=k)],
            "item-kNN": named[self.neighbours.near(numbers, k=k)],
        }
        if self.ranker is not None and self.ranker.forest is not None:
            answers["re-ranked"] = self.reranked(inputs)
        if self.learner.facts and bool((self.network.known != 0).any()):
            bare = SequenceNetwork(**self.network.architecture).eval()
            bare.load_state_dict(self.network.state_dict())
            with torch.no_grad():
                bare.known.zero_()
            plain = dict(inputs) | {FACTS: np.zeros_like(inputs[FACTS])}
            answers["ids alone"] = self._answered(plain, self._scores(bare, unseen=False))
        return OtherAnswers(answers, items=len(self.ids))

    def candidates(
        self, inputs: Mapping[str, NDArray[Any]], right: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Candidates]]:
        """Of each row the numbers of the nearest items that are not in its sequence, among all, and what a second stage reads of them.

        right: (n,) number of the item that came next.
        """
        depth = self.learner.reranker.depth if self.learner.reranker is not None else self.learner.output.shape[0]
        numbers = self._index.of(inputs[ITEMS], longest=self.learner.longest)
        known, place = self.network.known.numpy().astype(np.int16), 0
        for part in self._scores(self.network)(numbers, inputs[FACTS]):
            scores, places = part.topk(min(depth, part.shape[1]), dim=1)
            for mine, items in zip(scores.numpy(), places.numpy(), strict=True):
                count = int((inputs[ITEMS][place] != "").sum())
                items, mine = items[mine > NOTHING / 2], mine[mine > NOTHING / 2]
                came = np.zeros(len(items), dtype=np.bool_) if right is None else items == right[place]
                yield items, Candidates(inputs[FACTS][place][:count], known[items], mine, came)
                place += 1

    def reranked(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(n, k) ids as `predict` gives them, put in order by the second stage."""
        k, named = self.learner.output.shape[0], np.array(["", "", *self.ids], dtype=object)
        found = np.full((len(inputs[ITEMS]), k), "", dtype=object)
        for row, (items, each) in enumerate(self.candidates(inputs)):
            scores = each.scores if self.ranker is None else self.ranker.scores(each)
            best = items[np.argsort(-scores, kind="stable")[:k]]
            found[row, : len(best)] = named[best]
        return found

    def save(self, folder: Path) -> None:
        """Write the weights, which name their architecture, and the ids of items into `folder`."""
        weights.save(self.network, folder, beside=self.neighbours.tensors())
        (folder / IDS).write_text(json.dumps(self.ids), encoding="utf-8")
        if self.ranker is not None:
            self.ranker.save(folder)

    def export(self, path: Path) -> None:
        """Write the ONNX model of encoder and catalogue together: `recent` and `facts` to k ids and their scores."""
        sequence_onnx.recommender(
            self.network,
            self.ids,
            k=self.learner.output.shape[0],
            facts=self.learner.facts,
            named=self.learner.output.name,
        ).write(path)
        if self.learner.indexed:
            for name, made in (("encoder.onnx", self.export_encoder), ("items.onnx", self.export_items)):
                made(path.with_name(name))
                onnx_model.tidy(path.with_name(name))
            if self.ranker is not None:
                self.ranker.export(path.with_name(reranker.FILE))

    def export_encoder(self, path: Path) -> None:
        """Write the ONNX model of the encoder alone: `recent` and `facts` to `vector` (n, dim), for an index of `vectors`."""
        sequence_onnx.encoder(self.network, self.ids, facts=self.learner.facts).write(path)

    def export_items(self, path: Path) -> None:
        """Write the ONNX model of items: `item` (n,) ids and `facts` (n, f) to `vector` (n, dim), also of ids that it has never seen."""
        sequence_onnx.items(self.network, self.ids, facts=self.learner.facts).write(path)

    def _scores(self, network: Any, *, unseen: bool = True) -> Any:
        """What gives the scores of numbers and facts: (n, t) and (n, t, f) to (n, items + 2); unseen: also of items not learnt from."""
        with torch.inference_mode():
            every = network.vectors(torch.arange(FIRST + len(self.ids)))
            bias = torch.zeros(len(every))
            bias[:FIRST] = NOTHING
            if not unseen:
                bias[~network.learnt] = NOTHING

        def scores(numbers: NDArray[np.int64], facts: NDArray[Any]) -> Any:
            for part, index in self._encoded(network, numbers, facts):
                made = torch.from_numpy(part) @ every.T + bias
                yield made.scatter(1, index, NOTHING)

        return scores

    def _encoded(self, network: Any, numbers: NDArray[np.int64], facts: NDArray[Any]) -> Any:
        facts = facts[:, -self.learner.longest :]
        with torch.inference_mode(), fixed_threads(self.threads):
            for start in range(0, len(numbers), BATCH):
                index = torch.from_numpy(numbers[start : start + BATCH])
                width = max(1, int((index != PADDING).sum(1).max()))
                index = index[:, :width]
                told = torch.from_numpy(facts[start : start + BATCH, :width].astype(np.int64))
                yield network.encode(index, told).numpy(), index

    def _answered(self, inputs: Mapping[str, NDArray[Any]], scores: Any) -> NDArray[Any]:
        k = self.learner.output.shape[0]
        named = np.array(["", "", *self.ids, *[""] * k], dtype=object)
        numbers = self._index.of(inputs[ITEMS], longest=self.learner.longest)
        found = [np.full((0, k), "", dtype=object)]
        with torch.inference_mode(), fixed_threads(self.threads):
            for each in scores(numbers, inputs[FACTS]):
                padded = functional.pad(each, (0, max(0, k - each.shape[1])), value=NOTHING)
                best, places = padded.topk(k, dim=1)
                places = torch.where(best > NOTHING / 2, places, torch.zeros_like(places))
                found.append(named[places.numpy()])
        return np.concatenate(found)


class Numbers:
    """Numbers of ids: those of the catalogue from 2 on, 1 for any other, 0 for none."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self._known = {name: place for place, name in enumerate(ids, FIRST)} | {"": PADDING}

    def items(self, ids: NDArray[Any] | None) -> NDArray[np.int64]:
        """(n,) of one id each."""
        found = [] if ids is None else np.asarray(ids).astype(str).tolist()
        return np.array([self._known.get(each, UNKNOWN) for each in found], dtype=np.int64)

    def of(self, rows: NDArray[Any], *, longest: int) -> NDArray[np.int64]:
        """(n, <= longest) of sequences (n, t), "" at their ends."""
        if rows.shape[1] > longest:
            raise DeclarationError(
                "a sequence is longer than the model reads",
                expected=f"{longest} items, the last ones",
                got=str(rows.shape[1]),
                fix="cut it in the domain's features.py",
            )
        known = self._known
        flat = [known.get(each, UNKNOWN) for each in rows.ravel().tolist()]
        return np.array(flat, dtype=np.int64).reshape(rows.shape)


def _tell(known: Tensor, numbers: NDArray[np.int64], facts: NDArray[Any]) -> None:
    """Write down in `known` what the rows say of their items, the later ones over the earlier."""
    there = (numbers >= FIRST) & (facts != 0).any(axis=2)
    known[torch.from_numpy(numbers[there])] = torch.from_numpy(facts[there].astype(np.int64))


def _judge(
    learner: SequenceLearner, validation: Examples, numbers: NDArray[np.int64], index: Numbers, *, seed: int
) -> Any:
    """1 - ndcg over all items that are not in the sequence, of some thousand validation rows."""
    rows = np.flatnonzero(validation.labels > 0)
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_JUDGED])
    right = torch.from_numpy(index.items(validation.items)[rows])
    k = learner.output.shape[0]
    facts = validation.named[FACTS][rows]
    empty = Neighbours.of(np.zeros((0, 1), dtype=np.int64), items=FIRST)

    def judge(network: Any) -> float:
        trained = TrainedSequence(learner, network, index.ids, empty, threads=torch.get_num_threads())
        place = 0
        total = 0.0
        for scores in trained._scores(network)(numbers[rows], facts):
            target = scores.gather(1, right[place : place + len(scores), None])
            rank = (scores > target).sum(1) + 1
            good = (rank <= k) & (target[:, 0] > NOTHING / 2)
            total += float(torch.where(good, 1 / torch.log2(1 + rank.double()), 0.0).sum())
            place += len(scores)
        return 1.0 - total / max(1, len(rows))

    return judge
