output "key_arn" {
  description = "KMS key of logs, alarms and events; whatever else logs or sends events uses it too."
  value       = aws_kms_key.signals.arn
}

output "topic_arn" {
  description = "Where alarms go."
  value       = aws_sns_topic.alarms.arn
}

output "workspace_arn" {
  description = "The Managed Prometheus workspace."
  value       = aws_prometheus_workspace.this.arn
}

output "workspace_endpoint" {
  description = "Remote-write address of the workspace, without its last part api/v1/remote_write."
  value       = aws_prometheus_workspace.this.prometheus_endpoint
}

output "prometheus_role_arn" {
  description = "Role of the cluster's Prometheus (namespace monitoring, account prometheus)."
  value       = aws_iam_role.prometheus.arn
}
