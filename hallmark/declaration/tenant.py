"""Whose a domain is, and what its namespace may use: `owner:` and `quota:`."""

from __future__ import annotations

from pydantic import Field

from hallmark.section import Quantity, Section


class Owner(Section):
    """Team that answers for the domain."""

    team: str
    contact: str = Field(description="An address that reaches the people on call.")
    members: tuple[str, ...] = Field(
        default=(),
        description="Addresses of people who use Kubeflow's pages; it asks for each by name, and knows no groups.",
    )


class Quota(Section):
    """Limits of the domain's namespace."""

    cpu: Quantity = "8"
    memory: Quantity = "32Gi"
    gpu: int = Field(default=0, ge=0)
    pods: int = Field(default=40, ge=1)
    storage: Quantity = "100Gi"
