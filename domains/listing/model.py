"""The listing model: a small residual network, trained from nothing on photos of one garment each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from domains.listing import data
from domains.listing.features import SIDE
from hallmark.features.fields import Output
from hallmark.learners import augmentation, loop, residual
from hallmark.learners.model import ModelSpec
from hallmark.learners.network import Classifier, NetworkLearner

LABELS: tuple[str, ...] = data.LABELS
OUTPUTS: tuple[Output, ...] = (
    Output(name="probabilities", datatype="FP32", shape=(len(LABELS),), minimum=0.0, maximum=1.0),
)


class Recipe(loop.Recipe):
    """Architecture and training of a network: `side` is that of the squares it sees, cut from a photo's 112 px.

    One side from first to last: a network this small tells place by the zeros around its maps, and one that grows from
    64 px to 96 at the end of its training, or is asked at 112 px, loses 5 to 20 points.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    side: int = 96
    epochs: int = 64
    smoothing: float = 0.1
    dropout: float = 0.1
    mixing: float = 0.0
    smallest_crop: float = 0.35
    erasing: float = 0.1


QUICK = Recipe(widths=(16, 32, 64), depths=(1, 1, 1), side=48, epochs=12, batch=16, rate=4e-3, average=0.9, threads=1)
"""Seconds for a few hundred photos: tests and first looks."""


class Network(nn.Module):
    """Photos (n, 3, h, w) to logits (n, classes), h and w of 32 pixels or more.

    The stem and every stage halve the sides, so that the last blocks see the whole garment.
    """

    def __init__(
        self, widths: tuple[int, ...], *, depths: tuple[int, ...], side: int, classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.architecture = {"widths": widths, "depths": depths, "side": side, "classes": classes}
        self.stem = residual.convolution(3, widths[0], stride=2)
        self.blocks = residual.stages(widths[0], widths, depths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.blocks(self.stem(x)).mean((2, 3))))
        return logits


class Serving(Classifier):
    """Probabilities (n, classes), the mean over four views: the whole photo and its middle, which is more like a crop in training; and mirrored."""

    def views(self, x: Tensor) -> Tensor:
        """Logits (4, n, classes)."""
        side, edge = self.network.architecture["side"], SIDE // 14
        parts = (x, x[:, :, edge:-edge, edge:-edge])
        straight = torch.cat([functional.interpolate(part, (side, side), mode="bilinear") for part in parts])
        logits: Tensor = self.network(torch.cat((straight, straight.flip(3))))
        return logits.reshape(4, -1, len(LABELS))


def _build(recipe: Recipe) -> Network:
    told = recipe.model_dump(include={"widths", "depths", "side", "dropout"})
    return Network(**told, classes=len(LABELS))


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
