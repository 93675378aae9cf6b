"""Requirements on a candidate before it is registered: `gate:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hallmark.section import Section

Direction = Literal["higher", "lower", "neither"]


class Slices(Section):
    """Groups of examples on which a candidate may not be worse than its champion."""

    columns: tuple[str, ...] = ()
    minimum_rows: int = Field(default=200, ge=1, description="Smaller groups are reported and not judged.")
    tolerance: float = Field(
        default=0.05, ge=0, description="How much worse a slice may be, in the metric's own units, beyond its noise."
    )
    floors: dict[str, float | tuple[float, float]] = Field(
        default={},
        description="Metrics of the task, and what each has to reach in each larger group by itself, beyond its noise; two numbers are a range.",
    )
    parts: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Of a regression: cut examples into so many groups of one size by the number answered, as slices of `predicted`.",
    )


class Gate(Section):
    """Requirements on a candidate before it is registered."""

    metric: str = Field(description="One of the task's metrics: `hallmark domains NAME` lists them.")
    floor: float = Field(description="Worse than this is refused, with or without a champion.")
    floors: dict[str, float | tuple[float, float]] = Field(
        default={},
        description="Other metrics of the task, and what each has to reach; two numbers are a range, both ends allowed.",
    )
    figures: dict[str, Direction] = Field(
        default={},
        description="Figures that the model tells of itself on the test examples, beside the task's metrics, and which way each is"
        " better; floors may name them.",
    )
    rivals: tuple[str, ...] = Field(
        default=(),
        description="Metrics of the task by which a candidate may lose, beyond the noise of the test set, neither to the champion nor to the"
        " answers that are shown beside the model's, such as treating the likeliest first.",
    )
    minimum_gain: float = Field(
        default=0.0,
        description="How much better than the champion, on the same test examples; negative allows a loss, and a loss within"
        " the noise of the test set is none.",
    )
    slices: Slices = Slices()
    precision_loss: float = Field(
        default=0.01,
        ge=0,
        description="How much worse than its own fp32 form an int8 model may be, in the metric's own units.",
    )
