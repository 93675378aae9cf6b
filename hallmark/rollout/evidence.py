"""Evidence for a rollout's decision: counts by the variant a request was meant for, and measurements of its answers."""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import add
from typing import Literal

from pydantic import Field

from hallmark.declaration.serving_config import ConfigReference
from hallmark.drift.verdict import State
from hallmark.rollout.capacity import ReadyPods
from hallmark.section import Frozen

Phase = Literal["shadow", "canary"]


class RecallCounts(Frozen):
    """Live queries that a variant ran again exactly, of one selectivity.

    checked: queries.   wanted: items that they should have found among their first ten.   found: those that they did find.
    """

    selectivity: str
    checked: int = Field(ge=0)
    wanted: int = Field(ge=0)
    found: int = Field(ge=0)

    def __add__(self, other: RecallCounts) -> RecallCounts:
        """Both together."""
        return RecallCounts(
            selectivity=self.selectivity,
            checked=self.checked + other.checked,
            wanted=self.wanted + other.wanted,
            found=self.found + other.found,
        )

    @property
    def missed(self) -> float:
        """Share of the wanted items that were not found, 0..1."""
        return 1 - self.found / self.wanted if self.wanted else 0.0


class RequestCounts(Frozen):
    """One variant's requests.

    requests: meant for it, as the gateway sent them.
    failed:   of these, answered with 5xx, by nobody, or by the other variant because this one did not answer.
    slow:     of these, done later than the objective, failover included.
    answered: 200s that its model server counted.
    invalid:  answers that its model server held back: NaN, a wrong shape, out of range, or an error in its code.
    recall:   queries that its model server ran again exactly, of a model that answers with items.
    """

    requests: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)
    slow: int = Field(default=0, ge=0)
    answered: int = Field(default=0, ge=0)
    invalid: int = Field(default=0, ge=0)
    recall: tuple[RecallCounts, ...] = Field(default=(), exclude_if=lambda value: not value)

    def __add__(self, other: RequestCounts) -> RequestCounts:
        """Both together."""
        recall: dict[str, RecallCounts] = {}
        for each in (*self.recall, *other.recall):
            before = recall.get(each.selectivity)
            recall[each.selectivity] = each if before is None else before + each
        return RequestCounts(
            requests=self.requests + other.requests,
            failed=self.failed + other.failed,
            slow=self.slow + other.slow,
            answered=self.answered + other.answered,
            invalid=self.invalid + other.invalid,
            recall=tuple(recall.values()),
        )


class Exposure(Frozen):
    """Both variants' requests while the share was `percent`."""

    percent: int
    stable: RequestCounts = RequestCounts()
    canary: RequestCounts = RequestCounts()


class ScoreCounts(Frozen):
    """Distribution of one output of both variants: counts over the same ordered bins."""

    output: str
    stable: tuple[int, ...]
    canary: tuple[int, ...]


class AgreementSlice(Frozen):
    """Pairs of answers to the same requests, and how many predictions the candidate changed, in one slice of a column."""

    name: str
    pairs: int
    changed: int


class VariantDrift(Frozen):
    """The drift monitor's verdict on one variant, and which of its columns drifted. broken: final labels do not keep `drift.labels.promise`."""

    state: State
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    broken: bool = False


class PredictionCost(Frozen):
    """Cost per answer of both variants' wrong predictions, on final labels; `radius`: half width of the difference's interval."""

    state: Literal["NOT_ENOUGH_LABELS", "JUDGED"]
    labels: tuple[int, int]
    stable: float = 0.0
    canary: float = 0.0
    radius: float = 0.0


class FeatureParity(Frozen):
    """Whether features are served as the offline store says; `UNKNOWN` where nobody compared them lately, which holds nothing."""

    state: Literal["OK", "BURNS", "UNKNOWN"]
    text: str


class RolloutProgress(Frozen):
    """Position of a rollout: the release unit, its share, and the time `since` which it has it."""

    id: str
    version: int
    config: ConfigReference | None = None
    phase: Phase
    percent: int
    started: datetime
    since: datetime


class Evidence(Frozen):
    """All that is known; what could not be read is named in `missing`, and `refused` says why the candidate does not load."""

    exposures: tuple[Exposure, ...] = ()
    scores: tuple[ScoreCounts, ...] = ()
    slices: tuple[AgreementSlice, ...] = ()
    stable: VariantDrift | None = None
    canary: VariantDrift | None = None
    cost: PredictionCost | None = None
    parity: FeatureParity | None = None
    pods: ReadyPods | None = None
    ready: bool = True
    refused: str = ""
    missing: tuple[str, ...] = ()

    @property
    def now(self) -> Exposure:
        """The requests of the step under way."""
        return self.exposures[-1] if self.exposures else Exposure(percent=0)

    def total(self, variant: Literal["stable", "canary"]) -> RequestCounts:
        """A variant's requests since the rollout began."""
        parts: list[RequestCounts] = [getattr(each, variant) for each in self.exposures]
        return reduce(add, parts) if parts else RequestCounts()

    def whole(self) -> Exposure:
        """Both variants' requests since the rollout began, whatever the share was; `percent` is that of now."""
        return Exposure(percent=self.now.percent, stable=self.total("stable"), canary=self.total("canary"))
