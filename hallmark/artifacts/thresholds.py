"""`thresholds.json` of a release unit: the score up to which an item of a slice may be accepted, and what a score says of it."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from hallmark.section import Frozen, Share

NO_THRESHOLD = "NO_THRESHOLD"
Finite = Annotated[float, Field(allow_inf_nan=False)]


class SliceThreshold(Frozen):
    """Threshold of one slice, with the labels that it was shown on.

    values:    of the risk's slice fields, in their order.
    threshold: none is NO_THRESHOLD: no score was shown to keep the risk.
    accepted, counterfeits: items up to the threshold, and those among them that were none.
    examples:  labelled items of the slice; where they have weights, those that were left when they were thinned to items of equal chance.
    """

    values: tuple[str, ...]
    threshold: Finite | None
    examples: int = Field(ge=0)
    accepted: int = Field(default=0, ge=0)
    counterfeits: int = Field(default=0, ge=0)


class Thresholds(Frozen):
    """Thresholds of all slices, and the chance of a counterfeit by score.

    scores, chances: knots between which the chance is interpolated; both rise.
    """

    score: str
    at_most: Share
    confidence: Share
    fields: tuple[str, ...] = ()
    slices: tuple[SliceThreshold, ...] = ()
    scores: tuple[Finite, ...] = ()
    chances: tuple[Share, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Thresholds:
        if len(self.scores) != len(self.chances) or any(
            list(each) != sorted(each) for each in (self.scores, self.chances)
        ):
            raise ValueError("scores and chances are not of one length and rising: calibrate again")
        if any(len(each.values) != len(self.fields) for each in self.slices):
            raise ValueError("slices have other fields than `fields` names: calibrate again")
        return self

    def of(self, fields: Mapping[str, float | str | bool]) -> float | None:
        """Threshold of an item's slice; None is NO_THRESHOLD, as for a slice that was never seen."""
        values = self._values(fields)
        return next((each.threshold for each in self.slices if each.values == values), None)

    @property
    def line(self) -> str:
        """Where a threshold holds, in a line."""
        held = [each for each in self.slices if each.threshold is not None]
        total = sum(each.examples for each in self.slices)
        if not held:
            return f"{NO_THRESHOLD} in all of {len(self.slices)} slices: each item goes to a person"
        share = sum(each.accepted for each in held) / max(1, total)
        return (
            f"{self.at_most:g} at most, with {self.confidence:g}, in {len(held)} of {len(self.slices)} slices, which accept"
            f" {share:.0%} of {total} items; {NO_THRESHOLD} elsewhere"
        )

    def only(self, fields: Mapping[str, float | str | bool]) -> Thresholds:
        """The same with the item's slice alone, as a record keeps it."""
        values = self._values(fields)
        return self.model_copy(update={"slices": tuple(each for each in self.slices if each.values == values)})

    def chance(self, score: float) -> float | None:
        """Chance that an item of this score is a counterfeit; None where nothing was learnt."""
        if not self.scores:
            return None
        at = bisect.bisect_right(self.scores, score)
        if at in (0, len(self.scores)):
            return self.chances[max(0, at - 1)]
        low, high = self.scores[at - 1], self.scores[at]
        part = (score - low) / (high - low)
        return self.chances[at - 1] + part * (self.chances[at] - self.chances[at - 1])

    def _values(self, fields: Mapping[str, float | str | bool]) -> tuple[str, ...]:
        return tuple(str(fields.get(name, "")) for name in self.fields)
