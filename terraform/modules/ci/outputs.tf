output "role_arn" {
  description = "The role, for the variable REGISTRY_ROLE of the repository on GitHub."
  value       = aws_iam_role.images.arn
}
