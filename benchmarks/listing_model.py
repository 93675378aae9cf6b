"""Accuracy of the listing model on photos of people it has not seen.

    python benchmarks/listing_model.py [--data ../shared/data/clothing] [--seeds 7] [--folds 0] [--option name=json …]

Each seed is one split of `hallmark train listing` (65% of people to learn from, 15% to calibrate on, 20% to measure on,
by hash); senders are lumpy, so one split says little. `--folds 5` measures every photo once instead: people in five
parts, each in turn held out. docs/decisions/0002-listing-model.md reads this table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.listing import data
from domains.listing import model as listing
from hallmark.declaration import domain as domains
from hallmark.learners.model import Examples, examples
from hallmark.training import split as splits

Parts = tuple[str, NDArray[Any], NDArray[Any], NDArray[Any]]


def by_seed(senders: NDArray[Any], seeds: list[int]) -> Iterator[Parts]:
    """Masks of the parts of each declared split."""
    declared = domains.load("listing").data
    end = 1 - declared.test
    cut = end - declared.validation
    for seed in seeds:
        places = np.array([splits.place(str(sender), seed=seed) for sender in senders])
        yield f"seed {seed}", places < cut, (places >= cut) & (places < end), places >= end


def by_fold(senders: NDArray[Any], folds: int) -> Iterator[Parts]:
    """Masks of the parts where people are dealt out in `folds`, the largest first, to the smallest so far."""
    people, photos = np.unique(senders, return_counts=True)
    sizes, fold = np.zeros(folds, dtype=int), {}
    for person in np.argsort(-photos, kind="stable"):
        fold[people[person]] = smallest = int(sizes.argmin())
        sizes[smallest] += photos[person]
    of = np.array([fold[sender] for sender in senders])
    held = np.array([splits.place(str(sender), seed=0) < 0.15 for sender in senders])
    for number in range(folds):
        yield f"fold {number}", (of != number) & ~held, (of != number) & held, of == number


def report(name: str, scores: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """One line of totals, one of recall and photos by class."""
    ranks = (scores > scores[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    right, guessed = ranks == 0, scores.argmax(axis=1)
    classes = np.unique(labels)
    f1 = [2 * (right & (labels == c)).sum() / ((labels == c).sum() + (guessed == c).sum()) for c in classes]
    loss = -np.log(np.clip(scores[np.arange(len(labels)), labels], 1e-7, 1)).mean()
    share = np.bincount(labels).max() / len(labels)
    print(
        f"{name}: {len(labels)} photos, top-1 {right.mean():.3f}, top-3 {(ranks < 3).mean():.3f}, macro F1 {np.mean(f1):.3f},"
        f" log loss {loss:.3f}, confidence {scores.max(axis=1).mean():.3f}, largest class {share:.3f}",
        flush=True,
    )
    print(
        "  "
        + ", ".join(f"{listing.LABELS[c]} {right[labels == c].mean():.2f} ({(labels == c).sum()})" for c in classes)
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data/clothing"))
    options.add_argument("--seeds", type=int, nargs="*", default=[7])
    options.add_argument("--folds", type=int, default=0)
    options.add_argument("--option", action="append", default=[], help="a field of Recipe, such as epochs=20")
    asked = options.parse_args()
    recipe = {name: json.loads(value) for name, _, value in (each.partition("=") for each in asked.option)}
    frame = data.read(asked.data)
    senders = frame[domains.load("listing").data.entity].astype(str).to_numpy()
    everything = examples("listing", frame)
    pooled: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for name, *masks in by_fold(senders, asked.folds) if asked.folds else by_seed(senders, asked.seeds):
        train, held, test = (Examples(inputs=everything.inputs[m], labels=everything.labels[m]) for m in masks)
        wall, cpu = time.perf_counter(), time.process_time()
        trained = listing.fit(train, held, seed=7, progress=lambda *step: print("  ", *step, flush=True), **recipe)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        scores = trained.predict(test.inputs)
        pooled.append((scores, test.labels))
        report(f"{name}, {len(train)} to learn from, {cpu:.0f} CPU s, {wall:.0f} s", scores, test.labels)
    if len(pooled) > 1:
        report("all", np.concatenate([p[0] for p in pooled]), np.concatenate([p[1] for p in pooled]))


if __name__ == "__main__":
    main()
