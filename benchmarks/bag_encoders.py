"""Which encoder reads traits better from a photo of a bag: the small one that is trained here, or EfficientNet-Lite0 with pretrained weights.

    python -m benchmarks.bag_encoders [FOLDER]     # of a trained version; without it a small one is trained first

Prints, of each, the error of what is read of each trait and the milliseconds of one core that a photo costs. The pretrained one is frozen, and
what it sees is read by ridge regression, from three of its depths; decision 62 has the figures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.authentication import model
from hallmark.learners import lite0
from hallmark.learners.photo_set import TrainedPhotoSet
from synthetic import bag_photos, bags
from synthetic.bag_photos import Camera
from synthetic.chance import generator

START = datetime(2026, 1, 1, tzinfo=UTC)
TAPS = (2, 4, 10)
"""Blocks of EfficientNet-Lite0 whose means and deviations are read."""
LEARNT, TESTED = 3000, 1000


def photos(view: int, count: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(n, 3, 64, 64) photos of one view, and the trait that it shows."""
    from hallmark.features import image

    random = generator(seed, f"encoders {view}")
    found = bags.market(count, random)
    camera = Camera(studio=np.zeros(count, dtype=np.bool_), random=random)
    files = bag_photos.drawn(
        bag_photos.VIEWS[view],
        traits=found.traits,
        category=found.category,
        hide=random.integers(0, 8, count),
        camera=camera,
    )
    read = [image.pixels(each, size=(bag_photos.SIDE, bag_photos.SIDE)).transpose(2, 0, 1) for each in files]
    return np.stack(read), found.traits[:, view - 1]


def features(encode: Callable[[Tensor], Tensor], given: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
    """What an encoder sees of each photo, and the milliseconds of the processor that one takes."""
    began, parts = time.process_time(), []
    with torch.inference_mode():
        for start in range(0, len(given), 100):
            parts.append(encode(torch.from_numpy(given[start : start + 100])).numpy())
    return np.concatenate(parts).astype(np.float64), (time.process_time() - began) / len(given) * 1e3


def depths() -> Callable[[Tensor], Tensor]:
    """Of EfficientNet-Lite0: photos (n, 3, h, w) of 0..255 to the mean and deviation of each map after the blocks `TAPS`."""
    layers = list(lite0.pretrained())[: TAPS[-1] + 2]  # the stem comes before the blocks

    def read(photos: Tensor) -> Tensor:
        x, found = lite0.scaled(photos), []
        for place, layer in enumerate(layers):
            x = layer(x)
            if place - 1 in TAPS:
                found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, 1)

    return read


def ridge(learnt: NDArray[np.float64], truth: NDArray[np.float64], tested: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions by the penalty of five that a fifth of the learnt rows likes best."""
    mean, spread = learnt.mean(0), learnt.std(0) + 1e-6
    x, z = (learnt - mean) / spread, (tested - mean) / spread
    fitted, held = slice(0, len(x) * 4 // 5), slice(len(x) * 4 // 5, None)

    def weights(rows: slice, penalty: float) -> NDArray[np.float64]:
        gram = x[rows].T @ x[rows] + penalty * np.eye(x.shape[1])
        return np.asarray(np.linalg.solve(gram, x[rows].T @ (truth[rows] - truth.mean())))

    def error(penalty: float) -> float:
        return float(((x[held] @ weights(fitted, penalty) + truth.mean() - truth[held]) ** 2).mean())

    best = min((1.0, 10.0, 100.0, 1000.0, 10_000.0), key=error)
    return np.asarray(z @ weights(slice(None), best) + truth.mean())


def own(folder: str | None) -> TrainedPhotoSet:
    """The version in a folder, or one that is trained here."""
    if folder:
        return model.restore(Path(folder))
    from domains.authentication.synthetic import items
    from hallmark.learners.model import examples

    train, held = (
        examples("authentication", items(START + timedelta(days=first), START + timedelta(days=last), seed=1))
        for first, last in ((0, 60), (60, 75))
    )
    return model.fit(train, held, seed=1)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    mine, theirs = own(sys.argv[1] if len(sys.argv) > 1 else None), depths()
    print(f"{'trait':16}{'own':>9}{'Lite0':>9}{'own ms':>9}{'Lite0 ms':>10}")
    for view, trait in enumerate(bags.TRAITS, start=1):
        learnt, truth = photos(view, LEARNT, seed=1)
        tested, real = photos(view, TESTED, seed=2)
        facts = np.zeros((TESTED, 3), dtype=np.float32)
        began = time.process_time()
        read, _ = mine.measured({"photos": tested[:, None], "there": np.ones((TESTED, 1), np.float32), "facts": facts})
        took = (time.process_time() - began) / TESTED * 1e3
        before, _ = features(theirs, learnt)
        seen, slower = features(theirs, tested)
        errors = (read[:, view - 1] - real, ridge(before, truth, seen) - real)
        first, second = (float(np.sqrt((each**2).mean())) for each in errors)
        print(f"{trait:16}{first:9.4f}{second:9.4f}{took:9.2f}{slower:10.2f}", flush=True)


if __name__ == "__main__":
    main()
