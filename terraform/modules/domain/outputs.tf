output "roles" {
  description = "Service account to the ARN of its role."
  value       = { for account, role in aws_iam_role.this : account => role.arn }
}

output "prefix" {
  description = "Where the domain's objects begin."
  value       = "s3://${var.artifacts.bucket}/${var.name}/"
}
