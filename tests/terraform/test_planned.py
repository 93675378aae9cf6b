"""Every environment plans as its var-files say; what production would be is walked, and checkov reads code and plan."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform.emulator import Emulator
from tests.terraform.walker import walk
from tests.terraform.workplace import CODE, ENVIRONMENTS, ROOT, Workplace, changes

LOGS = "module.artifact_store.aws_s3_bucket_server_side_encryption_configuration.logs: unencrypted: the bucket has no key of ours"


@pytest.fixture(scope="module")
def plans(
    terraform: str, emulators: Callable[[str], Emulator], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Environment to the first plan of its foundation, nothing left out; an account of moto answers who is asking."""
    moto = emulators("111111111111")
    place = Workplace(tmp_path_factory.mktemp("planned"), environment=moto.environment)
    (place.code / "foundation" / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    place.init("foundation")
    arguments = ("-var", f"account_id={moto.account}")
    return {
        name: place.plan("foundation", "-var-file", f"../environments/{name}/foundation.tfvars", *arguments)
        for name in ENVIRONMENTS
    }


def resources(plan: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Resources of a kind in a plan."""
    return [change["change"]["after"] for change in plan["resource_changes"] if change["type"] == kind]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_environment_has_a_public_endpoint_a_plain_store_or_a_write_on_everything(
    plans: dict[str, dict[str, Any]], environment: str
) -> None:
    wrong, unread = walk(plans[environment])
    assert wrong == [LOGS]  # S3 delivers access logs to no bucket under a key of ours
    assert all("_policy." in address for address in unread), (
        "names what is not made yet; read once applied: test_applied.py"
    )


def test_what_moto_lacks_is_planned_everywhere_else(plans: dict[str, dict[str, Any]]) -> None:
    for plan in plans.values():
        assert len(resources(plan, "aws_eks_addon")) == 5
        assert len(resources(plan, "aws_eks_pod_identity_association")) == 8
        assert len(resources(plan, "aws_eks_access_entry")) == 2
        assert len(resources(plan, "aws_budgets_budget")) == 1
        (cluster,) = resources(plan, "aws_eks_cluster")
        assert cluster["access_config"][0]["authentication_mode"] == "API"


def test_roles_are_for_accounts_that_the_manifests_have(plans: dict[str, dict[str, Any]]) -> None:
    associations = resources(plans["production"], "aws_eks_pod_identity_association")
    accounts = {(found["namespace"], found["service_account"]) for found in associations}
    named = set()
    for path in (ROOT / "manifests" / "platform").rglob("*.yaml"):
        for found in yaml.safe_load_all(path.read_text()):
            if found and found["kind"] == "ServiceAccount":
                named.add((found["metadata"]["namespace"], found["metadata"]["name"]))
            if found and found["kind"] == "Application":
                values = found["spec"].get("source", {}).get("helm", {}).get("valuesObject", {})
                for part in (values, *(part for part in values.values() if isinstance(part, dict))):
                    if account := part.get("serviceAccount", {}).get("name"):
                        named.add((found["spec"]["destination"]["namespace"], account))
    upstream = {("kubeflow", "ml-pipeline"), ("kube-system", "karpenter")}  # their manifests' and charts' own names
    assert accounts - named == upstream


def test_environments_differ_as_their_files_say(plans: dict[str, dict[str, Any]]) -> None:
    assert {name: len(resources(plan, "aws_nat_gateway")) for name, plan in plans.items()} == {
        "dev": 1,
        "staging": 1,
        "production": 3,
    }
    assert {name: len(resources(plan, "aws_elasticache_replication_group")) for name, plan in plans.items()} == {
        "dev": 0,
        "staging": 1,
        "production": 1,
    }
    for name, plan in plans.items():
        databases = {database["engine"]: database for database in resources(plan, "aws_db_instance")}
        assert sorted(databases) == ["mysql", "postgres"]
        assert {database["multi_az"] for database in databases.values()} == {name != "dev"}
        assert {database["deletion_protection"] for database in databases.values()} == {name != "dev"}
    for plan in plans.values():
        assert {tuple(actions) for actions in changes(plan).values()} == {("create",)}


def test_environments_keep_the_networks_that_they_had(plans: dict[str, dict[str, Any]]) -> None:
    """Addresses that were given out by the place in the list `zones`, before letters decided; NAT in the first where there is one."""
    for name, second in {"dev": 16, "staging": 32, "production": 48}.items():
        expected = set()
        for place, zone in enumerate("abc"):
            blocks = (f"{32 * place}.0/19", f"{192 + place}.0/24", f"208.{64 * place}/26", f"{224 + place}.0/24")
            expected |= {(f"eu-central-1{zone}", f"10.{second}.{block}") for block in blocks}
        subnets = resources(plans[name], "aws_subnet")
        assert {(subnet["availability_zone"], subnet["cidr_block"]) for subnet in subnets} == expected
    for name in ("dev", "staging"):
        gateways = [
            change["index"] for change in plans[name]["resource_changes"] if change["type"] == "aws_nat_gateway"
        ]
        assert gateways == ["eu-central-1a"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_clusters_settings_are_terraforms(plans: dict[str, dict[str, Any]], environment: str) -> None:
    (settings,) = yaml.safe_load_all(
        (ROOT / "manifests" / "clusters" / environment / "settings" / "values.yaml").read_text()
    )
    values, plan = settings["data"], plans[environment]
    given = {name: variable["value"] for name, variable in plan["variables"].items()}
    addresses = plan["planned_values"]["outputs"]["addresses"]["value"]
    names = {record["name"] for record in resources(plan, "aws_route53_record")}
    assert (values["region"], values["dnsZone"]) == (given["region"], given["dns_zone_id"])
    assert (values["controlPlane"], values["stores"]) == (addresses["control_plane"], addresses["stores"])
    assert values["bucket"] in {bucket["bucket"] for bucket in resources(plan, "aws_s3_bucket")}
    assert values["database"] in names
    engines, store = given["online_store"]["engines"], values["featureStore"]
    component = yaml.safe_load(
        (ROOT / "manifests" / "clusters" / environment / "settings" / "kustomization.yaml").read_text()
    )["components"][0]
    assert component.removeprefix("../../") in engines
    if component == "../../valkey":
        (group,) = resources(plan, "aws_elasticache_replication_group")
        assert (
            store.startswith(f"master.{group['replication_group_id']}.")
            and f"iam={group['replication_group_id']}&" in store
        )
    else:
        (table,) = resources(plan, "aws_dynamodb_table")
        assert store == f"{table['name']}?region={given['region']}"


def checkov() -> str:
    """The program: CHECKOV, the environment that `make terraform` makes, or the PATH."""
    found = os.environ.get("CHECKOV") or shutil.which(
        "checkov", path=f"{ROOT / '.venv' / 'checkov' / 'bin'}:{os.environ['PATH']}"
    )
    if not found:
        pytest.skip("SKIPPED, NOT PASSED: checkov is not installed; `make terraform` installs it beside .venv")
    return found


def refused(*arguments: str) -> tuple[set[tuple[str, str]], int]:
    """The (check, resource) pairs that checkov refuses among the gated checks, and how many it passed."""
    gate = yaml.safe_load((CODE / "checkov.yaml").read_text())
    done = subprocess.run(
        [
            checkov(),
            *arguments,
            "--check",
            ",".join(gate["checks"]),
            "--output",
            "json",
            "--quiet",
            "--compact",
            "--skip-download",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CHECKOV_RUN_SCA_PACKAGE_SCAN": "false", "LOG_LEVEL": "ERROR"},
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    failed = {
        (entry["check_id"], re.sub(r"\[.*$", "", entry["resource"])) for entry in report["results"]["failed_checks"]
    }
    return failed, report["summary"]["passed"]


def excepted() -> list[dict[str, str]]:
    """The exceptions, each with its reason."""
    exceptions: list[dict[str, str]] = yaml.safe_load((CODE / "checkov.yaml").read_text())["exceptions"]
    return exceptions


def split(failed: set[tuple[str, str]], of: str) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Findings without an exception for code or plan, and the exceptions that nothing needs."""
    granted = {(entry["check"], entry["resource"]) for entry in excepted() if entry.get("only", of) == of}
    return failed - granted, granted - failed


def test_an_exception_names_a_gated_check_one_resource_and_a_reason() -> None:
    gate = yaml.safe_load((CODE / "checkov.yaml").read_text())
    assert len(set(gate["checks"])) == len(gate["checks"]) > 60
    for entry in gate["exceptions"]:
        assert set(entry) - {"only"} == {"check", "resource", "reason"}
        assert entry.get("only", "plan") in ("plan", "code")
        assert entry["check"] in gate["checks"]
        assert "*" not in entry["resource"]
        assert len(entry["reason"]) > 30


def test_checkov_refuses_nothing_in_the_code_but_the_exceptions(tmp_path: Path) -> None:
    program = checkov()
    assert program
    shutil.copytree(CODE, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*", "tests"))
    failed, passed = refused("--directory", str(tmp_path / "terraform"), "--framework", "terraform")
    assert split(failed, "code") == (set(), set())
    assert passed > 200


def test_checkov_refuses_nothing_in_the_plan_of_production_but_the_exceptions(
    plans: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    program = checkov()
    assert program
    (tmp_path / "plan.json").write_text(json.dumps(plans["production"]))
    failed, passed = refused("--file", str(tmp_path / "plan.json"), "--framework", "terraform_plan")
    assert split(failed, "plan") == (set(), set())
    assert passed > 200


def test_checkov_finds_what_is_planted(tmp_path: Path) -> None:
    program = checkov()
    assert program
    (tmp_path / "main.tf").write_text(
        'resource "aws_db_instance" "planted" {\n  engine = "postgres"\n  instance_class = "db.t4g.micro"\n  publicly_accessible = true\n  storage_encrypted = false\n}\n'
    )
    failed, _ = refused("--directory", str(tmp_path), "--framework", "terraform")
    assert {("CKV_AWS_16", "aws_db_instance.planted"), ("CKV_AWS_17", "aws_db_instance.planted")} <= split(
        failed, "code"
    )[0]
