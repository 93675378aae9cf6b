mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111111111111:log-group:mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:111111111111:hallmark-dev-alarms" }
  }
  mock_resource "aws_prometheus_workspace" {
    defaults = { arn = "arn:aws:aps:eu-central-1:111111111111:workspace/ws-mock" }
  }
}

variables {
  name           = "hallmark-dev"
  account_id     = "111111111111"
  region         = "eu-central-1"
  contacts       = ["platform-oncall@hallmark.example"]
  monthly_budget = 1500
  alarms = {
    disk = { description = "Little disk", namespace = "AWS/RDS", metric = "FreeStorageSpace", dimensions = { DBInstanceIdentifier = "x" }, below = 10 }
    cpu  = { description = "Much work", namespace = "AWS/RDS", metric = "CPUUtilization", dimensions = { DBInstanceIdentifier = "x" }, above = 80 }
  }
}

run "signals_are_encrypted_and_end" {
  command = plan

  assert {
    condition     = alltrue([for group in concat(values(aws_cloudwatch_log_group.this), [aws_cloudwatch_log_group.prometheus]) : group.kms_key_id == aws_kms_key.signals.arn && group.retention_in_days == 365])
    error_message = "A log group is plain or endless."
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == aws_kms_key.signals.arn && aws_prometheus_workspace.this.kms_key_arn == aws_kms_key.signals.arn && aws_kms_key.signals.enable_key_rotation
    error_message = "Alarms or metrics lie under a key that is not ours."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_kms_key.signals.policy).Statement : length(keys(statement.Condition)) > 0 if statement.Sid != "AccountDecidesByIam"])
    error_message = "A service of AWS may use the key on anybody's behalf."
  }
}

run "prometheus_writes_its_workspace_and_reads_nothing" {
  command = plan

  assert {
    condition     = jsondecode(aws_iam_role_policy.prometheus.policy).Statement[0].Action == "aps:RemoteWrite" && jsondecode(aws_iam_role_policy.prometheus.policy).Statement[0].Resource == aws_prometheus_workspace.this.arn
    error_message = "Prometheus may do more than write."
  }
}

run "alarms_reach_somebody" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["disk"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.this["cpu"].comparison_operator == "GreaterThanThreshold" && alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn])])
    error_message = "An alarm looks the wrong way, or tells nobody."
  }

  assert {
    condition     = length(aws_sns_topic_subscription.contact) == 1 && aws_budgets_budget.environment["monthly"].limit_amount == "1500.0"
    error_message = "Nobody hears of alarms, or of the cost."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_sns_topic_policy.alarms.policy).Statement : statement.Condition.StringEquals["aws:SourceAccount"] == "111111111111"])
    error_message = "Others may publish alarms."
  }
}

run "refuses_an_alarm_without_a_threshold" {
  command = plan
  variables {
    alarms = { x = { description = "x", namespace = "x", metric = "x", dimensions = {} } }
  }
  expect_failures = [var.alarms]
}

run "refuses_an_unknown_statistic" {
  command = plan
  variables {
    alarms = { x = { description = "x", namespace = "x", metric = "x", dimensions = {}, above = 1, statistic = "p99" } }
  }
  expect_failures = [var.alarms]
}

run "refuses_alarms_for_nobody" {
  command = plan
  variables {
    contacts = []
  }
  expect_failures = [var.contacts]
}

run "refuses_logs_of_a_week" {
  command = plan
  variables {
    retention_days = 7
  }
  expect_failures = [var.retention_days]
}

run "refuses_a_budget_of_nothing" {
  command = plan
  variables {
    monthly_budget = 0
  }
  expect_failures = [var.monthly_budget]
}

run "refuses_log_groups_that_leave_their_place" {
  command = plan
  variables {
    log_groups = ["../x"]
  }
  expect_failures = [var.log_groups]
}

run "refuses_a_name_that_no_resource_takes" {
  command = plan
  variables {
    name = "Hallmark"
  }
  expect_failures = [var.name]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
