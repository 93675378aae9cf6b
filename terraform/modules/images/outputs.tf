output "repository_urls" {
  description = "Repository to the address that images are pushed to and pulled from."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "names" {
  description = "Names of the repositories."
  value       = var.repositories
}
