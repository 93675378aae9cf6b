"""How well two people agree, beyond what chance gives: Cohen's kappa with an interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from hallmark.section import Frozen

Z = 1.959964
"""Half of the width of a 95% interval, in standard errors."""


class Share(Frozen):
    """A share of `of`, None where that is 0, with its interval of 95%."""

    count: int
    of: int
    value: float | None
    low: float
    high: float


class Kappa(Frozen):
    """Cohen's kappa (Educ. Psychol. Meas. 20, 1960) of `pairs`; 1: they always agree, 0: as often as by chance.

    low, high: interval of 95%, None where every answer is the same word, so that agreeing says nothing.
    agreed: share of the pairs that agree.
    """

    pairs: int
    agreed: float
    value: float | None
    low: float | None
    high: float | None


def share(count: int, of: int) -> Share:
    """Wilson's interval, which holds for rare ones and for none of a few."""
    if not of:
        return Share(count=0, of=0, value=None, low=0.0, high=1.0)
    value = count / of
    middle = (value + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z / (1 + Z * Z / of) * math.sqrt(value * (1 - value) / of + (Z / (2 * of)) ** 2)
    return Share(
        count=count,
        of=of,
        value=value,
        low=0.0 if count == 0 else middle - half,
        high=1.0 if count == of else middle + half,
    )


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> Kappa | None:
    """Kappa of pairs of answers; None of none.

    Its interval is Wilson's of the share that agrees, rescaled by what chance gives: a few pairs that all agree do not prove 1.
    """
    if not pairs:
        return None
    number = len(pairs)
    same = sum(first == second for first, second in pairs)
    agreed = share(same, number)
    firsts, seconds = (Counter(each) for each in zip(*pairs, strict=True))
    chance = sum(count * seconds[word] for word, count in firsts.items()) / number**2
    if chance == 1:
        return Kappa(pairs=number, agreed=same / number, value=None, low=None, high=None)
    value, low, high = ((each - chance) / (1 - chance) for each in (same / number, agreed.low, agreed.high))
    return Kappa(pairs=number, agreed=same / number, value=value, low=low, high=high)
