mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111", key_id = "11111111-1111-1111-1111-111111111111" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_db_instance" {
    defaults = { master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:111111111111:secret:rds!db-mock" }] }
  }
}

variables {
  name                     = "hallmark-dev"
  account_id               = "111111111111"
  part                     = "tracking"
  purpose                  = "experiment tracking"
  key_alias                = "database"
  engine                   = "postgres"
  database                 = "mlflow"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-a", "subnet-b", "subnet-c"]
  client_security_group_id = "sg-cluster"
  log_key_arn              = "arn:aws:kms:eu-central-1:111111111111:key/00000000-0000-0000-0000-000000000000"
}

run "the_database_is_private_encrypted_and_doubled" {
  command = plan

  assert {
    condition     = !aws_db_instance.this.publicly_accessible && aws_vpc_security_group_ingress_rule.database.referenced_security_group_id == "sg-cluster" && aws_vpc_security_group_ingress_rule.database.from_port == 5432 && aws_vpc_security_group_ingress_rule.database.to_port == 5432
    error_message = "Expected Postgres for the cluster alone."
  }

  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.kms_key_id == aws_kms_key.database.arn && aws_db_instance.this.performance_insights_kms_key_id == aws_kms_key.database.arn
    error_message = "The database, or the statistics of its queries, are not encrypted."
  }

  assert {
    condition     = aws_db_instance.this.multi_az && aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.backup_retention_period == 14
    error_message = "One mistake or one zone away from losing every experiment."
  }

  assert {
    condition     = anytrue([for parameter in aws_db_parameter_group.this.parameter : parameter.name == "rds.force_ssl" && parameter.value == "1"])
    error_message = "Connections without TLS are answered."
  }
}

run "the_password_is_nobody_s_and_turns" {
  command = plan

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null && aws_secretsmanager_secret_rotation.password.rotation_rules[0].automatically_after_days == 30
    error_message = "Expected a password that only Secrets Manager knows."
  }
}

run "its_logs_end_and_are_encrypted" {
  command = plan

  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.database : group.retention_in_days == 365 && group.kms_key_id == var.log_key_arn]) && toset(aws_db_instance.this.enabled_cloudwatch_logs_exports) == toset(keys(aws_cloudwatch_log_group.database))
    error_message = "A log of the database is plain or endless."
  }
}

run "mysql_is_as_closed" {
  command = plan

  variables {
    part   = "pipelines"
    engine = "mysql"
  }

  assert {
    condition     = aws_db_instance.this.engine == "mysql" && aws_db_instance.this.identifier == "hallmark-dev-pipelines" && aws_vpc_security_group_ingress_rule.database.from_port == 3306 && aws_vpc_security_group_ingress_rule.database.to_port == 3306
    error_message = "Expected MySQL for the cluster alone."
  }

  assert {
    condition     = anytrue([for parameter in aws_db_parameter_group.this.parameter : parameter.name == "require_secure_transport" && parameter.value == "1"])
    error_message = "Connections without TLS are answered."
  }

  assert {
    condition     = toset(aws_db_instance.this.enabled_cloudwatch_logs_exports) == toset(keys(aws_cloudwatch_log_group.database))
    error_message = "A log of the database is plain or endless."
  }
}

run "refuses_another_engine" {
  command = plan
  variables {
    engine = "oracle"
  }
  expect_failures = [var.engine]
}

run "a_null_takes_the_default" {
  command = plan

  variables {
    multi_az       = null
    instance_class = null
  }

  assert {
    condition     = aws_db_instance.this.multi_az && aws_db_instance.this.instance_class == "db.t4g.medium"
    error_message = "Leaving a key out of the var-file turns the standby off."
  }
}

run "refuses_backups_turned_off" {
  command = plan
  variables {
    backup_retention_days = 0
  }
  expect_failures = [var.backup_retention_days]
}

run "refuses_a_password_for_ever" {
  command = plan
  variables {
    password_rotation_days = 365
  }
  expect_failures = [var.password_rotation_days]
}

run "refuses_one_zone" {
  command = plan
  variables {
    subnet_ids = ["subnet-a"]
  }
  expect_failures = [var.subnet_ids]
}

run "refuses_a_class_that_is_none" {
  command = plan
  variables {
    instance_class = "m7g.large"
  }
  expect_failures = [var.instance_class]
}

run "refuses_a_disk_that_is_too_small" {
  command = plan
  variables {
    storage_gib = 5
  }
  expect_failures = [var.storage_gib]
}

run "refuses_logs_of_a_week" {
  command = plan
  variables {
    log_retention_days = 7
  }
  expect_failures = [var.log_retention_days]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
