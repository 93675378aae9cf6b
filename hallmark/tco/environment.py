"""An environment at rest: what the platform costs a month before the first request, by Terraform's own variables."""

from __future__ import annotations

from pydantic import Field

from hallmark.errors import NotFound
from hallmark.section import Section
from hallmark.settings import Settings
from hallmark.tco.bill import Bill, Line
from hallmark.tco.prices import HOURS, Prices


class Environment(Section):
    """What stands whether anybody calls or not."""

    name: str
    nat_gateways: int = Field(ge=0)
    zones: int = Field(ge=1)
    endpoints: int = Field(default=8, ge=0, description="Interface endpoints, each in every zone.")
    system_nodes: int = Field(ge=1)
    database_zones: int = Field(ge=1, le=2)
    database_gigabytes: float = Field(default=50, gt=0)
    cache_nodes: int = Field(ge=0)
    keys: int = Field(default=6, ge=0)

    def bill(self, prices: Prices) -> Bill:
        """A month at rest."""
        nodes = self.system_nodes * (HOURS * prices["ec2.m5.large"] + 50 * prices["ebs.gp3"])
        database = self.database_zones * (
            HOURS * prices["rds.t4g.medium"] + self.database_gigabytes * prices["rds.gp3"]
        )
        found = (
            ("control plane", HOURS * prices["eks.cluster"], "1 cluster"),
            ("system nodes", nodes, f"{self.system_nodes} x m5.large with 50 GB"),
            ("NAT", self.nat_gateways * HOURS * prices["nat.gateway"], f"{self.nat_gateways}, without data"),
            (
                "VPC endpoints",
                self.endpoints * self.zones * HOURS * prices["vpc.endpoint"],
                f"{self.endpoints} in {self.zones} zones",
            ),
            ("load balancer", HOURS * (prices["nlb.hour"] + prices["nlb.unit"]), "1, and a capacity unit"),
            ("database", database, f"Postgres in {self.database_zones} zone(s)"),
            (
                "online store",
                self.cache_nodes * HOURS * prices["cache.t4g.small"],
                f"{self.cache_nodes} x cache.t4g.small",
            ),
            ("keys and images", self.keys * prices["kms.key"] + 40 * prices["ecr.storage"], f"{self.keys} keys, 40 GB"),
        )
        return Bill(way=self.name, lines=tuple(Line(item=item, monthly=cost, how=how) for item, cost, how in found))


def names(settings: Settings) -> list[str]:
    """The environments that are known, smallest first."""
    return list(_KNOWN)


def read(name: str, settings: Settings) -> Environment:
    """One environment; `NotFound` where there is none of that name."""
    if name not in _KNOWN:
        raise NotFound(f"there is no environment {name!r}", expected=", ".join(_KNOWN), came=name)
    return _KNOWN[name]


_KNOWN = {
    "dev": Environment(name="dev", nat_gateways=1, zones=2, system_nodes=2, database_zones=1, cache_nodes=1),
    "staging": Environment(name="staging", nat_gateways=1, zones=3, system_nodes=2, database_zones=1, cache_nodes=1),
    "production": Environment(
        name="production", nat_gateways=3, zones=3, system_nodes=3, database_zones=2, cache_nodes=2
    ),
}
