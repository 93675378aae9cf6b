"""What a candidate has to reach before it is registered: `gate:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hallmark.section import Section


class Slices(Section):
    """Groups of examples on which a candidate may not be worse than its champion."""

    columns: tuple[str, ...] = ()
    minimum_rows: int = Field(default=200, ge=1, description="Smaller groups are reported and not judged.")
    tolerance: float = Field(
        default=0.05, ge=0, description="How much worse a slice may be, in the metric's own units."
    )


class Gate(Section):
    """What a candidate has to reach before it is registered."""

    metric: str
    direction: Literal["higher", "lower"] = "higher"
    floor: float = Field(description="Worse than this is refused, with or without a champion.")
    minimum_gain: float = Field(
        default=0.0, description="How much better than the champion, on the same test examples; negative allows a loss."
    )
    slices: Slices = Slices()
    precision_loss: float = Field(
        default=0.01,
        ge=0,
        description="How much worse than its own fp32 form an int8 model may be, in the metric's own units.",
    )
