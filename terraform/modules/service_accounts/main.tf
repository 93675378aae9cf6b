data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix
  bucket     = "arn:${local.partition}:s3:::${var.artifacts.bucket}"

  # What the load balancer controller makes carries its cluster's name in this tag.
  balanced      = "elbv2.k8s.aws/cluster"
  ec2           = "arn:${local.partition}:ec2:${var.region}:${var.account_id}"
  balancing     = "arn:${local.partition}:elasticloadbalancing:${var.region}:${var.account_id}"
  balancers     = ["${local.balancing}:loadbalancer/net/*", "${local.balancing}:targetgroup/*"]
  own_balancers = { StringEquals = { "aws:ResourceTag/${local.balanced}" = var.name } }
  new_balancers = { StringEquals = { "aws:RequestTag/${local.balanced}" = var.name } }

  key_through_s3 = {
    Sid       = "KeyThroughS3"
    Effect    = "Allow"
    Resource  = var.artifacts.key_arn
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.${local.dns_suffix}" } }
  }

  accounts = merge(
    {
      external-secrets = {
        namespace       = "external-secrets"
        service_account = "external-secrets"
        description     = "Reads the databases' passwords and secrets under hallmark/, by EKS Pod Identity."
      }
      load-balancer-controller = {
        namespace       = "kube-system"
        service_account = "load-balancer-controller"
        description     = "Makes the gateway's network load balancer, by EKS Pod Identity."
      }
      ml-pipeline = {
        namespace       = "kubeflow"
        service_account = "ml-pipeline"
        description     = "Keeps the definitions of pipelines under pipelines/, by EKS Pod Identity."
      }
      mlflow = {
        namespace       = "hallmark-system"
        service_account = "mlflow"
        description     = "Reads models to show them, by EKS Pod Identity."
      }
      ui = {
        namespace       = "hallmark-system"
        service_account = "ui"
        description     = "Reads model cards to compare them, by EKS Pod Identity."
      }
    },
    var.dns_zone_id == null ? {} : {
      cert-manager = {
        namespace       = "cert-manager"
        service_account = "cert-manager"
        description     = "Answers DNS-01 challenges in one zone, by EKS Pod Identity."
      }
    },
  )

  statements = {
    external-secrets = [
      {
        Sid      = "PasswordsAndOwnSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = concat([for database in var.databases : database.secret_arn], ["arn:${local.partition}:secretsmanager:${var.region}:${var.account_id}:secret:hallmark/*"])
      },
      {
        Sid       = "KeysThroughSecretsManager"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = [for database in var.databases : database.key_arn]
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.${local.dns_suffix}" } }
      },
    ]
    # Network load balancers alone: nothing of listener rules, certificates, WAF and Shield, which its values switch off.
    load-balancer-controller = [
      {
        Sid    = "See"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances",
          "ec2:DescribeInternetGateways", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVpcPeeringConnections", "ec2:DescribeVpcs", "ec2:GetSecurityGroupsForVpc",
          "elasticloadbalancing:DescribeCapacityReservation", "elasticloadbalancing:DescribeListenerAttributes",
          "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes",
          "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroupAttributes",
          "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
        ]
        Resource = "*"
      },
      {
        Sid       = "RoleOfTheService"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "arn:${local.partition}:iam::${var.account_id}:role/aws-service-role/elasticloadbalancing.amazonaws.com/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = "elasticloadbalancing.amazonaws.com" } }
      },
      {
        Sid      = "MakeSecurityGroups"
        Effect   = "Allow"
        Action   = "ec2:CreateSecurityGroup"
        Resource = ["${local.ec2}:security-group/*", "${local.ec2}:vpc/*"]
      },
      {
        Sid       = "TagNewSecurityGroups"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = "${local.ec2}:security-group/*"
        Condition = { StringEquals = merge(local.new_balancers.StringEquals, { "ec2:CreateAction" = "CreateSecurityGroup" }) }
      },
      {
        Sid       = "TagOwnSecurityGroups"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags", "ec2:DeleteTags"]
        Resource  = "${local.ec2}:security-group/*"
        Condition = merge(local.own_balancers, { Null = { "aws:RequestTag/${local.balanced}" = "true" } })
      },
      {
        Sid       = "OwnSecurityGroups"
        Effect    = "Allow"
        Action    = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", "ec2:DeleteSecurityGroup"]
        Resource  = "${local.ec2}:security-group/*"
        Condition = local.own_balancers
      },
      {
        # EKS's own group of nodes and pods, which lets the load balancer in.
        Sid       = "ClustersSecurityGroup"
        Effect    = "Allow"
        Action    = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
        Resource  = "${local.ec2}:security-group/*"
        Condition = { StringEquals = { "aws:ResourceTag/kubernetes.io/cluster/${var.name}" = "owned" } }
      },
      {
        Sid       = "MakeBalancers"
        Effect    = "Allow"
        Action    = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
        Resource  = local.balancers
        Condition = local.new_balancers
      },
      {
        Sid    = "TagNewBalancers"
        Effect = "Allow"
        Action = "elasticloadbalancing:AddTags"
        Condition = {
          StringEquals = merge(local.new_balancers.StringEquals, { "elasticloadbalancing:CreateAction" = ["CreateLoadBalancer", "CreateTargetGroup"] })
        }
        Resource = local.balancers
      },
      {
        Sid       = "TagOwnBalancers"
        Effect    = "Allow"
        Action    = ["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"]
        Resource  = local.balancers
        Condition = merge(local.own_balancers, { Null = { "aws:RequestTag/${local.balanced}" = "true" } })
      },
      {
        Sid    = "Listeners"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddTags", "elasticloadbalancing:CreateListener", "elasticloadbalancing:DeleteListener",
          "elasticloadbalancing:ModifyListener", "elasticloadbalancing:RemoveTags",
        ]
        Resource = ["${local.balancing}:listener/net/k8s-*", "${local.balancing}:loadbalancer/net/k8s-*"]
      },
      {
        Sid    = "OwnBalancers"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:DeleteLoadBalancer", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:DeregisterTargets",
          "elasticloadbalancing:ModifyListenerAttributes", "elasticloadbalancing:ModifyLoadBalancerAttributes",
          "elasticloadbalancing:ModifyTargetGroup", "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:RegisterTargets",
          "elasticloadbalancing:SetIpAddressType", "elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets",
        ]
        Resource  = concat(local.balancers, ["${local.balancing}:listener/net/*"])
        Condition = local.own_balancers
      },
    ]
    ml-pipeline = [
      {
        Sid      = "Definitions"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.bucket}/pipelines/*"
      },
      {
        Sid       = "ListDefinitions"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["pipelines/*"] } }
      },
      merge(local.key_through_s3, { Action = ["kms:Decrypt", "kms:GenerateDataKey"] }),
    ]
    mlflow = [
      {
        Sid      = "Models"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${local.bucket}/*/models/*", "${local.bucket}/mlflow/*"]
      },
      {
        Sid       = "ListModels"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["*/models/*", "mlflow/*"] } }
      },
      merge(local.key_through_s3, { Action = ["kms:Decrypt"] }),
    ]
    ui = [
      {
        Sid      = "ModelCards"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.bucket}/*/models/*"
      },
      {
        Sid       = "ListModels"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["*/models/*"] } }
      },
      merge(local.key_through_s3, { Action = ["kms:Decrypt"] }),
    ]
    cert-manager = [
      {
        Sid      = "Challenges"
        Effect   = "Allow"
        Action   = "route53:ChangeResourceRecordSets"
        Resource = "arn:${local.partition}:route53:::hostedzone/${coalesce(var.dns_zone_id, "none")}"
        Condition = {
          "ForAllValues:StringEquals" = { "route53:ChangeResourceRecordSetsRecordTypes" = ["TXT"] }
          "ForAllValues:StringLike"   = { "route53:ChangeResourceRecordSetsNormalizedRecordNames" = ["_acme-challenge.*"] }
          Null                        = { "route53:ChangeResourceRecordSetsNormalizedRecordNames" = "false" }
        }
      },
      {
        Sid      = "SeeRecords"
        Effect   = "Allow"
        Action   = "route53:ListResourceRecordSets"
        Resource = "arn:${local.partition}:route53:::hostedzone/${coalesce(var.dns_zone_id, "none")}"
      },
      {
        Sid      = "SeeWhetherItIsThere"
        Effect   = "Allow"
        Action   = "route53:GetChange"
        Resource = "arn:${local.partition}:route53:::change/*"
      },
    ]
  }
}

resource "aws_iam_role" "this" {
  for_each = local.accounts

  name        = "${var.name}-${each.key}"
  description = each.value.description

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = var.account_id
          "aws:RequestTag/eks-cluster-arn"            = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.name}"
          "aws:RequestTag/kubernetes-namespace"       = each.value.namespace
          "aws:RequestTag/kubernetes-service-account" = each.value.service_account
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.accounts

  name = each.key == "external-secrets" ? "secrets" : "own"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })
}
