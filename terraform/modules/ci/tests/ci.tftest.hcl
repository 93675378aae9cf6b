mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com" }
  }
}

variables {
  name       = "hallmark-dev"
  account_id = "111111111111"
  region     = "eu-central-1"
  repository = "marketplace/hallmark"
  images     = ["hallmark/serving", "hallmark/platform"]
}

run "one_repository_and_one_environment_take_the_role" {
  command = plan

  assert {
    condition     = jsondecode(aws_iam_role.images.assume_role_policy).Statement[0].Condition == { StringEquals = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:marketplace/hallmark:environment:images" } }
    error_message = "Other jobs may take the role."
  }
}

run "it_pushes_images_and_nothing_else" {
  command = plan

  assert {
    condition     = toset(jsondecode(aws_iam_role_policy.images.policy).Statement[1].Resource) == toset(["arn:aws:ecr:eu-central-1:111111111111:repository/hallmark/serving", "arn:aws:ecr:eu-central-1:111111111111:repository/hallmark/platform"])
    error_message = "Other repositories are open."
  }

  assert {
    condition     = alltrue([for action in flatten([for statement in jsondecode(aws_iam_role_policy.images.policy).Statement : statement.Action]) : startswith(action, "ecr:") && !strcontains(action, "*") && !strcontains(action, "Delete")])
    error_message = "CI may do more than push."
  }
}

run "refuses_all_repositories_of_an_owner" {
  command = plan
  variables {
    repository = "marketplace/*"
  }
  expect_failures = [var.repository]
}

run "refuses_every_environment" {
  command = plan
  variables {
    environment = "*"
  }
  expect_failures = [var.environment]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
