"""Numbers that come more than once, in memory and through files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hallmark.feature_store import repeats


@pytest.mark.parametrize("held", [16, 100, 1 << 22])
def test_each_number_that_comes_more_than_once_is_found_once(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "HELD", held)
    draw = np.random.default_rng(7)
    once = draw.choice(1 << 40, 300, replace=False).astype(np.uint64) << np.uint64(24)
    edges = np.array([0, 1 << 63, 2**64 - 1], np.uint64)
    numbers = draw.permutation(np.concatenate([once, once[:20], once[:3], edges, edges]))
    found = repeats.repeated(np.array_split(numbers, 7), len(numbers), tmp_path)
    assert sorted(found.tolist()) == sorted([*once[:20].tolist(), *edges.tolist()])
    assert not list(tmp_path.iterdir())


def test_of_no_numbers_none_come_twice(tmp_path: Path) -> None:
    assert repeats.repeated([], 0, tmp_path).tolist() == []
