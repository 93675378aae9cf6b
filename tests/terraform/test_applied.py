"""Both roots applied to moto with the files of dev, read back, planned again, extended by a domain, and taken down.

README.md lists what moto does not serve: `-var emulated=true` leaves it out here, and the modules' own tests cover it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.terraform.emulator import REGION, Emulator
from tests.terraform.walker import walk
from tests.terraform.workplace import Workplace, changes

NAME, BUCKET, ACCOUNT = "hallmark-dev", "hallmark-dev-artifacts", "111111111111"
VALUES = {
    root: ("-var-file", f"../environments/dev/{root}.tfvars", "-var", "emulated=true")
    for root in ("foundation", "domains")
}

UNANSWERED = {
    "module.cluster.aws_eks_node_group.system": {"remote_access"},
    'module.gpu_nodes.aws_eks_node_group.pool["inference"]': {"remote_access"},
    'module.gpu_nodes.aws_eks_node_group.pool["training"]': {"remote_access"},
    "module.cluster.aws_launch_template.system": {"tag_specifications", "default_version", "latest_version"},
    'module.gpu_nodes.aws_launch_template.pool["inference"]': {
        "tag_specifications",
        "default_version",
        "latest_version",
    },
    'module.gpu_nodes.aws_launch_template.pool["training"]': {
        "tag_specifications",
        "default_version",
        "latest_version",
    },
    **{
        f"module.{database}.{address}": forgotten
        for database in ("experiment_tracking", "pipelines_database")
        for address, forgotten in {
            "aws_db_instance.this": {"performance_insights_enabled", "performance_insights_kms_key_id"},
            "aws_db_parameter_group.this": {"parameter"},
            "aws_vpc_security_group_ingress_rule.database": {"description"},
        }.items()
    },
    'module.features.aws_kinesis_stream.source["orders@1"]': {"tags", "tags_all"},  # which come with its making
    "module.private_names.aws_route53_zone.this": {"vpc"},  # test_walker.py: one that is planned without it is public
    "module.observability.aws_prometheus_workspace.this": {"kms_key_arn"},
    "module.observability.aws_iam_role_policy.prometheus": {"policy"},  # names the workspace, which would be made anew
}
"""What moto forgets of what it was told, by address; on AWS a second plan changes none of it."""


@dataclass
class Environment:
    """dev on moto."""

    place: Workplace
    moto: Emulator
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)

    def again(self, root: str) -> dict[str, Any]:
        """A root's plan after its apply, made once."""
        if root not in self.plans:
            self.plans[root] = self.place.plan(root, *VALUES[root])
        return self.plans[root]

    def domains(self) -> list[str]:
        """The declared domains."""
        return sorted(path.parent.name for path in self.place.folder.glob("domains/*/domain.yaml"))


@pytest.fixture(scope="module")
def dev(
    terraform: str, emulators: Callable[[str], Emulator], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Both roots, applied in their order, with state in the bucket that the backend files name."""
    moto = emulators(ACCOUNT)
    moto.state_bucket("dev")
    place = Workplace(tmp_path_factory.mktemp("dev"), environment=moto.environment)
    for root in ("foundation", "domains"):
        place.init(root, f"-backend-config=../environments/dev/{root}.s3.tfbackend")
        done = place.run("apply", "-input=false", "-no-color", "-auto-approve", *VALUES[root], at=root)
        assert "Apply complete!" in done.stdout
    yield Environment(place, moto)


def test_the_state_lies_in_its_bucket_and_no_lock_is_left(dev: Environment) -> None:
    found = dev.moto.client("s3").list_objects_v2(Bucket="hallmark-dev-state")["Contents"]
    assert {entry["Key"] for entry in found} == {"foundation.tfstate", "domains.tfstate"}


def test_the_bucket_is_private_versioned_encrypted_logged_and_tls_only(dev: Environment) -> None:
    s3 = dev.moto.client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"]
    key = rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    kms = dev.moto.client("kms")
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert f"alias/{NAME}/artifacts" in {alias["AliasName"] for alias in kms.list_aliases(KeyId=key)["Aliases"]}
    for bucket in (BUCKET, f"{BUCKET}-access-logs"):
        assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    statements = {
        statement["Sid"]: statement
        for statement in json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    }
    assert set(statements) == {"TlsOnly", "ThisAccountOnly", "ThisKeyOnly", "NoWayUp"}
    assert {statement["Effect"] for statement in statements.values()} == {"Deny"}
    assert statements["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["ThisKeyOnly"]["Condition"]["StringNotEquals"] == {
        "s3:x-amz-server-side-encryption-aws-kms-key-id": key
    }
    rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]}
    assert rules["old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    assert s3.get_bucket_logging(Bucket=BUCKET)["LoggingEnabled"]["TargetBucket"] == f"{BUCKET}-access-logs"


def test_the_network_spans_three_zones_and_data_has_no_way_out(dev: Environment) -> None:
    ec2 = dev.moto.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [NAME]}])["Vpcs"]
    assert vpc["CidrBlock"] == "10.16.0.0/16"
    here = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    subnets = {subnet["SubnetId"]: subnet for subnet in ec2.describe_subnets(Filters=here)["Subnets"]}
    names = {
        key: next(tag["Value"] for tag in subnet["Tags"] if tag["Key"] == "Name") for key, subnet in subnets.items()
    }
    assert len(subnets) == 12
    assert len({subnet["AvailabilityZone"] for subnet in subnets.values()}) == 3
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets.values())
    ways: dict[str, set[str]] = {"private": set(), "data": set(), "control": set(), "public": set()}
    for table in ec2.describe_route_tables(Filters=here)["RouteTables"]:
        out = {
            "nat" if route.get("NatGatewayId") else "internet"
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == "0.0.0.0/0"
        }
        for association in table["Associations"]:
            if "SubnetId" in association:
                kind = names[association["SubnetId"]].removeprefix(f"{NAME}-").split("-")[0]
                ways[kind] |= out or {"none"}
    assert ways == {"private": {"nat"}, "data": {"none"}, "control": {"none"}, "public": {"internet"}}
    endpoints = {
        endpoint["ServiceName"].removeprefix(f"com.amazonaws.{REGION}.")
        for endpoint in ec2.describe_vpc_endpoints(Filters=here)["VpcEndpoints"]
    }
    assert {"s3", "dynamodb", "kinesis-streams", "ecr.api", "ecr.dkr", "sts", "logs"} <= endpoints
    assert ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [vpc["VpcId"]]}])["FlowLogs"]
    groups = ec2.describe_security_groups(Filters=here)["SecurityGroups"]
    assert [
        (group["IpPermissions"], group["IpPermissionsEgress"]) for group in groups if group["GroupName"] == "default"
    ] == [([], [])]
    assert not any(
        address["CidrIp"] == "0.0.0.0/0"
        for group in groups
        for rule in group["IpPermissions"]
        for address in rule["IpRanges"]
    )


def test_the_cluster_is_private_and_its_gpu_nodes_are_tainted(dev: Environment) -> None:
    eks = dev.moto.client("eks")
    cluster = eks.describe_cluster(name=NAME)["cluster"]
    assert cluster["version"] == "1.33"
    assert cluster["resourcesVpcConfig"]["endpointPrivateAccess"]
    assert not cluster["resourcesVpcConfig"]["endpointPublicAccess"]
    assert cluster["encryptionConfig"][0]["provider"]["keyArn"].startswith("arn:aws:kms:")
    assert {kind for log in cluster["logging"]["clusterLogging"] if log["enabled"] for kind in log["types"]} >= {
        "api",
        "audit",
    }
    groups = {
        name: eks.describe_nodegroup(clusterName=NAME, nodegroupName=name)["nodegroup"]
        for name in eks.list_nodegroups(clusterName=NAME)["nodegroups"]
    }
    assert {name: group["labels"]["hallmark.dev/pool"] for name, group in groups.items()} == {
        name: name for name in ("system", "gpu-inference", "gpu-training")
    }
    taints = {
        name: {taint["key"]: (taint["value"], taint["effect"]) for taint in group.get("taints") or []}
        for name, group in groups.items()
    }
    assert taints == {
        "system": {},
        "gpu-inference": {"nvidia.com/gpu": ("true", "NO_SCHEDULE")},
        "gpu-training": {
            "nvidia.com/gpu": ("true", "NO_SCHEDULE"),
            "hallmark.dev/pool": ("gpu-training", "NO_SCHEDULE"),
        },
    }
    assert {groups[name]["scalingConfig"]["minSize"] for name in ("gpu-inference", "gpu-training")} == {0}
    templates = dev.moto.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=f"{NAME}-system", Versions=["$Latest"]
    )
    metadata = templates["LaunchTemplateVersions"][0]["LaunchTemplateData"]["MetadataOptions"]
    assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)


def test_stores_of_images_features_and_experiments_are_encrypted(dev: Environment) -> None:
    repositories = dev.moto.client("ecr").describe_repositories()["repositories"]
    assert {repository["repositoryName"] for repository in repositories} == {
        f"hallmark/{job}" for job in ("training-python", "serving", "drift", "platform")
    }
    assert {repository["imageTagMutability"] for repository in repositories} == {"IMMUTABLE"}
    assert {repository["encryptionConfiguration"]["encryptionType"] for repository in repositories} == {"KMS"}
    assert {repository["imageScanningConfiguration"]["scanOnPush"] for repository in repositories} == {True}
    dynamodb = dev.moto.client("dynamodb")
    table = dynamodb.describe_table(TableName=f"{NAME}-features")["Table"]
    assert table["SSEDescription"]["SSEType"] == "KMS"
    backups = dynamodb.describe_continuous_backups(TableName=f"{NAME}-features")["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    kinesis = dev.moto.client("kinesis")
    assert kinesis.list_streams()["StreamNames"] == [f"{NAME}-events-orders-v1"]
    events = kinesis.describe_stream_summary(StreamName=f"{NAME}-events-orders-v1")["StreamDescriptionSummary"]
    assert (events["EncryptionType"], events["RetentionPeriodHours"]) == ("KMS", 168)
    assert events["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    databases = dev.moto.client("rds").describe_db_instances()["DBInstances"]
    assert {database["DBInstanceIdentifier"] for database in databases} == {f"{NAME}-tracking", f"{NAME}-pipelines"}
    for database in databases:
        assert database["StorageEncrypted"]
        assert not database["PubliclyAccessible"]
        secret = dev.moto.client("secretsmanager").describe_secret(SecretId=database["MasterUserSecret"]["SecretArn"])
        assert secret["RotationEnabled"]
    groups = dev.moto.client("logs").describe_log_groups()["logGroups"]
    assert [
        group["logGroupName"] for group in groups if not group.get("kmsKeyId") or not group.get("retentionInDays")
    ] == []


def test_a_second_plan_changes_nothing(dev: Environment) -> None:
    for change in [each for root in VALUES for each in dev.again(root)["resource_changes"]]:
        address, edit = change["address"], change["change"]
        if edit["actions"] in (["no-op"], ["read"]):
            continue
        assert address in UNANSWERED, f"{address}: {edit['actions']}"
        if "delete" in edit["actions"]:
            assert {path[0] for path in edit["replace_paths"]} <= UNANSWERED[address]
        else:
            changed = {key for key in edit["before"] if edit["before"][key] != edit["after"].get(key)}
            assert changed <= UNANSWERED[address], address


def test_what_is_applied_has_no_public_endpoint_plain_store_or_write_on_everything(dev: Environment) -> None:
    wrong, unread = walk(dev.again("foundation"))
    # S3 delivers access logs to no bucket under a key of ours (terraform/modules/artifact_store/README.md).
    assert wrong == [
        "module.artifact_store.aws_s3_bucket_server_side_encryption_configuration.logs: unencrypted: the bucket has no key of ours"
    ]
    assert unread == ["module.observability.aws_iam_role_policy.prometheus"]
    assert walk(dev.again("domains")) == ([], [])


def test_stores_have_names_that_stay(dev: Environment) -> None:
    route53 = dev.moto.client("route53")
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    assert zone["Name"] == f"{NAME}.internal."
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    names = {record["Name"] for record in records if record["Type"] == "CNAME"}
    assert names == {f"tracking.{NAME}.internal.", f"pipelines.{NAME}.internal."}


def test_what_the_platforms_accounts_may_do_ends_at_their_prefix(dev: Environment) -> None:
    admin = dev.moto.client("s3")
    dev.again("foundation")
    refusals = admin.get_bucket_policy(Bucket=BUCKET)["Policy"]
    admin.delete_bucket_policy(Bucket=BUCKET)  # as below
    for key in ("fraud/models/7/model.onnx", "fraud/pipelines/run/data.parquet", "pipelines/1", "mlflow/0/x"):
        admin.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    sessions = {
        account: dev.moto.session(dev.moto.client("iam").get_role(RoleName=f"{NAME}-{account}")["Role"]["Arn"])
        for account in ("ml-pipeline", "mlflow", "ui", "cert-manager")
    }
    dev.moto.enforce(0)
    try:
        asked = {
            (account, key): (attempt(s3.get_object, Key=key), attempt(s3.put_object, Key=key, Body=b"y"))
            for account, credentials in sessions.items()
            for s3 in [dev.moto.client("s3", **credentials)]
            for key in ("fraud/models/7/model.onnx", "fraud/pipelines/run/data.parquet", "pipelines/1", "mlflow/0/x")
        }
    finally:
        dev.moto.enforce(float("inf"))
    admin.put_bucket_policy(Bucket=BUCKET, Policy=refusals)
    allowed = {which: answers for which, answers in asked.items() if set(answers) != {"AccessDenied"}}
    assert allowed == {
        ("ml-pipeline", "pipelines/1"): ("allowed", "allowed"),
        ("mlflow", "fraud/models/7/model.onnx"): ("allowed", "AccessDenied"),
        ("mlflow", "mlflow/0/x"): ("allowed", "AccessDenied"),
        ("ui", "fraud/models/7/model.onnx"): ("allowed", "AccessDenied"),
    }


def role(dev: Environment, domain: str, account: str) -> dict[str, Any]:
    """A domain's role as it was applied."""
    found: dict[str, Any] = dev.moto.client("iam").get_role(RoleName=f"{NAME}-{domain}-{account}")["Role"]
    return found


def test_a_role_is_for_one_service_account_of_one_namespace(dev: Environment) -> None:
    for domain in dev.domains():
        for account in ("pipeline", "predictor"):
            (statement,) = role(dev, domain, account)["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
            assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
            assert statement["Condition"]["StringEquals"] == {
                "aws:SourceAccount": ACCOUNT,
                "aws:RequestTag/eks-cluster-arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{NAME}",
                "aws:RequestTag/kubernetes-namespace": domain,
                "aws:RequestTag/kubernetes-service-account": account,
            }


def attempt(call: Callable[..., Any], **arguments: Any) -> str:
    """allowed, or the code of the refusal."""
    from botocore.exceptions import ClientError

    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"


def test_every_domain_reaches_its_own_prefix_and_no_other(dev: Environment) -> None:
    domains = dev.domains()
    assert len(domains) >= 7
    admin = dev.moto.client("s3")
    # moto asks the bucket's policy without its conditions, so "refuse what comes without TLS" refuses all. Without the policy only the
    # roles stand between domains, which is the harder question.
    dev.again("foundation")
    refusals = admin.get_bucket_policy(Bucket=BUCKET)["Policy"]
    admin.delete_bucket_policy(Bucket=BUCKET)
    for domain in domains:
        for key in ("models/7/model.onnx", "pipelines/run/data.parquet"):
            admin.put_object(Bucket=BUCKET, Key=f"{domain}/{key}", Body=b"x")
    sessions = {
        (domain, account): dev.moto.session(role(dev, domain, account)["Arn"])
        for domain in domains
        for account in ("pipeline", "predictor")
    }
    own: dict[str, set[str]] = {}
    foreign: set[str] = set()
    upwards: set[str] = set()
    asked = 0
    dev.moto.enforce(0)
    try:
        for (domain, account), credentials in sessions.items():
            s3 = dev.moto.client("s3", **credentials)
            mine = {
                "read a model": attempt(s3.get_object, Key=f"{domain}/models/7/model.onnx"),
                "read data": attempt(s3.get_object, Key=f"{domain}/pipelines/run/data.parquet"),
                "write a model": attempt(s3.put_object, Key=f"{domain}/models/8/model.onnx", Body=b"y"),
                "delete": attempt(s3.delete_object, Key=f"{domain}/models/8/model.onnx"),
            }
            for what, answer in mine.items():
                own.setdefault(f"{account}: {what}", set()).add(answer)
            for other in domains:
                if other == domain:
                    continue
                key = f"{other}/models/7/model.onnx"
                foreign |= {
                    attempt(s3.get_object, Key=key),
                    attempt(s3.get_object, Key=f"{other}/pipelines/run/data.parquet"),
                    attempt(s3.put_object, Key=key, Body=b"z"),
                    attempt(s3.delete_object, Key=key),
                    attempt(s3.put_object, Key=f"{other}x/models/model.onnx", Body=b"z"),
                }
                upwards |= {
                    attempt(s3.get_object, Key=f"{domain}/../{key}"),
                    attempt(s3.get_object, Key=f"{domain}/models/../../{key}"),
                    attempt(s3.put_object, Key=f"{domain}/../{key}", Body=b"z"),
                    attempt(s3.put_object, Key=f"../{key}", Body=b"z"),
                }
                asked += 9
    finally:
        dev.moto.enforce(float("inf"))
    read = {
        domain: admin.get_object(Bucket=BUCKET, Key=f"{domain}/models/7/model.onnx")["Body"].read()
        for domain in domains
    }
    admin.put_bucket_policy(Bucket=BUCKET, Policy=refusals)
    assert asked == 9 * 2 * len(domains) * (len(domains) - 1)
    assert foreign == {"AccessDenied"}
    assert upwards == {"AccessDenied"}
    assert own == {
        "pipeline: read a model": {"allowed"},
        "pipeline: read data": {"allowed"},
        "pipeline: write a model": {"allowed"},
        "pipeline: delete": {"allowed"},
        "predictor: read a model": {"allowed"},
        "predictor: read data": {"AccessDenied"},
        "predictor: write a model": {"AccessDenied"},
        "predictor: delete": {"AccessDenied"},
    }
    assert set(read.values()) == {b"x"}


def test_every_domain_lists_its_own_prefix_and_no_other(dev: Environment) -> None:
    """moto knows no conditions, so those of the applied policies are asked here."""
    iam = dev.moto.client("iam")
    domains = dev.domains()
    for domain in domains:
        for account, inside in (("pipeline", f"{domain}/"), ("predictor", f"{domain}/models/")):
            document = iam.get_role_policy(RoleName=f"{NAME}-{domain}-{account}", PolicyName="artifacts")[
                "PolicyDocument"
            ]
            (listing,) = [statement for statement in document["Statement"] if statement["Action"] == "s3:ListBucket"]
            assert listing["Resource"] == f"arn:aws:s3:::{BUCKET}"
            assert set(listing["Condition"]) == {"StringLike"}
            patterns = listing["Condition"]["StringLike"]["s3:prefix"]

            def listed(prefix: str, patterns: list[str] = patterns) -> bool:
                return any(fnmatchcase(prefix, pattern) for pattern in patterns)

            assert listed(inside)
            assert listed(f"{inside}7/")
            assert not listed("")
            assert not any(listed(f"{other}/") or listed(f"{other}/models/") for other in domains if other != domain)
            assert not listed(f"{domain}x/")


def test_adding_a_domain_plans_that_domain_and_nothing_else(dev: Environment) -> None:
    dev.place.declare("returns")
    plan = dev.place.plan("domains", *VALUES["domains"])
    planned = {address: actions for address, actions in changes(plan).items() if address not in UNANSWERED}
    assert planned
    assert {tuple(actions) for actions in planned.values()} == {("create",)}
    assert {address.partition("]")[0] + "]" for address in planned} == {'module.domain["returns"]'}
    kinds = {change["type"] for change in plan["resource_changes"]}
    of_features = {"aws_kinesis_stream", "aws_kms_alias", "aws_kms_key"}
    assert kinds <= {"aws_iam_role", "aws_iam_role_policy", "aws_ssm_parameter"} | of_features, (
        "the network and the cluster are not in this state"
    )
    dev.place.run("apply", "-input=false", "-no-color", "-auto-approve", "this.tfplan", at="domains")
    assert dev.moto.client("iam").get_role(RoleName=f"{NAME}-returns-predictor")


def test_a_budget_of_a_domain_that_is_not_declared_is_refused(dev: Environment) -> None:
    done = dev.place.run(
        "plan", "-input=false", "-no-color", *VALUES["domains"], "-var", "budgets={fruad=1}", at="domains", accept=(1,)
    )
    assert "there is no fruad" in " ".join(done.stderr.split())


def test_what_holds_data_is_not_destroyed(dev: Environment) -> None:
    done = dev.place.run(
        "plan", "-destroy", "-input=false", "-no-color", *VALUES["foundation"], at="foundation", accept=(1,)
    )
    assert "Error: Instance cannot be destroyed" in done.stderr
    assert "aws_s3_bucket.artifacts has" in " ".join(done.stderr.split())


def test_taken_down_nothing_is_left(dev: Environment) -> None:
    """As README.md, "Take it down", says: domains first, then `prevent_destroy` taken out (here of the copy) and the bucket emptied."""
    client = dev.moto.client
    dev.place.run("destroy", "-input=false", "-no-color", "-auto-approve", *VALUES["domains"], at="domains")
    assert dev.place.unguard() == ["artifact_store", "database", "online_store"]
    rotations = [
        f"module.{name}.aws_secretsmanager_secret_rotation.password"
        for name in ("experiment_tracking", "pipelines_database")
    ]
    dev.place.run("state", "rm", *rotations, at="foundation")
    s3 = client("s3")
    s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={})  # else emptying the one fills the other
    for bucket in (BUCKET, f"{BUCKET}-access-logs"):
        s3.delete_bucket_policy(Bucket=bucket)  # moto would refuse to empty it: see above
        versions = s3.list_object_versions(Bucket=bucket)
        for entry in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    dev.place.run("destroy", "-input=false", "-no-color", "-auto-approve", *VALUES["foundation"], at="foundation")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["hallmark-dev-state"]
    assert client("eks").list_clusters()["clusters"] == []
    assert client("dynamodb").list_tables()["TableNames"] == []
    assert client("kinesis").list_streams()["StreamNames"] == []
    assert client("route53").list_hosted_zones()["HostedZones"] == []
    assert client("ecr").describe_repositories()["repositories"] == []
    assert client("rds").describe_db_instances()["DBInstances"] == []
    assert client("secretsmanager").list_secrets()["SecretList"] == []
    assert client("logs").describe_log_groups()["logGroups"] == []
    assert client("sqs").list_queues().get("QueueUrls", []) == []
    assert client("sns").list_topics()["Topics"] == []
    assert client("ssm").describe_parameters()["Parameters"] == []
    assert [
        found["RoleName"] for found in client("iam").list_roles()["Roles"] if found["RoleName"].startswith("hallmark")
    ] == []
    ec2 = client("ec2")
    assert [vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]] == []
    assert [
        gateway
        for gateway in ec2.describe_nat_gateways()["NatGateways"]
        if gateway["State"] not in ("deleted", "deleting")
    ] == []
    assert ec2.describe_addresses()["Addresses"] == []
    kms = client("kms")
    kept = {
        alias["AliasName"] for alias in kms.list_aliases()["Aliases"] if alias["AliasName"].startswith("alias/hallmark")
    }
    assert kept == {"alias/hallmark-dev/state"}
    for key in kms.list_keys()["Keys"]:
        about = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        assert about["KeyState"] == "PendingDeletion" or not about["Description"].startswith(f"{NAME}:"), about
