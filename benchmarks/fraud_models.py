"""Comparison of models for fraud: boosted trees or a network, by average precision on a later month.

    python benchmarks/fraud_models.py [--worlds 3] [--seeds 3] [--days 60]

A model learns from a window of orders whose labels are final, and is measured on the month that it would have been
serving: it starts a label delay (30 days) after the window ends. docs/decisions/0001-fraud-model.md reads this table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.fraud import model as trees
from hallmark.declaration import domain as domains
from hallmark.learners.model import Examples, examples
from hallmark.tasks import Binary, Targets
from hallmark.training import source

if TYPE_CHECKING:
    import pandas as pd

PRECISION, RECALL = (Binary().metrics()[name] for name in ("average_precision", "recall_at_1pct_fpr"))
AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Network:
    """Shape of a network; `bins` > 0 feeds each number as a piecewise linear code of its quantiles."""

    width: int
    depth: int
    dropout: float
    rate: float
    bins: int
    epochs: int = 12
    batch: int = 1024
    decay: float = 1e-4


NETWORKS = {
    "network, plain": Network(width=256, depth=3, dropout=0.2, rate=1e-3, bins=0),
    "network, small": Network(width=128, depth=3, dropout=0.1, rate=2e-3, bins=0),
    "network, quantile codes": Network(width=256, depth=2, dropout=0.3, rate=1e-3, bins=16),
}
BOOSTERS: dict[str, dict[str, Any]] = {
    "trees, as kept": {},
    "trees, 12 leaves": {"num_leaves": 12},
    "trees, 63 leaves, slow": {"num_leaves": 63, "learning_rate": 0.03, "rounds": 800},
}


def code(inputs: NDArray[np.float32], edges: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Each column as how far it has come through each of its quantile bins, 0..1."""
    parts = [
        np.clip((inputs[:, [i]] - cuts[:-1]) / np.maximum(np.diff(cuts), 1e-9), 0, 1) for i, cuts in enumerate(edges)
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def prepare(train: Examples, bins: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Numbers scaled for a network, by the distribution of the training part."""
    mean, deviation = train.inputs.mean(axis=0), train.inputs.std(axis=0) + 1e-6
    if not bins:
        return lambda inputs: np.clip((inputs - mean) / deviation, -6, 6).astype(np.float32)
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, bins + 1))) for column in train.inputs.T]
    edges = [cuts if len(cuts) > 1 else np.array([cuts[0], cuts[0] + 1]) for cuts in edges]
    return lambda inputs: code(inputs, edges)


def fit_network(train: Examples, validation: Examples, *, seed: int, shape: Network) -> Predict:
    """Train a network and keep the epoch that is best on `validation`."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    ready = prepare(train, shape.bins)
    x, y = torch.from_numpy(ready(train.inputs)), torch.from_numpy(train.labels).float()
    watched = torch.from_numpy(ready(validation.inputs))
    layers: list[nn.Module] = []
    size = x.shape[1]
    for _ in range(shape.depth):
        layers += [nn.Linear(size, shape.width), nn.BatchNorm1d(shape.width), nn.ReLU(), nn.Dropout(shape.dropout)]
        size = shape.width
    net = nn.Sequential(*layers, nn.Linear(size, 1))
    optimiser = torch.optim.AdamW(net.parameters(), lr=shape.rate, weight_decay=shape.decay)
    steps = shape.epochs * (len(x) // shape.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3 * shape.rate, total_steps=steps)
    best, kept = -1.0, net.state_dict()
    for _ in range(shape.epochs):
        net.train()
        for rows in torch.split(torch.randperm(len(x))[: len(x) // shape.batch * shape.batch], shape.batch):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows])
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            value = PRECISION.value(Targets(validation.labels), net(watched)[:, 0].numpy().astype(np.float64))
        if value > best:
            best, kept = value, {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(kept)

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            scores: NDArray[np.float32] = torch.sigmoid(net(torch.from_numpy(ready(inputs))))[:, 0].numpy()
        return scores

    return predict


def fit_trees(train: Examples, validation: Examples, *, seed: int, options: dict[str, Any]) -> Predict:
    """The domain's own model, with other options."""
    return trees.fit(train, validation, seed=seed, **options).predict


def months(world: int, days: int) -> tuple[Examples, Examples, Examples]:
    """Train and validation part of a window whose labels are final at AS_OF, and the month from AS_OF on."""

    def orders(start: datetime, end: datetime) -> pd.DataFrame:
        return source.load("fraud", source=source.SYNTHETIC, start=start, end=end, seed=world)

    end = AS_OF - domains.load("fraud").data.label_delay
    window = orders(end - timedelta(days=days), end).sort_values("ordered_at", kind="stable")
    cut = int(len(window) * 0.85)
    later = orders(AS_OF, AS_OF + timedelta(days=30))
    return examples("fraud", window[:cut]), examples("fraud", window[cut:]), examples("fraud", later)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=3, help="marketplaces to draw")
    parser.add_argument("--seeds", type=int, default=3, help="trainings a marketplace")
    parser.add_argument("--days", type=int, default=60, help="length of the window")
    asked = parser.parse_args()
    fits: dict[str, Callable[..., Predict]] = {
        **{name: _with(fit_trees, options=options) for name, options in BOOSTERS.items()},
        **{name: _with(fit_network, shape=shape) for name, shape in NETWORKS.items()},
    }
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in fits}
    for world in range(1, asked.worlds + 1):
        train, validation, later = months(world, asked.days)
        print(
            f"marketplace {world}: {len(train)} + {len(validation)} orders to learn from, {len(later)} later",
            flush=True,
        )
        for name, fit in fits.items():
            for seed in range(asked.seeds):
                began = time.process_time()
                predict = fit(train, validation, seed=seed)
                seconds = time.process_time() - began
                scores = predict(later.inputs).astype(np.float64)
                found = PRECISION.value(later.targets, scores)
                results[name].append((found, RECALL.value(later.targets, scores), seconds))
                print(f"  {name}, seed {seed}: {found:.4f} in {seconds:.1f} CPU s", flush=True)
    print(f"\n{'model':<26}{'average precision':>20}{'recall at 1% FPR':>20}{'CPU seconds':>13}")
    for name, rows in results.items():
        ranked, caught, taken = (list(column) for column in zip(*rows, strict=True))
        spread = statistics.stdev(ranked) if len(ranked) > 1 else 0.0
        print(
            f"{name:<26}{statistics.mean(ranked):>13.4f} ±{spread:.4f}{statistics.mean(caught):>18.3f}"
            f"{statistics.mean(taken):>13.1f}"
        )


def _with(fit: Callable[..., Predict], **fixed: Any) -> Callable[..., Predict]:
    return lambda *parts, seed: fit(*parts, seed=seed, **fixed)


if __name__ == "__main__":
    main()
