"""A learner of items shown by several photos: a score of being a counterfeit, and an embedding, from what the photos show and what is declared.

What the expert measured of each trait (`data.outcomes`) teaches its photos to be read; the expert's answer then teaches what the readings mean.
Imports torch, so only a domain's model.py imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hallmark.errors import DeclarationError, HallmarkError
from hallmark.features.encoding import Input
from hallmark.features.fields import Output
from hallmark.learners import loop, weights
from hallmark.learners.checkpoint import Checkpoint, fingerprint
from hallmark.learners.loop import ALONE, Shared, TrainingLoop, fixed_threads
from hallmark.learners.model import Examples, Progress
from hallmark.learners.photo_set_network import PhotoSetNetwork, light
from hallmark.libraries import unwarned

PHOTOS, THERE, FACTS = "photos", "there", "facts"
BATCH = 64
"""Items that are encoded at a time."""


class Recipe(loop.Recipe):
    """Architecture and training.

    alike:   weight of telling brands and categories by the embedding, beside reading what the expert measured.
    missing: share of photos that are taken away at each use, so that an item with few is no stranger.
    """

    widths: tuple[int, ...] = (40, 64)
    depths: tuple[int, ...] = (1,)
    dim: int = Field(default=64, ge=8, le=512)
    epochs: int = Field(default=7, ge=1)
    batch: int = Field(default=32, ge=1)
    rate: float = Field(default=6e-3, gt=0)
    average: float = Field(default=0.98, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)
    half: bool = False
    alike: float = Field(default=0.1, ge=0)
    missing: float = Field(default=0.08, ge=0, lt=1)


@dataclass(frozen=True)
class PhotoSetLearner:
    """A recipe, as a domain's model.py declares it.

    score, embedding: its outputs.   side: of a photo.   traits: columns of `data.outcomes`, what an expert measures.
    brands, categories: how many there are of each; `facts` names them by their places.
    """

    score: Output
    embedding: Output
    side: int
    traits: tuple[str, ...]
    brands: int
    categories: int
    recipe: Recipe
    quick: Recipe

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What `encode` of the domain's features.py gives."""
        return (
            Input(name=PHOTOS, datatype="UINT8", shape=(None, 3, self.side, self.side)),
            Input(name=THERE, shape=(None,)),
            Input(name=FACTS, shape=(3,)),
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
        ranks: Shared = ALONE,
        **options: Any,
    ) -> TrainedPhotoSet:
        """A network that learns to read on `train`, and then to judge what it reads there; `validation` sets how sure it is. One seed, number of threads and kind of processor give the same weights.

        A row counts as often as its weight says, but for the batch norms, which see each photo once.
        checkpoint: a folder in which each epoch is kept: a training that was killed goes on from there to the same weights.
        ranks:      the processes that share the work.
        """
        missing = [each for each in self.traits if each not in train.outcomes]
        if missing:
            raise DeclarationError(
                "a learner of photo sets is told what an expert measured",
                expected=f"data.outcomes in domain.yaml with {', '.join(self.traits)}",
                got=f"no {missing[0]}",
            )
        recipe: Recipe = (self.quick if quick else self.recipe).changed(options)
        kept = None
        if checkpoint is not None and ranks.first:
            of = fingerprint(train, validation, seed=seed, recipe=recipe.model_dump_json())
            kept = Checkpoint(checkpoint, of=of)
        # Without weights, which `_Told.loss` counts itself: how alike items are is a mean over the authentic ones alone.
        rows = Examples(np.arange(len(train)), np.arange(len(train)))
        with fixed_threads(recipe.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._network(recipe)
            told = _Told(train, self, network)
            training = TrainingLoop(
                _Fed(network, told, missing=recipe.missing),
                recipe,
                rows,
                loss=told.loss,
                vary=lambda numbers, target, _: (numbers, target),
                judge=self._judge(validation, recipe) if len(validation) else None,
                ranks=ranks,
            )
            best: Any = training.run(progress, kept).network
        made = TrainedPhotoSet(self, best, threads=recipe.threads)
        made.judged(train)
        made.tempered(validation)
        return made

    def restore(self, folder: Path) -> TrainedPhotoSet:
        """The model that `save` wrote into `folder`; `ModelRefused` where its weights are not those of its architecture."""
        network = weights.restored(folder, PhotoSetNetwork, what="a model of photo sets")
        return TrainedPhotoSet(self, network)

    def _network(self, recipe: Recipe) -> PhotoSetNetwork:
        told = recipe.model_dump(include={"widths", "depths", "dim"})
        return PhotoSetNetwork(
            **told,
            traits=len(self.traits),
            brands=self.brands,
            categories=self.categories,
            embedding=self.embedding.shape[0],
        )

    def _judge(self, validation: Examples, recipe: Recipe) -> Any:
        measured = torch.from_numpy(_measured(validation, self.traits).astype(np.float32))
        counts = loop.counts(validation)

        def judge(fed: nn.Module) -> float:
            made = TrainedPhotoSet(self, fed.network, threads=recipe.threads)  # type: ignore[arg-type]
            read, unsure = (torch.from_numpy(each) for each in made.run(validation.named)[1:3])
            return float(_misread(read, unsure, measured / made.network.scale, counts))

        return judge


class TrainedPhotoSet:
    """A trained model of photo sets (hallmark.learners.model.Trained)."""

    def __init__(self, learner: PhotoSetLearner, network: PhotoSetNetwork, *, threads: int = 1) -> None:
        self.learner, self.network, self.threads = learner, network.eval(), threads

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(n,) chance of a counterfeit."""
        logits = torch.from_numpy(self.logits(inputs))
        return np.asarray(torch.sigmoid(logits / self.network.temperature).numpy(), dtype=np.float32)

    def logits(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(n,) before the temperature."""
        return self.run(inputs)[0]

    def measured(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, traits) each: what is read of each trait, as the expert measures it, and the standard deviation of the error it expects."""
        _, read, unsure, _ = self.run(inputs)
        scale = self.network.scale.numpy()
        return read * scale, np.asarray(np.exp(unsure) * scale, dtype=np.float32)

    def embed(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(n, embedding) vectors of length 1."""
        return self.run(inputs)[3]

    def judged(self, train: Examples) -> None:
        """Have the judge learn the answers to what is read of the training examples."""
        read, unsure = (torch.from_numpy(each) for each in self.run(train.named)[1:3])
        facts = torch.from_numpy(train.named[FACTS])
        with fixed_threads(self.threads):
            labels = torch.from_numpy(train.labels.astype(np.float32))
            self.network.judge.fit(self.network.compared(read, unsure, facts), labels, weights=loop.counts(train))

    def tempered(self, validation: Examples) -> None:
        """Set the temperature at which the validation examples' answers are likeliest."""
        if not len(validation) or len(np.unique(validation.labels)) < 2:
            return
        logits = torch.from_numpy(self.logits(validation.named))
        labels = torch.from_numpy(validation.labels.astype(np.float32))
        counts = loop.counts(validation)
        shares = None if counts is None else counts / counts.mean()

        def surprise(temperature: float) -> float:
            return float(functional.binary_cross_entropy_with_logits(logits / temperature, labels, shares))

        self.network.temperature.fill_(min(np.geomspace(0.5, 3.0, 43).tolist(), key=surprise))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Logits, readings, the logarithm of how unsure they are, and vectors, as `PhotoSetNetwork.items` has them."""
        parts: list[tuple[Tensor, ...]] = []
        rows = len(inputs[THERE])
        with torch.inference_mode(), fixed_threads(self.threads):
            for start in range(0, max(1, rows), BATCH):
                photos, there, facts = (
                    torch.from_numpy(np.ascontiguousarray(inputs[name][start : start + BATCH]))
                    for name in (PHOTOS, THERE, FACTS)
                )
                parts.append(self.network.items(_present(self.network, photos, there), there, facts))
        return [torch.cat(each).numpy() for each in zip(*parts, strict=True)]

    def save(self, folder: Path) -> None:
        """Write the weights, which name their architecture, into `folder`."""
        weights.save(self.network, folder)

    def export(self, path: Path) -> None:
        """Write the ONNX model: the three inputs, any number of items and of photos of each, to score and embedding."""
        batch, views = torch.export.Dim("batch", min=1), torch.export.Dim("views", min=1)
        same = torch.export.Dim.AUTO  # those of the first input, whose names it has
        side = self.learner.side
        given = torch.zeros(2, 3, 3, side, side, dtype=torch.uint8), torch.ones(2, 3), torch.zeros(2, 3)
        with unwarned("torch"):
            program = torch.onnx.export(
                _Served(self.network).eval(),
                given,
                dynamo=True,
                verbose=False,
                input_names=[PHOTOS, THERE, FACTS],
                output_names=[self.learner.score.name, self.learner.embedding.name],
                dynamic_shapes=({0: batch, 1: views}, {0: same, 1: same}, {0: same}),
            )
        if program is None:
            raise HallmarkError("torch exported nothing", expected="an ONNX program", got="None")
        program.save(path, external_data=False)


class _Served(nn.Module):
    """Score and embedding, every place of a photo encoded, whether one is there or not."""

    def __init__(self, network: PhotoSetNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor, there: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.network.encode(light(photos.flatten(0, 1))).reshape(there.shape[0], there.shape[1], -1)
        logits, _, _, vector = self.network.items(encoded, there, facts)
        return torch.sigmoid(logits / self.network.temperature), vector


class _Fed(nn.Module):
    """A network in training, which is given numbers of rows; answers what `_Told.loss` reads."""

    def __init__(self, network: PhotoSetNetwork, told: _Told, *, missing: float) -> None:
        super().__init__()
        self.network, self.told, self.missing = network, told, missing

    def forward(self, rows: Tensor) -> Tensor:
        told, numbers = self.told, rows.cpu()
        photos, there, facts = (each[numbers].to(rows.device) for each in (told.photos, told.there, told.facts))
        there = there * (torch.rand(there.shape, device=rows.device) >= self.missing)
        encoded = _present(self.network, photos, there, varied=True)
        _, read, unsure, vector = self.network.items(encoded, there, facts)
        return torch.cat((read, unsure, 8.0 * self.network.slices(vector)), 1)


class _Told:
    """Training examples as tensors, one for all copies of a network; and the loss on them."""

    def __init__(self, train: Examples, learner: PhotoSetLearner, network: PhotoSetNetwork) -> None:
        self.photos, self.there, self.facts = (torch.from_numpy(train.named[name]) for name in (PHOTOS, THERE, FACTS))
        self.labels = torch.from_numpy(train.labels.astype(np.float32))
        self.weights = loop.counts(train)
        measured = _measured(train, learner.traits)
        scale = _moments(measured, train.weights)[1] + 1e-6
        self.measured = torch.from_numpy((measured / scale).astype(np.float32))
        self.slices = (self.facts[:, 0] * learner.categories + self.facts[:, 1]).long()
        network.scale.copy_(torch.from_numpy(scale))
        network.judge.expected.copy_(torch.from_numpy(_moments(measured / scale, train.weights)[0]))
        _authentic(network, self.facts.numpy(), measured, train)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Told:
        return self

    def loss(self, answers: Tensor, rows: Tensor, recipe: Recipe) -> Tensor:
        """Of what was measured (Gaussian, each as sure as it says), and of telling authentic items' brand and category: means of a batch, by weight."""
        traits = self.measured.shape[1]
        read, unsure, slices = torch.split(answers, [traits, traits, answers.shape[1] - 2 * traits], 1)
        rows, device = rows.cpu(), answers.device
        labels, told_of, kind = (each[rows].to(device) for each in (self.labels, self.measured, self.slices))
        counts = None if self.weights is None else self.weights[rows].to(device)
        told = functional.cross_entropy(slices, kind, reduction="none")
        # Of a batch with no authentic item nothing is summed up, and what it is divided by is only to be above 0.
        true, least = (1.0 - labels, 1.0) if counts is None else ((1.0 - labels) * counts, 1e-12)
        alike = (told * true).sum() / true.sum().clamp_min(least)
        return _misread(read, unsure, told_of, counts) + recipe.alike * alike


def _measured(given: Examples, traits: tuple[str, ...]) -> NDArray[np.float64]:
    """(n, traits) as the expert measured them."""
    return np.stack([given.outcomes[name] for name in traits], axis=1)


def _moments(values: NDArray[Any], weights: NDArray[np.float64] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and standard deviation of (n, …) values over their rows, by weight."""
    if weights is None:
        return values.mean(axis=0), values.std(axis=0)
    mean = np.average(values, axis=0, weights=weights)
    return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))


def _misread(read: Tensor, unsure: Tensor, measured: Tensor, counts: Tensor | None) -> Tensor:
    """How far readings are from what was measured, each as sure as it says: Gaussian, mean of all, by (n,) counts of the rows."""
    off = (read - measured) * torch.exp(-unsure)
    each = 0.5 * off * off + unsure
    return each.mean() if counts is None else counts @ each.mean(1) / counts.sum()


def _authentic(network: PhotoSetNetwork, facts: NDArray[Any], measured: NDArray[Any], train: Examples) -> None:
    """Set what authentic items of each brand and category have, and ask for; of those without one, what all have."""
    brands, categories, _ = network.reference.shape

    def moments(values: NDArray[Any], rows: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        return _moments(values[rows], None if train.weights is None else train.weights[rows])

    true = train.labels == 0
    true = true if true.any() else np.ones_like(true)
    off, scale = np.zeros_like(measured), network.scale.numpy()
    for brand in range(brands):
        for category in range(categories):
            own = true & (facts[:, 0] == brand) & (facts[:, 1] == category)
            rows = own if own.any() else true
            usual = moments(measured, rows)[0]
            off[own] = measured[own] - usual
            network.reference[brand, category] = torch.from_numpy(usual).float()
            asked, apart = moments(facts[:, 2], rows)
            network.price[brand, category] = torch.tensor([float(asked), max(0.1, float(apart))])
    network.spread.copy_(torch.from_numpy(moments(off / scale, true)[1].clip(min=1e-3)))


def _present(network: PhotoSetNetwork, photos: Tensor, there: Tensor, *, varied: bool = False) -> Tensor:
    """(n, v, dim) encoded photos, zeros where there is none; `varied`: mirrored and lit otherwise each time."""
    present = there > 0
    some = light(photos[present])
    if varied and len(some):
        lots = torch.rand((3, len(some), 1, 1, 1), device=some.device)
        some = torch.where(lots[0] < 0.5, some.flip(3), some)
        some = torch.where(lots[1] < 0.5, some.flip(2), some)
        some = (some + 2.0) * (0.9 + 0.2 * lots[2]) - 2.0
    encoded = network.encode(loop.laid_out(some)) if len(some) else some.new_zeros(0, network.queries.shape[1])
    whole = encoded.new_zeros(*there.shape, network.queries.shape[1])
    whole[present] = encoded
    return whole
