variable "name" {
  description = "Name of the environment, such as hallmark-dev."
  type        = string
}

variable "account_id" {
  description = "The account whose registry it pushes to."
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

variable "repository" {
  description = "The repository on GitHub, owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.repository))
    error_message = "Expected one repository, owner/name, and no pattern of several; got \"${var.repository}\"."
  }
}

variable "environment" {
  description = "The environment of that repository in which images.yml pushes; its rules say from which branches and tags."
  type        = string
  default     = "images"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.environment))
    error_message = "Expected the name of one environment; got \"${var.environment}\"."
  }
}

variable "images" {
  description = "Names of the image repositories (module images)."
  type        = set(string)
}
