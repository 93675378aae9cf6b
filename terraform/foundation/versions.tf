terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }

  # What differs lies in ../environments/<environment>/foundation.s3.tfbackend.
  backend "s3" {}
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      "hallmark:platform"    = local.name
      "hallmark:environment" = var.environment
      "hallmark:root"        = "foundation"
    }
  }
}
