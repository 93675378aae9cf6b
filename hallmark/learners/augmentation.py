"""Photos varied as cameras and people vary them, for models that learn from few: whole batches at once, on the CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def moved(photos: Tensor, *, side: int, smallest: float, stretch: float = 0.25, turn: float = 0.15) -> Tensor:
    """(n, c, side, side) crops of (n, c, h, w), some mirrored, each turned by up to `turn` radians.

    smallest: least share of a photo's area that a crop shows; stretch: largest log of what its sides' ratio changes by.
    """
    n = len(photos)
    scale = (smallest + (1.0 - smallest) * torch.rand(n)).sqrt()
    ratio, angle = torch.exp(stretch * _signed(n)).sqrt(), turn * _signed(n)
    wide, high, mirror = scale * ratio, scale / ratio, torch.sign(_signed(n))
    right, down = _signed(n) * (1.0 - wide).abs(), _signed(n) * (1.0 - high).abs()
    rows = (
        mirror * wide * angle.cos(),
        -high * angle.sin(),
        right,
        mirror * wide * angle.sin(),
        high * angle.cos(),
        down,
    )
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(n, 2, 3), [n, photos.shape[1], side, side], align_corners=False
    )
    return functional.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)


def coloured(photos: Tensor, *, strength: float = 0.3, grey: float = 0.1) -> Tensor:
    """The photos (n, c, h, w) under another light: contrast, brightness and each channel by up to `strength`, some grey."""
    n, c = photos.shape[:2]
    mean = photos.mean((2, 3), keepdim=True)
    light = strength * (_signed(n, 1, 1, 1) + 0.5 * _signed(n, c, 1, 1))
    lit = (photos - mean) * (1.0 + strength * _signed(n, 1, 1, 1)) + mean + light
    return torch.where(torch.rand(n, 1, 1, 1) < grey, lit.mean(1, keepdim=True), lit)


def erased(photos: Tensor, *, share: float) -> Tensor:
    """The photos with a box of one colour in `share` of them, so that no one part decides; changes them in place."""
    side = photos.shape[-1]
    for row in torch.nonzero(torch.rand(len(photos)) < share)[:, 0].tolist():
        high, wide, top, left = torch.rand(4).tolist()
        high, wide = int(side * (0.2 + 0.3 * high)), int(side * (0.2 + 0.3 * wide))
        top, left = int(top * (side - high)), int(left * (side - wide))
        photos[row, :, top : top + high, left : left + wide] = torch.randn(photos.shape[1], 1, 1)
    return photos


def mixed(photos: Tensor, targets: Tensor, *, strength: float) -> tuple[Tensor, Tensor]:
    """Each photo with a part of another's light (mixup) or place (cutmix), and targets (n, k) in the same shares."""
    beta = torch.distributions.Beta(torch.tensor(strength), torch.tensor(strength))
    kept = float(beta.sample())  # type: ignore[no-untyped-call]
    kept, other, side = max(kept, 1.0 - kept), torch.randperm(len(photos)), photos.shape[-1]
    if torch.rand(()) < 0.5:
        photos = kept * photos + (1.0 - kept) * photos[other]
    else:
        box = int(side * math.sqrt(1.0 - kept))
        top, left = torch.randint(0, side - box + 1, (2,)).tolist()
        photos = photos.clone()
        photos[:, :, top : top + box, left : left + box] = photos[other][:, :, top : top + box, left : left + box]
        kept = 1.0 - box * box / (side * side)
    return photos, kept * targets + (1.0 - kept) * targets[other]


def _signed(*shape: int) -> Tensor:
    return 2.0 * torch.rand(*shape) - 1.0
