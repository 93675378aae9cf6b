mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::111111111111:instance-profile/mock" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:111111111111:mock" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

variables {
  cluster_name       = "hallmark-dev"
  account_id         = "111111111111"
  region             = "eu-central-1"
  kubernetes_version = "1.33"
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  node_role_arn      = "arn:aws:iam::111111111111:role/hallmark-dev-nodes"
  disk_key_arn       = "arn:aws:kms:eu-central-1:111111111111:key/00000000-0000-0000-0000-000000000000"
  queue_key_arn      = "arn:aws:kms:eu-central-1:111111111111:key/22222222-2222-2222-2222-222222222222"
  pools = {
    inference = { instance_types = ["g5.xlarge", "g6.xlarge"], maximum = 4 }
    training  = { instance_types = ["g5.2xlarge"], maximum = 8, spot = true, ami_type = "AL2023_x86_64_NVIDIA" }
  }
}

run "gpu_nodes_keep_other_pods_off" {
  command = plan

  assert {
    condition     = { for taint in aws_eks_node_group.pool["inference"].taint : taint.key => "${taint.value}:${taint.effect}" } == { "nvidia.com/gpu" = "true:NO_SCHEDULE" }
    error_message = "Expected inference nodes tainted nvidia.com/gpu=true:NO_SCHEDULE."
  }

  assert {
    condition     = { for taint in aws_eks_node_group.pool["training"].taint : taint.key => "${taint.value}:${taint.effect}" } == { "nvidia.com/gpu" = "true:NO_SCHEDULE", "hallmark.dev/pool" = "gpu-training:NO_SCHEDULE" }
    error_message = "Expected training nodes to keep inference off too."
  }

  assert {
    condition     = alltrue([for purpose, group in aws_eks_node_group.pool : group.labels["hallmark.dev/pool"] == "gpu-${purpose}"])
    error_message = "A pool lacks its label."
  }
}

run "pools_start_from_nothing" {
  command = plan

  assert {
    condition     = alltrue([for group in aws_eks_node_group.pool : group.scaling_config[0].min_size == 0 && group.scaling_config[0].desired_size == 0])
    error_message = "A GPU node runs that nobody asked for."
  }

  assert {
    condition     = aws_eks_node_group.pool["training"].capacity_type == "SPOT" && aws_eks_node_group.pool["inference"].capacity_type == "ON_DEMAND"
    error_message = "Expected spot for training alone."
  }
}

run "nodes_hide_their_metadata_and_encrypt_their_disks" {
  command = plan

  assert {
    condition     = alltrue([for template in aws_launch_template.pool : template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "A pod can take the node's role from its metadata."
  }

  assert {
    condition     = alltrue(flatten([for template in aws_launch_template.pool : [for disk in template.block_device_mappings : disk.ebs[0].encrypted == "true" && disk.ebs[0].kms_key_id == var.disk_key_arn]]))
    error_message = "A disk of a node is plain."
  }
}

run "karpenter_writes_nothing_on_everything" {
  command = plan

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.karpenter["karpenter"].policy).Statement :
      !contains(flatten([statement.Resource]), "*") || alltrue([for action in flatten([statement.Action]) : can(regex("^(ec2:Describe|pricing:Get)", action))])
    ])
    error_message = "Karpenter may change something on every resource."
  }

  assert {
    condition     = !anytrue([for action in flatten([for statement in jsondecode(aws_iam_role_policy.karpenter["karpenter"].policy).Statement : statement.Action]) : startswith(action, "iam:Create") || startswith(action, "iam:Add") || endswith(action, "*") && !startswith(action, "kms:")])
    error_message = "Karpenter may make roles or profiles, or do what a pattern allows."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.karpenter["karpenter"].policy).Statement : statement.Resource if statement.Sid == "HandOutTheNodesRoleOnly"]) == aws_iam_role.karpenter_nodes["karpenter"].arn
    error_message = "Karpenter may hand out other roles than its nodes'."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.karpenter["karpenter"].policy).Statement : statement.Condition.StringEquals["aws:ResourceTag/kubernetes.io/cluster/hallmark-dev"] == "owned" if statement.Sid == "StopOwn"])
    error_message = "Karpenter may stop nodes that it did not start."
  }
}

run "interruptions_reach_karpenter_encrypted" {
  command = plan

  assert {
    condition     = aws_sqs_queue.interruptions["karpenter"].kms_master_key_id == var.queue_key_arn && length(aws_cloudwatch_event_target.interruption) == 4
    error_message = "Expected four kinds of events on an encrypted queue."
  }

  assert {
    condition     = aws_eks_access_entry.karpenter_nodes["karpenter"].type == "EC2_LINUX" && aws_eks_pod_identity_association.karpenter["karpenter"].service_account == "karpenter"
    error_message = "Karpenter's nodes cannot join, or Karpenter has no identity."
  }
}

run "karpenter_can_stay_away" {
  command = plan

  variables {
    karpenter = false
  }

  assert {
    condition     = length(aws_iam_role.karpenter) + length(aws_sqs_queue.interruptions) + length(aws_cloudwatch_event_rule.interruption) == 0 && output.karpenter == null
    error_message = "Something of Karpenter's is left."
  }
}

run "refuses_a_family_without_gpus" {
  command = plan
  variables {
    pools = { inference = { instance_types = ["m6i.xlarge"], maximum = 1 } }
  }
  expect_failures = [var.pools]
}

run "refuses_inference_on_spot" {
  command = plan
  variables {
    pools = { inference = { instance_types = ["g5.xlarge"], maximum = 1, spot = true } }
  }
  expect_failures = [var.pools]
}

run "refuses_an_image_without_driver" {
  command = plan
  variables {
    pools = { inference = { instance_types = ["g5.xlarge"], maximum = 1, ami_type = "BOTTLEROCKET_x86_64" } }
  }
  expect_failures = [var.pools]
}

run "refuses_an_unknown_purpose" {
  command = plan
  variables {
    pools = { games = { instance_types = ["g5.xlarge"], maximum = 1 } }
  }
  expect_failures = [var.pools]
}

run "refuses_a_pool_that_never_grows" {
  command = plan
  variables {
    pools = { training = { instance_types = ["g5.xlarge"], maximum = 0 } }
  }
  expect_failures = [var.pools]
}

run "refuses_no_subnets" {
  command = plan
  variables {
    subnet_ids = []
  }
  expect_failures = [var.subnet_ids]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
