variable "name" {
  description = "The domain: its namespace on the cluster and the prefix of its objects."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name)) && length(var.name) <= 30
    error_message = "Expected at most 30 lower-case letters, digits and single dashes, a letter first; got \"${var.name}\"."
  }

  validation {
    condition     = !contains(["default", "kube-system", "kube-public", "kube-node-lease", "hallmark-system", "monitoring", "istio-ingress", "kubeflow", "mlflow", "pipelines", "features"], var.name)
    error_message = "Expected a domain's own name; \"${var.name}\" is a namespace or a prefix of the platform."
  }
}

variable "platform" {
  description = "Name of the environment and its cluster, such as hallmark-dev."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,22}$", var.platform))
    error_message = "Expected 3 to 23 lower-case letters, digits and dashes: role names end at 64; got \"${var.platform}\"."
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

variable "views" {
  description = "Names of the feature views that its models read, without their versions."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for view in var.views : can(regex("^[a-z][a-z0-9_]*$", view))])
    error_message = "Expected names of views, and no pattern of several; got ${join(", ", var.views)}."
  }
}

variable "sources" {
  description = "Names of the sources that these views are computed from, without their versions: what its trainings read."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for source in var.sources : can(regex("^[a-z][a-z0-9_]*$", source))])
    error_message = "Expected names of sources, and no pattern of several; got ${join(", ", var.sources)}."
  }
}

variable "changes" {
  description = "Whether its model servers keep a log of the changes of items in the bucket: where domain.yaml has retrieval.fresh."
  type        = bool
  default     = false
}

variable "owner" {
  description = "Owner of the domain: its team, for the cost tags, and the address that budget alerts go to."
  type = object({
    team    = string
    contact = string
  })

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.owner.contact))
    error_message = "Expected a mail address as owner.contact; got \"${var.owner.contact}\"."
  }
}

variable "monthly_budget" {
  description = "US dollars a month that what carries the domain's tag may cost before its owner is notified."
  type        = number

  validation {
    condition     = var.monthly_budget > 0
    error_message = "Expected a positive sum; got ${var.monthly_budget}."
  }
}

variable "emulated" {
  description = "True only where an emulator (moto) answers, which serves no pod identity associations, ElastiCache user groups and budgets."
  type        = bool
  default     = false
}
