data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix

  bucket  = "arn:${local.partition}:s3:::${var.artifacts.bucket}"
  cluster = "arn:${local.partition}:eks:${var.region}:${var.account_id}:cluster/${var.platform}"

  # By the source, name@version; called as hallmark/feature_store/log_address.py calls them, since @ is no sign of a stream's name.
  streams = var.event_log == "kinesis" ? { for source in var.sources : source => "${var.platform}-events-${replace(source, "@", "-v")}" } : {}
  kinesis = length(local.streams) == 0 ? toset([]) : toset(["kinesis"])

  # The views that Flink adds up, each with the log of its tiles (log_of in hallmark/feature_store/flink.py).
  tiles = { for view in var.flink : view => "${var.platform}-events-${replace("${view}-tiles", "@", "-v")}" }
  flink = length(local.tiles) == 0 ? toset([]) : toset(["flink"])

  stream_arns = [for name in values(local.streams) : "arn:${local.partition}:kinesis:${var.region}:${var.account_id}:stream/${name}"]
  tiles_arns  = [for name in values(local.tiles) : "arn:${local.partition}:kinesis:${var.region}:${var.account_id}:stream/${name}"]

  # Where which engine is there; known before anything is applied, because the parts of ARNs are.
  table  = var.online_store.table_arn == null ? toset([]) : toset(["stream"])
  valkey = var.online_store.valkey_arn == null ? toset([]) : toset(["stream"])
}

resource "aws_kms_key" "events" {
  for_each = local.kinesis

  description             = "${var.platform}: events of sources"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountDecidesByIam"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${var.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "events" {
  for_each = local.kinesis

  name          = "alias/${var.platform}/events"
  target_key_id = aws_kms_key.events["kinesis"].key_id
}

# What is read from it within its days is in the online store, and what is kept for training in the bucket.
resource "aws_kinesis_stream" "source" {
  for_each = local.streams

  name                      = each.value
  retention_period          = var.retention_days * 24
  encryption_type           = "KMS"
  kms_key_id                = aws_kms_key.events["kinesis"].arn
  enforce_consumer_deletion = true

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }

  tags = { "hallmark:source" = each.key }
}

# What Flink adds up, which the stream makes payloads of.
resource "aws_kinesis_stream" "tiles" {
  for_each = local.tiles

  name                      = each.value
  retention_period          = var.retention_days * 24
  encryption_type           = "KMS"
  kms_key_id                = aws_kms_key.events["kinesis"].arn
  enforce_consumer_deletion = true

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }

  tags = { "hallmark:view" = each.key }
}

# The one account that writes rows of views; the Deployment `stream` and materialisations run as it.
resource "aws_iam_role" "stream" {
  name        = "${var.platform}-features-stream"
  description = "Service account stream of namespace features, by EKS Pod Identity."

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
          "aws:RequestTag/kubernetes-namespace"       = "features"
          "aws:RequestTag/kubernetes-service-account" = "stream"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "events" {
  for_each = local.kinesis

  name = "events"
  role = aws_iam_role.stream.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadEvents"
        Effect   = "Allow"
        Action   = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
        Resource = concat(local.stream_arns, local.tiles_arns)
      },
      {
        Sid       = "KeyThroughKinesis"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.events["kinesis"].arn
        Condition = { StringEquals = { "kms:ViaService" = "kinesis.${var.region}.${local.dns_suffix}" } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "offline" {
  name = "offline"
  role = aws_iam_role.stream.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Rows of a person are erased with the old versions of their objects.
        Sid    = "Events"
        Effect = "Allow"
        Action = [
          "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload",
          "s3:ListMultipartUploadParts",
        ]
        Resource = "${local.bucket}/features/offline/*"
      },
      {
        # Rows that were refused hold what rows hold: whoever writes them down need not read them again.
        Sid      = "DeadLetters"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = "${local.bucket}/features/dead-letters/*"
      },
      {
        Sid       = "OwnListing"
        Effect    = "Allow"
        Action    = ["s3:ListBucket", "s3:ListBucketVersions"]
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["features/offline/*"] } }
      },
      {
        Sid      = "NoWayUp"
        Effect   = "Deny"
        Action   = "s3:*"
        Resource = ["${local.bucket}/../*", "${local.bucket}/*/../*", "${local.bucket}/*/.."]
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

resource "aws_iam_role_policy" "table" {
  for_each = local.table

  name = "online-store"
  role = aws_iam_role.stream.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Rows are keyed features/<view>@<version>/<shard> (hallmark/feature_store/online/keys.py).
        Sid       = "AllViews"
        Effect    = "Allow"
        Action    = ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query"]
        Resource  = var.online_store.table_arn
        Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["features/*"] }, Null = { "dynamodb:LeadingKeys" = "false" } }
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
  role = aws_iam_role.stream.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SignInAsOwnUser"
      Effect   = "Allow"
      Action   = "elasticache:Connect"
      Resource = [var.online_store.valkey_arn, "arn:${local.partition}:elasticache:${var.region}:${var.account_id}:user:features-stream"]
    }]
  })
}

# The commands of hallmark/feature_store/online/redis.py: a script that writes what is newer, a read, a search, an erasure.
resource "aws_elasticache_user" "stream" {
  for_each = var.emulated ? toset([]) : local.valkey

  engine        = "valkey"
  user_id       = "features-stream"
  user_name     = "features-stream"
  access_string = "on ~features/* resetchannels -@all +eval +evalsha +get +set +pexpireat +mget +scan +unlink +@connection -@dangerous"

  authentication_mode {
    type = "iam"
  }
}

resource "aws_elasticache_user_group_association" "stream" {
  for_each = var.emulated ? toset([]) : local.valkey

  user_group_id = var.online_store.valkey_user_group
  user_id       = aws_elasticache_user.stream["stream"].user_id
}

resource "aws_eks_pod_identity_association" "stream" {
  for_each = var.emulated ? toset([]) : toset(["stream"])

  cluster_name    = var.platform
  namespace       = "features"
  service_account = "stream"
  role_arn        = aws_iam_role.stream.arn
}

# Flink's jobs, which add events up and write tiles: the account `flink` of the namespace of that name (manifests/features/flink).
resource "aws_iam_role" "flink" {
  for_each = local.flink

  name        = "${var.platform}-features-flink"
  description = "Service account flink of namespace flink, by EKS Pod Identity."

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
          "aws:RequestTag/kubernetes-namespace"       = "flink"
          "aws:RequestTag/kubernetes-service-account" = "flink"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "flink" {
  for_each = local.flink

  name = "tiles"
  role = aws_iam_role.flink["flink"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadEvents"
        Effect   = "Allow"
        Action   = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
        Resource = local.stream_arns
      },
      {
        Sid      = "WriteTiles"
        Effect   = "Allow"
        Action   = "kinesis:PutRecords"
        Resource = local.tiles_arns
      },
      {
        Sid       = "KeyThroughKinesis"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = aws_kms_key.events["kinesis"].arn
        Condition = { StringEquals = { "kms:ViaService" = "kinesis.${var.region}.${local.dns_suffix}" } }
      },
      {
        # Checkpoints, savepoints, and what a new leader goes on from.
        Sid      = "OwnState"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = "${local.bucket}/features/flink/*"
      },
      {
        Sid       = "OwnListing"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket
        Condition = { StringLike = { "s3:prefix" = ["features/flink/*"] } }
      },
      {
        Sid      = "NoWayUp"
        Effect   = "Deny"
        Action   = "s3:*"
        Resource = ["${local.bucket}/../*", "${local.bucket}/*/../*", "${local.bucket}/*/.."]
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

resource "aws_eks_pod_identity_association" "flink" {
  for_each = var.emulated ? toset([]) : local.flink

  cluster_name    = var.platform
  namespace       = "flink"
  service_account = "flink"
  role_arn        = aws_iam_role.flink["flink"].arn
}
