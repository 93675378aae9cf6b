variable "name" {
  description = "What everything here is called, such as hallmark-dev; the cluster's name too."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,39}$", var.name))
    error_message = "Expected 3 to 40 lower-case letters, digits and dashes, a letter first; got \"${var.name}\"."
  }
}

variable "account_id" {
  description = "The account that the key's policy trusts."
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

variable "retention_days" {
  description = "How long logs are kept; one of the periods that CloudWatch Logs knows."
  type        = number
  default     = 365

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.retention_days)
    error_message = "Expected 30 to 3653 days, a period that CloudWatch Logs knows; got ${var.retention_days}."
  }
}

variable "log_groups" {
  description = "Log groups of what runs on the cluster, by the last part of their name."
  type        = set(string)
  default     = ["containers", "nodes"]

  validation {
    condition     = alltrue([for group in var.log_groups : can(regex("^[a-z][a-z0-9_-]*$", group))])
    error_message = "Expected names of lower-case letters, digits, dashes and underscores."
  }
}

variable "contacts" {
  description = "Addresses that alarms and the environment's budget are mailed to."
  type        = set(string)

  validation {
    condition     = length(var.contacts) > 0 && alltrue([for contact in var.contacts : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", contact))])
    error_message = "Expected at least one mail address: an alarm that reaches nobody is none."
  }
}

variable "monthly_budget" {
  description = "US dollars a month that the whole environment may cost before its contacts hear of it."
  type        = number

  validation {
    condition     = var.monthly_budget > 0
    error_message = "Expected a positive sum; got ${var.monthly_budget}."
  }
}

variable "alarms" {
  description = "Alarms by name: the metric, its place, and from where on it is wrong."
  type = map(object({
    description = string
    namespace   = string
    metric      = string
    dimensions  = map(string)
    statistic   = optional(string, "Average")
    above       = optional(number)
    below       = optional(number)
    period      = optional(number, 300)
    periods     = optional(number, 3)
  }))
  default = {}

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : (alarm.above == null) != (alarm.below == null)])
    error_message = "Expected exactly one of above and below for every alarm."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : contains(["Average", "Sum", "Maximum", "Minimum"], alarm.statistic)])
    error_message = "Expected the statistic Average, Sum, Maximum or Minimum."
  }
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no budgets."
  type        = bool
  default     = false
}
