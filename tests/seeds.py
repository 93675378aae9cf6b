"""What a promise is tried with: a little of it in `make slow`, all the rest in `make long`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

LONG = os.environ.get("HALLMARK_LONG") == "1"
"""Set by `make long`."""


def how_many(slow: int, long: int) -> int:
    """How many examples, or moments, a test marked `many` has."""
    return long if LONG else slow


def seeds(every: Sequence[Any], slow: int = 1) -> list[Any]:
    """Parameters of a test that is marked slow: so many of them stay in it."""
    return [
        *every[:slow],
        *(
            pytest.param(*(each if isinstance(each, tuple) else (each,)), marks=pytest.mark.long)
            for each in every[slow:]
        ),
    ]
