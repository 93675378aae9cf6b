output "role" {
  description = "ARN of the stream's role."
  value       = aws_iam_role.stream.arn
}

output "streams" {
  description = "Source to the ARN of its stream, which producers of yours may write to."
  value       = { for source, stream in aws_kinesis_stream.source : source => stream.arn }
}

output "flink_role" {
  description = "ARN of the role of Flink's jobs; null where no view is added up by Flink."
  value       = one([for role in aws_iam_role.flink : role.arn])
}

output "key_arn" {
  description = "KMS key of the streams, which their producers need to use through Kinesis; null where there are none."
  value       = one([for key in aws_kms_key.events : key.arn])
}
