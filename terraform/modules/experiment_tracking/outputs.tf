output "address" {
  description = "Host name of the database."
  value       = aws_db_instance.this.address
}

output "identifier" {
  description = "Name of the instance, for alarms."
  value       = aws_db_instance.this.identifier
}

output "secret_arn" {
  description = "Secret with the master user's name and password."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "reader_role_arn" {
  description = "Role of External Secrets (namespace and account external-secrets), which reads the password and secrets under hallmark/."
  value       = aws_iam_role.reader.arn
}
