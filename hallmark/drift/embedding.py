"""Embeddings of records, and whether a classifier can tell a window's from the reference's.

A linear discriminant on the embedding and its squares, in closed form: some milliseconds, and nothing to compute with but numpy, so
that the sidecar stays small. The tests hold it against scikit-learn's, whose answers it gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.bundle import EMBEDDINGS
from hallmark.drift import statistics
from hallmark.errors import ModelRefused
from hallmark.section import Frozen

FILE = EMBEDDINGS
"""The reference's sample in a model folder: one tensor `reference`, (n, d) float32."""
NAME = "embedding"
MOST = 1000
WIDEST = 512
_LARGEST = 4 * MOST * WIDEST + 4096
_BLOCKS = 8
_FEWEST = 20
_REACH = 6.0
_RIDGE = 0.05

Floats = NDArray[np.float32] | NDArray[np.float64]


class Separation(Frozen):
    """Result of a classifier that tells old rows from new ones.

    auc: mean over both folds of the area under the curve on rows that the classifier has not seen; 0.5 is not at all.
    p:   chance alone would do as well: twice the smaller of the folds' Mann-Whitney p, one side.
    """

    auc: float
    p: float
    rows: int


def separate(reference: Floats, window: Floats) -> Separation | None:
    """The separation of (n, d) reference and (m, d) window rows, each in the order of its time; None where there are too few.

    Rows that are not finite are left out. Both sides are cut into 8 blocks of neighbouring rows, and the classifier learns on
    the even and is tested on the odd ones, then the other way: photos of one person lie side by side, and are never learned
    from and tested on. Given a classifier, its scores on unseen rows are exchangeable where nothing changed, so that the
    Mann-Whitney test's null distribution holds for each fold, and twice the smaller p for both (Bonferroni).
    """
    old, new = (_finite(rows) for rows in (reference, window))
    if min(len(old), len(new)) < _FEWEST or old.shape[1] != new.shape[1]:
        return None
    old, new = _scaled(old, old), _scaled(old, new)
    sides = [(rows, _even(len(rows))) for rows in (old, new)]
    found = []
    for learn in (True, False):
        (first, third), (second, fourth) = ((rows[even == learn], rows[even != learn]) for rows, even in sides)
        direction = discriminant(first, second)
        found.append(_area(third @ direction, fourth @ direction))
    auc = sum(area for area, _ in found) / 2
    return Separation(auc=round(auc, 4), p=min(1.0, 2 * min(p for _, p in found)), rows=len(new))


def discriminant(first: Floats, second: Floats) -> NDArray[np.float64]:
    """(d,) the direction that tells `second` from `first` best: Fisher's, its pooled covariance drawn towards its diagonal."""
    centred = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    covariance = centred.T @ centred / len(centred)
    towards = np.eye(covariance.shape[0]) * np.trace(covariance) / covariance.shape[0]
    shrunk = (1 - _RIDGE) * covariance + _RIDGE * towards + 1e-9 * np.eye(covariance.shape[0])
    found: NDArray[np.float64] = np.linalg.solve(shrunk, second.mean(axis=0) - first.mean(axis=0))
    return found


def sample(rows: Floats) -> NDArray[np.float32]:
    """At most `MOST` of (n, d) rows, evenly spread and in their order; `ModelRefused` where they are no embeddings."""
    found = np.asarray(rows)
    if found.ndim != 2 or not 1 <= found.shape[1] <= WIDEST or found.dtype.kind != "f":
        raise ModelRefused(
            "embed does not give embeddings",
            expected=f"(rows, d) float32, d from 1 to {WIDEST}",
            got=f"{found.dtype} {found.shape}",
            fix="look at embed in the domain's features.py",
        )
    chosen = np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(np.int64))
    return np.ascontiguousarray(found[chosen], dtype=np.float32)


def write(rows: NDArray[np.float32]) -> bytes:
    """The sample as a safetensors file, the same bytes for the same rows."""
    from safetensors.numpy import save

    return bytes(save({"reference": rows}))


def read(data: bytes) -> NDArray[np.float32]:
    """(n, d) the sample in a safetensors file; `ModelRefused` where it is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if len(data) > _LARGEST:
            raise ValueError(f"{len(data)} bytes")
        rows: NDArray[np.float32] = load(data)["reference"]
        if rows.dtype != np.float32 or rows.ndim != 2 or not len(rows) or not 1 <= rows.shape[1] <= WIDEST:
            raise ValueError(f"{rows.dtype} {rows.shape}")
        return rows
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRefused(
            f"the model's {FILE} cannot be read", expected="one tensor `reference` of float32", got=str(error)[:120]
        ) from error


def _finite(rows: Floats) -> NDArray[np.float64]:
    found = np.asarray(rows, dtype=np.float64)
    kept: NDArray[np.float64] = found[np.isfinite(found).all(axis=1)]
    return kept


def _scaled(reference: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and their squares in deviations of the reference, none farther than `_REACH`: one photo cannot lead."""
    scale = np.maximum(reference.std(axis=0), 1e-6)
    near = ((rows - reference.mean(axis=0)) / scale).clip(-_REACH, _REACH)
    return np.concatenate([near, (near**2 - 1) / np.sqrt(2)], axis=1)


def _even(rows: int) -> NDArray[np.bool_]:
    even: NDArray[np.bool_] = np.arange(rows) * _BLOCKS // max(1, rows) % 2 == 0
    return even


def _area(old: NDArray[np.float64], new: NDArray[np.float64]) -> tuple[float, float]:
    """The chance that a new row scores higher than an old one, and p of its being more than a half by chance."""
    values, at = np.unique(np.concatenate([old, new]), return_inverse=True)
    counts = [np.bincount(each, minlength=len(values)) for each in (at[: len(old)], at[len(old) :])]
    shift = float(statistics.rank_shifts(*counts))
    p = statistics.rank_test(*counts) / 2
    return (1 + shift) / 2, p if shift > 0 else 1 - p
