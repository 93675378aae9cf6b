variable "name" {
  description = "Name of the environment, such as hallmark-dev."
  type        = string
}

variable "vpc_id" {
  description = "The only network that may ask."
  type        = string
}

variable "names" {
  description = "First part of a name to the host that it leads to."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.names) : can(regex("^[a-z][a-z0-9-]*$", name))])
    error_message = "Expected names of lower-case letters, digits and dashes; got ${join(", ", keys(var.names))}."
  }
}
