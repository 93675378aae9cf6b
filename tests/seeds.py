"""Seeds of a statistical promise: the first two in `make slow`, all the others in `make long`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

SLOW = 2


def seeds(every: Sequence[int]) -> list[Any]:
    """Parameters of a test that is marked slow."""
    return [*every[:SLOW], *(pytest.param(each, marks=pytest.mark.long) for each in every[SLOW:])]
