data "aws_partition" "this" {}

locals {
  partition = data.aws_partition.this.partition

  valkey   = contains(var.engines, "valkey") ? toset(["valkey"]) : toset([])
  dynamodb = contains(var.engines, "dynamodb") ? toset(["dynamodb"]) : toset([])
}

resource "aws_kms_key" "store" {
  description             = "${var.name}: online features"
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

resource "aws_kms_alias" "store" {
  name          = "alias/${var.name}/online-store"
  target_key_id = aws_kms_key.store.key_id
}

# Items are keyed features/<view>@<version>/<shard> and entity (hallmark/feature_store/online/dynamodb.py): IAM goes by how the key begins.
resource "aws_dynamodb_table" "features" {
  for_each = local.dynamodb

  name                        = "${var.name}-features"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "part"
  range_key                   = "entity"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "part"
    type = "S"
  }

  attribute {
    name = "entity"
    type = "B"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.store.arn
  }

  lifecycle {
    prevent_destroy = true # features are computed for months before they are whole again
  }
}

resource "aws_security_group" "valkey" {
  for_each = local.valkey

  name        = "${var.name}-valkey"
  description = "Valkey, from the cluster only"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-valkey" }
}

resource "aws_vpc_security_group_ingress_rule" "valkey" {
  for_each = local.valkey

  security_group_id            = aws_security_group.valkey["valkey"].id
  description                  = "Valkey from the cluster"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_subnet_group" "this" {
  for_each = local.valkey

  name        = "${var.name}-valkey"
  description = "Data subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

# Nobody gets in without being a user of this group, and its users sign in by IAM: there is no password to keep. Modules
# domain and features add theirs, bound to keys.
resource "aws_elasticache_user_group" "this" {
  for_each = var.emulated ? toset([]) : local.valkey

  engine        = "valkey"
  user_group_id = var.name

  lifecycle {
    ignore_changes = [user_ids] # domains join by themselves
  }
}

# What it holds is rebuilt from the offline features, so it is no place where data lives.
resource "aws_elasticache_replication_group" "this" {
  for_each = local.valkey

  replication_group_id       = "${var.name}-features"
  description                = "Online features of ${var.name}"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.valkey.node_type
  num_cache_clusters         = 1 + var.valkey.replicas
  port                       = 6379
  subnet_group_name          = aws_elasticache_subnet_group.this["valkey"].name
  security_group_ids         = [aws_security_group.valkey["valkey"].id]
  user_group_ids             = [for group in aws_elasticache_user_group.this : group.user_group_id]
  automatic_failover_enabled = true
  multi_az_enabled           = true
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.store.arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  snapshot_retention_limit   = 7
  auto_minor_version_upgrade = true
}
