"""A band of prices says what it does not learn from."""

from __future__ import annotations

import numpy as np
import pytest

from domains.pricing.model import SPEC
from hallmark.errors import DeclarationError
from hallmark.learners.model import Examples


def test_weights_are_refused() -> None:
    given = Examples(np.ones((3, 1)), np.ones(3), weights=np.ones(3))
    with pytest.raises(DeclarationError, match=r"counts each row once[\s\S]*data\.weight"):
        SPEC.fit(given, given, seed=1)
