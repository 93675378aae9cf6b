"""What sizes answers beside the probabilities: the class, and how sure the model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Output

OUTPUTS = (
    Output(name="label", datatype="BYTES"),
    Output(name="confidence", datatype="FP32", minimum=0, maximum=1),
)


def answer(outputs: Mapping[str, NDArray[Any]], labels: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The likeliest of `labels` for each record, and its probability."""
    chances = outputs["probabilities"]
    best = chances.argmax(axis=1)
    return {
        "label": np.array(labels, dtype=object)[best],
        "confidence": chances[np.arange(len(chances)), best].astype(np.float32),
    }
