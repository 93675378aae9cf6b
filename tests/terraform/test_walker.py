"""The walker finds what is planted, and nothing in what is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.terraform.walker import walk


def planned(kind: str, **values: Any) -> dict[str, Any]:
    """A plan that makes one resource."""
    return {
        "resource_changes": [
            {
                "mode": "managed",
                "type": kind,
                "address": f"{kind}.planted",
                "change": {"after": values, "after_unknown": {}},
            }
        ]
    }


def allowed(**statement: Any) -> str:
    """A policy of one statement that allows."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


PLANTED = [
    (
        "public",
        planned(
            "aws_eks_cluster",
            vpc_config=[{"endpoint_public_access": True, "endpoint_private_access": True}],
            encryption_config=[{"provider": [{"key_arn": "k"}]}],
        ),
    ),
    (
        "unencrypted",
        planned(
            "aws_eks_cluster",
            vpc_config=[{"endpoint_public_access": False, "endpoint_private_access": True}],
            encryption_config=[],
        ),
    ),
    ("public", planned("aws_db_instance", publicly_accessible=True, storage_encrypted=True, kms_key_id="k")),
    ("unencrypted", planned("aws_db_instance", storage_encrypted=False, kms_key_id="k")),
    ("unencrypted", planned("aws_db_instance", storage_encrypted=True)),
    ("unencrypted", planned("aws_kinesis_stream", encryption_type="NONE")),
    ("unencrypted", planned("aws_kinesis_stream", encryption_type="KMS")),
    ("unencrypted", planned("aws_dynamodb_table", server_side_encryption=[])),
    ("unencrypted", planned("aws_dynamodb_table", server_side_encryption=[{"enabled": True, "kms_key_arn": ""}])),
    (
        "unencrypted",
        planned(
            "aws_elasticache_replication_group",
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=False,
            kms_key_id="k",
            user_group_ids=["u"],
        ),
    ),
    (
        "public",
        planned(
            "aws_elasticache_replication_group",
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=True,
            kms_key_id="k",
        ),
    ),
    ("unencrypted", planned("aws_ecr_repository", encryption_configuration=[{"encryption_type": "AES256"}])),
    ("unencrypted", planned("aws_cloudwatch_log_group", name="x")),
    ("unencrypted", planned("aws_sns_topic", name="x")),
    ("unencrypted", planned("aws_sqs_queue", name="x")),
    ("unencrypted", planned("aws_prometheus_workspace", alias="x")),
    ("unencrypted", planned("aws_kms_key", enable_key_rotation=False)),
    (
        "unencrypted",
        planned(
            "aws_launch_template",
            block_device_mappings=[{"ebs": [{"encrypted": "false"}]}],
            metadata_options=[{"http_tokens": "required", "http_put_response_hop_limit": 1}],
        ),
    ),
    (
        "public",
        planned(
            "aws_launch_template",
            block_device_mappings=[{"ebs": [{"encrypted": "true"}]}],
            metadata_options=[{"http_tokens": "optional", "http_put_response_hop_limit": 2}],
        ),
    ),
    (
        "unencrypted",
        planned(
            "aws_s3_bucket_server_side_encryption_configuration",
            rule=[{"apply_server_side_encryption_by_default": [{"sse_algorithm": "AES256"}]}],
        ),
    ),
    ("more buckets", planned("aws_s3_bucket", bucket="x")),
    (
        "public",
        planned(
            "aws_s3_bucket_public_access_block",
            block_public_acls=True,
            block_public_policy=False,
            ignore_public_acls=True,
            restrict_public_buckets=True,
        ),
    ),
    ("public", planned("aws_subnet", map_public_ip_on_launch=True)),
    ("public", planned("aws_vpc_security_group_ingress_rule", cidr_ipv4="0.0.0.0/0")),
    ("public", planned("aws_security_group", ingress=[{"cidr_blocks": ["0.0.0.0/0"]}])),
    ("write on *", planned("aws_iam_role_policy", policy=allowed(Action="s3:PutObject", Resource="*"))),
    (
        "write on *",
        planned("aws_iam_role_policy", policy=allowed(Action=["s3:GetObject", "s3:*"], Resource="arn:aws:s3:::x/*")),
    ),
    ("write on *", planned("aws_iam_role_policy", policy=allowed(Action="*", Resource="*"))),
    ("write on *", planned("aws_iam_role_policy", policy=allowed(NotAction="iam:*", Resource="arn:aws:s3:::x"))),
    ("write on *", planned("aws_iam_role_policy", policy=allowed(Action="iam:PassRole", Resource=["*"]))),
    ("write on *", planned("aws_iam_role_policy_attachment", policy_arn="arn:aws:iam::aws:policy/AdministratorAccess")),
    (
        "public",
        planned(
            "aws_s3_bucket_policy", policy=allowed(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::x/*")
        ),
    ),
    (
        "public",
        planned(
            "aws_kms_key",
            enable_key_rotation=True,
            policy=allowed(Principal={"AWS": "*"}, Action="kms:Decrypt", Resource="*"),
        ),
    ),
    ("public", planned("aws_route53_zone", name="marketplace.example", vpc=[])),
    ("unjudged", planned("aws_redshift_cluster", publicly_accessible=True)),
]


@pytest.mark.parametrize(
    ("problem", "plan"),
    PLANTED,
    ids=[f"{case[1]['resource_changes'][0]['type']}-{place}" for place, case in enumerate(PLANTED)],
)
def test_what_is_planted_is_found(problem: str, plan: dict[str, Any]) -> None:
    wrong, _ = walk(plan)
    assert [found for found in wrong if problem in found], wrong


def test_what_is_right_passes() -> None:
    assert walk(
        planned(
            "aws_iam_role_policy", policy=allowed(Action=["ec2:DescribeSubnets", "pricing:GetProducts"], Resource="*")
        )
    ) == ([], [])
    assert walk(planned("aws_db_instance", storage_encrypted=True, kms_key_id="k", publicly_accessible=False)) == (
        [],
        [],
    )


def test_a_policy_that_is_not_known_yet_is_named() -> None:
    plan = planned("aws_iam_role_policy")
    plan["resource_changes"][0]["change"]["after_unknown"] = {"policy": True}
    assert walk(plan) == ([], ["aws_iam_role_policy.planted"])
