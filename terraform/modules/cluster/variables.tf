variable "name" {
  description = "The cluster's name, such as hallmark-dev."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,39}$", var.name))
    error_message = "Expected 3 to 40 lower-case letters, digits and dashes, a letter first; got \"${var.name}\"."
  }
}

variable "account_id" {
  description = "The account that key and role policies trust."
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
  description = "Kubernetes, one minor version up at a time; the add-ons' versions go with it."
  type        = string

  validation {
    condition     = can(regex("^1\\.(3[1-9]|4[0-9])$", var.kubernetes_version))
    error_message = "Expected a minor version from 1.31 on, such as 1.33; got \"${var.kubernetes_version}\"."
  }
}

variable "addons" {
  description = "Managed add-ons and their exact versions: aws eks describe-addon-versions --kubernetes-version lists them."
  type        = map(string)

  validation {
    condition     = length(setsubtract(["vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent"], keys(var.addons))) == 0
    error_message = "Expected at least vpc-cni, coredns, kube-proxy and eks-pod-identity-agent; missing: ${join(", ", setsubtract(["vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent"], keys(var.addons)))}."
  }

  validation {
    condition     = alltrue([for version in values(var.addons) : can(regex("^v[0-9]+\\.[0-9]+\\.[0-9]+-eksbuild\\.[0-9]+$", version))])
    error_message = "Expected exact versions such as v1.19.5-eksbuild.1: one that floats changes a cluster that nobody touched."
  }
}

variable "control_plane_subnet_ids" {
  description = "Subnets of the API server's own interfaces, in at least two zones, with no pod in them."
  type        = list(string)

  validation {
    condition     = length(distinct(var.control_plane_subnet_ids)) >= 2
    error_message = "Expected subnets in at least two zones; got ${length(distinct(var.control_plane_subnet_ids))}."
  }

  validation {
    condition     = length(setintersection(var.control_plane_subnet_ids, var.subnet_ids)) == 0
    error_message = "Expected subnets that no node is in: pods there would pass for the API server; got ${join(", ", setintersection(var.control_plane_subnet_ids, var.subnet_ids))}."
  }
}

variable "subnet_ids" {
  description = "Private subnets of nodes and pods, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(distinct(var.subnet_ids)) >= 2
    error_message = "Expected subnets in at least two zones; got ${length(distinct(var.subnet_ids))}."
  }
}

variable "services_cidr" {
  description = "Addresses of Kubernetes services; outside the VPC and whatever it is joined with (module network's apart_from)."
  type        = string
  default     = "172.20.0.0/16"

  validation {
    condition     = try(cidrhost(var.services_cidr, 0) == split("/", var.services_cidr)[0] && tonumber(split("/", var.services_cidr)[1]) >= 12 && tonumber(split("/", var.services_cidr)[1]) <= 24, false)
    error_message = "Expected an IPv4 block from /12 to /24 that begins at its first address; got \"${var.services_cidr}\"."
  }
}

variable "public_access_cidrs" {
  description = "Who may reach the API from the internet: office or VPN addresses. Empty, the default, leaves the private endpoint only."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for block in var.public_access_cidrs : try(tonumber(split("/", block)[1]) >= 24 && can(cidrhost(block, 0)), false)])
    error_message = "Expected blocks of /24 or smaller: the API is for an office, not for the internet."
  }
}

variable "administrators" {
  description = "Name to IAM role of those who administer the cluster: people's sign-in role and the GitOps bootstrap."
  type        = map(string)

  validation {
    condition     = length(var.administrators) > 0 && alltrue([for arn in values(var.administrators) : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", arn))])
    error_message = "Expected at least one role ARN: nobody else gets into the cluster, its creator neither."
  }
}

variable "pod_identities" {
  description = "Name to service account and role, for platform programs; domains bring their own (module domain)."
  type = map(object({
    namespace       = string
    service_account = string
    role_arn        = string
  }))
  default = {}
}

variable "system_nodes" {
  description = "The nodes of Hallmark's own programs and the add-ons."
  type = object({
    ami_type       = optional(string, "BOTTLEROCKET_x86_64")
    instance_types = optional(list(string), ["m6i.large"])
    minimum        = optional(number, 2)
    maximum        = optional(number, 4)
    disk_gib       = optional(number, 50)
  })
  default = {}

  validation {
    condition     = contains(["BOTTLEROCKET_x86_64", "BOTTLEROCKET_ARM_64", "AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD"], var.system_nodes.ami_type)
    error_message = "Expected Bottlerocket or AL2023; got \"${var.system_nodes.ami_type}\"."
  }

  validation {
    condition     = var.system_nodes.minimum >= 2 && var.system_nodes.maximum >= var.system_nodes.minimum
    error_message = "Expected at least two system nodes, and a maximum that is no smaller; got ${var.system_nodes.minimum} to ${var.system_nodes.maximum}."
  }
}

variable "log_retention_days" {
  description = "How long the control plane's logs are kept; the audit log among them."
  type        = number
  default     = 365

  validation {
    condition     = contains([90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Expected 90 to 3653 days, a period that CloudWatch Logs knows; got ${var.log_retention_days}."
  }
}

variable "log_key_arn" {
  description = "KMS key of the logs (module observability)."
  type        = string
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no add-ons, access entries, pod identity associations and OIDC issuers, and keeps neither access mode nor upgrade policy."
  type        = bool
  default     = false
}
