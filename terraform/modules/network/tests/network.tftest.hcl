mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111111111111:log-group:mock" }
  }
}

variables {
  name        = "hallmark-dev"
  account_id  = "111111111111"
  region      = "eu-central-1"
  cidr        = "10.16.0.0/16"
  apart_from  = { office = "10.8.0.0/16", staging = "10.32.0.0/16" }
  zones       = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  log_key_arn = "arn:aws:kms:eu-central-1:111111111111:key/00000000-0000-0000-0000-000000000000"
}

run "three_zones_of_private_data_and_public_subnets" {
  assert {
    condition     = length(aws_subnet.private) == 3 && length(aws_subnet.data) == 3 && length(aws_subnet.public) == 3
    error_message = "Expected three subnets of each kind."
  }

  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.private), values(aws_subnet.data), values(aws_subnet.public)) : !subnet.map_public_ip_on_launch])
    error_message = "A subnet hands out public addresses."
  }

  assert {
    condition     = aws_subnet.private["eu-central-1a"].cidr_block == "10.16.0.0/19" && aws_subnet.data["eu-central-1a"].cidr_block == "10.16.192.0/24" && aws_subnet.public["eu-central-1c"].cidr_block == "10.16.226.0/24"
    error_message = "The address plan has moved: a subnet's block cannot change while anything is in it."
  }

  assert {
    condition     = [for subnet in aws_subnet.control_plane : subnet.cidr_block] == ["10.16.208.0/26", "10.16.208.64/26", "10.16.208.128/26"] && output.control_plane_cidr == "10.16.208.0/24" && output.data_cidr == "10.16.192.0/22"
    error_message = "NetworkPolicies know the API server by these addresses: controlPlane in manifests/clusters."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : subnet.tags["karpenter.sh/discovery"] == "hallmark-dev"])
    error_message = "Karpenter finds private subnets by their discovery tag."
  }

  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "The default security group allows something."
  }
}

run "a_nat_gateway_in_every_zone_and_data_without_a_way_out" {
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && alltrue([for zone, route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this[zone].id])
    error_message = "Expected every private subnet to leave by the NAT gateway of its own zone."
  }

  assert {
    condition     = alltrue([for association in aws_route_table_association.data : association.route_table_id == aws_route_table.data.id]) && aws_route_table.data.id != aws_route_table.public.id
    error_message = "Data subnets use a table that routes out."
  }
}

run "one_nat_gateway_where_that_is_enough" {
  variables {
    nat = "eu-central-1b"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1b"] && length(aws_route.nat) == 3
    error_message = "Expected one NAT gateway, in the zone that is named, that all private subnets use."
  }
}

run "addresses_follow_the_letter_and_not_the_place" {
  variables {
    zones = ["us-east-1f", "us-east-1a"]
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { us-east-1a = "10.16.0.0/19", us-east-1f = "10.16.160.0/19" } && aws_subnet.data["us-east-1f"].cidr_block == "10.16.197.0/24" && aws_subnet.control_plane["us-east-1f"].cidr_block == "10.16.209.64/26"
    error_message = "A zone's block is not its letter's."
  }

  assert {
    condition     = output.control_plane_cidr == "10.16.208.0/23" && output.data_cidr == "10.16.192.0/21"
    error_message = "A zone lies outside of what the manifests know stores and API server by."
  }
}

run "a_network_from_before_keeps_its_blocks" {
  variables {
    zones  = ["eu-central-1c", "eu-central-1b"]
    blocks = { eu-central-1b = 0, eu-central-1c = 1 }
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { eu-central-1b = "10.16.0.0/19", eu-central-1c = "10.16.32.0/19" }
    error_message = "What is said in blocks does not hold."
  }
}

run "services_in_china_have_its_names" {
  variables {
    region = "cn-north-1"
    zones  = ["cn-north-1a", "cn-north-1b"]
  }

  override_data {
    target = data.aws_partition.this
    values = { partition = "aws-cn", dns_suffix = "amazonaws.com.cn", reverse_dns_prefix = "cn.com.amazonaws" }
  }

  assert {
    condition     = aws_vpc_endpoint.interface["ecr.api"].service_name == "cn.com.amazonaws.cn-north-1.ecr.api" && aws_vpc_endpoint.interface["kms"].service_name == "com.amazonaws.cn-north-1.kms" && aws_vpc_endpoint.s3.service_name == "com.amazonaws.cn-north-1.s3"
    error_message = "Endpoints are called otherwise there."
  }
}

run "endpoints_reach_this_account_only" {
  assert {
    condition     = length(setsubtract(["ecr.api", "ecr.dkr", "sts", "logs", "eks-auth"], keys(aws_vpc_endpoint.interface))) == 0
    error_message = "An interface endpoint is missing."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Condition.StringEquals["aws:ResourceAccount"] == "111111111111" if statement.Sid != "AwsOwnedReadOnly"])
    error_message = "The S3 endpoint reaches buckets of other accounts."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Action if statement.Sid == "AwsOwnedReadOnly"]) == "s3:GetObject"
    error_message = "AWS's own buckets may be read, and nothing else."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.endpoints.cidr_ipv4 == "10.16.0.0/16" && aws_vpc_security_group_ingress_rule.endpoints.to_port == 443
    error_message = "Endpoints are open to more than HTTPS from the VPC."
  }
}

run "all_traffic_is_logged_under_a_key" {
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_cloudwatch_log_group.flow.kms_key_id == var.log_key_arn && aws_cloudwatch_log_group.flow.retention_in_days == 365
    error_message = "Flow logs are partial, plain or endless."
  }

  assert {
    condition     = !contains(jsondecode(aws_iam_role_policy.flow.policy).Statement[0].Resource, "*")
    error_message = "Flow logs may write any log group."
  }
}

run "refuses_a_cidr_that_overlaps_another_network" {
  command = plan
  variables {
    cidr = "10.32.64.0/18"
  }
  expect_failures = [var.apart_from]
}

run "refuses_a_cidr_that_holds_another_network" {
  command = plan
  variables {
    apart_from = { warehouse = "10.16.200.0/24" }
  }
  expect_failures = [var.apart_from]
}

run "refuses_a_neighbour_that_is_no_network" {
  command = plan
  variables {
    apart_from = { office = "10.8.0.0" }
  }
  expect_failures = [var.apart_from]
}

run "refuses_a_cidr_that_is_too_small" {
  command = plan
  variables {
    cidr = "10.16.0.0/19"
  }
  expect_failures = [var.cidr]
}

run "refuses_a_cidr_that_begins_in_its_middle" {
  command = plan
  variables {
    cidr = "10.16.3.0/16"
  }
  expect_failures = [var.cidr]
}

run "refuses_public_addresses" {
  command = plan
  variables {
    cidr = "52.16.0.0/16"
  }
  expect_failures = [var.cidr]
}

run "refuses_fewer_than_two_zones" {
  command = plan
  variables {
    zones = ["eu-central-1a"]
  }
  expect_failures = [var.zones]
}

run "refuses_the_same_zone_twice" {
  command = plan
  variables {
    zones = ["eu-central-1a", "eu-central-1a"]
  }
  expect_failures = [var.zones]
}

run "refuses_a_zone_that_is_none" {
  command = plan
  variables {
    zones = ["a", "b"]
  }
  expect_failures = [var.zones]
}

run "refuses_an_unknown_kind_of_nat" {
  command = plan
  variables {
    nat = "one"
  }
  expect_failures = [var.nat]
}

run "refuses_the_only_nat_gateway_in_a_zone_that_left" {
  command = plan
  variables {
    zones = ["eu-central-1b", "eu-central-1c"]
    nat   = "eu-central-1a"
  }
  expect_failures = [var.nat]
}

run "refuses_the_same_block_twice" {
  command = plan
  variables {
    blocks = { eu-central-1b = 0 }
  }
  expect_failures = [var.blocks]
}

run "refuses_a_block_that_is_none" {
  command = plan
  variables {
    blocks = { eu-central-1b = 6 }
  }
  expect_failures = [var.blocks]
}

run "refuses_to_pull_images_over_nat" {
  command = plan
  variables {
    interface_endpoints = ["sts", "logs"]
  }
  expect_failures = [var.interface_endpoints]
}

run "refuses_flow_logs_of_a_week" {
  command = plan
  variables {
    flow_log_retention_days = 7
  }
  expect_failures = [var.flow_log_retention_days]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}

run "refuses_a_name_that_no_resource_takes" {
  command = plan
  variables {
    name = "Hallmark Dev"
  }
  expect_failures = [var.name]
}

run "refuses_a_region_that_is_none" {
  command = plan
  variables {
    region = "Frankfurt"
  }
  expect_failures = [var.region]
}

run "what_holds_data_is_reached_among_the_data_stores" {
  variables {
    data_endpoints = ["kinesis-streams"]
  }

  assert {
    condition     = aws_vpc_endpoint.data["kinesis-streams"].service_name == "com.amazonaws.eu-central-1.kinesis-streams" && aws_vpc_endpoint.data["kinesis-streams"].private_dns_enabled
    error_message = "Expected Kinesis by its own name."
  }

  assert {
    condition     = aws_vpc_endpoint.data["kinesis-streams"].subnet_ids == toset([for subnet in aws_subnet.data : subnet.id])
    error_message = "Expected addresses that no pod has."
  }
}

run "refuses_an_endpoint_in_two_places" {
  command = plan
  variables {
    data_endpoints = ["sts"]
  }
  expect_failures = [var.data_endpoints]
}
