# What Karpenter (installed by GitOps, manifests/platform) needs of AWS. The instance profile is made here, so that Karpenter
# may make no roles or profiles of its own: its node classes name it (spec.instanceProfile).
locals {
  karpenter = var.karpenter ? toset(["karpenter"]) : toset([])
  ec2       = "arn:${local.partition}:ec2:${var.region}"
  owned     = "kubernetes.io/cluster/${var.cluster_name}"

  events = {
    health-event          = { source = "aws.health", type = "AWS Health Event" }
    spot-interruption     = { source = "aws.ec2", type = "EC2 Spot Instance Interruption Warning" }
    rebalance             = { source = "aws.ec2", type = "EC2 Instance Rebalance Recommendation" }
    instance-state-change = { source = "aws.ec2", type = "EC2 Instance State-change Notification" }
  }
}

resource "aws_iam_role" "karpenter_nodes" {
  for_each = local.karpenter

  name        = "${var.cluster_name}-karpenter-nodes"
  description = "Nodes that Karpenter starts: join, pull images, be reached by Session Manager."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.${local.dns_suffix}" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "karpenter_nodes" {
  for_each = var.karpenter ? toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore"]) : toset([])

  role       = aws_iam_role.karpenter_nodes["karpenter"].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.value}"
}

resource "aws_iam_instance_profile" "karpenter" {
  for_each = local.karpenter

  name = "${var.cluster_name}-karpenter"
  role = aws_iam_role.karpenter_nodes["karpenter"].name
}

resource "aws_eks_access_entry" "karpenter_nodes" {
  for_each = var.emulated ? toset([]) : local.karpenter

  cluster_name  = var.cluster_name
  principal_arn = aws_iam_role.karpenter_nodes["karpenter"].arn
  type          = "EC2_LINUX"
}

resource "aws_iam_role" "karpenter" {
  for_each = local.karpenter

  name        = "${var.cluster_name}-karpenter"
  description = "Karpenter itself: starts and stops nodes of ${var.cluster_name}, by EKS Pod Identity."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = var.account_id
          "aws:RequestTag/eks-cluster-arn"            = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.cluster_name}"
          "aws:RequestTag/kubernetes-namespace"       = "kube-system"
          "aws:RequestTag/kubernetes-service-account" = "karpenter"
        }
      }
    }]
  })
}

resource "aws_eks_pod_identity_association" "karpenter" {
  for_each = var.emulated ? toset([]) : local.karpenter

  cluster_name    = var.cluster_name
  namespace       = "kube-system"
  service_account = "karpenter"
  role_arn        = aws_iam_role.karpenter["karpenter"].arn
}

resource "aws_iam_role_policy" "karpenter" {
  for_each = local.karpenter

  name = "nodes"
  role = aws_iam_role.karpenter["karpenter"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "StartFromWhatIsThere"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = ["${local.ec2}::image/*", "${local.ec2}::snapshot/*", "${local.ec2}:${var.account_id}:security-group/*", "${local.ec2}:${var.account_id}:subnet/*", "${local.ec2}:${var.account_id}:capacity-reservation/*"]
      },
      {
        Sid      = "StartFromOwnTemplates"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = "${local.ec2}:${var.account_id}:launch-template/*"
        Condition = {
          StringEquals = { "aws:ResourceTag/${local.owned}" = "owned" }
          StringLike   = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "StartTagged"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"]
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] : "${local.ec2}:${var.account_id}:${kind}/*"]
        Condition = {
          StringEquals = { "aws:RequestTag/${local.owned}" = "owned", "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name }
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "TagAtStart"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] : "${local.ec2}:${var.account_id}:${kind}/*"]
        Condition = {
          StringEquals = {
            "aws:RequestTag/${local.owned}"       = "owned"
            "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name
            "ec2:CreateAction"                    = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]
          }
          StringLike = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "NameOwnNodes"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.ec2}:${var.account_id}:instance/*"
        Condition = {
          StringEquals                = { "aws:ResourceTag/${local.owned}" = "owned" }
          StringLike                  = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
          StringEqualsIfExists        = { "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"] }
        }
      },
      {
        Sid      = "StopOwn"
        Effect   = "Allow"
        Action   = ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"]
        Resource = ["${local.ec2}:${var.account_id}:instance/*", "${local.ec2}:${var.account_id}:launch-template/*"]
        Condition = {
          StringEquals = { "aws:ResourceTag/${local.owned}" = "owned" }
          StringLike   = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAvailabilityZones", "ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstances",
          "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplates", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets", "pricing:GetProducts",
        ]
        Resource = "*"
      },
      {
        Sid      = "LookUpImages"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${local.partition}:ssm:${var.region}::parameter/aws/service/*"
      },
      {
        Sid      = "HearInterruptions"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.interruptions["karpenter"].arn
      },
      {
        Sid      = "ReadQueue"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = var.queue_key_arn
      },
      {
        Sid       = "HandOutTheNodesRoleOnly"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.karpenter_nodes["karpenter"].arn
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.${local.dns_suffix}" } }
      },
      {
        Sid      = "CheckTheProfile"
        Effect   = "Allow"
        Action   = "iam:GetInstanceProfile"
        Resource = aws_iam_instance_profile.karpenter["karpenter"].arn
      },
      {
        Sid      = "FindTheCluster"
        Effect   = "Allow"
        Action   = "eks:DescribeCluster"
        Resource = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.cluster_name}"
      },
      {
        Sid       = "OpenDisks"
        Effect    = "Allow"
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = var.disk_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "ec2.${var.region}.${local.dns_suffix}" } }
      },
      {
        Sid       = "GrantDisks"
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = var.disk_key_arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_sqs_queue" "interruptions" {
  for_each = local.karpenter

  name                              = var.cluster_name
  message_retention_seconds         = 300 # a warning is worth two minutes
  kms_master_key_id                 = var.queue_key_arn
  kms_data_key_reuse_period_seconds = 300
}

resource "aws_sqs_queue_policy" "interruptions" {
  for_each = local.karpenter

  queue_url = aws_sqs_queue.interruptions["karpenter"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruptions["karpenter"].arn
        Condition = { ArnLike = { "aws:SourceArn" = "arn:${local.partition}:events:${var.region}:${var.account_id}:rule/${var.cluster_name}-*" } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.interruptions["karpenter"].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "interruption" {
  for_each = var.karpenter ? local.events : {}

  name        = "${var.cluster_name}-${each.key}"
  description = "${each.value.type}, for Karpenter to drain the node first."

  event_pattern = jsonencode({ source = [each.value.source], detail-type = [each.value.type] })
}

resource "aws_cloudwatch_event_target" "interruption" {
  for_each = var.karpenter ? local.events : {}

  rule      = aws_cloudwatch_event_rule.interruption[each.key].name
  target_id = "interruptions"
  arn       = aws_sqs_queue.interruptions["karpenter"].arn
}
