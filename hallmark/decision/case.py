"""A case: an item that a person decides on, as it is handed to whoever keeps the queue."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field

from hallmark.artifacts.thresholds import Finite
from hallmark.section import Frozen


class Case(Frozen):
    """One item.

    id:       of the request.             node: the person of the graph who is asked; `audit` of an item that was accepted all the same.
    price:    in the item's money.        saved: money that a verdict is expected to save; none where the score is not known.
    minutes:  that one such item takes.   deadline: seconds since 1970 by which the verdict is promised.
    path:     of the decision.            evidence: outputs of each node that answered, by its name; unit: digest of the release unit.
    reviewers: nodes of that kind, in the graph's order.   versions: of whoever answered, by node.   unanswered: why a node that was asked gave no answer.
    photos:   digests of the item's photos, where they are kept.   references: the same of authentic items to compare with, by id.
    """

    id: str
    domain: str
    node: str
    audit: bool = False
    price: float
    saved: float | None = None
    minutes: float
    deadline: float
    path: tuple[str, ...] = ()
    evidence: dict[str, dict[str, bool | Finite | str | tuple[str, ...]]] = Field(default={})
    reviewers: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default={})
    unanswered: dict[str, str] = Field(default={})
    unit: str = ""
    photos: tuple[str, ...] = ()
    references: dict[str, str] = Field(default={})


class Cases(Protocol):
    """Whoever takes cases."""

    def submit(self, case: Case) -> str:
        """Take a case and give its id, the same one where it is submitted again; any error means that it was not taken."""
