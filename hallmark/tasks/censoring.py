"""Labels of which some are only bounds: how much the known ones count, so that all rows are spoken for and not only those."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hallmark.tasks.targets import Bools, Floats

Bound = Literal["lower", "upper"]
MOST = 30.0
"""No row counts for more than so many: one that is known against all odds would decide alone."""


def known_share(values: Floats, known: Bools, *, bound: Bound) -> Floats:
    """(n,) chance that a row with such a value is known, by Kaplan and Meier (1958), of what hides it.

    values: the truth where `known`, else the bound; of an upper one, truth is that or less, and is known where it is more.
    Rows are as likely hidden as others of the same value: take off first what differs between them and is known.
    """
    size = len(values)
    if not size or known.all():
        return np.ones(size)
    # Of an upper bound all is turned around: what hides is then reached from below.
    side = values if bound == "lower" else -values
    order = np.lexsort((~known, side))  # of equal ones the known come first: they were seen before they could be hidden
    left = size - np.arange(size, dtype=np.float64)
    stays = np.where(known[order], 1.0, 1.0 - 1.0 / left)
    before = np.concatenate(([1.0], np.cumprod(stays)[:-1]))
    found = np.empty(size)
    found[order] = before
    return found


def weights(values: Floats, known: Bools, *, bound: Bound) -> Floats:
    """(n,) weights: of known rows the inverse of `known_share`, `MOST` at most, of others 0 (Robins and Rotnitzky, 1992)."""
    share = known_share(values, known, bound=bound)
    return np.where(known, 1.0 / np.maximum(share, 1.0 / MOST), 0.0)
