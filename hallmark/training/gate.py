"""Whether a candidate may be registered: a pure function of two evaluations and the domain's gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from hallmark.domain import Gate
    from hallmark.training.evaluate import Evaluation


class Decision(BaseModel):
    """Passed or not, and one line a rule that says why; what failed comes first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reasons: tuple[str, ...]


def decide(gate: Gate, candidate: Evaluation, champion: Evaluation | None = None) -> Decision:
    """The decision on `candidate`; without a champion only the floor counts."""
    raise NotImplementedError
