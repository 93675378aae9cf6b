variable "environment" {
  description = "dev, staging or production; everything is called hallmark-<environment>."
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

variable "cidr" {
  description = "Addresses of the VPC; see module network."
  type        = string
}

variable "apart_from" {
  description = "Name to CIDR of networks that this one may be joined with one day; none may overlap."
  type        = map(string)
}

variable "zones" {
  description = "Availability zones; see module network."
  type        = list(string)
}

variable "nat" {
  description = "zone, or the zone that has the only NAT gateway; see module network."
  type        = string
}

variable "blocks" {
  description = "Zone to its block of addresses, where it is not its letter's; see module network."
  type        = map(number)
  default     = {}
}

variable "services_cidr" {
  description = "Addresses of Kubernetes services."
  type        = string
  default     = "172.20.0.0/16"
}

variable "kubernetes_version" {
  description = "Kubernetes of control plane and nodes."
  type        = string
}

variable "addons" {
  description = "Managed add-ons and their exact versions; see module cluster."
  type        = map(string)
}

variable "administrators" {
  description = "Name to IAM role of those who administer the cluster."
  type        = map(string)
}

variable "public_access_cidrs" {
  description = "Who may reach the Kubernetes API from the internet; nobody by default."
  type        = set(string)
  default     = []
}

variable "system_nodes" {
  description = "The nodes of Hallmark's own programs; see module cluster."
  type = object({
    ami_type       = optional(string)
    instance_types = optional(list(string))
    minimum        = optional(number)
    maximum        = optional(number)
    disk_gib       = optional(number)
  })
  default = {}
}

variable "gpu_pools" {
  description = "Managed node groups with GPUs, by purpose; see module gpu_nodes."
  type = map(object({
    instance_types = list(string)
    ami_type       = optional(string)
    maximum        = number
    spot           = optional(bool)
    disk_gib       = optional(number)
  }))
  default = {}
}

variable "karpenter" {
  description = "Whether Karpenter's part of AWS is made."
  type        = bool
  default     = true
}

variable "tracking" {
  description = "MLflow's database; see module database."
  type = object({
    instance_class         = optional(string)
    storage_gib            = optional(number)
    multi_az               = optional(bool)
    backup_retention_days  = optional(number)
    password_rotation_days = optional(number)
  })
  default = {}
}

variable "pipelines_database" {
  description = "Kubeflow Pipelines' database; see module database."
  type = object({
    instance_class         = optional(string)
    storage_gib            = optional(number)
    multi_az               = optional(bool)
    backup_retention_days  = optional(number)
    password_rotation_days = optional(number)
  })
  default = {}
}

variable "dns_zone_id" {
  description = "Route 53 zone of the cluster's host names, in which cert-manager answers challenges; without it there is no role for that."
  type        = string
  default     = null
}

variable "ci" {
  description = "The repository on GitHub whose environment may push images; without it nobody outside may. See module ci."
  type = object({
    repository  = string
    environment = optional(string, "images")
  })
  default = null
}

variable "online_store" {
  description = "The online store's engines, and Valkey's size; see module online_store."
  type = object({
    engines = optional(set(string), ["dynamodb"])
    valkey = optional(object({
      node_type = optional(string)
      replicas  = optional(number)
    }), {})
  })
  default = {}
}

variable "data_endpoints" {
  description = "AWS services that hold data, reached among the data stores: kinesis-streams where event_log of terraform/domains is kinesis."
  type        = set(string)
  default     = ["kinesis-streams"]
}

variable "log_retention_days" {
  description = "How long every log is kept; one of the periods that CloudWatch Logs knows."
  type        = number
}

variable "keep_old_versions_days" {
  description = "How long overwritten or deleted artifacts can be had back."
  type        = number
  default     = 90
}

variable "contacts" {
  description = "Addresses that alarms and the environment's budget are mailed to."
  type        = set(string)
}

variable "monthly_budget" {
  description = "US dollars a month that the whole environment may cost before its contacts are notified."
  type        = number
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete database and table. Taking an environment down needs false, applied first."
  type        = bool
  default     = true
}

variable "emulated" {
  description = "True only against an emulator (moto): leaves out what it does not serve, which README.md lists. No var-file sets it."
  type        = bool
  default     = false
}
