"""Blocks of small residual networks over photos."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first block of a stage halves the sides."""

    def __init__(self, inner: int, outer: int, *, stride: int) -> None:
        super().__init__()
        self.first = convolution(inner, outer, stride=stride)
        norm = nn.BatchNorm2d(outer)
        nn.init.zeros_(norm.weight)  # a new block passes its shortcut on, so that depth costs no learning
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, padding=1, bias=False), norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inner != outer:
            shrink = nn.AvgPool2d(stride, ceil_mode=True)
            self.shortcut = nn.Sequential(shrink, nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


def convolution(inner: int, outer: int, *, stride: int) -> nn.Sequential:
    """A 3x3 convolution, its norm and its bend."""
    layer = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


def stages(inner: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Sequential:
    """`depths` blocks of each of `widths` after a stem of width `inner`, each stage at half the sides of the one before."""
    blocks = []
    for outer, depth in zip(widths, depths, strict=True):
        for place in range(depth):
            blocks.append(Block(inner, outer, stride=1 if place else 2))
            inner = outer
    return nn.Sequential(*blocks)
