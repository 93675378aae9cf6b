variable "cluster_name" {
  description = "The cluster that the nodes join."
  type        = string
}

variable "account_id" {
  description = "The account that role and queue policies trust."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected 12 digits; got \"${var.account_id}\"."
  }
}

variable "region" {
  description = "The region, such as eu-central-1."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes of the nodes: the cluster's."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets that nodes may start in; fewer zones where the instance type exists in few."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "Expected at least one subnet."
  }
}

variable "node_role_arn" {
  description = "Role of managed nodes (module cluster)."
  type        = string
}

variable "disk_key_arn" {
  description = "KMS key of the nodes' disks (module cluster)."
  type        = string
}

variable "queue_key_arn" {
  description = "KMS key of the interruption queue; its policy lets EventBridge use it (module observability)."
  type        = string
}

variable "pools" {
  description = "Managed node groups with GPUs, by purpose: inference or training. They start from nothing and go back to it."
  type = map(object({
    instance_types = list(string)
    ami_type       = optional(string, "BOTTLEROCKET_x86_64_NVIDIA")
    maximum        = number
    spot           = optional(bool, false)
    disk_gib       = optional(number, 200)
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.pools), ["inference", "training"])) == 0
    error_message = "Expected the pools inference and training; got ${join(", ", keys(var.pools))}."
  }

  validation {
    condition     = alltrue(flatten([for pool in values(var.pools) : [for type in pool.instance_types : can(regex("^(g4dn|g5|g6|g6e|gr6|p4d|p4de|p5|p5e|p5en)\\.[0-9a-z]+$", type))]]))
    error_message = "Expected instance types of NVIDIA families (g4dn, g5, g6, g6e, gr6, p4d, p4de, p5, p5e, p5en): a node without GPU would carry the GPU taint and stay empty."
  }

  validation {
    condition     = alltrue([for pool in values(var.pools) : length(pool.instance_types) > 0 && pool.maximum >= 1 && pool.maximum <= 64])
    error_message = "Expected at least one instance type, and a maximum from 1 to 64."
  }

  validation {
    condition     = alltrue([for pool in values(var.pools) : contains(["BOTTLEROCKET_x86_64_NVIDIA", "AL2023_x86_64_NVIDIA"], pool.ami_type)])
    error_message = "Expected BOTTLEROCKET_x86_64_NVIDIA or AL2023_x86_64_NVIDIA: other images have no driver."
  }

  validation {
    condition     = !try(var.pools.inference.spot, false)
    error_message = "Expected inference on demand: spot takes a node away two minutes after saying so, and answers with it."
  }
}

variable "karpenter" {
  description = "Whether Karpenter's roles, queue and event rules are made, so that node pools on the cluster can take over from managed node groups."
  type        = bool
  default     = true
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no access entries and pod identity associations."
  type        = bool
  default     = false
}
