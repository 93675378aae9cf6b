"""The guarantee after it was given: final labels of audited accepts, in their order, and when they speak against it.

Audits are accepted items drawn by lot, so the share of counterfeits among them is what was promised. How much likelier they are with a share
above the promise is evidence that multiplies as labels come: it may be looked at after each one, and where the promise holds it
passes 1 / error in a share `error` of all cases at most, however long anybody looks (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hallmark.section import Frozen

_WORSE = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Shares that are held against the promised one, as multiples of it."""
ERROR = 0.05


class Guarantee(Frozen):
    """A promise and what has been seen of it.

    at_most: share of counterfeits among accepted items that was promised.
    labels, counterfeits: final labels of audited accepts, and those of them that were none.
    evidence: logarithm of how much speaks against it, the most that it has been.
    """

    at_most: float
    labels: int = 0
    counterfeits: int = 0
    evidence: float = 0.0
    error: float = ERROR

    def seen(self, counterfeit: bool) -> Guarantee:
        """The same after one more label."""
        labels, counterfeits = self.labels + 1, self.counterfeits + int(counterfeit)
        now = _against(self.at_most, labels, counterfeits)
        return self.model_copy(
            update={"labels": labels, "counterfeits": counterfeits, "evidence": max(self.evidence, now)}
        )

    @property
    def expired(self) -> bool:
        """Does it no longer hold? It never holds again by itself: thresholds are calibrated anew."""
        return self.evidence >= -math.log(self.error)

    @property
    def line(self) -> str:
        """What is known of it, in a line."""
        share = self.counterfeits / self.labels if self.labels else 0.0
        state = "expired" if self.expired else "holds"
        return f"{state}: {self.counterfeits} counterfeits among {self.labels} audited accepts ({share:.1%}, promised {self.at_most:.1%})"


def expired_after(at_most: float, labels: Iterable[bool], *, error: float = ERROR) -> int | None:
    """How many labels it takes until the guarantee expires; None where it holds to the end."""
    counterfeits = 0
    for count, each in enumerate(labels, start=1):
        counterfeits += int(each)
        if each and _against(at_most, count, counterfeits) >= -math.log(error):  # an authentic item speaks for it
            return count
    return None


def _against(at_most: float, labels: int, counterfeits: int) -> float:
    """Logarithm of the mean, over worse shares, of how much likelier the labels are with them than with the promised one."""
    logs = []
    for each in _WORSE:
        share = min(each * at_most, 0.5 + at_most / 2)
        logs.append(
            counterfeits * math.log(share / at_most) + (labels - counterfeits) * math.log((1 - share) / (1 - at_most))
        )
    most = max(logs)
    return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))
