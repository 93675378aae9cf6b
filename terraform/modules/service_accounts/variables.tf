variable "name" {
  description = "Name of the environment and its cluster, such as hallmark-dev."
  type        = string
}

variable "account_id" {
  description = "The account that trust policies name."
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

variable "artifacts" {
  description = "The artifact store: name of its bucket and ARN of its key."
  type = object({
    bucket  = string
    key_arn = string
  })
}

variable "databases" {
  description = "Secret and key of each database's password."
  type = map(object({
    secret_arn = string
    key_arn    = string
  }))
}

variable "dns_zone_id" {
  description = "Route 53 zone of the host names, in which cert-manager answers challenges; null where the zone is not on Route 53."
  type        = string
  default     = null

  validation {
    condition     = var.dns_zone_id == null || can(regex("^Z[A-Z0-9]{5,31}$", var.dns_zone_id))
    error_message = "Expected the id of a hosted zone, such as Z0123456789ABCDEFGHIJ; got \"${coalesce(var.dns_zone_id, "null")}\"."
  }
}
