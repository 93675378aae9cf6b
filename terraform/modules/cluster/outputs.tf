output "name" {
  description = "The cluster's name."
  value       = aws_eks_cluster.this.name
}

output "arn" {
  description = "The cluster's ARN, which trust policies of Pod Identity name."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "Address of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "security_group_id" {
  description = "Security group of nodes and pods; data stores let in what carries it."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "node_role_arn" {
  description = "Role of managed node groups."
  value       = aws_iam_role.nodes.arn
}

output "key_arn" {
  description = "KMS key of secrets and disks."
  value       = aws_kms_key.cluster.arn
}
