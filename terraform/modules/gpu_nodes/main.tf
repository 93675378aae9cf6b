data "aws_partition" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  dns_suffix = data.aws_partition.this.dns_suffix

  labels = { for purpose in keys(var.pools) : purpose => { "hallmark.dev/pool" = "gpu-${purpose}" } }

  # Every GPU node keeps other pods off; training nodes keep inference off too.
  taints = {
    for purpose in keys(var.pools) : purpose => merge(
      { "nvidia.com/gpu" = "true" },
      purpose == "training" ? { "hallmark.dev/pool" = "gpu-training" } : {},
    )
  }
}

resource "aws_launch_template" "pool" {
  for_each = var.pools

  name        = "${var.cluster_name}-gpu-${each.key}"
  description = "GPU nodes for ${each.key}: encrypted disks, and instance metadata that no pod reaches."

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
    device_name = startswith(each.value.ami_type, "BOTTLEROCKET") ? "/dev/xvdb" : "/dev/xvda"

    ebs {
      volume_size           = each.value.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      kms_key_id            = var.disk_key_arn
      delete_on_termination = true
    }
  }

  dynamic "block_device_mappings" {
    for_each = startswith(each.value.ami_type, "BOTTLEROCKET") ? toset(["/dev/xvda"]) : toset([])

    content {
      device_name = block_device_mappings.value

      ebs {
        volume_size           = 4
        volume_type           = "gp3"
        encrypted             = true
        kms_key_id            = var.disk_key_arn
        delete_on_termination = true
      }
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.cluster_name}-gpu-${each.key}" }
  }
}

# The cluster autoscaler reads labels and taints of an empty managed node group from EKS itself, so it can scale from zero.
resource "aws_eks_node_group" "pool" {
  for_each = var.pools

  cluster_name    = var.cluster_name
  node_group_name = "gpu-${each.key}"
  node_role_arn   = var.node_role_arn
  subnet_ids      = var.subnet_ids
  version         = var.kubernetes_version
  ami_type        = each.value.ami_type
  capacity_type   = each.value.spot ? "SPOT" : "ON_DEMAND"
  instance_types  = each.value.instance_types
  labels          = local.labels[each.key]

  dynamic "taint" {
    for_each = local.taints[each.key]

    content {
      key    = taint.key
      value  = taint.value
      effect = "NO_SCHEDULE"
    }
  }

  scaling_config {
    min_size     = 0
    desired_size = 0
    max_size     = each.value.maximum
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.pool[each.key].id
    version = aws_launch_template.pool[each.key].latest_version
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # set by the autoscaler
  }
}
