"""Traffic of a candidate, its limits, and the trainings that drift starts: `rollout:` and `retrain:` of domain.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hallmark.section import Duration, Section, Share
from hallmark.tasks.answers import Agreement

Percent = Annotated[int, Field(ge=1, le=100)]


LONGEST_WARM = timedelta(hours=1)


class Shadow(Section):
    """Requests that stable answers go to the candidate too; its answers are compared and thrown away.

    The task says when two answers agree: the same word, both numbers on one side of `threshold`, a difference within
    `tolerance`, or two rankings of a request that `overlap`.
    """

    share: Share = Field(default=1.0, gt=0, description="Of stable's requests, how many are mirrored.")
    minimum: int = Field(default=500, ge=20, description="Pairs of answers before the first real traffic.")
    output: str = Field(description="Output that is compared.")
    threshold: float | None = Field(default=None, description="From here on a number is a yes (binary, uplift).")
    tolerance: float | None = Field(
        default=None, gt=0, description="Relative difference that counts as the same (regression); default: 0.05."
    )
    overlap: Share | None = Field(
        default=None,
        gt=0,
        description="Rank-biased overlap that counts as the same (ranking, retrieval); default: 0.8.",
    )
    disagreement: Share = Field(
        default=0.01, description="Share of pairs allowed to disagree, overall and by slice; of requests for rankings."
    )
    slices: tuple[str, ...] = Field(
        default=(), description="Watched columns to look at by value, or by decile of the pairs."
    )
    slice_minimum: int = Field(
        default=50,
        ge=10,
        description="Smaller slices of a column are judged together, where they hold under 5% of the pairs.",
    )

    @property
    def agreement(self) -> Agreement:
        """Rule by which two answers count as the same."""
        return Agreement(threshold=self.threshold, tolerance=self.tolerance, overlap=self.overlap)


class CandidateLimits(Section):
    """Limits of a candidate. Shares are of the requests meant for it; one that stable had to answer counts as failed."""

    errors: Share = Field(
        default=0.02, description="Share of failed requests that is too many, where stable has fewer."
    )
    error_ratio: float = Field(default=2.0, gt=1, description="Times stable's share of failed requests.")
    negligible: Share = Field(
        default=0.005, gt=0, description="Below this share of failed requests no candidate is told from a better one."
    )
    slow: Share = Field(default=0.05, description="Share of answers over serving.latency_objective that is too many.")
    slow_ratio: float = Field(default=2.0, gt=1, description="Times stable's share of slow answers.")
    invalid: Share = Field(default=0.002, description="Share of NaN, wrong shapes and values out of range.")
    score_shift: Share = Field(
        default=0.2, description="Largest distance between both distributions of an output (Kolmogorov-Smirnov)."
    )
    recall_loss: Share = Field(
        default=0.02,
        description="Recall@10 that it may lose to stable on live queries, of any selectivity, where items are retrieved.",
    )


class PredictionCosts(Section):
    """Cost of a wrong prediction: a fixed amount, and a part of a watched column's value such as the price."""

    false_negative: float = Field(default=1.0, ge=0, description="Called no and was yes, such as a missed fraud.")
    false_positive: float = Field(default=1.0, ge=0, description="Called yes and was no, such as a lost sale.")
    times: str | None = Field(default=None, description="Watched column that both are multiplied with; none: by one.")


class RolloutLabels(Section):
    """Judged on answers whose label is final (data.label_delay); with fewer the metric says NOT_ENOUGH_LABELS."""

    minimum: int = Field(default=200, ge=20, description="Final labels a variant.")
    costs: PredictionCosts = PredictionCosts()
    regression: float = Field(default=0.1, ge=0, description="Part by which the candidate may cost more than stable.")
    required: bool = Field(default=False, description="Whether a promotion waits for them.")


class Rollout(Section):
    """Traffic of a candidate: shadow, then `stages`, each for `dwell` at least; 100 is the promotion."""

    shadow: Shadow | None = None
    stages: tuple[Percent, ...] = Field(
        default=(10, 50, 100), description="Shares of the traffic for the candidate, rising; 100 is the promotion."
    )
    dwell: Duration = timedelta(minutes=10)
    minimum_samples: int = Field(default=500, ge=1, description="Answers of each variant in a stage.")
    deadline: Duration = Field(default=timedelta(hours=2), description="Not promoted by then, it is rolled back.")
    warm: Duration = Field(
        default=timedelta(minutes=30),
        description="The former stable stays on standby, ready for a rollback, this long.",
    )
    optional: tuple[Literal["shadow", "warm"], ...] = Field(
        default=(),
        description="What is left out where the cluster cannot do it; all else is refused there.",
    )
    false_alarm: float = Field(
        default=0.01, gt=0, lt=0.5, description="How often a candidate as good as stable may be rolled back by chance."
    )
    limits: CandidateLimits = CandidateLimits()
    labels: RolloutLabels = RolloutLabels()

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, value: object) -> object:
        if isinstance(value, dict) and "steps" in value:
            raise ValueError("expected `stages`, the present name of `steps`; rename that key")
        return value

    @model_validator(mode="after")
    def _rising(self) -> Rollout:
        if list(self.stages) != sorted(set(self.stages)) or not self.stages or self.stages[-1] != 100:
            raise ValueError(f"expected rising stages that end at 100, such as [10, 50, 100]; got {list(self.stages)}")
        if self.warm > LONGEST_WARM:
            raise ValueError("expected warm of 1h or less (Knative keeps no pod longer)")
        return self


class Retrain(Section):
    """Training started by drift of the stable version: one run for each champion, window of data and reason."""

    on_drift: bool = True
    cooldown: Duration = Field(default=timedelta(hours=12), description="After a run, none for the same domain.")
