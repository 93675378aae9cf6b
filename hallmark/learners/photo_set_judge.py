"""The judge of what was read of an item's traits: how much likelier each reading is of a trait that was altered, put together over all traits.

A maker keeps each trait near what is declared; who copies alters some, either way, by some amount. Both are bell curves, wider by how
unsurely a trait was read, so that a trait which no photo shows says nothing. It has so few numbers that a few hundred counterfeits fix them:
a free network on the same readings was 0.06 of average precision worse (docs/decisions/0062).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_TOLD = 0.02
"""Least share of a trait's variance that a reading counts as telling; dividing by less would blow up noise."""
_LARGEST = 60.0
"""Of the logarithms of all traits' ratios together, which float32 holds."""
_STEPS = 100
Compared = tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor]
"""What a judge is given of items, as `TraitJudge.forward` names it."""
_UNREAD = 0.95
"""Share of readings that are surer than one of a trait that no photo shows: where it begins to look for that."""


class TraitJudge(nn.Module):
    """Readings to the logit of a counterfeit. All lengths are in units of a trait's standard deviation over all items.

    expected: (traits,) mean over all items, towards which an unsure reading is drawn.
    altered, width: how far an altered trait is off on average, and how differently, in makers' spreads.
    silent: (traits,) logarithm of how unsure a reading is where no photo shows the trait, which other photos make less than 1: they tell kinds of items apart.
    doubt: (traits,) how much more, or less, unsurely each trait is read than the reading says.   numbers: (traits,) of how many are altered.
    """

    expected: Tensor

    def __init__(self, *, traits: int, brands: int, categories: int) -> None:
        super().__init__()
        self.traits = traits
        self.altered, self.width = nn.Parameter(torch.tensor(6.0).log()), nn.Parameter(torch.tensor(0.5))
        self.silent = nn.Parameter(torch.zeros(traits))
        self.doubt, self.numbers = nn.Parameter(torch.zeros(traits)), nn.Parameter(torch.zeros(traits))
        self.usual, self.price = nn.Parameter(torch.tensor(-2.2)), nn.Parameter(torch.zeros(2))
        self.brand, self.category = nn.Parameter(torch.zeros(brands)), nn.Parameter(torch.zeros(categories))
        self.register_buffer("expected", torch.zeros(traits))

    def forward(
        self, read: Tensor, unsure: Tensor, declared: Tensor, spread: Tensor, kind: tuple[Tensor, Tensor], asked: Tensor
    ) -> Tensor:
        """(n,) logit of a counterfeit.

        read, unsure: (n, traits) readings, and the logarithm of how unsure they are.   declared: (n, traits) of authentic items of the kind.
        spread: (traits,) of a maker's own work.   kind: brand and category of each, as (n, brands) and (n, categories) of 0 and 1.
        asked: (n,) price in spreads from the usual one.
        """
        variance = torch.exp(2.0 * unsure)
        # A reading is what one expects after the photos. What they alone said is further out, and the less sure the further.
        told = (1.0 - variance * torch.exp(-2.0 * self.silent)).clamp(_TOLD, 1.0)
        shown = self.expected + (read - self.expected) / told
        off, noise = (shown - declared) / spread, variance / told * torch.exp(2.0 * self.doubt) / spread**2
        ratios = self._likelier(off, noise).exp()
        of_some = [torch.ones_like(asked)] + [torch.zeros_like(asked)] * self.traits
        for trait in range(self.traits):  # sums over all sets of so many traits of the product of their ratios
            for number in range(trait + 1, 0, -1):
                of_some[number] = of_some[number] + ratios[:, trait] * of_some[number - 1]
        shares = self.numbers.softmax(0)
        whole = sum(
            shares[number - 1] * of_some[number] / math.comb(self.traits, number)
            for number in range(1, self.traits + 1)
        )
        usual = self.usual + kind[0] @ self.brand + kind[1] @ self.category
        found: Tensor = usual + self.price[0] * asked + self.price[1] * asked * asked + torch.as_tensor(whole).log()
        return found

    def _likelier(self, off: Tensor, noise: Tensor) -> Tensor:
        """Logarithm of how much likelier each reading is of an altered trait than of a maker's own."""
        mean, own = self.altered.exp(), 1.0 + noise
        other = noise + torch.exp(2.0 * self.width)
        way = (off * mean / other).abs()
        altered = -0.5 * (off * off + mean * mean) / other + way + torch.log1p(torch.exp(-2.0 * way)) - math.log(2.0)
        plain = -0.5 * off * off / own
        limit = _LARGEST / self.traits
        return (altered - plain - 0.5 * (other.log() - own.log())).clamp(-limit, limit)

    def fit(self, given: Compared, labels: Tensor, *, weights: Tensor | None = None) -> None:
        """Set its numbers to those that are likeliest of labelled items; each is held near where it began, as by one item's worth.

        weights: (n,) how many items each is; none: one.
        """
        if not len(labels) or bool((labels == labels[0]).all()):
            return
        with torch.no_grad():
            self.silent.copy_(_quantile(given[1], _UNREAD, weights).clamp(max=0.0))
        items = len(labels) if weights is None else float(weights.sum())
        shares = None if weights is None else weights / weights.mean()
        numbers = list(self.parameters())
        began = [each.detach().clone() for each in numbers]
        search = torch.optim.LBFGS(numbers, lr=0.5, max_iter=_STEPS, line_search_fn="strong_wolfe")

        def surprise() -> Tensor:
            search.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(self(*given), labels, shares)
            moved = sum(((now - then) ** 2).sum() for now, then in zip(numbers, began, strict=True))
            loss = loss + 0.5 * moved / items
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        search.step(surprise)  # type: ignore[no-untyped-call]


def _quantile(values: Tensor, level: float, weights: Tensor | None) -> Tensor:
    """(k,) quantile of each column of (n, k): what lies at that place among the rows, each there as often as its weight says."""
    if weights is None:
        return values.quantile(level, dim=0)
    risen, order = values.sort(dim=0)
    ends = weights.double()[order].cumsum(0).T.contiguous()
    place = level * (ends[:, -1:] - 1.0).clamp_min(0.0)
    rows = (torch.searchsorted(ends, at, right=True).clamp_max(len(values) - 1) for at in (place.floor(), place.ceil()))
    low, high = (risen.gather(0, each.T)[0] for each in rows)
    return torch.lerp(low, high, (place - place.floor())[:, 0].to(values.dtype))
