locals {
  # Service accounts of add-ons that call AWS, and the add-on each belongs to.
  addon_accounts = { for account, addon in { aws-node = "vpc-cni", ebs-csi-controller-sa = "aws-ebs-csi-driver" } : account => addon if contains(keys(var.addons), addon) }

  addon_policies = {
    vpc-cni            = "arn:${local.partition}:iam::aws:policy/AmazonEKS_CNI_Policy"
    aws-ebs-csi-driver = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
  }
}

resource "aws_iam_role" "cluster" {
  name        = "${var.name}-cluster"
  description = "The control plane of ${var.name}."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "nodes" {
  name        = "${var.name}-nodes"
  description = "Nodes of ${var.name}: join, pull images, be reached by Session Manager. What pods may do is theirs."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.${local.dns_suffix}" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore"])

  role       = aws_iam_role.nodes.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.value}"
}

resource "aws_iam_role" "addon" {
  for_each = toset(values(local.addon_accounts))

  name        = "${var.name}-${each.value}"
  description = "The add-on ${each.value}, by EKS Pod Identity."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                   = var.account_id
          "aws:RequestTag/eks-cluster-arn"      = local.arn
          "aws:RequestTag/kubernetes-namespace" = "kube-system"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "addon" {
  for_each = toset(values(local.addon_accounts))

  role       = aws_iam_role.addon[each.value].name
  policy_arn = local.addon_policies[each.value]
}

# Volumes of the CSI driver are encrypted with the cluster's key, which its managed policy does not name.
resource "aws_iam_role_policy" "volumes" {
  for_each = toset([for addon in values(local.addon_accounts) : addon if addon == "aws-ebs-csi-driver"])

  name = "encrypted-volumes"
  role = aws_iam_role.addon[each.value].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource = aws_kms_key.cluster.arn
      },
      {
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = aws_kms_key.cluster.arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}
