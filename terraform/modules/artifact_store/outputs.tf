output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.artifacts.id
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.artifacts.arn
}

output "key_arn" {
  description = "KMS key of the artifacts; domains are granted its use through S3."
  value       = aws_kms_key.artifacts.arn
}
