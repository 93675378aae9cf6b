output "table_arn" {
  description = "The DynamoDB table; null where dynamodb is not among the engines."
  value       = one([for table in aws_dynamodb_table.features : table.arn])
}

output "valkey_arn" {
  description = "The Valkey replication group; null where valkey is not among the engines."
  value       = one([for group in aws_elasticache_replication_group.this : group.arn])
}

output "valkey_user_group" {
  description = "The user group that domains join; null where valkey is not among the engines."
  value       = one([for group in aws_elasticache_user_group.this : group.user_group_id])
}

output "valkey_address" {
  description = "Host name of the Valkey primary; null where valkey is not among the engines."
  value       = one([for group in aws_elasticache_replication_group.this : group.primary_endpoint_address])
}

output "key_arn" {
  description = "KMS key of the online store."
  value       = aws_kms_key.store.arn
}
