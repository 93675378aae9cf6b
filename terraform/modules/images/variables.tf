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

variable "repositories" {
  description = "Image repositories, as hallmark/names.py and the Dockerfile's targets call them."
  type        = set(string)
  default     = ["hallmark/training-python", "hallmark/serving", "hallmark/drift", "hallmark/platform"]

  validation {
    condition     = alltrue([for repository in var.repositories : can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", repository))])
    error_message = "Expected lower-case names such as hallmark/serving."
  }
}

variable "keep_images" {
  description = "How many tagged images a repository keeps: as far back as a rollback may reach."
  type        = number
  default     = 100

  validation {
    condition     = var.keep_images >= 10 && var.keep_images <= 1000
    error_message = "Expected 10 to 1000: an image that is still served must not expire; got ${var.keep_images}."
  }
}
