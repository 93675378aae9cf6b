"""Settings of the drift monitor: the records it keeps and the limits at which it alerts: `drift:`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from hallmark.section import Duration, Section


class Freshness(Section):
    """Allowed age of an input when it is scored. Stale inputs are a reason of their own, and never OK."""

    column: str = Field(
        description="Field of the request with the input's event time: RFC 3339, or seconds since 1970 as a number."
    )
    limit: Duration = Field(description="Older than this at scoring is stale.")

    @model_validator(mode="after")
    def _some(self) -> Freshness:
        if not self.limit:
            raise ValueError("expected limit to be longer than nothing, such as 5m; got 0s")
        return self


class FinalLabels(Section):
    """Judgement of the model's error on final labels: the rows it needs, and the allowed growth since release."""

    minimum: int = Field(default=300, ge=50, description="With fewer the answer is NOT_ENOUGH_LABELS.")
    coverage: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Share of answers, up to some time, that need a label to judge any of them.",
    )
    margin: float = Field(default=0.25, gt=0, description="Part by which the error may grow.")
    promise: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of final labels that answered ranges have to hold, by variant, such as 0.77 where task.quantiles span 0.8: a service level"
        " with an alert, and drift where it is missed beyond chance.",
    )


class Drift(Section):
    """Settings of the drift monitor: the records it keeps, and the limits at which it alerts."""

    window: int = Field(default=2000, ge=50, description="Requests kept per variant, the newest.")
    minimum: int = Field(default=300, ge=20, description="With fewer the verdict is INSUFFICIENT.")
    threshold: float = Field(
        default=0.2, gt=0, description="Population stability index above which a column has drifted."
    )
    shift: float = Field(
        default=0.15,
        gt=0,
        le=1,
        description="Shift of a number's ranks (Cliff's delta) above which it has drifted; 0.15 is 0.27 deviations.",
    )
    separation: float = Field(
        default=0.75,
        gt=0.5,
        le=1,
        description="AUC of telling new embeddings from the reference's above which they have drifted.",
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Columns to watch; empty watches every one in the reference profile."
    )
    match: str | None = Field(
        default=None,
        description="Field of the request, such as its hour, by whose values the reference is weighted as the window is.",
    )
    history: Duration | None = Field(
        default=None,
        description="This much of last year, from the day of training on, becomes references by part of the year.",
    )
    freshness: Freshness | None = Field(default=None, description="How old an input may be; none: not asked.")
    labels: FinalLabels = FinalLabels()

    @model_validator(mode="after")
    def _reachable(self) -> Drift:
        if self.minimum > self.window:
            raise ValueError(f"expected minimum <= window, got {self.minimum} > {self.window}")
        if self.history is not None and not timedelta(days=1) <= self.history <= timedelta(days=335):
            raise ValueError("expected history from 1d to 335d: a part of last year")
        return self
