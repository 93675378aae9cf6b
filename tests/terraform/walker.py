"""Faults of a plan: public endpoints, stores without a key of ours, and write actions on everything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Values = Mapping[str, Any]

READ_ONLY = re.compile(r"^[a-z0-9-]+:(Get|List|Describe|BatchGet)[A-Za-z]*\*?$")
EVERYBODY = {"0.0.0.0/0", "::/0"}
WIDE_MANAGED = re.compile(r"/(AdministratorAccess|PowerUserAccess|IAMFullAccess|[A-Za-z0-9]*FullAccess)$")

HARMLESS = {
    *(
        "aws_budgets_budget",
        "aws_ec2_tag",
        "aws_cloudwatch_event_rule",
        "aws_cloudwatch_event_target",
        "aws_cloudwatch_metric_alarm",
    ),
    *(
        "aws_db_parameter_group",
        "aws_db_subnet_group",
        "aws_default_security_group",
        "aws_ecr_lifecycle_policy",
        "aws_eip",
    ),
    *("aws_eks_access_entry", "aws_eks_access_policy_association", "aws_eks_addon", "aws_eks_node_group"),
    *(
        "aws_eks_pod_identity_association",
        "aws_elasticache_subnet_group",
        "aws_elasticache_user",
        "aws_elasticache_user_group",
    ),
    *(
        "aws_elasticache_user_group_association",
        "aws_flow_log",
        "aws_iam_instance_profile",
        "aws_iam_openid_connect_provider",
    ),
    *("aws_route53_record",),
    *("aws_iam_role", "aws_iam_role_policy", "aws_internet_gateway", "aws_kms_alias", "aws_nat_gateway", "aws_route"),
    *(
        "aws_route_table",
        "aws_route_table_association",
        "aws_s3_bucket_lifecycle_configuration",
        "aws_s3_bucket_logging",
    ),
    *(
        "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_policy",
        "aws_s3_bucket_versioning",
        "aws_secretsmanager_secret_rotation",
    ),
    *(
        "aws_sns_topic_policy",
        "aws_sns_topic_subscription",
        "aws_sqs_queue_policy",
        "aws_ssm_parameter",
        "aws_vpc",
        "aws_vpc_endpoint",
    ),
}
"""Types that neither store nor listen, or that are judged by their policy or by another resource. A new type has to be judged."""


def has(values: Values, unknown: Values, key: str) -> bool:
    """True where a value is set, or will be by something that is not made yet."""
    return bool(values.get(key)) or unknown.get(key) is True


def first(values: Values, unknown: Values, block: str) -> tuple[Values, Values]:
    """The first block of a kind and what is not known of it; empty ones without it."""
    inner = (values.get(block) or [{}])[0] or {}
    later = unknown.get(block)
    return inner, (later[0] if isinstance(later, list) and later and isinstance(later[0], dict) else {})


def needs(*keys: str) -> Callable[[Values, Values], Iterator[str]]:
    """A rule: these have to be set."""

    def rule(values: Values, unknown: Values) -> Iterator[str]:
        for key in keys:
            if not has(values, unknown, key):
                yield f"unencrypted: {key} is not set"

    return rule


def cluster(values: Values, unknown: Values) -> Iterator[str]:
    network, _ = first(values, unknown, "vpc_config")
    if network.get("endpoint_public_access", True):
        yield "public: the Kubernetes API has a public endpoint"
    if not network.get("endpoint_private_access"):
        yield "public: the Kubernetes API has no private endpoint"
    encryption, later = first(values, unknown, "encryption_config")
    if not has(*first(encryption, later, "provider"), "key_arn"):
        yield "unencrypted: secrets have no key"


def database(values: Values, unknown: Values) -> Iterator[str]:
    if values.get("publicly_accessible"):
        yield "public: the database has a public address"
    yield from needs("storage_encrypted", "kms_key_id")(values, unknown)


def valkey(values: Values, unknown: Values) -> Iterator[str]:
    yield from needs("at_rest_encryption_enabled", "transit_encryption_enabled", "kms_key_id")(values, unknown)
    if not (has(values, unknown, "user_group_ids") or has(values, unknown, "auth_token")):
        yield "public: whoever reaches it is let in"


def table(values: Values, unknown: Values) -> Iterator[str]:
    yield from needs("enabled", "kms_key_arn")(*first(values, unknown, "server_side_encryption"))


def stream(values: Values, unknown: Values) -> Iterator[str]:
    if values.get("encryption_type") != "KMS" or not has(values, unknown, "kms_key_id"):
        yield "unencrypted: events have no key of ours"


def images(values: Values, unknown: Values) -> Iterator[str]:
    encryption, later = first(values, unknown, "encryption_configuration")
    if encryption.get("encryption_type") != "KMS" or not has(encryption, later, "kms_key"):
        yield "unencrypted: images have no key"


def template(values: Values, unknown: Values) -> Iterator[str]:
    disks = values.get("block_device_mappings") or []
    if not disks or any((disk.get("ebs") or [{}])[0].get("encrypted") != "true" for disk in disks):
        yield "unencrypted: a disk of the nodes"
    metadata, _ = first(values, unknown, "metadata_options")
    if metadata.get("http_tokens") != "required" or metadata.get("http_put_response_hop_limit") != 1:
        yield "public: pods reach the node's metadata"
    if any(
        interface.get("associate_public_ip_address") == "true" for interface in values.get("network_interfaces") or []
    ):
        yield "public: nodes have public addresses"


def bucket_encryption(values: Values, unknown: Values) -> Iterator[str]:
    inner, later = first(*first(values, unknown, "rule"), "apply_server_side_encryption_by_default")
    if inner.get("sse_algorithm") != "aws:kms" or not has(inner, later, "kms_master_key_id"):
        yield "unencrypted: the bucket has no key of ours"


def bucket_block(values: Values, unknown: Values) -> Iterator[str]:
    for key in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
        if not values.get(key):
            yield f"public: {key} is off"


def subnet(values: Values, unknown: Values) -> Iterator[str]:
    if values.get("map_public_ip_on_launch"):
        yield "public: what starts here gets a public address"


def ingress(values: Values, unknown: Values) -> Iterator[str]:
    if {values.get("cidr_ipv4"), values.get("cidr_ipv6")} & EVERYBODY:
        yield "public: open to everybody"


def group(values: Values, unknown: Values) -> Iterator[str]:
    for rule in values.get("ingress") or []:
        if {*(rule.get("cidr_blocks") or []), *(rule.get("ipv6_cidr_blocks") or [])} & EVERYBODY:
            yield "public: open to everybody"


def attachment(values: Values, unknown: Values) -> Iterator[str]:
    if WIDE_MANAGED.search(str(values.get("policy_arn", ""))):
        yield f"write on *: {values['policy_arn']}"


def zone(values: Values, unknown: Values) -> Iterator[str]:
    if not values.get("vpc"):
        yield "public: everybody may ask for the names in it"


def key(values: Values, unknown: Values) -> Iterator[str]:
    if not values.get("enable_key_rotation"):
        yield "unencrypted: the key never changes"


RULES: dict[str, Callable[[Values, Values], Iterator[str]]] = {
    "aws_cloudwatch_log_group": needs("kms_key_id"),
    "aws_db_instance": database,
    "aws_dynamodb_table": table,
    "aws_ecr_repository": images,
    "aws_eks_cluster": cluster,
    "aws_elasticache_replication_group": valkey,
    "aws_iam_role_policy_attachment": attachment,
    "aws_kinesis_stream": stream,
    "aws_kms_key": key,
    "aws_launch_template": template,
    "aws_prometheus_workspace": needs("kms_key_arn"),
    "aws_route53_zone": zone,
    "aws_s3_bucket": lambda values, unknown: iter(()),  # judged by the two below, one each a bucket
    "aws_s3_bucket_public_access_block": bucket_block,
    "aws_s3_bucket_server_side_encryption_configuration": bucket_encryption,
    "aws_security_group": group,
    "aws_sns_topic": needs("kms_master_key_id"),
    "aws_sqs_queue": needs("kms_master_key_id"),
    "aws_subnet": subnet,
    "aws_vpc_security_group_ingress_rule": ingress,
}


def listed(value: Any) -> list[Any]:
    """A list of one or of several, as policies write both."""
    return value if isinstance(value, list) else [value]


def policy(kind: str, text: str) -> Iterator[str]:
    """Permissions of a policy that it should not give. In a key's policy * is the key itself; an endpoint's narrows what callers may already."""
    for statement in listed(json.loads(text)["Statement"]):
        if statement["Effect"] != "Allow":
            continue
        actions, resources = listed(statement.get("Action", "*")), listed(statement.get("Resource", "-"))
        if "NotAction" in statement or "NotResource" in statement:
            yield "write on *: all but what is named"
        everybody = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        if everybody and kind != "aws_vpc_endpoint" and not statement.get("Condition"):
            yield "public: everybody is allowed"
        if kind == "aws_kms_key":
            continue
        for action in actions:
            if action == "*" or action.endswith(":*") or ("*" in resources and not READ_ONLY.match(action)):
                yield f"write on *: {action}"


def walk(plan: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Faults as "address: fault"; and the policies that cannot be read before something is made, as addresses."""
    wrong: list[str] = []
    unread: list[str] = []
    kinds: list[str] = []
    for change in plan.get("resource_changes", []):
        values, unknown = change["change"].get("after"), change["change"].get("after_unknown") or {}
        if values is None or change["mode"] != "managed":
            continue
        kind, address = change["type"], change["address"]
        kinds.append(kind)
        if kind in RULES:
            wrong += [f"{address}: {problem}" for problem in RULES[kind](values, unknown)]
        elif kind not in HARMLESS:
            wrong.append(
                f"{address}: unjudged: does {kind} store or listen? Give walker.py a rule, or name it harmless"
            )
        if values.get("vpc_endpoint_type") == "Interface":
            continue  # keeps AWS's policy of everything: it narrows what callers may, grants nothing, and IAM decides behind it
        for attribute in ("policy", "assume_role_policy", "access_policy"):
            if unknown.get(attribute) is True:
                unread += [address] if kind.endswith("_policy") or kind == "aws_kms_key" else []
            elif kind != "aws_ecr_lifecycle_policy" and values.get(attribute):
                wrong += [f"{address}: {problem}" for problem in policy(kind, values[attribute])]
    for companion in ("aws_s3_bucket_public_access_block", "aws_s3_bucket_server_side_encryption_configuration"):
        if kinds.count(companion) < kinds.count("aws_s3_bucket"):
            wrong.append(f"{companion}: unencrypted or public: there are more buckets than of these")
    return wrong, unread
