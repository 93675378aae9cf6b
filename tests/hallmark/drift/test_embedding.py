"""The domain classifier, beside scikit-learn's and beside chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from hallmark.drift import embedding
from hallmark.errors import ModelRefused


def rows(count: int, *, seed: int, shift: float = 0.0, scale: float = 1.0, width: int = 12) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(0, 1, (count, width))
    found[:, 0] += shift
    found[:, 1] *= scale
    return found.astype(np.float32)


def test_its_direction_is_scikit_learns() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    old, new = rows(600, seed=1), rows(400, seed=2, shift=0.6)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05)
    theirs.fit(np.concatenate([old, new]), [0] * 600 + [1] * 400)
    ours = embedding.discriminant(old, new)
    cosine = ours @ theirs.coef_[0] / np.linalg.norm(ours) / np.linalg.norm(theirs.coef_[0])
    assert cosine > 0.999


def test_its_area_is_scikit_learns_and_its_p_is_scipys() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    old, new = random.normal(0, 1, 300), random.normal(0.3, 1, 200)
    area, p = embedding._area(old, new)
    assert area == pytest.approx(roc_auc_score([0] * 300 + [1] * 200, np.concatenate([old, new])))
    theirs = scipy.stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic", use_continuity=False)
    assert p == pytest.approx(theirs.pvalue, rel=1e-6)


def test_where_nothing_changed_p_is_no_smaller_than_chance_makes_it() -> None:
    sample = rows(500, seed=1)
    found = [embedding.separate(sample, rows(300, seed=100 + seed)) for seed in range(300)]
    p = np.array([each.p for each in found if each])
    assert all((p < level).mean() <= 1.5 * level + 0.01 for level in (0.01, 0.05, 0.2))
    assert max(each.auc for each in found if each) < 0.62


@pytest.mark.parametrize(("shift", "scale"), [(1.2, 1.0), (0.0, 3.0)])
def test_a_shift_and_a_wider_spread_are_both_told_apart(shift: float, scale: float) -> None:
    found = embedding.separate(rows(500, seed=1), rows(400, seed=2, shift=shift, scale=scale))
    assert found is not None and found.auc > 0.75 and found.p < 1e-9


def test_poisoned_rows_do_not_lead() -> None:
    sample, window = rows(500, seed=1), rows(400, seed=2)
    window[[3, 90, 200, 399]] = [[np.nan] * 12, [1e30] * 12, [np.inf] * 12, [-1e6] * 12]
    found = embedding.separate(sample, window)
    assert found is not None and found.auc < 0.6 and found.rows == 398


def test_too_few_rows_are_not_judged() -> None:
    assert embedding.separate(rows(500, seed=1), rows(10, seed=2)) is None
    assert embedding.separate(rows(500, seed=1), np.full((400, 12), np.nan, dtype=np.float32)) is None


def test_the_file_is_safetensors_and_read_back() -> None:
    from safetensors.numpy import load

    sample = embedding.sample(rows(3000, seed=1))
    data = embedding.write(sample)
    assert sample.shape == (embedding.MOST, 12)
    assert (embedding.read(data) == sample).all() and (load(data)["reference"] == sample).all()


@pytest.mark.parametrize("data", [b"", b"\x08" + b"\0" * 7 + b"{}      ", embedding.write(rows(5, seed=1))[:-4]])
def test_a_broken_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match=r"embeddings\.safetensors"):
        embedding.read(data)


@pytest.mark.parametrize(
    "found", [np.zeros(5, dtype=np.float32), np.zeros((5, 0), dtype=np.float32), np.zeros((5, 2), int)]
)
def test_what_is_no_embedding_is_refused(found: NDArray[Any]) -> None:
    with pytest.raises(ModelRefused, match="embed does not give embeddings"):
        embedding.sample(found)
