"""What the garments of real photos are told by: the network that listing trains from nothing, or EfficientNet-Lite0 with pretrained weights.

    python -m benchmarks.listing_encoders [--data ../shared/data/clothing] [--sides 112 160] [--seeds 245 7 8]

The pretrained one is frozen, and a logistic regression reads what it sees of a photo and of its mirror image; of two strengths the one that the
validation people like better. `python benchmarks/listing_model.py --seeds 245 7 8` trains the other on the same people; decision 2 has the figures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.listing_model import by_seed, report
from domains.listing import data
from domains.listing.model import LABELS
from hallmark.features import image
from hallmark.learners import lite0

BATCH = 64
STRENGTHS = (1e-3, 3e-3)


def seen(photos: list[bytes], side: int) -> NDArray[np.float32]:
    """(n, 2, 1280): each photo, and mirrored, at `side`."""
    layers, found, began = lite0.pretrained(), [], time.process_time()
    with torch.inference_mode():
        for start in range(0, len(photos), BATCH):
            x = lite0.scaled(torch.from_numpy(image.stack(photos[start : start + BATCH], size=(side, side))))
            found.append(np.stack([layers(each).mean((2, 3)).numpy() for each in (x, x.flip(3))], axis=1))
            print(f"\r{side} px: {start + len(x)} of {len(photos)} photos", end="", flush=True)
    print(f", {(time.process_time() - began) / len(photos) / 2 * 1e3:.1f} ms of a core each, by torch")
    return np.concatenate(found)


def read(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    train: NDArray[Any],
    held: NDArray[Any],
    test: NDArray[Any],
) -> NDArray[np.float32]:
    """(n, 17) chances of the test photos."""
    own = features[train].reshape(-1, features.shape[2])
    scaled = (features - own.mean(0)) / (own.std(0) + 1e-6)
    best: tuple[float, NDArray[np.float32]] | None = None
    for strength in STRENGTHS:
        reader = LogisticRegression(C=strength, max_iter=120)
        reader.fit(scaled[train].reshape(-1, features.shape[2]), labels[train].repeat(2))

        def chances(rows: NDArray[Any], reader: LogisticRegression = reader) -> NDArray[np.float32]:
            found = np.zeros((int(rows.sum()), len(LABELS)), dtype=np.float32)
            found[:, reader.classes_] = reader.predict_proba(scaled[rows].mean(1))
            return found

        loss = -np.log(np.clip(chances(held)[np.arange(held.sum()), labels[held]], 1e-7, 1)).mean()
        if best is None or loss < best[0]:
            best = (float(loss), chances(test))
    assert best is not None
    return best[1]


def main() -> None:
    """Print the figures of each side and split."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data/clothing"))
    options.add_argument("--sides", type=int, nargs="*", default=[112, 160])
    options.add_argument("--seeds", type=int, nargs="*", default=[245, 7, 8])
    asked = options.parse_args()
    torch.set_num_threads(1)
    frame = data.read(asked.data)
    labels = np.array([LABELS.index(each) for each in frame["label"]], dtype=np.int64)
    for side in asked.sides:
        features = seen(frame["image"].tolist(), side)
        for name, *masks in by_seed(frame["sender_id"].astype(str).to_numpy(), asked.seeds):
            report(f"{side} px, {name}", read(features, labels, *masks), labels[masks[2]])


if __name__ == "__main__":
    main()
