data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix
  bucket     = "arn:${local.partition}:s3:::${var.artifacts.bucket}"

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
