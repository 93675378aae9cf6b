"""Times of the synthetic marketplace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def utc(seconds: NDArray[np.float64]) -> pd.Series:
    """(n,) times of seconds since 1970, to the microsecond; NaT for NaN, on which pandas' own to_datetime now and then overflows."""
    import pandas as pd

    known = ~np.isnan(seconds)
    made = np.full(len(seconds), np.datetime64("NaT", "us"))
    made[known] = np.round(seconds[known] * 1e6).astype(np.int64).astype("datetime64[us]")
    times: pd.Series = pd.Series(made).dt.tz_localize("UTC")
    return times
