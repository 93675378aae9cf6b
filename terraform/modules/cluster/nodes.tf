locals {
  bottlerocket = startswith(var.system_nodes.ami_type, "BOTTLEROCKET")
}

resource "aws_launch_template" "system" {
  name        = "${var.name}-system"
  description = "System nodes of ${var.name}: encrypted disks, and instance metadata that no pod reaches."

  update_default_version = true

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  monitoring {
    enabled = true
  }

  # Bottlerocket keeps images and containers on its second disk; the first holds the system.
  block_device_mappings {
    device_name = local.bottlerocket ? "/dev/xvdb" : "/dev/xvda"

    ebs {
      volume_size           = var.system_nodes.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      kms_key_id            = aws_kms_key.cluster.arn
      delete_on_termination = true
    }
  }

  dynamic "block_device_mappings" {
    for_each = local.bottlerocket ? toset(["/dev/xvda"]) : toset([])

    content {
      device_name = block_device_mappings.value

      ebs {
        volume_size           = 4
        volume_type           = "gp3"
        encrypted             = true
        kms_key_id            = aws_kms_key.cluster.arn
        delete_on_termination = true
      }
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.name}-system" }
  }
}

resource "aws_eks_node_group" "system" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "system"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  version         = var.kubernetes_version
  ami_type        = var.system_nodes.ami_type
  instance_types  = var.system_nodes.instance_types

  labels = { "hallmark.dev/pool" = "system" }

  scaling_config {
    min_size     = var.system_nodes.minimum
    desired_size = var.system_nodes.minimum
    max_size     = var.system_nodes.maximum
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.system.id
    version = aws_launch_template.system.latest_version
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # set by the autoscaler
  }

  depends_on = [aws_iam_role_policy_attachment.nodes]
}
