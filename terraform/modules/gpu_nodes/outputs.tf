output "node_groups" {
  description = "Purpose to name of the managed node groups."
  value       = { for purpose, group in aws_eks_node_group.pool : purpose => group.node_group_name }
}

output "karpenter" {
  description = "What Karpenter's values and node classes name: its role, the nodes' instance profile and the interruption queue; null where it is off."
  value = var.karpenter ? {
    role_arn         = aws_iam_role.karpenter["karpenter"].arn
    instance_profile = aws_iam_instance_profile.karpenter["karpenter"].name
    queue            = aws_sqs_queue.interruptions["karpenter"].name
  } : null
}
