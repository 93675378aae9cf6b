"""What final labels say of a decision's guarantee, as the watch asks: of the unit that decides, else of the one that accepted the newest audited item."""

from __future__ import annotations

from collections.abc import Callable

from hallmark.decision import unit as units
from hallmark.decision.guarantee import Guarantee, GuaranteeState
from hallmark.declaration.domain import Domain
from hallmark.files import digest_file
from hallmark.reviews import database
from hallmark.reviews.audits import AuditLabels
from hallmark.reviews.queue import ReviewQueue
from hallmark.rollout import followers
from hallmark.settings import Settings


class DecisionGuarantee:
    """Of one domain that decides; reads on from where it was.

    deciding: digest of the unit that decides, which a candidate with a share of items does not; empty where nobody here knows.
    """

    def __init__(self, domain: Domain, labels: AuditLabels, *, deciding: Callable[[], str] = lambda: "") -> None:
        if domain.decision is None:
            raise ValueError(f"{domain.name} decides nothing")
        self._decision, self._labels, self._deciding = domain.decision, labels, deciding
        self._units: dict[str, Guarantee] = {}
        self._newest = ""

    @classmethod
    def at(cls, domain: Domain, settings: Settings) -> DecisionGuarantee:
        """By the queue of these settings."""

        # An image brings a copy of the repository, whose unit may decide no more.
        here = followers.ReleaseFile.writable(settings)
        manifest = units.place(domain.name, settings) / units.MANIFEST

        def deciding() -> str:
            return digest_file(manifest) if here and manifest.is_file() else ""  # a unit's digest is its manifest's

        labels = AuditLabels(ReviewQueue(database.connect(settings.reviews)), domain=domain.name)
        return cls(domain, labels, deciding=deciding)

    def __call__(self) -> tuple[str, GuaranteeState] | None:
        """That unit, and what its labels say; None before the first."""
        deciding = self._deciding()
        for unit, counterfeit in self._labels.news():
            self._units.setdefault(unit, Guarantee.of(self._decision)).saw([counterfeit])
            self._newest = unit
        found = deciding or self._newest
        return (found, self._units[found].state) if found in self._units else None
