"""An environment at rest: what the platform costs a month before the first request, from Terraform's own var-files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from hallmark.declaration import feature_view
from hallmark.errors import DeclarationError, NotFound
from hallmark.section import Section
from hallmark.settings import Settings
from hallmark.tco.bill import Bill, BillLine
from hallmark.tco.prices import HOURS, Prices

_DISK = 50
"""GB of a node's disk."""
_KEYS = 7
"""Keys of our own, without that of event streams."""
_STATE = 20
"""GB that the feature stream keeps on a disk."""
_IMAGES = 40
"""GB of images."""


class Database(Section):
    """A database that is there all month: its instance by its price's name, the zones that have a copy, and GB of disk in each."""

    instance: str
    zones: int = Field(ge=1, le=2)
    gigabytes: float = Field(gt=0)


class Environment(Section):
    """Fixed infrastructure, paid without any traffic; instance types by their price's name, such as ec2.m6i.large."""

    name: str
    region: str
    nat_gateways: int = Field(ge=0)
    zones: int = Field(ge=1)
    endpoints: int = Field(ge=0, description="Interface endpoints, each in every zone.")
    system_nodes: int = Field(ge=1)
    system_node: str
    databases: tuple[Database, ...] = Field(description="MLflow's, and Kubeflow Pipelines'.")
    cache: str
    cache_nodes: int = Field(ge=0)
    streams: int = Field(default=0, ge=0, description="Of Kinesis, one for each source of a feature view.")
    keys: int = Field(default=_KEYS, ge=0)

    def bill(self, prices: Prices) -> Bill:
        """A month at rest."""
        node = HOURS * prices[self.system_node] + _DISK * prices["ebs.gp3"]
        databases = sum(
            each.zones * (HOURS * prices[each.instance] + each.gigabytes * prices["rds.gp3"]) for each in self.databases
        )
        found = (
            ("control plane", HOURS * prices["eks.cluster"], "1 cluster"),
            ("system nodes", self.system_nodes * node, f"{self.system_nodes} x {self.system_node} with {_DISK} GB"),
            ("NAT", self.nat_gateways * HOURS * prices["nat.gateway"], f"{self.nat_gateways}, without data"),
            (
                "VPC endpoints",
                self.endpoints * self.zones * HOURS * prices["vpc.endpoint"],
                f"{self.endpoints} in {self.zones} zones",
            ),
            ("load balancer", HOURS * (prices["nlb.hour"] + prices["nlb.unit"]), "1, and a capacity unit"),
            ("databases", databases, ", ".join(f"{each.instance} in {each.zones} zone(s)" for each in self.databases)),
            (
                "online store",
                self.cache_nodes * HOURS * prices[self.cache] if self.cache_nodes else 0.0,
                f"{self.cache_nodes} x {self.cache}" if self.cache_nodes else "DynamoDB, by request",
            ),
            (
                "event streams",
                self.streams * HOURS * prices["kinesis.stream"] + (_STATE * prices["ebs.gp3"] if self.streams else 0.0),
                f"{self.streams}, without data, and {_STATE} GB of the job's state" if self.streams else "none",
            ),
            (
                "keys, names, images",
                self.keys * prices["kms.key"] + prices["route53.zone"] + _IMAGES * prices["ecr.storage"],
                f"{self.keys} keys, a zone of names, {_IMAGES} GB",
            ),
        )
        return Bill(way=self.name, lines=tuple(BillLine(item=item, monthly=cost, how=how) for item, cost, how in found))


def names(settings: Settings) -> list[str]:
    """The environments that Terraform knows: dev and staging before production, others after them."""
    known = [path.parent.name for path in (settings.root / "terraform" / "environments").glob("*/foundation.tfvars")]
    habit = ("dev", "staging", "production")
    return sorted(known, key=lambda name: (habit.index(name) if name in habit else len(habit), name))


def read(name: str, settings: Settings) -> Environment:
    """One environment; `NotFound` where there is none of that name, `DeclarationError` where its file is not understood."""
    if name not in names(settings):
        raise NotFound(
            f"there is no environment {name!r}",
            expected=", ".join(names(settings)) or "terraform/environments/<name>/foundation.tfvars",
            got=name,
        )
    terraform = settings.root / "terraform"
    path = terraform / "environments" / name / "foundation.tfvars"
    given = _load(path)
    try:
        nodes = given.get("system_nodes", {})
        store = given.get("online_store", {})
        cache = store.get("valkey") or {}
        endpoints = [
            *_default(terraform / "modules" / "network" / "variables.tf", "interface_endpoints"),
            *given.get("data_endpoints", _default(terraform / "foundation" / "variables.tf", "data_endpoints")),
        ]
        streams = _streams(path.with_name("domains.tfvars"), settings)
        return Environment(
            name=name,
            region=given["region"],
            nat_gateways=len(given["zones"]) if given["nat"] == "zone" else 1,
            zones=len(given["zones"]),
            endpoints=len(endpoints),
            system_nodes=nodes.get("minimum", 2),
            system_node="ec2." + nodes.get("instance_types", ["m6i.large"])[0],
            databases=tuple(_database(given.get(name, {})) for name in ("tracking", "pipelines_database")),
            cache="cache." + cache.get("node_type", "cache.t4g.small").removeprefix("cache."),
            cache_nodes=1 + cache.get("replicas", 1) if "valkey" in store.get("engines", []) else 0,
            streams=streams,
            keys=_KEYS + (1 if streams else 0),
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise DeclarationError(
            f"{path.relative_to(settings.root)} is not understood",
            expected="region, zones, nat, and system_nodes, tracking, pipelines_database, online_store as terraform/foundation/variables.tf has them",
            got=f"{type(error).__name__}: {error}",
        ) from error


def _streams(path: Path, settings: Settings) -> int:
    """How many streams `terraform/domains` makes: one for each source of a declared view, where the log is Kinesis."""
    if not path.is_file() or _load(path).get("event_log", "kinesis") != "kinesis":
        return 0
    return len({feature_view.load(each, settings).source for each in feature_view.references(settings)})


def _database(given: dict[str, Any]) -> Database:
    """A database as module database makes it of what a var-file gives."""
    return Database(
        instance="rds." + given.get("instance_class", "db.t4g.medium").removeprefix("db."),
        zones=2 if given.get("multi_az", True) else 1,
        gigabytes=given.get("storage_gib", 50),
    )


def _load(path: Path) -> dict[str, Any]:
    import hcl2  # type: ignore[import-untyped]

    with path.open(encoding="utf-8") as stream:
        found = _plain(hcl2.load(stream))
    return dict(found)


def _default(path: Path, variable: str) -> Any:
    """The default of a variable."""
    for each in _load(path).get("variable", []):
        for name, body in each.items():
            if name.strip('"') == variable:
                return body["default"]
    raise KeyError(variable)


def _plain(value: Any) -> Any:
    """Without the quotes that the parser leaves about strings."""
    if isinstance(value, dict):
        return {str(key).strip('"'): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value
