"""What final labels say of a decision's guarantee, as the watch asks: of the unit that accepted the newest audited item, and is no candidate."""

from __future__ import annotations

from collections.abc import Callable

from hallmark.decision import unit as units
from hallmark.decision.guarantee import Guarantee, GuaranteeState
from hallmark.declaration.domain import Domain
from hallmark.reviews import database
from hallmark.reviews.audits import AuditLabels
from hallmark.reviews.queue import ReviewQueue
from hallmark.settings import Settings


class DecisionGuarantee:
    """Of one domain that decides; reads on from where it was.   candidate: the unit that may decide on a share of items; empty for none."""

    def __init__(self, domain: Domain, labels: AuditLabels, *, candidate: Callable[[], str] = lambda: "") -> None:
        if domain.decision is None:
            raise ValueError(f"{domain.name} decides nothing")
        self._decision, self._labels, self._candidate = domain.decision, labels, candidate
        self._units: dict[str, Guarantee] = {}
        self._newest = ""

    @classmethod
    def at(cls, domain: Domain, settings: Settings) -> DecisionGuarantee:
        """By the queue of these settings."""

        def candidate() -> str:
            found = units.there(domain.name, settings, units.CANDIDATE)
            return found.digest if found is not None else ""

        labels = AuditLabels(ReviewQueue(database.connect(settings.reviews)), domain=domain.name)
        return cls(domain, labels, candidate=candidate)

    def __call__(self) -> tuple[str, GuaranteeState] | None:
        """The newest unit that has a label, and what its labels say; None before the first."""
        news = list(self._labels.news())
        candidate = self._candidate() if news else ""
        for unit, counterfeit in news:
            self._units.setdefault(unit, Guarantee.of(self._decision)).saw([counterfeit])
            self._newest = unit if unit != candidate else self._newest
        return (self._newest, self._units[self._newest].state) if self._newest else None
