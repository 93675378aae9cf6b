"""Networks trained by torch: a seeded loop, a running average of the weights, a temperature, a form kept and a form served.

Imports torch, so only a domain's model.py imports it, which does too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hallmark.errors import HallmarkError
from hallmark.features.fields import Output
from hallmark.learners import weights
from hallmark.learners.checkpoint import Checkpoint, fingerprint
from hallmark.learners.loop import R, TrainingLoop, counts, fixed_threads, laid_out, targets, weighed
from hallmark.learners.model import Examples, Progress
from hallmark.libraries import unwarned

BATCH = 256
"""Rows that `predict` takes at a time."""


class Served(nn.Module):
    """Exported module that predicts; by default the network's own answer."""

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.network(x)
        return answer

    def surprise(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Loss (n,) of answers (n, …) against labels (n,), whose mean by weight early stopping minimises; squared error by default."""
        return (answers.reshape(labels.shape) - labels).square()


class Classifier(Served):
    """Probabilities (n, k): the mean over views of an input, of a network with a `temperature` (a buffer of one number)."""

    def forward(self, x: Tensor) -> Tensor:
        chances: Tensor = (self.views(x) / self.network.temperature).softmax(2).mean(0)
        return chances

    def views(self, x: Tensor) -> Tensor:
        """Logits (views, n, k); one view by default."""
        logits: Tensor = self.network(x)
        return logits[None]

    def surprise(self, answers: Tensor, labels: Tensor) -> Tensor:
        """-log of what the right class was given."""
        return -answers[torch.arange(len(labels)), labels].clamp_min(1e-7).log()


class TrainedNetwork:
    """A trained network (hallmark.learners.model.Trained)."""

    def __init__(self, learner: NetworkLearner[Any], network: nn.Module, *, threads: int = 1) -> None:
        self.serving = learner.serving(network).eval()
        self.learner, self.threads = learner, threads

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output (n, …) for inputs (n, …), computed 256 rows at a time."""
        return self._run(self.serving, inputs, axis=0)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a classifier: (views, n, k)."""
        return self._run(self.serving.views, inputs, axis=1)  # type: ignore[arg-type]

    def _run(
        self, function: Callable[[Tensor], Tensor], inputs: NDArray[np.float32], *, axis: int
    ) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode(), fixed_threads(self.threads):
            for start in range(0, max(1, len(inputs)), BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + BATCH], dtype=np.float32))
                parts.append(function(laid_out(batch)).numpy())
        return np.concatenate(parts, axis=axis)

    def save(self, folder: Path) -> None:
        """Write the weights, which name their architecture, into `folder`."""
        weights.save(self.serving.network, folder)

    def export(self, path: Path) -> None:
        """Write the ONNX model: `input` (n, *shape) to the output, any n."""
        with unwarned("torch"):
            program = torch.onnx.export(
                self.serving,
                (torch.zeros(2, *self.learner.shape),),
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=[self.learner.output.name],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
        if program is None:
            raise HallmarkError("torch exported nothing", expected="an ONNX program", got="None")
        program.save(path, external_data=False)


@dataclass(frozen=True)
class NetworkLearner(Generic[R]):
    """A recipe for a network, as a domain's model.py declares it.

    output:  what it answers.
    shape:   of one input.
    recipe:  how it is trained; `fit` takes other values for its fields on top.
    quick:   the recipe of seconds, for tests and first looks.
    build:   the network of a recipe, its weights drawn from torch's generator.
    rebuild: the network of an architecture: what its attribute `architecture` (plain JSON) holds, as keywords.
    loss:    of what the network answers to a batch, against its targets: one number, or (n,) where examples have weights.
    vary:    a batch of inputs and labels as they are trained on: other each time, targets as `loss` wants them.
    serving: what is exported, around the network.
    """

    output: Output
    shape: tuple[int, ...]
    recipe: R
    quick: R
    build: Callable[[R], nn.Module]
    rebuild: Callable[..., nn.Module]
    loss: Callable[[Tensor, Tensor, R], Tensor]
    vary: Callable[[Tensor, Tensor, R], tuple[Tensor, Tensor]] = lambda inputs, labels, recipe: (inputs, labels)
    serving: Callable[[nn.Module], Served] = Served

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
    ) -> TrainedNetwork:
        """A network trained on `train`; `validation` sets how sure a classifier is, and when to stop if the recipe asks.

        One seed, one number of threads and one kind of processor give the same weights, bit for bit.
        checkpoint: a folder in which each epoch is kept: where it holds one of this very training, it goes on from there
        to the same weights.
        """
        recipe: R = (self.quick if quick else self.recipe).changed(options)
        kept = None
        if checkpoint is not None:
            of = fingerprint(train, validation, seed=seed, recipe=recipe.model_dump_json())
            kept = Checkpoint(checkpoint, of=of)

        def judge(network: nn.Module) -> float:
            trained = TrainedNetwork(self, network, threads=recipe.threads)
            answers = torch.from_numpy(trained.predict(validation.inputs))
            losses = trained.serving.surprise(answers, targets(validation.labels))
            return float(weighed(losses, counts(validation)))

        watched = judge if len(validation) else None
        with fixed_threads(recipe.threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            training = TrainingLoop(self.build(recipe), recipe, train, loss=self.loss, vary=self.vary, judge=watched)
            network = training.run(progress, kept)
        _calibrate(self, network, validation, threads=recipe.threads)
        return TrainedNetwork(self, network, threads=recipe.threads)

    def restore(self, folder: Path) -> TrainedNetwork:
        """The model that `save` wrote into `folder`; `ModelRefused` where its weights are not those of its architecture."""
        network = weights.restored(folder, self.rebuild, what="a model of this domain")
        return TrainedNetwork(self, network)


def _calibrate(learner: NetworkLearner[Any], network: nn.Module, validation: Examples, *, threads: int) -> None:
    """Set a classifier's temperature to that at which `validation` is likeliest: smoothing leaves a network too modest."""
    trained = TrainedNetwork(learner, network, threads=threads)
    if not len(validation) or not isinstance(trained.serving, Classifier):
        return
    labels, weights = targets(validation.labels), counts(validation)
    views = torch.from_numpy(trained.logits(validation.inputs))

    def surprise(temperature: float) -> float:
        return float(weighed(trained.serving.surprise((views / temperature).softmax(2).mean(0), labels), weights))

    found = min(np.geomspace(0.25, 2.0, 43).tolist(), key=surprise)
    network.temperature.fill_(found)  # type: ignore[operator, union-attr]
