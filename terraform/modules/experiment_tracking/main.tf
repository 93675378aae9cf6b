data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix
}

resource "aws_kms_key" "database" {
  description             = "${var.name}: experiment tracking, its backups and its password"
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

  lifecycle {
    prevent_destroy = true # backups cannot be read without it
  }
}

resource "aws_kms_alias" "database" {
  name          = "alias/${var.name}/database"
  target_key_id = aws_kms_key.database.key_id
}

resource "aws_db_subnet_group" "this" {
  name        = "${var.name}-tracking"
  description = "Data subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "database" {
  name        = "${var.name}-tracking"
  description = "Postgres, from the cluster only"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-tracking" }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "Postgres from the cluster"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_parameter_group" "this" {
  name        = "${var.name}-tracking-17"
  family      = "postgres17"
  description = "TLS only, and statements that are slow or change tables are logged"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_iam_role" "monitoring" {
  name        = "${var.name}-tracking-monitoring"
  description = "Enhanced monitoring of the tracking database."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# RDS would make these groups itself, without end or key.
resource "aws_cloudwatch_log_group" "database" {
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${var.name}-tracking/${each.value}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_key_arn
}

# One instance, two databases: mlflow is made with it, and Kubeflow Pipelines' by its GitOps job.
resource "aws_db_instance" "this" {
  identifier     = "${var.name}-tracking"
  engine         = "postgres"
  engine_version = "17"
  instance_class = var.instance_class
  db_name        = "mlflow"
  username       = "hallmark"

  manage_master_user_password         = true
  master_user_secret_kms_key_id       = aws_kms_key.database.key_id
  iam_database_authentication_enabled = true

  allocated_storage     = var.storage_gib
  max_allocated_storage = 4 * var.storage_gib
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.database.arn

  multi_az               = var.multi_az
  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.database.id]
  parameter_group_name   = aws_db_parameter_group.this.name
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  backup_retention_period   = var.backup_retention_days
  backup_window             = "02:00-03:00"
  maintenance_window        = "sun:03:30-sun:04:30"
  copy_tags_to_snapshot     = true
  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-tracking-last"

  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.database.arn

  lifecycle {
    prevent_destroy = true # every experiment, and which model came from which data
  }

  depends_on = [aws_cloudwatch_log_group.database]
}

# RDS makes the secret and rotates the password itself; this sets how often.
resource "aws_secretsmanager_secret_rotation" "password" {
  secret_id          = aws_db_instance.this.master_user_secret[0].secret_arn
  rotate_immediately = false

  rotation_rules {
    automatically_after_days = var.password_rotation_days
  }
}

# External Secrets brings the password to the cluster, and what people keep under hallmark/; it reads no other secret.
resource "aws_iam_role" "reader" {
  name        = "${var.name}-external-secrets"
  description = "Reads the tracking database's password and secrets under hallmark/, by EKS Pod Identity."

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
          "aws:RequestTag/kubernetes-namespace"       = "external-secrets"
          "aws:RequestTag/kubernetes-service-account" = "external-secrets"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "reader" {
  name = "secrets"
  role = aws_iam_role.reader.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = [aws_db_instance.this.master_user_secret[0].secret_arn, "arn:${local.partition}:secretsmanager:${var.region}:${var.account_id}:secret:hallmark/*"]
      },
      {
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.database.arn
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.${local.dns_suffix}" } }
      },
    ]
  })
}
