"""Rows that a version has learnt from, by which a later one is compared with it only on rows that are new to both.

A row is known by who it is about and when, or, where entities are kept apart, by who alone. Of that a 32-bit hash is kept, 4 bytes a
row: of test rows that are new, one in 2**32 / (rows learnt from) is taken for seen by chance, which leaves it out and does no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.folder import ROWS_SEEN
from hallmark.errors import ModelRefused

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain


def identity(domain: Domain) -> tuple[str, ...]:
    """Names of the columns that say which example a row is."""
    data = domain.data
    named = (data.entity,) if data.split == "entity" else (data.entity, data.event_time, data.query, data.item)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def identities(domain: Domain, frame: pd.DataFrame) -> NDArray[np.uint32]:
    """(n,) one number a row: the same for the same example in any data set, whatever else its row says."""
    import pandas as pd

    columns = {name: _plain(frame[name]) for name in identity(domain)}
    hashed = pd.util.hash_pandas_object(pd.DataFrame(columns), index=False, categorize=False)
    return (hashed.to_numpy(dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)


def write(domain: Domain, path: Path, *frames: pd.DataFrame) -> None:
    """Write down the rows of these frames, each once."""
    found = np.unique(np.concatenate([identities(domain, frame) for frame in frames]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.save(stream, found, allow_pickle=False)


def unseen(domain: Domain, folder: Path, frame: pd.DataFrame) -> NDArray[np.bool_] | None:
    """(n,) is a row new to the version in a model folder? None where the version is from before that was written down."""
    path = folder / ROWS_SEEN
    if not path.is_file():
        return None
    try:
        seen: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"{ROWS_SEEN} of the model cannot be read", expected="numbers of rows", got=str(error), fix="restore it"
        ) from error
    return ~np.isin(identities(domain, frame), seen)


def _plain(values: pd.Series[Any]) -> pd.Series[Any]:
    """Times as nanoseconds and all else as text, since types differ between files and the example does not."""
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        times: pd.Series[Any] = values.dt.tz_convert("UTC").dt.as_unit("ns").astype("int64")
        return times
    return values.astype(str)
