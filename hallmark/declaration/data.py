"""One example, and when its label is known: `data:`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hallmark.section import Duration, Section
from hallmark.tasks.targets import TargetColumns

Chance = Annotated[float, Field(gt=0, lt=1)]
_MOST_HELD_BACK = 0.8


class Data(Section):
    """Definition of one example, and the time until its label is known."""

    entity: str = Field(
        description="Column that names whom or what an example is about; split: entity never parts it across train and test."
    )
    label: str = Field(description="Column that holds the answer to learn.")
    label_delay: Duration = Field(default=timedelta(0), description="After this long a label counts as final.")
    label_time: str | None = Field(
        default=None, description="Column with the time a label became known, UTC; empty where it never had to."
    )
    event_time: str | None = Field(
        default=None, description="Column with the time an example happened, UTC; none for undated data."
    )
    split: Literal["time", "entity", "last"] = Field(
        description="time: test on the latest examples. entity: test on entities never trained on. last: test on the last example of each"
        " entity and validate on the one before, of entities with three or more; a team's own file is then taken whole, whatever the window."
    )
    validation: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Share of the examples held back before the test part, to stop and to set a model by.",
    )
    test: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the examples to test on, and to calibrate a decision on: the more, the more slices get a threshold, and the older what is learnt from.",
    )
    query: str | None = Field(
        default=None, description="Column whose equal values are one query: its rows are ranked among each other."
    )
    item: str | None = Field(default=None, description="Column with the id that a retrieval answers with.")
    treatment: str | None = Field(
        default=None, description="Column with what was done: 0 for nothing, 1 and up for which treatment."
    )
    propensity: str | tuple[Chance, ...] | None = Field(
        default=None,
        description="Column with the chance of the treatment that the row got, above 0 and below 1; or, where the same lot was drawn for all, the chance of each treatment from 1 on, such as [0.85]. Of a ranking the column with the chance that the row was looked at where it stood, up to 1.",
    )
    value: str | None = Field(
        default=None,
        description="Column with the money that the outcome of an uplift brought: the charts tell sales by it; none: the outcome itself.",
    )
    judged: str | None = Field(
        default=None,
        description="Column with a relevance that people gave, or that is known: a ranking is judged by it too, where the data has it, and never learns from it.",
    )
    censored: str | None = Field(
        default=None, description="Column that is true where the label is only a bound, such as of an unsold item."
    )
    outcomes: tuple[str, ...] = Field(
        default=(),
        description="Further columns of numbers that are known only with the label, and that the learner may use: for how long an item"
        " was on offer, at what price.",
    )
    weight: str | None = Field(
        default=None,
        description="Column with how much a row counts, above 0; of a domain that decides, one by the chance with which the row came to be labelled. None: each counts 1.",
    )

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Data:
        if (held := self.validation + self.test) > _MOST_HELD_BACK:
            raise ValueError(
                f"data.validation and data.test hold {held:.0%} of the examples back, and at most {_MOST_HELD_BACK:.0%} may be: lower one"
            )
        if self.split == "last" and {"validation", "test"} & self.model_fields_set:
            raise ValueError(
                "data.split is last, which tests on one example of each entity: leave data.validation and data.test out"
            )
        return self

    @property
    def target_columns(self) -> TargetColumns:
        """The columns that a task reads its targets from."""
        return TargetColumns(
            label=self.label,
            query=self.query,
            item=self.item,
            treatment=self.treatment,
            propensity=self.propensity if isinstance(self.propensity, str) else None,
            shares=self.propensity if isinstance(self.propensity, tuple) else (),
            censored=self.censored,
            entity=self.entity,
            weight=self.weight,
            judged=self.judged,
            value=self.value,
        )

    @property
    def answers(self) -> frozenset[str]:
        """The columns that tell the answer, or what is known only with it: none of them may be a request's field."""
        named = (
            self.label,
            self.label_time,
            self.entity,
            self.event_time,
            self.treatment,
            self.propensity if isinstance(self.propensity, str) else None,
            self.censored,
            self.judged,
            self.value,
        )
        return frozenset(name for name in (*named, *self.outcomes, self.weight) if name)
