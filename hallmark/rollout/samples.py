"""Samples of metrics, as every source of them gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One value of one series now. `value` is finite: what a source says is NaN or infinite is left out, as if it were missing."""

    name: str
    labels: dict[str, str]
    value: float
