variable "name" {
  description = "Name of the environment, such as hallmark-dev."
  type        = string
}

variable "account_id" {
  description = "The account that the key's policy trusts."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected 12 digits; got \"${var.account_id}\"."
  }
}

variable "engines" {
  description = "What holds features that requests look up: valkey (under a millisecond, paid by the hour), dynamodb (a few, paid by the request), or both."
  type        = set(string)
  default     = ["dynamodb"]

  validation {
    condition     = length(var.engines) > 0 && length(setsubtract(var.engines, ["valkey", "dynamodb"])) == 0
    error_message = "Expected valkey, dynamodb or both; got ${join(", ", var.engines)}."
  }
}

variable "vpc_id" {
  description = "The network that it lies in."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of data stores, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(distinct(var.subnet_ids)) >= 2
    error_message = "Expected subnets in at least two zones; got ${length(distinct(var.subnet_ids))}."
  }
}

variable "client_security_group_id" {
  description = "Security group that may connect: the cluster's nodes and pods."
  type        = string
}

variable "valkey" {
  description = "Size of the Valkey nodes, and replicas besides the primary."
  type = object({
    node_type = optional(string, "cache.t4g.small")
    replicas  = optional(number, 1)
  })
  default = {}

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[0-9a-z]+$", var.valkey.node_type))
    error_message = "Expected a node type such as cache.r7g.large; got \"${var.valkey.node_type}\"."
  }

  validation {
    condition     = var.valkey.replicas >= 1 && var.valkey.replicas <= 5
    error_message = "Expected 1 to 5 replicas: with none, a lost node is a lost store; got ${var.valkey.replicas}."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the table. Taking an environment down needs false, applied first."
  type        = bool
  default     = true
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no ElastiCache user groups."
  type        = bool
  default     = false
}
