"""The listing model: EfficientNet-Lite0 as it was trained on ImageNet, trained further on photos of one garment each."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from domains.listing import data
from domains.listing.features import SIDE
from hallmark.features.fields import Output
from hallmark.learners import augmentation, lite0, loop
from hallmark.learners.model import ModelSpec
from hallmark.learners.network import Classifier, NetworkLearner

LABELS: tuple[str, ...] = data.LABELS
OUTPUTS: tuple[Output, ...] = (
    Output(name="probabilities", datatype="FP32", shape=(len(LABELS),), minimum=0.0, maximum=1.0),
)

EDGE = 12
"""Pixels at each edge of a photo that an answer does not look at."""


class Recipe(loop.Recipe):
    """Training of the network: `side` is that of the squares it sees, cut from a photo's 152 px.

    frozen: of the 18 layers (stem, 16 blocks, last convolution) the first ones that stay as they came.
    """

    side: int = Field(default=128, ge=32)
    frozen: int = Field(default=0, ge=0, le=18)
    epochs: int = 6
    rate: float = 7e-4
    average: float = 0.98
    smoothing: float = 0.1
    dropout: float = 0.1
    mixing: float = 0.0
    smallest_crop: float = 0.35
    erasing: float = 0.1


QUICK = Recipe(side=64, frozen=18, epochs=8, batch=16, rate=4e-3, average=0.9, threads=1)
"""Seconds for a few hundred photos: tests and first looks."""


class Network(nn.Module):
    """Photos (n, 3, h, w), about -2..2, to logits (n, classes), h and w of 32 pixels or more."""

    def __init__(self, *, side: int, classes: int, layers: nn.Sequential | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = {"side": side, "classes": classes}
        self.layers = lite0.layers() if layers is None else layers
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(lite0.WIDTH, classes)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.layers(x / 2).mean((2, 3))))
        return logits


class Serving(Classifier):
    """Probabilities (n, classes), the mean over two views: the middle of the photo, which is as crops in training are, and mirrored."""

    def views(self, x: Tensor) -> Tensor:
        """Logits (2, n, classes)."""
        side = self.network.architecture["side"]
        middle = x[:, :, EDGE:-EDGE, EDGE:-EDGE]
        if side != SIDE - 2 * EDGE:
            middle = functional.interpolate(middle, (side, side), mode="bilinear")
        logits: Tensor = self.network(torch.cat((middle, middle.flip(3))))
        return logits.reshape(2, -1, len(LABELS))


def _build(recipe: Recipe) -> Network:
    layers = lite0.pretrained()
    layers[: recipe.frozen].requires_grad_(False)
    return Network(side=recipe.side, classes=len(LABELS), layers=layers, dropout=recipe.dropout)


def _varied(photos: Tensor, answers: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    x = augmentation.moved(photos, side=recipe.side, smallest=recipe.smallest_crop)
    x = augmentation.erased(augmentation.coloured(x), share=recipe.erasing)
    target = functional.one_hot(answers, len(LABELS)).float()
    return augmentation.mixed(x, target, strength=recipe.mixing) if recipe.mixing else (x, target)


LEARNER = NetworkLearner(
    output=OUTPUTS[0],
    shape=(3, SIDE, SIDE),
    recipe=Recipe(),
    quick=QUICK,
    build=_build,
    rebuild=Network,
    loss=lambda logits, target, recipe: functional.cross_entropy(logits, target, label_smoothing=recipe.smoothing),
    vary=_varied,
    serving=Serving,
)
fit, restore = LEARNER.fit, LEARNER.restore
SPEC = ModelSpec(task="multiclass", outputs=OUTPUTS, labels=LABELS, fit=fit, restore=restore)
