variable "platform" {
  description = "Name of the environment and its cluster, such as hallmark-dev."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,22}$", var.platform))
    error_message = "Expected 3 to 23 lower-case letters, digits and dashes; got \"${var.platform}\"."
  }
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

variable "sources" {
  description = "The sources that declared views are computed from, as name@version."
  type        = set(string)

  validation {
    condition     = alltrue([for source in var.sources : can(regex("^[a-z][a-z0-9_]*@[1-9][0-9]*$", source))])
    error_message = "Expected sources as name@version; got ${join(", ", var.sources)}."
  }
}

variable "event_log" {
  description = "What carries events to the stream of feature views: kinesis (a stream for each source), or none, where nothing comes in but by batches."
  type        = string
  default     = "kinesis"

  validation {
    condition     = contains(["kinesis", "none"], var.event_log)
    error_message = "Expected kinesis or none; got \"${var.event_log}\"."
  }
}

variable "flink" {
  description = "The views, as name@version, that Flink adds up: each gets a stream for its tiles, and Flink's account its rights; none where no cluster takes manifests/clusters/flink."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for view in var.flink : can(regex("^[a-z][a-z0-9_]*@[1-9][0-9]*$", view))]) && (length(var.flink) == 0 || (var.event_log == "kinesis" && length(var.sources) > 0))
    error_message = "Expected views as name@version, with event_log kinesis and their sources; got ${join(", ", var.flink)} with ${var.event_log}."
  }
}

variable "retention_days" {
  description = "How long a stream keeps events: for how long the job may stand still before it needs a backfill."
  type        = number
  default     = 7

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 365 && floor(var.retention_days) == var.retention_days
    error_message = "Expected 1 to 365 whole days; got ${var.retention_days}."
  }
}

variable "artifacts" {
  description = "The artifact store: name of its bucket and ARN of its key."
  type = object({
    bucket  = string
    key_arn = string
  })

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,50}[a-z0-9]$", var.artifacts.bucket))
    error_message = "Expected one bucket, and no pattern of several; got \"${var.artifacts.bucket}\"."
  }
}

variable "online_store" {
  description = "The online store: what there is of table, Valkey replication group and its user group, and the key of both."
  type = object({
    table_arn         = optional(string)
    valkey_arn        = optional(string)
    valkey_user_group = optional(string)
    key_arn           = string
  })
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no pod identity associations and ElastiCache user groups."
  type        = bool
  default     = false
}
