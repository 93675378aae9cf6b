output "names" {
  description = "First part of a name to the whole of it."
  value       = { for name, record in aws_route53_record.this : name => record.name }
}
