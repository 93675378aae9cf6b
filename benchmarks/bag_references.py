"""Does the distance to the nearest authentic bags add to the view model's score?

    python -m benchmarks.bag_references [FOLDER]     # of a trained version; without it a small one is trained first

References are the authentic bags of 80 days, those judged come later; neither is what the version learnt from. Distances are compared within a
brand and category, and put beside the score by a logistic regression that one half of the judged bags teaches and the other is judged by, both
ways. Prints average precision and log loss with 95% intervals of what each signal changes, and how many bags of the largest slice come before
the first counterfeits. Decision 72 has the figures.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss

from benchmarks.bag_encoders import START, own
from domains.authentication.features import CATEGORIES
from domains.authentication.synthetic import items
from hallmark.learners.model import Examples, examples
from hallmark.learners.photo_set_network import PhotoSetNetwork, light
from hallmark.retrieval.index import best

if TYPE_CHECKING:
    import pandas as pd

NEAR, DRAWS, BATCH = 4, 300, 64
LEARNT, JUDGED = (0, 80), (90, 150)
Numbers = NDArray[np.float64]


class Seen(NamedTuple):
    """What a network makes of bags: (n,) slices, labels and logits; vectors of items and of what each query found; and of photos, with whose each is."""

    kind: NDArray[np.int64]
    labels: NDArray[np.int64]
    logit: NDArray[np.float32]
    item: NDArray[np.float32]
    pooled: NDArray[np.float32]
    photos: NDArray[np.float32]
    photos_of: NDArray[np.int64]


def seen(network: PhotoSetNetwork, given: Examples) -> Seen:
    """Of all examples, in batches."""
    parts: list[tuple[NDArray[Any], ...]] = []
    with torch.inference_mode():
        for start in range(0, len(given), BATCH):
            pixels, there, facts = (
                torch.from_numpy(given.named[name][start : start + BATCH]) for name in ("photos", "there", "facts")
            )
            encoded = network.encode(light(pixels.flatten(0, 1))).reshape(*there.shape, -1)
            logit, _, _, vector = network.items(encoded, there, facts)
            rows = torch.nonzero(there)[:, 0] + start
            made = (
                logit / network.temperature,
                vector,
                network.pooled(encoded, there).flatten(1),
                encoded[there > 0],
                rows,
            )
            parts.append(tuple(each.numpy() for each in made))
    logits, item, pooled, photos, photos_of = (np.concatenate(each) for each in zip(*parts, strict=True))
    told = given.named["facts"]
    kind = (told[:, 0] * len(CATEGORIES) + told[:, 1]).astype(np.int64)
    return Seen(kind, given.labels.astype(np.int64), logits, item, pooled, photos, photos_of)


def distances(asked: NDArray[np.float32], among: NDArray[np.float32], count: int) -> Numbers:
    """(n, count) squared distances to the nearest, the least first."""
    both = 2.0 * asked @ among.T - (among * among).sum(1)
    found, _ = best(both, np.arange(len(among)), min(count, len(among)))
    return np.asarray((asked * asked).sum(1, keepdims=True) - found, dtype=np.float64).clip(min=0.0)


def signals(learnt: Seen, judged: Seen, most: int) -> dict[str, Numbers]:
    """Of each way to compare, (n, k) distances of the judged bags to the last `most` authentic ones of their slice."""
    n = len(judged.labels)
    found = {"item": np.zeros((n, 2)), "what queries found": np.zeros((n, 2)), "photo": np.zeros((n, 3))}
    for kind in np.unique(judged.kind):
        rows = np.nonzero((learnt.kind == kind) & (learnt.labels == 0))[0][-most:]
        of = np.nonzero(judged.kind == kind)[0]
        for name, asked, among in (
            ("item", judged.item, learnt.item),
            ("what queries found", judged.pooled, learnt.pooled),
        ):
            near = distances(asked[of], among[rows], NEAR)
            found[name][of] = np.stack((near[:, 0], near.mean(1)), 1)
        mine = np.isin(judged.photos_of, of)
        near = distances(judged.photos[mine], learnt.photos[np.isin(learnt.photos_of, rows)], 1)[:, 0]
        for row in of:
            each = np.sort(near[judged.photos_of[mine] == row])
            found["photo"][row] = each[-1], each[-2:][0], each.mean()
    return {name: np.log(values + 1e-3) for name, values in found.items()}


def chances(logit: NDArray[np.float32], more: Numbers, labels: NDArray[np.int64]) -> Numbers:
    """(n,) by the regression on the other half."""
    x = np.concatenate((logit[:, None], more), 1)
    half, made = np.arange(len(x)) % 2, np.zeros(len(x))
    for side in (0, 1):
        there = half != side
        mean, spread = x[there].mean(0), x[there].std(0) + 1e-9
        fitted = LogisticRegression(C=10, max_iter=1000).fit((x[there] - mean) / spread, labels[there])
        made[~there] = fitted.predict_proba((x[~there] - mean) / spread)[:, 1]
    return made


def drawn(first: int, last: int) -> pd.DataFrame:
    """The bags of these days."""
    return items(START + timedelta(days=first), START + timedelta(days=last), seed=3)


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    trained = own(sys.argv[1] if len(sys.argv) > 1 else None)
    learnt, judged = (
        seen(
            trained.network, examples("authentication", items(*(START + timedelta(days=each) for each in part), seed=3))
        )
        for part in (LEARNT, JUDGED)
    )
    labels, random = judged.labels, np.random.default_rng(1)
    largest = judged.kind == np.bincount(judged.kind).argmax()
    plain = chances(judged.logit, np.zeros((len(labels), 0)), labels)
    for most in (100, 10_000):
        print(f"{len(labels)} bags, {labels.mean():.1%} counterfeits; at most {most} references a slice")
        for name, more in {"none": np.zeros((len(labels), 0)), **signals(learnt, judged, most)}.items():
            made, changed = chances(judged.logit, more, labels), []
            for _ in range(DRAWS):
                rows = random.integers(0, len(labels), len(labels))
                changed.append(
                    [measure(labels[rows], made[rows]) - measure(labels[rows], plain[rows])
                     for measure in (average_precision_score, log_loss)]
                )  # fmt: skip
            low, high = np.quantile(changed, (0.025, 0.975), axis=0)
            first = np.nonzero(labels[largest][np.argsort(made[largest])])[0][:2]
            print(
                f"  {name:20} AP {average_precision_score(labels, made):.4f} ({low[0]:+.4f} to {high[0]:+.4f})"
                f"  log loss {log_loss(labels, made):.4f} ({low[1]:+.4f} to {high[1]:+.4f})"
                f"  of {largest.sum()} before the first counterfeits {first.tolist()}"
            )


if __name__ == "__main__":
    main()
