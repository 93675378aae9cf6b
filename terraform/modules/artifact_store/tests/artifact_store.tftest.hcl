mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
}

override_resource {
  override_during = plan
  target          = aws_s3_bucket.artifacts
  values          = { id = "hallmark-dev-artifacts", arn = "arn:aws:s3:::hallmark-dev-artifacts" }
}

override_resource {
  override_during = plan
  target          = aws_s3_bucket.logs
  values          = { id = "hallmark-dev-artifacts-access-logs", arn = "arn:aws:s3:::hallmark-dev-artifacts-access-logs" }
}

variables {
  name       = "hallmark-dev"
  bucket     = "hallmark-dev-artifacts"
  account_id = "111111111111"
}

run "artifacts_are_encrypted_with_their_own_key" {
  command = plan

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.artifacts.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" && one(aws_s3_bucket_server_side_encryption_configuration.artifacts.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.artifacts.arn
    error_message = "Expected SSE-KMS with the module's key."
  }

  assert {
    condition     = aws_kms_key.artifacts.enable_key_rotation && aws_kms_key.artifacts.deletion_window_in_days == 30
    error_message = "The key never changes, or is gone before anybody notices."
  }
}

run "nothing_is_public" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_public_access_block.this) == 2 && alltrue([for block in aws_s3_bucket_public_access_block.this : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "A bucket could be made public."
  }

  assert {
    condition     = alltrue([for controls in aws_s3_bucket_ownership_controls.this : controls.rule[0].object_ownership == "BucketOwnerEnforced"])
    error_message = "Objects can carry lists of their own."
  }
}

run "the_policy_refuses_plain_http_strangers_and_other_keys" {
  command = plan

  assert {
    condition     = { for statement in jsondecode(aws_s3_bucket_policy.artifacts.policy).Statement : statement.Sid => statement.Effect } == { TlsOnly = "Deny", ThisAccountOnly = "Deny", ThisKeyOnly = "Deny", NoWayUp = "Deny" }
    error_message = "Expected a policy that refuses and allows nobody anything."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_s3_bucket_policy.artifacts.policy).Statement : statement.Condition.Bool["aws:SecureTransport"] == "false" && length(statement.Resource) == 2 if statement.Sid == "TlsOnly"])
    error_message = "Plain HTTP is answered."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_s3_bucket_policy.artifacts.policy).Statement : statement.Condition.Null["s3:x-amz-server-side-encryption-aws-kms-key-id"] == "false" if statement.Sid == "ThisKeyOnly"])
    error_message = "Uploads that name no key would be refused, and those are all uploads."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_s3_bucket_policy.logs.policy).Statement : statement.Resource == "arn:aws:s3:::hallmark-dev-artifacts-access-logs/artifacts/*" && statement.Condition.StringEquals["aws:SourceAccount"] == "111111111111" if statement.Effect == "Allow"])
    error_message = "Others may write access logs."
  }
}

run "mistakes_can_be_taken_back_for_a_while" {
  command = plan

  assert {
    condition     = aws_s3_bucket_versioning.artifacts.versioning_configuration[0].status == "Enabled" && anytrue([for rule in aws_s3_bucket_lifecycle_configuration.artifacts.rule : try(rule.noncurrent_version_expiration[0].noncurrent_days == 90, false)])
    error_message = "Expected versions that are kept for 90 days."
  }

  assert {
    condition     = aws_s3_bucket_logging.artifacts.target_bucket == "hallmark-dev-artifacts-access-logs"
    error_message = "Nobody writes down who read what."
  }
}

run "refuses_a_bucket_with_dots" {
  command = plan
  variables {
    bucket = "hallmark.dev"
  }
  expect_failures = [var.bucket]
}

run "refuses_old_versions_of_a_day" {
  command = plan
  variables {
    keep_old_versions_days = 1
  }
  expect_failures = [var.keep_old_versions_days]
}

run "refuses_access_logs_of_a_week" {
  command = plan
  variables {
    access_log_retention_days = 7
  }
  expect_failures = [var.access_log_retention_days]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
