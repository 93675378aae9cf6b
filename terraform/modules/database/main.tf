data "aws_partition" "this" {}

locals {
  partition = data.aws_partition.this.partition
  id        = "${var.name}-${var.part}"

  # What differs between the two engines. Either answers TLS only, and logs statements that are slow.
  engine = {
    postgres = {
      title      = "Postgres"
      version    = "17"
      family     = "postgres17"
      port       = 5432
      logs       = ["postgresql", "upgrade"]
      parameters = { "rds.force_ssl" = "1", log_statement = "ddl", log_min_duration_statement = "1000" }
    }
    mysql = {
      title      = "MySQL"
      version    = "8.4"
      family     = "mysql8.4"
      port       = 3306
      logs       = ["error", "slowquery"]
      parameters = { require_secure_transport = "1", slow_query_log = "1", long_query_time = "1", log_output = "FILE" }
    }
  }[var.engine]
}

resource "aws_kms_key" "database" {
  description             = "${var.name}: ${var.purpose}, its backups and its password"
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
  name          = "alias/${var.name}/${var.key_alias}"
  target_key_id = aws_kms_key.database.key_id
}

resource "aws_db_subnet_group" "this" {
  name        = local.id
  description = "Data subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

resource "aws_security_group" "database" {
  name        = local.id
  description = "${local.engine.title}, from the cluster only"
  vpc_id      = var.vpc_id

  tags = { Name = "${local.id}" }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "${local.engine.title} from the cluster"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.engine.port
  to_port                      = local.engine.port
}

resource "aws_db_parameter_group" "this" {
  name        = "${local.id}-${replace(local.engine.version, ".", "-")}"
  family      = local.engine.family
  description = "TLS only, and statements that are slow or change tables are logged"

  dynamic "parameter" {
    for_each = local.engine.parameters

    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_iam_role" "monitoring" {
  name        = "${local.id}-monitoring"
  description = "Enhanced monitoring of the ${var.part} database."

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
  for_each = toset(local.engine.logs)

  name              = "/aws/rds/instance/${local.id}/${each.value}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_key_arn
}

resource "aws_db_instance" "this" {
  identifier     = local.id
  engine         = var.engine
  engine_version = local.engine.version
  instance_class = var.instance_class
  db_name        = var.database
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
  final_snapshot_identifier = "${local.id}-last"

  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = local.engine.logs
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.database.arn

  lifecycle {
    prevent_destroy = true # every experiment or run, and which model came from which data
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
