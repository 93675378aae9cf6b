data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix

  bucket  = "arn:${local.partition}:s3:::${var.artifacts.bucket}"
  cluster = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.platform}"
  tags    = { "hallmark:domain" = var.name, "hallmark:team" = var.owner.team }

  # The service accounts of a domain (hallmark/names.py): pipeline trains and writes, predictor serves and reads models, and writes changes of items alone; parity,
  # where the domain reads views, compares what its models read with the events, and has nothing of its own in the bucket.
  accounts = merge(local.own_accounts, { for account in(length(var.views) == 0 ? [] : ["parity"]) : account => {
    prefix         = ""
    object_actions = tolist([])
    key_actions    = ["kms:Decrypt"]
    # Answers that an erasure changed are no mismatches: its records say whose.
    events = concat([for source in sort(var.sources) : "features/offline/${source}@"], ["features/offline/erasures/"])
  } })
  own_accounts = {
    pipeline = {
      prefix = "${var.name}/"
      object_actions = [
        "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
      ]
      key_actions = ["kms:Decrypt", "kms:GenerateDataKey"]
      events      = [for source in sort(var.sources) : "features/offline/${source}@"]
    }
    predictor = {
      prefix         = "${var.name}/models/"
      object_actions = ["s3:GetObject", "s3:GetObjectVersion"]
      key_actions    = ["kms:Decrypt"]
      events         = []
    }
  }

  # Rows of the online store begin with features/<view>@<version>/ (hallmark/feature_store/online/keys.py). Every version of a view that
  # the domain names: while a rollout goes from one to the next, both are read. Who writes them is module features' account alone.
  rows = [for view in sort(var.views) : "features/${view}@*"]

  # Who reads them, where which engine is there; known before anything is applied, because the parts of ARNs are.
  readers = length(var.views) == 0 ? toset([]) : toset(["parity", "predictor"])
  table   = var.online_store.table_arn == null ? toset([]) : local.readers
  valkey  = var.online_store.valkey_arn == null ? toset([]) : local.readers
}

resource "aws_iam_role" "this" {
  for_each = local.accounts

  name                 = "${var.platform}-${var.name}-${each.key}"
  description          = "Service account ${each.key} of domain ${var.name}, by EKS Pod Identity."
  max_session_duration = 3600 * 6
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ThisServiceAccountOfThisCluster"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = var.account_id
          "aws:RequestTag/eks-cluster-arn"            = local.cluster
          "aws:RequestTag/kubernetes-namespace"       = var.name
          "aws:RequestTag/kubernetes-service-account" = each.key
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "artifacts" {
  for_each = local.accounts

  name = "artifacts"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(each.value.prefix == "" ? [] : [{
      Sid      = "OwnObjects"
      Effect   = "Allow"
      Action   = each.value.object_actions
      Resource = "${local.bucket}/${each.value.prefix}*"
      }], [
      {
        Sid       = "OwnListing"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = concat(each.value.prefix == "" ? [] : [each.value.prefix, "${each.value.prefix}*"], [for source in each.value.events : "${source}*"]) } }
      },
      {
        Sid      = "WhereTheBucketIs"
        Effect   = "Allow"
        Action   = "s3:GetBucketLocation"
        Resource = local.bucket
      },
      {
        # A key is a name and no path, so IAM compares it as it is written; what resolves paths later would end in another domain.
        Sid      = "NoWayUp"
        Effect   = "Deny"
        Action   = "s3:*"
        Resource = ["${local.bucket}/../*", "${local.bucket}/*/../*", "${local.bucket}/*/.."]
      },
      {
        Sid       = "KeyThroughS3"
        Effect    = "Allow"
        Action    = each.value.key_actions
        Resource  = var.artifacts.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.${local.dns_suffix}" } }
      },
      ], length(each.value.events) == 0 ? [] : [{
        # A training joins its labels with the events that its views are computed from.
        Sid      = "EventsOfItsViews"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = [for source in each.value.events : "${local.bucket}/${source}*"]
    }])
  })
}

# Servers of a model whose items change write each change below the domain's own prefix, and follow what the others write.
resource "aws_iam_role_policy" "changes" {
  for_each = toset(var.changes ? ["predictor"] : [])

  name = "changes"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ChangesOfItems"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${local.bucket}/${var.name}/changes/*"
      },
      {
        Sid       = "ListingOfChanges"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["${var.name}/changes/*"] } }
      },
      {
        Sid       = "KeyThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.artifacts.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.${local.dns_suffix}" } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "features" {
  for_each = local.table

  name = "features"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Every key of a request has to begin so, and one request asks for all views.
        Sid       = "ItsViews"
        Effect    = "Allow"
        Action    = ["dynamodb:BatchGetItem"]
        Resource  = var.online_store.table_arn
        Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = local.rows }, Null = { "dynamodb:LeadingKeys" = "false" } }
      },
      {
        Sid       = "KeyThroughDynamoDb"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.online_store.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "dynamodb.${var.region}.${local.dns_suffix}" } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "valkey" {
  for_each = local.valkey

  name = "valkey"
  role = aws_iam_role.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SignInAsOwnUser"
      Effect   = "Allow"
      Action   = "elasticache:Connect"
      Resource = [var.online_store.valkey_arn, "arn:${local.partition}:elasticache:${var.region}:${var.account_id}:user:${var.name}-${each.key}"]
    }]
  })
}

# Signs in by IAM, with no password; its one command of data reaches rows of the domain's views only.
resource "aws_elasticache_user" "this" {
  for_each = var.emulated ? toset([]) : local.valkey

  engine        = "valkey"
  user_id       = "${var.name}-${each.key}"
  user_name     = "${var.name}-${each.key}"
  access_string = "on ${join(" ", [for row in local.rows : "~${row}"])} resetchannels -@all +mget +@connection -@dangerous"
  tags          = local.tags

  authentication_mode {
    type = "iam"
  }
}

resource "aws_elasticache_user_group_association" "this" {
  for_each = var.emulated ? toset([]) : local.valkey

  user_group_id = var.online_store.valkey_user_group
  user_id       = aws_elasticache_user.this[each.key].user_id
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = var.emulated ? {} : local.accounts

  cluster_name    = var.platform
  namespace       = var.name
  service_account = each.key
  role_arn        = aws_iam_role.this[each.key].arn
  tags            = local.tags
}

resource "aws_budgets_budget" "this" {
  for_each = var.emulated ? toset([]) : toset(["monthly"])

  name         = "${var.platform}-${var.name}"
  budget_type  = "COST"
  limit_amount = format("%.1f", var.monthly_budget)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"
  tags         = local.tags

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:hallmark:domain$%s", var.name)]
  }

  dynamic "notification" {
    for_each = { FORECASTED = 100, ACTUAL = 80 }

    content {
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      comparison_operator        = "GREATER_THAN"
      subscriber_email_addresses = [var.owner.contact]
    }
  }
}
