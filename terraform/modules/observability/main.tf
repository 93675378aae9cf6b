data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix

  arn = "${var.region}:${var.account_id}"

  # Who may use the key for what it sends: log groups of the environment, alarms and events onto the topic and queues.
  services = {
    logs       = { service = "logs.${var.region}.${local.dns_suffix}", condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.arn}:log-group:*${var.name}*" } } }
    events     = { service = "events.amazonaws.com", condition = { StringEquals = { "aws:SourceAccount" = var.account_id } } }
    cloudwatch = { service = "cloudwatch.amazonaws.com", condition = { StringEquals = { "aws:SourceAccount" = var.account_id } } }
    budgets    = { service = "budgets.amazonaws.com", condition = { StringEquals = { "aws:SourceAccount" = var.account_id } } }
  }
}

resource "aws_kms_key" "signals" {
  description             = "${var.name}: logs, alarms and events"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "AccountDecidesByIam"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      }],
      [for name, user in local.services : {
        Sid       = title(name)
        Effect    = "Allow"
        Principal = { Service = user.service }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = user.condition
      }],
    )
  })
}

resource "aws_kms_alias" "signals" {
  name          = "alias/${var.name}/signals"
  target_key_id = aws_kms_key.signals.key_id
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = var.log_groups

  name              = "/hallmark/${var.name}/${each.value}"
  retention_in_days = var.retention_days
  kms_key_id        = aws_kms_key.signals.arn
}

resource "aws_cloudwatch_log_group" "prometheus" {
  name              = "/aws/vendedlogs/prometheus/${var.name}"
  retention_in_days = var.retention_days
  kms_key_id        = aws_kms_key.signals.arn
}

resource "aws_prometheus_workspace" "this" {
  alias       = var.name
  kms_key_arn = aws_kms_key.signals.arn

  logging_configuration {
    log_group_arn = "${aws_cloudwatch_log_group.prometheus.arn}:*"
  }
}

# The Prometheus on the cluster writes to the workspace and reads nothing there.
resource "aws_iam_role" "prometheus" {
  name        = "${var.name}-prometheus"
  description = "Remote write of the cluster's Prometheus, by EKS Pod Identity."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = var.account_id
          "aws:RequestTag/eks-cluster-arn"            = "arn:${local.partition}:eks:${local.arn}:cluster/${var.name}"
          "aws:RequestTag/kubernetes-namespace"       = "monitoring"
          "aws:RequestTag/kubernetes-service-account" = "prometheus"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "prometheus" {
  name = "remote-write"
  role = aws_iam_role.prometheus.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "aps:RemoteWrite"
      Resource = aws_prometheus_workspace.this.arn
    }]
  })
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.signals.arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AlarmsAndBudgetsOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alarms.arn
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_sns_topic_subscription" "contact" {
  for_each = var.contacts

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = var.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.above == null ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = coalesce(each.value.above, each.value.below)
  period              = each.value.period
  evaluation_periods  = each.value.periods
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_budgets_budget" "environment" {
  for_each = var.emulated ? toset([]) : toset(["monthly"])

  name         = var.name
  budget_type  = "COST"
  limit_amount = format("%.1f", var.monthly_budget)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  dynamic "notification" {
    for_each = { FORECASTED = 100, ACTUAL = 80 }

    content {
      notification_type         = notification.key
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      comparison_operator       = "GREATER_THAN"
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }
}
