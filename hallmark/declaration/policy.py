"""Whom a batch treats, within what may be spent: `policy:`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hallmark.section import Section


class Caps(Section):
    """Limits besides the budget; a run never exceeds one."""

    month: int | None = Field(
        default=None,
        ge=1,
        description="Treatments that an entity may get in 30 days, by whoever: `messages` says how many it had.",
    )
    campaign: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="Entities that each treatment may reach in a run; none: as many as the budget allows."
    )


class Policy(Section):
    """Choice of whom to treat, from uplifts: `hallmark predict` makes it for a whole file at once."""

    budget: Annotated[float, Field(ge=0, description="Money that one run may spend, in the unit of task.cost.")]
    value: Annotated[
        float,
        Field(
            gt=0,
            description="Money that one outcome more brings, in the unit of task.cost; 1 where the label is money.",
        ),
    ] = 1.0
    caps: Caps = Caps()
    messages: str | None = Field(
        default=None,
        description="Column with how many treatments an entity got in the last 30 days, which caps.month counts.",
    )
    holdout: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="Share of entities that nobody treats, by their id: always the same ones. What the rest gains is told against them.",
        ),
    ] = 0.1
    explore: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="Share of the others whose treatment is drawn by lot, so that the next model and policy can be judged.",
        ),
    ] = 0.05
