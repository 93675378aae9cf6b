"""What is left out of an answer: items that the member has just looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def order(record: Mapping[str, Any], candidates: Mapping[str, NDArray[Any]], scores: NDArray[np.float32]) -> Any:
    """Places of the candidates (n,), the nearest first, without those of `recent_items`."""
    seen = {str(each) for each in record["recent_items"]}
    return [place for place in np.argsort(-scores, kind="stable") if str(candidates["item_id"][place]) not in seen]
