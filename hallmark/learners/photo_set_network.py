"""A network that reads several photos of one item, in any order, some missing or wrong, and says whether it is what its seller says.

Each photo goes through one encoder. What a photo shows nobody tells: it is a soft choice among learnt views, and its embedding is added.
One query a trait then looks at the photos that are there, and at "nothing", which is what it finds where no photo shows the trait.
What it reads of each trait, and how surely, is compared with what authentic items of the brand and category have (photo_set_judge).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hallmark.learners import residual
from hallmark.learners.photo_set_judge import Compared, TraitJudge

VIEWS = 8
"""Views among which a photo's is chosen; more than there are, so that wrong photos find a place."""
_PATCH = 8
"""Side of what the stem looks at, at half of which it steps: patterns of a few pixels show in it, at a third of the time of small convolutions."""
_SURE, _UNSURE = -4.0, 1.5
_NEVER = -1e4
"""Looks at a place without a photo."""


class PhotoSetNetwork(nn.Module):
    """Photos (n, v, 3, h, w) of 0..255, which of them are there (n, v), and facts (n, 3) to what it makes of each item.

    widths: of the stem, and of each stage of blocks after it, `depths` of them.
    reference: (brands, categories, traits) of authentic items; spread: (traits,) among those of one brand and category; price: (brands, categories) mean and spread of the logarithm.
    """

    reference: Tensor
    spread: Tensor
    scale: Tensor
    price: Tensor
    temperature: Tensor

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        dim: int,
        traits: int,
        brands: int,
        categories: int,
        embedding: int,
    ) -> None:
        super().__init__()
        self.architecture = {
            "widths": widths,
            "depths": depths,
            "dim": dim,
            "traits": traits,
            "brands": brands,
            "categories": categories,
            "embedding": embedding,
        }
        self.traits, self.categories = traits, categories
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], _PATCH, stride=_PATCH // 2, padding=_PATCH // 4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        with torch.no_grad():
            waves, first = _waves()[: widths[0]], next(self.stem.parameters())
            first[: len(waves)] = waves
        self.blocks = residual.stages(widths[0], widths[1:], depths)
        self.flat = nn.Sequential(nn.Linear(2 * widths[-1], dim), nn.LayerNorm(dim), nn.GELU())
        self.view, self.views = nn.Linear(dim, VIEWS), nn.Parameter(torch.randn(VIEWS, dim) * 0.3)
        self.queries = nn.Parameter(torch.randn(traits, dim) * 0.3)
        self.keys, self.values = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.nothing = nn.Parameter(torch.zeros(traits))
        self.nothing_value = nn.Parameter(torch.zeros(traits, dim))
        self.reads = nn.Parameter(torch.randn(traits, dim, 2) * 0.05)
        self.reads_bias = nn.Parameter(torch.zeros(traits, 2))
        self.judge = TraitJudge(traits=traits, brands=brands, categories=categories)
        self.embed = nn.Linear(traits * dim, embedding)
        self.slices = nn.Linear(embedding, brands * categories, bias=False)
        self.register_buffer("reference", torch.zeros(brands, categories, traits))
        self.register_buffer("spread", torch.ones(traits))
        self.register_buffer("scale", torch.ones(traits))
        self.register_buffer("price", torch.tensor([0.0, 1.0]).repeat(brands, categories, 1))
        self.register_buffer("temperature", torch.ones(()))
        self.brand_places: Tensor
        self.category_places: Tensor
        self.register_buffer("brand_places", torch.arange(brands, dtype=torch.float32), persistent=False)
        self.register_buffer("category_places", torch.arange(categories, dtype=torch.float32), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, photos: Tensor) -> Tensor:
        """(m, dim) of photos (m, 3, h, w) of about -2..2: what is there on average, and at its strongest."""
        maps = self.blocks(self.stem(photos))
        found: Tensor = self.flat(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1))
        return found

    def pooled(self, encoded: Tensor, there: Tensor) -> Tensor:
        """(n, traits, dim) what each query finds among encoded photos (n, v, dim)."""
        told = encoded + self.view(encoded).softmax(-1) @ self.views
        looks = torch.einsum("td,nvd->ntv", self.queries, self.keys(told)) + (1.0 - there)[:, None] * _NEVER
        # Not expanded to the number of items, which an export would keep.
        nothing = 0.0 * looks[:, :, :1] + self.nothing[None, :, None]
        weights = torch.cat((looks, nothing), 2).softmax(2)
        found: Tensor = weights[:, :, :-1] @ self.values(told) + weights[:, :, -1:] * self.nothing_value
        return found

    def read(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(n, traits) each: what is read of each trait, in units of `scale`, and the logarithm of how unsurely."""
        both = torch.einsum("ntd,tdk->ntk", pooled, self.reads) + self.reads_bias
        return both[..., 0], both[..., 1].clamp(_SURE, _UNSURE)

    def compared(self, read: Tensor, unsure: Tensor, facts: Tensor) -> Compared:
        """What the judge is given of items: the readings, and what is declared of their brand and category."""
        brand = (facts[:, :1] == self.brand_places).float()
        category = (facts[:, 1:2] == self.category_places).float()
        declared = torch.einsum("nb,bct,nc->nt", brand, self.reference, category) / self.scale
        price = torch.einsum("nb,bck,nc->nk", brand, self.price, category)
        asked = (facts[:, 2] - price[:, 0]) / price[:, 1]
        return read, unsure, declared, self.spread, (brand, category), asked

    def items(self, encoded: Tensor, there: Tensor, facts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logit (n,), what is read of each trait and how unsurely (n, traits) each, and the item's vector (n, embedding) of length 1."""
        pooled = self.pooled(encoded, there)
        read, unsure = self.read(pooled)
        vector = functional.normalize(self.embed(pooled.flatten(1)), dim=1)
        logits: Tensor = self.judge(*self.compared(read, unsure, facts))
        return logits, read, unsure, vector


def _waves() -> Tensor:
    """(32, 3, 8, 8) patches of waves with which a stem begins: four lengths in four directions, each at two phases, in grey.

    How far apart things are is what most traits say, and random weights take long to find that.
    """
    place = torch.arange(_PATCH, dtype=torch.float32) - (_PATCH - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    window = torch.exp(-(x * x + y * y) / (2 * (_PATCH / 3) ** 2))
    made = []
    for length in (4.5, 6.5, 9.0, 12.0):
        for turn in range(4):
            across = x * math.cos(turn * math.pi / 4) + y * math.sin(turn * math.pi / 4)
            for phase in (0.0, math.pi / 2):
                wave = torch.cos(2 * math.pi * across / length + phase) * window
                wave = wave - wave.mean()
                made.append(wave / wave.norm() / math.sqrt(3))
    return torch.stack(made)[:, None].expand(-1, 3, -1, -1)


def light(photos: Tensor) -> Tensor:
    """Photos of 0..255 as the encoder takes them, about -2..2."""
    return photos.float() * (1.0 / 63.75) - 2.0
