mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/33333333-3333-3333-3333-333333333333" }
  }
}

variables {
  platform   = "hallmark-dev"
  account_id = "111111111111"
  region     = "eu-central-1"
  sources    = ["orders@1", "orders@2", "clicks@1"]
  artifacts  = { bucket = "hallmark-dev-artifacts", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  online_store = {
    table_arn         = "arn:aws:dynamodb:eu-central-1:111111111111:table/hallmark-dev-features"
    valkey_arn        = "arn:aws:elasticache:eu-central-1:111111111111:replicationgroup:hallmark-dev-features"
    valkey_user_group = "hallmark-dev"
    key_arn           = "arn:aws:kms:eu-central-1:111111111111:key/22222222-2222-2222-2222-222222222222"
  }
}

run "a_stream_for_each_version_of_a_source" {
  command = plan

  assert {
    condition     = { for source, stream in aws_kinesis_stream.source : source => stream.name } == { "orders@1" = "hallmark-dev-events-orders-v1", "orders@2" = "hallmark-dev-events-orders-v2", "clicks@1" = "hallmark-dev-events-clicks-v1" }
    error_message = "Expected a stream a source, named after it."
  }

  assert {
    condition     = alltrue([for stream in aws_kinesis_stream.source : stream.encryption_type == "KMS" && stream.kms_key_id == aws_kms_key.events["kinesis"].arn && stream.retention_period == 168 && stream.stream_mode_details[0].stream_mode == "ON_DEMAND"])
    error_message = "A stream is plain, forgets within a week, or has shards that somebody would have to count."
  }

  assert {
    condition     = toset(one([for statement in jsondecode(aws_iam_role_policy.events["kinesis"].policy).Statement : statement.Resource if statement.Sid == "ReadEvents"])) == toset([for name in ["clicks-v1", "orders-v1", "orders-v2"] : "arn:aws:kinesis:eu-central-1:111111111111:stream/hallmark-dev-events-${name}"])
    error_message = "The job reads other streams than those of the sources."
  }
}

run "the_role_is_for_one_service_account_of_one_cluster" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.stream.assume_role_policy).Statement[0] == {
      Sid       = "ThisServiceAccountOfThisCluster"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = "111111111111"
          "aws:RequestTag/eks-cluster-arn"            = "arn:aws:eks:eu-central-1:111111111111:cluster/hallmark-dev"
          "aws:RequestTag/kubernetes-namespace"       = "features"
          "aws:RequestTag/kubernetes-service-account" = "stream"
        }
      }
    }
    error_message = "Another service account, namespace, cluster or account could take the role."
  }

  assert {
    condition     = "${aws_eks_pod_identity_association.stream["stream"].namespace}/${aws_eks_pod_identity_association.stream["stream"].service_account}" == "features/stream"
    error_message = "Expected the role associated with features/stream."
  }
}

run "no_action_is_a_pattern_and_no_resource_is_everything" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for policy in concat([aws_iam_role_policy.offline], values(aws_iam_role_policy.events), values(aws_iam_role_policy.table), values(aws_iam_role_policy.valkey)) : [
        for statement in jsondecode(policy.policy).Statement :
        !contains(flatten([statement.Resource]), "*") && !anytrue([for action in flatten([statement.Action]) : strcontains(action, "*")]) if statement.Effect == "Allow"
      ]
    ]))
    error_message = "The role may do what a pattern allows, or on everything."
  }

  assert {
    condition     = strcontains(aws_elasticache_user.stream["stream"].access_string, " ~features/* ") && aws_elasticache_user.stream["stream"].authentication_mode[0].type == "iam"
    error_message = "The Valkey user reaches other keys, or has a password."
  }
}

run "without_flink_there_is_nothing_of_it" {
  command = plan

  assert {
    condition     = length(aws_kinesis_stream.tiles) + length(aws_iam_role.flink) + length(aws_iam_role_policy.flink) + length(aws_eks_pod_identity_association.flink) == 0 && output.flink_role == null
    error_message = "Expected no role and no streams where Flink adds nothing up."
  }
}

run "flink_reads_events_writes_tiles_and_keeps_its_state" {
  command = plan

  variables {
    flink = ["buyer_orders@1", "device@2"]
  }

  assert {
    condition     = { for view, stream in aws_kinesis_stream.tiles : view => stream.name } == { "buyer_orders@1" = "hallmark-dev-events-buyer_orders-v1-tiles", "device@2" = "hallmark-dev-events-device-v2-tiles" }
    error_message = "Expected a stream of tiles a view, called as its job calls it."
  }

  assert {
    condition     = alltrue([for stream in aws_kinesis_stream.tiles : stream.encryption_type == "KMS" && stream.kms_key_id == aws_kms_key.events["kinesis"].arn])
    error_message = "A stream of tiles is plain."
  }

  assert {
    condition     = jsondecode(aws_iam_role.flink["flink"].assume_role_policy).Statement[0].Condition.StringEquals == { "aws:SourceAccount" = "111111111111", "aws:RequestTag/eks-cluster-arn" = "arn:aws:eks:eu-central-1:111111111111:cluster/hallmark-dev", "aws:RequestTag/kubernetes-namespace" = "flink", "aws:RequestTag/kubernetes-service-account" = "flink" }
    error_message = "Another service account, namespace, cluster or account could take the role."
  }

  assert {
    condition     = "${aws_eks_pod_identity_association.flink["flink"].namespace}/${aws_eks_pod_identity_association.flink["flink"].service_account}" == "flink/flink"
    error_message = "Expected the role associated with flink/flink."
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.flink["flink"].policy).Statement : statement.Sid => toset(flatten([statement.Resource])) if contains(["ReadEvents", "WriteTiles", "OwnState"], statement.Sid) } == {
      ReadEvents = toset([for name in ["clicks-v1", "orders-v1", "orders-v2"] : "arn:aws:kinesis:eu-central-1:111111111111:stream/hallmark-dev-events-${name}"])
      WriteTiles = toset([for name in ["buyer_orders-v1-tiles", "device-v2-tiles"] : "arn:aws:kinesis:eu-central-1:111111111111:stream/hallmark-dev-events-${name}"])
      OwnState   = toset(["arn:aws:s3:::hallmark-dev-artifacts/features/flink/*"])
    }
    error_message = "Flink reaches other streams or objects than events, tiles and its own state."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.flink["flink"].policy).Statement : statement.Action if statement.Sid == "WriteTiles"]) == "kinesis:PutRecords" && !anytrue([for statement in jsondecode(aws_iam_role_policy.flink["flink"].policy).Statement : anytrue([for action in flatten([statement.Action]) : strcontains(action, "*")]) if statement.Effect == "Allow"])
    error_message = "Flink may do more than add records, or what a pattern allows."
  }

  assert {
    condition     = length(setsubtract([for name in ["buyer_orders-v1-tiles", "device-v2-tiles", "orders-v1"] : "arn:aws:kinesis:eu-central-1:111111111111:stream/hallmark-dev-events-${name}"], one([for statement in jsondecode(aws_iam_role_policy.events["kinesis"].policy).Statement : statement.Resource if statement.Sid == "ReadEvents"]))) == 0
    error_message = "The stream cannot read the tiles that it serves."
  }
}

run "refuses_flink_without_a_log" {
  command = plan
  variables {
    event_log = "none"
    flink     = ["buyer_orders@1"]
  }
  expect_failures = [var.flink]
}

run "refuses_a_view_that_is_a_pattern" {
  command = plan
  variables {
    flink = ["*@1"]
  }
  expect_failures = [var.flink]
}

run "without_kinesis_there_is_no_stream_and_no_key" {
  command = plan

  variables {
    event_log = "none"
  }

  assert {
    condition     = length(aws_kinesis_stream.source) + length(aws_kms_key.events) + length(aws_iam_role_policy.events) == 0 && output.key_arn == null
    error_message = "Expected nothing of Kinesis."
  }
}

run "without_views_there_is_no_stream_either" {
  command = plan

  variables {
    sources = []
  }

  assert {
    condition     = length(aws_kinesis_stream.source) + length(aws_kms_key.events) == 0
    error_message = "Expected nothing of Kinesis where no view reads anything."
  }
}

run "without_an_online_store_there_is_no_right_to_it" {
  command = plan

  variables {
    online_store = { key_arn = "arn:aws:kms:eu-central-1:111111111111:key/22222222-2222-2222-2222-222222222222" }
  }

  assert {
    condition     = length(aws_iam_role_policy.table) + length(aws_iam_role_policy.valkey) + length(aws_elasticache_user.stream) == 0
    error_message = "Expected no right to a store that is not there."
  }
}

run "refuses_a_source_that_is_a_pattern" {
  command = plan
  variables {
    sources = ["*@1"]
  }
  expect_failures = [var.sources]
}

run "refuses_a_log_that_is_none" {
  command = plan
  variables {
    event_log = "kafka"
  }
  expect_failures = [var.event_log]
}

run "refuses_to_keep_nothing" {
  command = plan
  variables {
    retention_days = 0
  }
  expect_failures = [var.retention_days]
}

run "refuses_a_bucket_that_is_a_pattern" {
  command = plan
  variables {
    artifacts = { bucket = "hallmark-*", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
  expect_failures = [var.artifacts]
}

run "refuses_a_platform_whose_names_get_too_long" {
  command = plan
  variables {
    platform = "hallmark-production-europe"
  }
  expect_failures = [var.platform]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
