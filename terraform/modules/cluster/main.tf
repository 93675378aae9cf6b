data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix

  arn = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.name}"
}

resource "aws_kms_key" "cluster" {
  description             = "${var.name}: Kubernetes secrets and the nodes' disks"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AccountDecidesByIam"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        # Node groups start their nodes through Auto Scaling's own role, which has to open the encrypted disks.
        Sid       = "AutoScalingOpensDisks"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${var.account_id}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
      },
      {
        Sid       = "AutoScalingGrantsDisks"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${var.account_id}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling" }
        Action    = "kms:CreateGrant"
        Resource  = "*"
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_kms_alias" "cluster" {
  name          = "alias/${var.name}/cluster"
  target_key_id = aws_kms_key.cluster.key_id
}

# EKS would make this group itself, without end or key.
resource "aws_cloudwatch_log_group" "control_plane" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_key_arn
}

resource "aws_eks_cluster" "this" {
  name     = var.name
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn

  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  bootstrap_self_managed_addons = false

  vpc_config {
    subnet_ids              = var.control_plane_subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  kubernetes_network_config {
    ip_family         = "ipv4"
    service_ipv4_cidr = var.services_cidr
  }

  dynamic "access_config" {
    for_each = var.emulated ? toset([]) : toset(["API"])

    content {
      authentication_mode                         = access_config.value
      bootstrap_cluster_creator_admin_permissions = false
    }
  }

  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.cluster.arn
    }
  }

  # An upgrade is a change that somebody makes (README.md), never one that a date makes.
  dynamic "upgrade_policy" {
    for_each = var.emulated ? toset([]) : toset(["EXTENDED"])

    content {
      support_type = upgrade_policy.value
    }
  }

  depends_on = [aws_cloudwatch_log_group.control_plane, aws_iam_role_policy_attachment.cluster]
}

# EKS makes this group; Karpenter's node classes find it by the tag.
resource "aws_ec2_tag" "discovery" {
  for_each = var.emulated ? toset([]) : toset(["karpenter.sh/discovery"])

  resource_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  key         = each.value
  value       = var.name
}

# For programs that know service account tokens but not Pod Identity; nothing of Hallmark's needs it.
resource "aws_iam_openid_connect_provider" "cluster" {
  for_each = var.emulated ? toset([]) : toset(["cluster"])

  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_eks_addon" "this" {
  for_each = var.emulated ? {} : var.addons

  cluster_name  = aws_eks_cluster.this.name
  addon_name    = each.key
  addon_version = each.value
  # Without it the VPC CNI takes NetworkPolicies and enforces none.
  configuration_values        = each.key == "vpc-cni" ? jsonencode({ enableNetworkPolicy = "true" }) : null
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "PRESERVE"

  dynamic "pod_identity_association" {
    for_each = { for account, addon in local.addon_accounts : account => aws_iam_role.addon[addon].arn if addon == each.key }

    content {
      service_account = pod_identity_association.key
      role_arn        = pod_identity_association.value
    }
  }

  # coredns and the CSI controller stay degraded until there is a node to run on; the network's add-ons make nodes ready.
  depends_on = [aws_eks_node_group.system]
}

resource "aws_eks_access_entry" "administrator" {
  for_each = var.emulated ? {} : var.administrators

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value
  type          = "STANDARD"
}

resource "aws_eks_access_policy_association" "administrator" {
  for_each = var.emulated ? {} : var.administrators

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.administrator[each.key].principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

resource "aws_eks_pod_identity_association" "platform" {
  for_each = var.emulated ? {} : var.pod_identities

  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = each.value.role_arn
}
