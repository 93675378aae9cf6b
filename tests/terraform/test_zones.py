"""Zones and partitions: what a change of zones would do to a network on moto, and both roots planned in the other two partitions of AWS."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.terraform.emulator import Emulator
from tests.terraform.walker import walk
from tests.terraform.workplace import Workplace, changes

ACCOUNT = "111111111111"
KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
ROOT = """
variable "zones" { type = list(string) }
variable "nat" { type = string }
provider "aws" { region = "eu-central-1" }
module "network" {
  source      = "../modules/network"
  name        = "hallmark-zones"
  account_id  = "%s"
  region      = "eu-central-1"
  cidr        = "10.16.0.0/16"
  zones       = [for zone in var.zones : "eu-central-1${zone}"]
  nat         = "eu-central-1${var.nat}"
  log_key_arn = "%s"
}
"""


def values(zones: str, nat: str) -> tuple[str, ...]:
    """The arguments that give a network these zones, a letter each."""
    return ("-var", f"zones={json.dumps(list(zones))}", "-var", f"nat={nat}")


@pytest.fixture(scope="module")
def network(
    terraform: str, emulators: Callable[[str], Emulator], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    """The network module alone, applied with zones a and b, NAT in a."""
    place = Workplace(tmp_path_factory.mktemp("zones"), environment=emulators(ACCOUNT).environment)
    (place.code / "zones").mkdir()
    (place.code / "zones" / "main.tf").write_text(ROOT % (ACCOUNT, KEY))
    place.init("zones")
    place.run("apply", "-input=false", "-no-color", "-auto-approve", *values("ab", "a"), at="zones")
    yield place


def planned(place: Workplace, zones: str, nat: str) -> dict[str, list[str]]:
    """What would change, without the module's name."""
    found = changes(place.plan("zones", *values(zones, nat)))
    return {address.removeprefix("module.network."): actions for address, actions in found.items()}


def zonal(found: dict[str, list[str]]) -> dict[str, set[str]]:
    """Zone to what would happen to its own resources."""
    happens: dict[str, set[str]] = {}
    for address, actions in found.items():
        if "eu-central-1" in address:
            happens.setdefault(address.removesuffix('"]')[-1], set()).update(actions)
    return happens


def test_the_order_of_zones_means_nothing(network: Workplace) -> None:
    """Row B11."""
    assert planned(network, "ba", "a") == {}


@pytest.mark.parametrize("zones", ["abc", "cab", "acb"])
def test_a_zone_that_joins_changes_no_other(network: Workplace, zones: str) -> None:
    """Row B11, wherever in the list it joins."""
    found = planned(network, zones, "a")
    assert zonal(found) == {"c": {"create"}}
    assert (
        len([address for address in found if "eu-central-1" in address]) == 10
    )  # 4 subnets, 4 associations, table, route
    rest = {address: actions for address, actions in found.items() if "eu-central-1" not in address}
    assert {address.partition("[")[0] for address in rest} == {
        "aws_vpc_endpoint.s3",
        "aws_vpc_endpoint.dynamodb",
        "aws_vpc_endpoint.interface",
    }
    assert {tuple(actions) for actions in rest.values()} == {("update",)}  # they serve the new zone too


def test_a_zone_that_leaves_takes_its_own_only(network: Workplace) -> None:
    found = planned(network, "bc", "b")
    happens = zonal(found)
    assert (happens["a"], happens["c"]) == ({"delete"}, {"create"})
    assert {address: actions for address, actions in found.items() if address.endswith('b"]')} == {
        'aws_eip.nat["eu-central-1b"]': ["create"],
        'aws_nat_gateway.this["eu-central-1b"]': ["create"],
        'aws_route.nat["eu-central-1b"]': ["update"],
    }


def test_nat_moves_where_somebody_says_so(network: Workplace) -> None:
    done = network.run("plan", "-input=false", "-no-color", *values("bc", "a"), at="zones", accept=(1,))
    assert 'got "eu-central-1a"' in " ".join(done.stderr.split())


PARTITIONS = {
    "us-gov-west-1": ("aws-us-gov", "amazonaws.com", "com.amazonaws"),
    "cn-north-1": ("aws-cn", "amazonaws.com.cn", "cn.com.amazonaws"),
}


@pytest.fixture(scope="module", params=PARTITIONS)
def elsewhere(
    request: pytest.FixtureRequest,
    terraform: str,
    emulators: Callable[[str], Emulator],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """A region of another partition, and the first plan of both roots there with production's files."""
    region = request.param
    partition = PARTITIONS[region][0]
    moto = emulators(ACCOUNT)
    place = Workplace(tmp_path_factory.mktemp(partition), environment={**moto.environment, "AWS_REGION": region})
    known = {
        "cluster": "hallmark-production",
        "artifacts": {
            "bucket": "hallmark-production-artifacts",
            "key_arn": f"arn:{partition}:kms:{region}:{ACCOUNT}:key/a",
        },
        "online_store": {
            "table_arn": f"arn:{partition}:dynamodb:{region}:{ACCOUNT}:table/hallmark-production-features",
            "valkey_arn": f"arn:{partition}:elasticache:{region}:{ACCOUNT}:replicationgroup:hallmark-production-features",
            "valkey_user_group": "hallmark-production",
            "key_arn": f"arn:{partition}:kms:{region}:{ACCOUNT}:key/b",
        },
    }
    moto.client("ssm", region=region).put_parameter(
        Name="/hallmark-production/foundation", Value=json.dumps(known), Type="String"
    )
    here = ("-var", f"account_id={moto.account}", "-var", f"region={region}")
    more = {
        "foundation": (
            *("-var", f"zones={json.dumps([region + letter for letter in 'abc'])}"),
            *("-var", f'administrators={{"a":"arn:{partition}:iam::{ACCOUNT}:role/a"}}'),
        ),
        "domains": (),
    }
    plans = {}
    for root, arguments in more.items():
        (place.code / root / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        place.init(root)
        plans[root] = place.plan(root, "-var-file", f"../environments/production/{root}.tfvars", *here, *arguments)
    return region, plans


def test_another_partition_has_its_own_names(elsewhere: tuple[str, dict[str, dict[str, Any]]]) -> None:
    """Row B39."""
    region, plans = elsewhere
    partition, suffix, prefix = PARTITIONS[region]
    for plan in plans.values():
        text = json.dumps(plan["planned_values"])
        assert "arn:aws:" not in text
        assert f"arn:{partition}:" in text
        via = set(re.findall(r'ViaService\\?": ?\\?"([^"\\]+)', text))
        assert all(service.endswith(f".{region}.{suffix}") for service in via)
        assert set(re.findall(r"ec2\.amazonaws[a-z.]*", text)) <= {f"ec2.{suffix}"}
    endpoints = {
        change["change"]["after"]["service_name"]
        for change in plans["foundation"]["resource_changes"]
        if change["type"] == "aws_vpc_endpoint"
    }
    assert {f"{prefix}.{region}.sts", f"{prefix}.{region}.ecr.api", f"com.amazonaws.{region}.logs"} <= endpoints


def test_another_partition_is_as_closed(elsewhere: tuple[str, dict[str, dict[str, Any]]]) -> None:
    _, plans = elsewhere
    wrong = [problem for plan in plans.values() for problem in walk(plan)[0]]
    assert [problem for problem in wrong if "configuration.logs" not in problem] == []
