"""What final labels say of a decision's guarantee, as the watch asks: of the unit that accepted the newest audited item."""

from __future__ import annotations

from hallmark.decision.guarantee import Guarantee, GuaranteeState
from hallmark.declaration.domain import Domain
from hallmark.reviews import database
from hallmark.reviews.audits import AuditLabels
from hallmark.reviews.queue import ReviewQueue
from hallmark.settings import Settings


class DecisionGuarantee:
    """Of one domain that decides; reads on from where it was."""

    def __init__(self, domain: Domain, labels: AuditLabels) -> None:
        if domain.decision is None:
            raise ValueError(f"{domain.name} decides nothing")
        self._decision, self._labels = domain.decision, labels
        self._units: dict[str, Guarantee] = {}
        self._newest = ""

    @classmethod
    def at(cls, domain: Domain, settings: Settings) -> DecisionGuarantee:
        """By the queue of these settings."""
        return cls(domain, AuditLabels(ReviewQueue(database.connect(settings.reviews)), domain=domain.name))

    def __call__(self) -> tuple[str, GuaranteeState] | None:
        """The newest unit that has a label, and what its labels say; None before the first."""
        for unit, counterfeit in self._labels.news():
            self._units.setdefault(unit, Guarantee.of(self._decision)).saw([counterfeit])
            self._newest = unit
        return (self._newest, self._units[self._newest].state) if self._newest else None
