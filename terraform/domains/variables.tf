variable "environment" {
  description = "dev, staging or production; the environment's terraform/foundation has to be applied."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "production"], var.environment)
    error_message = "Expected dev, staging or production; got \"${var.environment}\"."
  }
}

variable "region" {
  description = "The region, such as eu-central-1."
  type        = string
}

variable "account_id" {
  description = "The environment's own account. Terraform refuses to work in any other."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected 12 digits; got \"${var.account_id}\"."
  }
}

variable "declarations" {
  description = "Folder of the domains' declarations, <domain>/domain.yaml in it."
  type        = string
  default     = "../../domains"
}

variable "features" {
  description = "Folder of the feature views' declarations, <view>/v<N>.yaml in it; there may be none."
  type        = string
  default     = "../../features"
}

variable "event_log" {
  description = "What carries events to the feature stream: kinesis or none; see module features."
  type        = string
  default     = "kinesis"
}

variable "flink" {
  description = "Whether Flink adds up the views, as where the cluster takes manifests/clusters/flink: streams for their tiles, and the rights of its account."
  type        = bool
  default     = false
}

variable "default_budget" {
  description = "US dollars a month that a domain may cost before its owner is notified."
  type        = number
}

variable "budgets" {
  description = "Domain to its own budget, where the default does not fit."
  type        = map(number)
  default     = {}
}

variable "emulated" {
  description = "True only against an emulator (moto): leaves out what it does not serve, which README.md lists. No var-file sets it."
  type        = bool
  default     = false
}
