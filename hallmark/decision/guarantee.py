"""Watch of a unit's guarantee by the final labels of audited accepts: does the share of counterfeits among what is accepted still keep its bound?

Audits are drawn by lot among all accepts, so each label is a draw from what the guarantee speaks of. A betting strategy that gains where
counterfeits are more frequent than declared is begun anew at every label, and the sum of all their fortunes is looked at after each
(Shiryaev and Roberts' procedure with e-values; Shin, Ramdas and Rinaldo, arXiv:2203.03532). While the guarantee holds, that sum reaches
`PATIENCE` once in as many labels, or less often, however often anybody looks and whatever came before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hallmark.declaration.decision import Decision
from hallmark.section import Frozen

PATIENCE = 10_000.0
"""Labels between two false alarms, at the least."""
_TIMES = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Shares that are bet on, as multiples of the one that is allowed."""
_MOST = 0.9


class GuaranteeState(Frozen):
    """What final labels say.

    labels, counterfeits: of audited accepts.   evidence: the sum of fortunes; the guarantee is broken once it was `PATIENCE`.
    broken: at which label it was first; None while it never was.
    """

    labels: int = 0
    counterfeits: int = 0
    evidence: float = 0.0
    broken: int | None = None


class Guarantee:
    """The watch of one unit. Labels come in the order in which they became final."""

    def __init__(self, *, at_most: float, wrong: float = 0.0) -> None:
        """wrong: share of the labels that are mistaken, either way: experts err."""
        if not (0 < at_most < 1 and 0 <= wrong < 0.5):
            raise ValueError("expected at_most in 0 to 1 and wrong under a half")
        self._allowed = at_most + wrong - 2 * at_most * wrong
        self._bets = sorted({min(_MOST, times * self._allowed) for times in _TIMES})
        self._fortunes = [0.0] * len(self._bets)
        self.state = GuaranteeState()

    @classmethod
    def of(cls, decision: Decision) -> Guarantee:
        """That of a decision, whose labels are given by its persons."""
        return cls(at_most=decision.risk.false_authentic.at_most, wrong=decision.mistaken)

    def saw(self, counterfeits: Iterable[bool]) -> GuaranteeState:
        """Take further labels in: was the accepted item a counterfeit? What is broken stays so."""
        found = self.state
        for counterfeit in counterfeits:
            for at, bet in enumerate(self._bets):
                odds = bet / self._allowed if counterfeit else (1 - bet) / (1 - self._allowed)
                self._fortunes[at] = (1 + self._fortunes[at]) * odds
            evidence = math.fsum(self._fortunes) / len(self._fortunes)
            labels = found.labels + 1
            broken = found.broken if found.broken is not None or evidence < PATIENCE else labels
            found = GuaranteeState(
                labels=labels, counterfeits=found.counterfeits + counterfeit, evidence=evidence, broken=broken
            )
        self.state = found
        return found
