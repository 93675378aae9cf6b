output "domains" {
  description = "Domain to its roles and to where its objects begin."
  value       = { for name, domain in module.domain : name => { roles = domain.roles, prefix = domain.prefix } }
}
