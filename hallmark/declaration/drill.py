"""Drift that a drill injects: `drill:`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from hallmark.section import Duration, Section


class Drill(Section):
    """Drift that `hallmark drill` injects, and the size of the trainings that it starts."""

    shift: str = Field(description="A named shift of synthetic data: see `hallmark data DOMAIN --shifts`.")
    window: Duration = timedelta(days=14)
    options: dict[str, bool | int | float | str] = Field(default={}, description="Keywords for the domain's `fit`.")
    rate: float = Field(default=150, gt=0, le=1000, description="Requests a second.")
    set: tuple[str, ...] = Field(default=(), description="Other keys for the drill, such as gate.floor=0.2.")
