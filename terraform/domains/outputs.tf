output "domains" {
  description = "Domain to its roles and to where its objects begin."
  value       = { for name, domain in module.domain : name => { roles = domain.roles, prefix = domain.prefix } }
}

output "features" {
  description = "Role of the feature stream, and of each source the Kinesis stream that its producers write to, and its key."
  value       = { role = module.features.role, streams = module.features.streams, flink_role = module.features.flink_role, key_arn = module.features.key_arn }
}
