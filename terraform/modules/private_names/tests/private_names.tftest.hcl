mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_resource "aws_route53_zone" {
    defaults = { zone_id = "Z0123456789ABCDEFGHIJ" }
  }
}

variables {
  name   = "hallmark-dev"
  vpc_id = "vpc-1"
  names  = { pipelines = "hallmark-dev-pipelines.abc.eu-central-1.rds.amazonaws.com" }
}

run "a_zone_that_one_network_asks" {
  command = plan

  assert {
    condition     = aws_route53_zone.this.name == "hallmark-dev.internal" && one(aws_route53_zone.this.vpc).vpc_id == "vpc-1"
    error_message = "Others may ask for the names of the stores."
  }

  assert {
    condition     = output.names == { pipelines = "pipelines.hallmark-dev.internal" } && aws_route53_record.this["pipelines"].type == "CNAME"
    error_message = "The manifests know other names."
  }
}

run "refuses_a_name_that_is_none" {
  command = plan
  variables {
    names = { "*" = "elsewhere.example" }
  }
  expect_failures = [var.names]
}
