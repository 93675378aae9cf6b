"""Two small networks: of photos of 8 px and of rows; and examples that they can learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hallmark.features.fields import Output
from hallmark.learners.loop import Recipe
from hallmark.learners.model import Examples
from hallmark.learners.network import Classifier, NetworkLearner


@dataclass(frozen=True)
class Weighed(Examples):
    """Examples of which some count for more."""

    weights: NDArray[Any] | None = None


class Photos(nn.Module):
    """Photos (n, 3, 8, 8) to logits (n, classes), with all that keeps a state: batch norm, dropout, a temperature."""

    def __init__(self, width: int, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = {"width": width, "classes": classes}
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.stem(x).mean((2, 3))))
        return logits


class Rows(nn.Module):
    """Rows (n, 4) to one number each, (n,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.architecture = {"width": width}
        self.layers = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer[:, 0]


def brighter(photos: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    return photos + 0.1 * torch.randn(len(photos), 1, 1, 1), labels


SMALL = Recipe(epochs=6, batch=16, rate=1e-2, average=0.9, threads=1)
PHOTOS: NetworkLearner[Recipe] = NetworkLearner(
    output=Output(name="chances", datatype="FP32", shape=(3,), minimum=0, maximum=1),
    shape=(3, 8, 8),
    recipe=SMALL,
    quick=SMALL,
    build=lambda recipe: Photos(8, 3, dropout=0.2),
    rebuild=Photos,
    loss=lambda logits, labels, recipe: functional.cross_entropy(logits, labels, label_smoothing=0.1),
    vary=brighter,
    serving=Classifier,
)
ROWS: NetworkLearner[Recipe] = NetworkLearner(
    output=Output(name="value", datatype="FP32"),
    shape=(4,),
    recipe=SMALL.model_copy(update={"epochs": 30}),
    quick=SMALL,
    build=lambda recipe: Rows(16),
    rebuild=Rows,
    loss=lambda answers, labels, recipe: functional.mse_loss(answers, labels, reduction="none"),
)


def photos(count: int, *, seed: int) -> Examples:
    """Photos of one colour and noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    inputs = random.normal(0, 1, (count, 3, 8, 8)).astype(np.float32)
    inputs[np.arange(count), labels] += 0.7
    return Examples(inputs, labels.astype(np.int64))


def rows(count: int, *, seed: int) -> Examples:
    """Rows with a number that hangs on two columns."""
    inputs = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return Weighed(inputs, (inputs[:, 0] - 0.5 * inputs[:, 1]).astype(np.float64))  # type: ignore[arg-type]
