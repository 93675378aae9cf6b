"""The parity of a domain over a window of time: answers by parts of it, those that differ by cause, and whether its budget burns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from hallmark.declaration.features import Parity
from hallmark.section import Frozen, spelled

if TYPE_CHECKING:
    from hallmark.feature_store.lookups import Lookup
    from hallmark.feature_store.parity import Compared

SHORT = 12
"""Part of the window in which it must still be so: burn rates of service levels have the same (hallmark/render/slo.py)."""
NO_FAULT = ("erased", "ahead")
"""Causes that say nothing of what was served: an answer that differs for no other is no mismatch."""
CONFIDENCE = 0.99
"""Of the interval of a share: it is looked at again and again."""
_PARTS = 144
"""Parts that a window is counted in: 10 minutes of a day."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 3


class Mismatches(Frozen):
    """How many values of a column differed for one reason."""

    view: str
    column: str
    cause: str
    values: int


class ParityPart(Frozen):
    """The answers that were read from a time on.

    unread: answers for which the store was not read.   erased: those that differ only in values of before an erasure.
    ahead:  those that differ only since the offline store has not yet what they were given.   All three are none of `answers`.
    """

    since: datetime
    answers: int = 0
    differ: int = 0
    unread: int = 0
    erased: int = 0
    ahead: int = 0
    mismatches: tuple[Mismatches, ...] = ()


class ParityReport(Frozen):
    """Parity of a domain as it was judged last.

    at:      when.   parts: answers by time, oldest first.   cursors: by pod, up to where its lookups have been judged.
    low, high: interval of the share of answers that differ, in the whole window.   burns: whether more differ than the budget allows.
    """

    domain: str
    at: datetime
    policy: Parity
    parts: tuple[ParityPart, ...] = ()
    cursors: Mapping[str, str] = Field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0
    burns: bool = False

    @property
    def answers(self) -> int:
        """Answers in the window."""
        return sum(part.answers for part in self.parts)

    @property
    def differ(self) -> int:
        """Answers with at least one value that differs."""
        return sum(part.differ for part in self.parts)

    @property
    def unread(self) -> int:
        """Answers for which the store was not read."""
        return sum(part.unread for part in self.parts)

    @property
    def erased(self) -> int:
        """Answers that differ only in values of before an erasure."""
        return sum(part.erased for part in self.parts)

    @property
    def ahead(self) -> int:
        """Answers that differ only since the offline store has not yet what they were given."""
        return sum(part.ahead for part in self.parts)

    @property
    def share(self) -> float:
        """Share of the answers that differ; 0 of none."""
        return self.differ / self.answers if self.answers else 0.0

    @property
    def mismatches(self) -> list[Mismatches]:
        """Values that differ by column and cause, the most first."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for part in self.parts:
            counts.update({(each.view, each.column, each.cause): each.values for each in part.mismatches})
        return [Mismatches(view=v, column=c, cause=why, values=n) for (v, c, why), n in counts.most_common()]

    def stale(self, now: datetime) -> str:
        """What is to be said of it where it was judged so long ago that it says nothing of now; "" where it was not."""
        if now - self.at <= self.policy.window / SHORT:
            return ""
        ago = spelled(timedelta(minutes=round((now - self.at).total_seconds() / 60)))
        return f"features were compared {ago} ago, which says nothing of now: `hallmark features parity {self.domain}`"

    @property
    def told(self) -> str:
        """The finding in a line."""
        shown = f"features of {self.differ} of {self.answers} answers ({self.share:.2%}) are not what the offline store says"
        causes = [f"{each.cause} in {each.view} {each.column}" for each in self.mismatches[:_SHOWN]]
        return f"{shown}, {self.policy.budget:.2%} is allowed" + (f": {', '.join(causes)}" if causes else "")


def extended(
    report: ParityReport | None,
    domain: str,
    policy: Parity,
    lookups: Sequence[Lookup],
    compared: Iterable[Compared],
    *,
    now: datetime,
    cursors: Mapping[str, str] | None = None,
) -> ParityReport:
    """A report with more answers in it; what has left the window is dropped."""
    by_time: dict[datetime, ParityPart] = {part.since: part for part in report.parts} if report else {}
    added: dict[datetime, list[Lookup]] = {}
    for each in lookups:
        added.setdefault(_begin(each.at, policy), []).append(each)
    differing: dict[datetime, set[int]] = {}
    aside: dict[str, dict[datetime, set[int]]] = {cause: {} for cause in NO_FAULT}
    causes: dict[datetime, Counter[tuple[str, str, str]]] = {}
    for one in compared:
        begin = _begin(one.lookup.at, policy)
        if one.cause in NO_FAULT:
            aside[one.cause].setdefault(begin, set()).add(id(one.lookup))
        elif one.cause:
            differing.setdefault(begin, set()).add(id(one.lookup))
            causes.setdefault(begin, Counter())[one.view, one.column, one.cause] += 1
    for begin, mine in added.items():
        had = by_time.get(begin, ParityPart(since=begin))
        counts = causes.get(begin, Counter())
        counts.update({(each.view, each.column, each.cause): each.values for each in had.mismatches})
        read = sum(each.was_read for each in mine)
        differ = differing.get(begin, set())
        erased = aside["erased"].get(begin, set()) - differ
        ahead = aside["ahead"].get(begin, set()) - differ - erased
        by_time[begin] = ParityPart(
            since=begin,
            answers=had.answers + read - len(erased) - len(ahead),
            differ=had.differ + len(differ),
            unread=had.unread + len(mine) - read,
            erased=had.erased + len(erased),
            ahead=had.ahead + len(ahead),
            mismatches=tuple(
                Mismatches(view=v, column=c, cause=why, values=n) for (v, c, why), n in sorted(counts.items())
            ),
        )
    parts = tuple(part for since, part in sorted(by_time.items()) if since > now - policy.window)
    whole = ParityReport(
        domain=domain, at=now, policy=policy, parts=parts, cursors=cursors or (report.cursors if report else {})
    )
    low, high = interval(whole.differ, whole.answers)
    recent = [part for part in parts if part.since > now - policy.window / SHORT - policy.window / _PARTS]
    lately = interval(sum(part.differ for part in recent), sum(part.answers for part in recent))[0]
    burns = low > policy.budget and lately > policy.budget
    return whole.model_copy(update={"low": low, "high": high, "burns": burns})


def interval(differ: int, answers: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper-Pearson's interval of a share: it holds the true one at least so often, however rare it is."""
    from scipy.special import betaincinv

    half = (1 - confidence) / 2
    low = float(betaincinv(differ, answers - differ + 1, half)) if differ else 0.0
    high = float(betaincinv(differ + 1, answers - differ, 1 - half)) if differ < answers else 1.0
    return low, high


def _begin(at: datetime, policy: Parity) -> datetime:
    """When the part began that a time is in."""
    return at - (at - _EPOCH) % (policy.window / _PARTS)
