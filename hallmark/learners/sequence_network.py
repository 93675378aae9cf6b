"""A network that reads a member's last items from left to right and scores every item as the next one (SASRec), by id and by facts.

Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; trained on a softmax over sampled items rather than on one negative
an item, without which it stays far below what it can do (Klenitskiy and Vasilev, 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Numbers of no item, of an item that is not in the catalogue, and of the catalogue's first one."""
BUCKETS = 8192
"""Facts are words by their hash, from 1; 0 stands for none."""
NOTHING = -1e9
"""Score of what must not be answered."""
_ALIKE = 64
"""Sequences of nearly one length that are computed together, so that little of it is padding."""


class SequenceNetwork(nn.Module):
    """Sequences of item numbers to a vector that is near to the next item's.

    items:      in the catalogue, `facts` words each; an item's vector is its id's plus what is made of its words.
    longest:    items of a sequence that are read, the last ones.
    id_dropout: share of items whose id is taken from them at each use in training, so that their facts alone say enough of those
                that nobody has looked at yet.
    negatives:  items that each step tells the right ones from, drawn evenly; as many as there are: all.
    """

    known: Tensor
    learnt: Tensor

    def __init__(
        self,
        *,
        items: int,
        facts: int,
        longest: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        id_dropout: float = 0.0,
        negatives: int = 1,
    ) -> None:
        super().__init__()
        self.architecture = {"items": items, "facts": facts, "longest": longest, "dim": dim} | {
            "layers": layers,
            "heads": heads,
        }
        self.id_dropout, self.negatives, self.scale = id_dropout, negatives, math.sqrt(dim)
        self.ids = nn.Embedding(items + FIRST, dim)
        self.words = nn.Embedding(BUCKETS if facts else 1, dim, padding_idx=0)
        self.wide, self.narrow = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(2 * dim, dim, bias=False)
        self.places = nn.Parameter(torch.zeros(longest + 1, dim))
        self.start = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.register_buffer("known", torch.zeros(items + FIRST, facts, dtype=torch.int64))
        self.register_buffer("learnt", torch.zeros(items + FIRST, dtype=torch.bool))
        for weight in (self.ids.weight, self.words.weight, self.places, self.start):
            nn.init.normal_(weight, std=0.02)
        with torch.no_grad():
            self.words.weight[0] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Training: scores (n, 1 + negatives) of each right next item, then of the sampled ones, over sequences (b, <= longest + 1)."""
        lengths = (x != PADDING).sum(1)
        states, right = [], []
        for rows in torch.split(torch.argsort(lengths), _ALIKE):
            part = x[rows, : int(lengths[rows].max())]
            made = self.states(part[:, :-1])
            there = self.learnt[part]
            states.append(made[there])
            right.append(part[there])
        state, target = torch.cat(states), torch.cat(right)
        every = torch.nonzero(self.learnt)[:, 0]
        if self.negatives < len(every):
            others = every[torch.randint(len(every), (self.negatives,))]
            drawn = math.log(self.negatives / len(every))
        else:
            others, drawn = every, 0.0
        good = (state * self.vectors(target)).sum(1, keepdim=True)
        bad = state @ self.vectors(others).T - drawn
        bad = bad.masked_fill(others[None, :] == target[:, None], -1e4)
        return torch.cat((good.to(bad.dtype), bad), dim=1)

    def vectors(self, index: Tensor, facts: Tensor | None = None) -> Tensor:
        """(…, dim) vectors of items by number; facts (…, f): what is known of them, by default what the catalogue says."""
        of_id: Tensor = self.ids(index)
        kept = self.learnt[index]
        if self.training and self.id_dropout and self.architecture["facts"]:
            kept = kept & (torch.rand(index.shape) >= self.id_dropout)
        made = of_id * kept[..., None].to(of_id.dtype)
        if self.architecture["facts"]:
            held = self.known[index]
            if facts is not None:
                told = (facts != 0).any(-1, keepdim=True)
                held = torch.where(told, facts, held)
            word = self.words(held).sum(-2)
            made = made + word + self.narrow(functional.gelu(self.wide(word)))
        return made

    def states(self, index: Tensor, facts: Tensor | None = None) -> Tensor:
        """(b, t + 1, dim) what is wanted next, before the first item and after each of (b, t), the oldest first."""
        x = self.vectors(index, facts) * self.scale
        start = (self.start * self.scale).to(x.dtype).expand(x.shape[0], 1, x.shape[2])
        x = torch.cat((start, x), dim=1)
        length = x.shape[1]
        x = self.dropout(x + self.places[:length])
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        for block in self.blocks:
            x = block(x, later)
        made: Tensor = self.norm(x)
        return made

    def encode(self, index: Tensor, facts: Tensor | None = None) -> Tensor:
        """(b, dim) what is wanted after the last item of each sequence, whose padding stands at its end."""
        states = self.states(index, facts)
        last = (index != PADDING).sum(1)
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


class Block(nn.Module):
    """Attention to what came before, then two layers for each place; each added to what came in, which is normed first."""

    def __init__(self, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mix, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        b, t, dim = x.shape
        mixed = self.mix(self.before(x)).reshape(b, t, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = mixed[0], mixed[1], mixed[2]
        likeness = (query @ key.transpose(-1, -2)) / math.sqrt(dim // self.heads)
        share = self.dropout(likeness.masked_fill(later, -1e4).softmax(-1))
        seen = (share @ value).transpose(1, 2).reshape(b, t, dim)
        x = x + self.dropout(self.out(seen))
        made: Tensor = x + self.dropout(self.narrow(self.dropout(functional.gelu(self.wide(self.between(x))))))
        return made
