mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
  mock_resource "aws_eks_cluster" {
    defaults = {
      arn      = "arn:aws:eks:eu-central-1:111111111111:cluster/hallmark-dev"
      identity = [{ oidc = [{ issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF" }] }]
    }
  }
  mock_resource "aws_eks_access_entry" {
    defaults = { principal_arn = "arn:aws:iam::111111111111:role/hallmark-administrator" }
  }
}

variables {
  name               = "hallmark-dev"
  account_id         = "111111111111"
  region             = "eu-central-1"
  kubernetes_version = "1.33"
  addons = {
    vpc-cni                = "v1.19.5-eksbuild.1"
    coredns                = "v1.12.1-eksbuild.2"
    kube-proxy             = "v1.33.0-eksbuild.2"
    eks-pod-identity-agent = "v1.3.7-eksbuild.2"
    aws-ebs-csi-driver     = "v1.44.0-eksbuild.1"
  }
  subnet_ids               = ["subnet-a", "subnet-b", "subnet-c"]
  control_plane_subnet_ids = ["subnet-x", "subnet-y", "subnet-z"]
  administrators           = { platform = "arn:aws:iam::111111111111:role/hallmark-administrator" }
  log_key_arn              = "arn:aws:kms:eu-central-1:111111111111:key/00000000-0000-0000-0000-000000000000"
  pod_identities = {
    prometheus = { namespace = "monitoring", service_account = "prometheus", role_arn = "arn:aws:iam::111111111111:role/prometheus" }
  }
}

run "the_api_is_private" {
  command = plan

  assert {
    condition     = toset(aws_eks_cluster.this.vpc_config[0].subnet_ids) == toset(["subnet-x", "subnet-y", "subnet-z"]) && toset(aws_eks_node_group.system.subnet_ids) == toset(["subnet-a", "subnet-b", "subnet-c"])
    error_message = "The API server's addresses lie among pods."
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "The Kubernetes API answers on the internet."
  }
}

run "the_api_opens_to_named_addresses_only" {
  command = plan

  variables {
    public_access_cidrs = ["203.0.113.8/29"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && tolist(aws_eks_cluster.this.vpc_config[0].public_access_cidrs) == tolist(["203.0.113.8/29"])
    error_message = "Expected the API open to the office alone."
  }
}

run "secrets_are_encrypted_and_everything_is_logged" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == aws_kms_key.cluster.arn && contains(aws_eks_cluster.this.encryption_config[0].resources, "secrets")
    error_message = "Secrets lie plain in etcd."
  }

  assert {
    condition     = length(aws_eks_cluster.this.enabled_cluster_log_types) == 5
    error_message = "A log of the control plane is off."
  }

  assert {
    condition     = aws_cloudwatch_log_group.control_plane.kms_key_id == var.log_key_arn && aws_kms_key.cluster.enable_key_rotation
    error_message = "Logs lie plain, or the key never changes."
  }
}

run "people_come_in_by_access_entries_only" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "Whoever made the cluster keeps a way in that no list shows."
  }

  assert {
    condition     = keys(aws_eks_access_entry.administrator) == ["platform"]
    error_message = "Expected one entry for each administrator."
  }
}

run "nodes_hide_their_metadata_and_encrypt_their_disks" {
  command = plan

  assert {
    condition     = aws_launch_template.system.metadata_options[0].http_tokens == "required" && aws_launch_template.system.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "A pod can take the node's role from its metadata."
  }

  assert {
    condition     = length(aws_launch_template.system.block_device_mappings) == 2 && alltrue([for disk in aws_launch_template.system.block_device_mappings : disk.ebs[0].encrypted == "true" && disk.ebs[0].kms_key_id == aws_kms_key.cluster.arn])
    error_message = "A disk of a node is plain."
  }

  assert {
    condition     = aws_eks_node_group.system.labels["hallmark.dev/pool"] == "system" && length(aws_eks_node_group.system.taint) == 0
    error_message = "System nodes are labelled and carry no taint."
  }
}

run "amazon_linux_has_one_disk" {
  command = plan

  variables {
    system_nodes = { ami_type = "AL2023_x86_64_STANDARD" }
  }

  assert {
    condition     = length(aws_launch_template.system.block_device_mappings) == 1 && aws_launch_template.system.block_device_mappings[0].device_name == "/dev/xvda"
    error_message = "Expected the one disk that AL2023 has."
  }
}

run "addons_have_versions_and_roles_of_their_own" {
  command = plan

  assert {
    condition     = jsondecode(aws_eks_addon.this["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "NetworkPolicies are taken, and nobody enforces them."
  }

  assert {
    condition     = length(aws_eks_addon.this) == 5 && aws_eks_addon.this["coredns"].addon_version == "v1.12.1-eksbuild.2"
    error_message = "Expected every add-on at its version."
  }

  assert {
    condition     = one(aws_eks_addon.this["aws-ebs-csi-driver"].pod_identity_association).service_account == "ebs-csi-controller-sa" && one(aws_eks_addon.this["vpc-cni"].pod_identity_association).service_account == "aws-node" && length(aws_eks_addon.this["coredns"].pod_identity_association) == 0
    error_message = "An add-on that calls AWS has no role, or one that does not has."
  }

  assert {
    condition     = !contains(keys(aws_iam_role_policy_attachment.nodes), "AmazonEKS_CNI_Policy")
    error_message = "Every pod on a node could rewire the network: the CNI's policy belongs to its own account."
  }

  assert {
    condition     = aws_eks_pod_identity_association.platform["prometheus"].namespace == "monitoring"
    error_message = "A platform program has no identity."
  }
}

run "karpenter_finds_the_security_group" {
  command = plan

  assert {
    condition     = aws_ec2_tag.discovery["karpenter.sh/discovery"].value == "hallmark-dev"
    error_message = "Nodes that Karpenter starts would have no security group."
  }
}

run "an_emulator_gets_what_it_serves" {
  command = plan

  variables {
    emulated = true
  }

  assert {
    condition     = length(aws_eks_addon.this) == 0 && length(aws_eks_access_entry.administrator) == 0 && length(aws_eks_pod_identity_association.platform) == 0 && length(aws_iam_openid_connect_provider.cluster) == 0
    error_message = "Expected nothing that moto does not serve."
  }
}

run "refuses_an_api_open_to_everybody" {
  command = plan
  variables {
    public_access_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.public_access_cidrs]
}

run "refuses_an_addon_that_floats" {
  command = plan
  variables {
    addons = { vpc-cni = "latest", coredns = "v1.12.1-eksbuild.2", kube-proxy = "v1.33.0-eksbuild.2", eks-pod-identity-agent = "v1.3.7-eksbuild.2" }
  }
  expect_failures = [var.addons]
}

run "refuses_a_cluster_without_pod_identity" {
  command = plan
  variables {
    addons = { vpc-cni = "v1.19.5-eksbuild.1", coredns = "v1.12.1-eksbuild.2", kube-proxy = "v1.33.0-eksbuild.2" }
  }
  expect_failures = [var.addons]
}

run "refuses_an_api_server_among_pods" {
  command = plan
  variables {
    control_plane_subnet_ids = ["subnet-a", "subnet-y", "subnet-z"]
  }
  expect_failures = [var.control_plane_subnet_ids]
}

run "refuses_one_zone" {
  command = plan
  variables {
    subnet_ids = ["subnet-a", "subnet-a"]
  }
  expect_failures = [var.subnet_ids]
}

run "refuses_nobody_as_administrator" {
  command = plan
  variables {
    administrators = {}
  }
  expect_failures = [var.administrators]
}

run "refuses_a_kubernetes_that_is_past_its_end" {
  command = plan
  variables {
    kubernetes_version = "1.27"
  }
  expect_failures = [var.kubernetes_version]
}

run "refuses_an_image_that_is_neither_bottlerocket_nor_al2023" {
  command = plan
  variables {
    system_nodes = { ami_type = "AL2_x86_64" }
  }
  expect_failures = [var.system_nodes]
}

run "refuses_a_single_system_node" {
  command = plan
  variables {
    system_nodes = { minimum = 1 }
  }
  expect_failures = [var.system_nodes]
}

run "refuses_audit_logs_of_a_month" {
  command = plan
  variables {
    log_retention_days = 30
  }
  expect_failures = [var.log_retention_days]
}

run "refuses_services_that_begin_in_the_middle" {
  command = plan
  variables {
    services_cidr = "172.20.1.0/16"
  }
  expect_failures = [var.services_cidr]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}

run "refuses_a_name_that_no_resource_takes" {
  command = plan
  variables {
    name = "Hallmark"
  }
  expect_failures = [var.name]
}
