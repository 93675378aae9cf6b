variable "name" {
  description = "Name of the environment, such as hallmark-dev."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket; the manifests of the environment's cluster name it too (manifests/clusters/<cluster>/settings)."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,50}[a-z0-9]$", var.bucket))
    error_message = "Expected 3 to 52 lower-case letters, digits and dashes, no dots: TLS to a name with dots fails; got \"${var.bucket}\"."
  }
}

variable "account_id" {
  description = "The account that owns the bucket and whose logs it takes."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected 12 digits; got \"${var.account_id}\"."
  }
}

variable "keep_old_versions_days" {
  description = "How long an overwritten or deleted object can be had back."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_old_versions_days >= 7 && var.keep_old_versions_days <= 3650 && floor(var.keep_old_versions_days) == var.keep_old_versions_days
    error_message = "Expected 7 to 3650 whole days: less is no way back from a mistake of Friday; got ${var.keep_old_versions_days}."
  }
}

variable "access_log_retention_days" {
  description = "How long access logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = var.access_log_retention_days >= 90 && var.access_log_retention_days <= 3650 && floor(var.access_log_retention_days) == var.access_log_retention_days
    error_message = "Expected 90 to 3650 whole days; got ${var.access_log_retention_days}."
  }
}
