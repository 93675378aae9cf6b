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

variable "part" {
  description = "What the instance is called after the environment: tracking or pipelines."
  type        = string
}

variable "purpose" {
  description = "What it is for, in the description of its key."
  type        = string
}

variable "key_alias" {
  description = "Last part of the key's alias."
  type        = string
}

variable "engine" {
  description = "postgres or mysql, at the version that this module pins."
  type        = string

  validation {
    condition     = contains(["postgres", "mysql"], var.engine)
    error_message = "Expected postgres or mysql; got \"${var.engine}\"."
  }
}

variable "database" {
  description = "Database that is made with the instance; null makes none."
  type        = string
  default     = null
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

variable "instance_class" {
  description = "Size of the instance."
  type        = string
  nullable    = false
  default     = "db.t4g.medium"

  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[0-9a-z]+$", var.instance_class))
    error_message = "Expected a class such as db.m7g.large; got \"${var.instance_class}\"."
  }
}

variable "storage_gib" {
  description = "Disk at the start; it grows by itself to four times as much."
  type        = number
  nullable    = false
  default     = 50

  validation {
    condition     = var.storage_gib >= 20 && var.storage_gib <= 16384
    error_message = "Expected 20 to 16384 GiB; got ${var.storage_gib}."
  }
}

variable "multi_az" {
  description = "Whether a standby in another zone takes over."
  type        = bool
  nullable    = false
  default     = true
}

variable "backup_retention_days" {
  description = "How far back the database can be set, to the second."
  type        = number
  nullable    = false
  default     = 14

  validation {
    condition     = var.backup_retention_days >= 7 && var.backup_retention_days <= 35
    error_message = "Expected 7 to 35 days: 0 turns backups off; got ${var.backup_retention_days}."
  }
}

variable "password_rotation_days" {
  description = "How often Secrets Manager sets a new master password."
  type        = number
  nullable    = false
  default     = 30

  validation {
    condition     = var.password_rotation_days >= 1 && var.password_rotation_days <= 90
    error_message = "Expected 1 to 90 days; got ${var.password_rotation_days}."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the database. Taking an environment down needs false, applied first."
  type        = bool
  default     = true
}

variable "log_key_arn" {
  description = "KMS key of the database's logs (module observability)."
  type        = string
}

variable "log_retention_days" {
  description = "How long the database's logs are kept; one of the periods that CloudWatch Logs knows."
  type        = number
  default     = 365

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Expected 30 to 3653 days, a period that CloudWatch Logs knows; got ${var.log_retention_days}."
  }
}
