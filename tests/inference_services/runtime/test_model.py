"""What a model gives is checked, and put in the one form that all protocols write."""

from __future__ import annotations

import numpy as np

from hallmark.features.fields import Output
from inference_services.protocol.column import to_bytes, to_list
from inference_services.runtime.model import bounds_of, sane


def test_numpys_own_strings_travel_as_any_others() -> None:
    output = Output(name="label", datatype="BYTES")
    words = ["shoe", "grün", ""]
    made = sane(output, bounds_of(output), np.array(words), 3)
    assert to_list(made) == words
    assert to_bytes(made) == to_bytes(np.array(words, dtype=object)) == b"\4\0\0\0shoe\5\0\0\0gr\xc3\xbcn\0\0\0\0"
