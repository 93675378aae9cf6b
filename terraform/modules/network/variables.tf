variable "name" {
  description = "What everything here is called, such as hallmark-dev; the cluster's name too, which Karpenter's discovery tags hold."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,39}$", var.name))
    error_message = "Expected 3 to 40 lower-case letters, digits and dashes, a letter first; got \"${var.name}\"."
  }
}

variable "account_id" {
  description = "The account, so that endpoint policies reach no other."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected 12 digits; got \"${var.account_id}\"."
  }
}

variable "region" {
  description = "The region, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Expected a region such as eu-central-1; got \"${var.region}\"."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, /16 to /18: every node and every pod takes one, and the smallest subnet is a /28."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], false)
    error_message = "Expected an IPv4 block that begins at its first address, such as 10.16.0.0/16; got \"${var.cidr}\"."
  }

  validation {
    condition     = try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 18, false)
    error_message = "Expected a block from /16 to /18: smaller ones run out of pod addresses; got \"${var.cidr}\"."
  }

  validation {
    condition     = anytrue([for block in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] : try(cidrhost("${split("/", var.cidr)[0]}/${split("/", block)[1]}", 0) == split("/", block)[0], false)])
    error_message = "Expected private addresses (RFC 1918); got \"${var.cidr}\"."
  }
}

variable "apart_from" {
  description = "Name to CIDR of networks that this one may be joined with one day: other environments, the office, the cluster's services. None may overlap."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for block in values(var.apart_from) : can(cidrhost(block, 0))])
    error_message = "Expected IPv4 blocks such as 10.32.0.0/16 in apart_from."
  }

  # Two blocks overlap exactly when, cut to the shorter of both prefixes, they begin at the same address.
  validation {
    condition = alltrue([
      for block in values(var.apart_from) : try(
        cidrhost("${split("/", var.cidr)[0]}/${min(split("/", var.cidr)[1], split("/", block)[1])}", 0)
        != cidrhost("${split("/", block)[0]}/${min(split("/", var.cidr)[1], split("/", block)[1])}", 0),
        true,
      )
    ])
    error_message = "Expected a cidr that overlaps none of apart_from; ${var.cidr} does."
  }
}

variable "zones" {
  description = "Availability zones, two to four, in any order; three is what RDS, Valkey and the system nodes are laid out for."
  type        = list(string)

  validation {
    condition     = length(distinct(var.zones)) == length(var.zones) && length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "Expected two to four different zones; got ${join(", ", var.zones)}."
  }

  validation {
    condition     = alltrue([for zone in var.zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-f]$", zone))])
    error_message = "Expected zones such as eu-central-1a, a to f; got ${join(", ", var.zones)}."
  }
}

variable "blocks" {
  description = "Zone to the number of its blocks of addresses, 0 to 5. By default that of its letter; a network whose zones were once numbered by their place in a list says here what they have."
  type        = map(number)
  default     = {}

  validation {
    condition     = alltrue([for block in values(var.blocks) : contains(range(6), block)])
    error_message = "Expected blocks from 0 to 5; got ${jsonencode(var.blocks)}."
  }

  validation {
    condition     = length(distinct([for zone in var.zones : lookup(var.blocks, zone, try(index(["a", "b", "c", "d", "e", "f"], substr(zone, -1, 1)), zone))])) == length(distinct(var.zones))
    error_message = "Expected a block of its own for every zone, one that is not in blocks having that of its letter; got ${jsonencode(var.blocks)} for ${join(", ", var.zones)}."
  }
}

variable "nat" {
  description = "zone: a NAT gateway in every zone, so that losing one zone stops no other. Or the one zone that has it: cheaper, for environments that may stand still."
  type        = string
  default     = "zone"

  validation {
    condition     = var.nat == "zone" || contains(var.zones, var.nat)
    error_message = "Expected zone, or which of ${join(", ", var.zones)} has the only NAT gateway; got \"${var.nat}\"."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached without NAT, by their short name. Image pulls, logs and tokens stay inside the VPC."
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "sts", "logs", "eks-auth", "kms", "secretsmanager"]

  validation {
    condition     = length(setsubtract(["ecr.api", "ecr.dkr", "sts", "logs"], var.interface_endpoints)) == 0
    error_message = "Expected at least ecr.api, ecr.dkr, sts and logs; missing: ${join(", ", setsubtract(["ecr.api", "ecr.dkr", "sts", "logs"], var.interface_endpoints))}."
  }
}

variable "data_endpoints" {
  description = "AWS services that hold data, reached without NAT among the data stores, by their short name: kinesis-streams, where events come by it."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setintersection(var.data_endpoints, var.interface_endpoints)) == 0
    error_message = "Expected each service once; ${join(", ", setintersection(var.data_endpoints, var.interface_endpoints))} is in interface_endpoints too."
  }
}

variable "flow_log_retention_days" {
  description = "How long flow logs are kept; one of the periods that CloudWatch Logs knows."
  type        = number
  default     = 365

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_retention_days)
    error_message = "Expected 30 to 3653 days, a period that CloudWatch Logs knows; got ${var.flow_log_retention_days}."
  }
}

variable "log_key_arn" {
  description = "KMS key that encrypts the flow logs; its policy lets CloudWatch Logs use it (module observability)."
  type        = string
}
