"""What an item shares with those that were looked at before."""

from __future__ import annotations

import numpy as np

from hallmark.features.matching import matches, width


def test_each_fact_is_counted_among_what_was_looked_at_and_at_its_last() -> None:
    recent = np.array([[1, 5], [1, 6], [2, 0]], dtype=np.int16)
    items = np.array([[1, 6], [2, 0]], dtype=np.int16)
    found = matches(recent, items, np.array([0.5, 0.25], dtype=np.float32))
    third = np.float32(1 / 3)
    assert found.tolist() == [[0.5, 3, 2 * third, 0, third, 0], [0.25, 3, third, 1, 0, 0]], (
        "nothing known is not the same"
    )
    assert found.shape[1] == width(2) and found.dtype == np.float32


def test_who_has_looked_at_nothing_shares_nothing_that_is_known() -> None:
    found = matches(np.zeros((0, 2), dtype=np.int16), np.array([[1, 6]], dtype=np.int16), np.ones(1, dtype=np.float32))
    assert found[0, :2].tolist() == [1, 0] and np.isnan(found[0, 2:]).all()
