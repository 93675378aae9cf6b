"""The listing's answer: beside the probabilities, the garment and how sure the model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Output

OUTPUTS: tuple[Output, ...] = (
    Output(name="label", datatype="BYTES"),
    Output(name="confidence", datatype="FP32", minimum=0.0, maximum=1.0),
)


def answer(outputs: Mapping[str, NDArray[Any]], labels: tuple[str, ...]) -> Mapping[str, NDArray[Any]]:
    """`label` (n,) the likeliest garment, `confidence` (n,) its probability, from `probabilities` (n, k)."""
    probabilities = outputs["probabilities"]
    best = probabilities.argmax(axis=1)
    confidence = np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0].astype(np.float32)
    return {"label": np.array(labels, dtype=object)[best], "confidence": confidence}
