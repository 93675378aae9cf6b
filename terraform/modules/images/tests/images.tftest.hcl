mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
}

variables {
  name       = "hallmark-dev"
  account_id = "111111111111"
}

run "images_are_scanned_encrypted_and_never_replaced" {
  command = plan

  assert {
    condition     = alltrue([for repository in aws_ecr_repository.this : repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push && repository.encryption_configuration[0].encryption_type == "KMS" && repository.encryption_configuration[0].kms_key == aws_kms_key.images.arn])
    error_message = "A tag can move, an image is not scanned, or lies under a key that is not ours."
  }

  assert {
    condition     = toset(keys(aws_ecr_repository.this)) == toset(["hallmark/training-python", "hallmark/serving", "hallmark/drift", "hallmark/platform"])
    error_message = "The repositories are not the images that hallmark/names.py names."
  }
}

run "old_images_go_and_a_hundred_stay" {
  command = plan

  assert {
    condition     = alltrue([for policy in aws_ecr_lifecycle_policy.this : jsondecode(policy.policy).rules[1].selection.countNumber == 100 && jsondecode(policy.policy).rules[0].selection.tagStatus == "untagged"])
    error_message = "Expected untagged images to expire, and a hundred tagged ones to stay."
  }
}

run "refuses_to_keep_too_few_for_a_rollback" {
  command = plan
  variables {
    keep_images = 1
  }
  expect_failures = [var.keep_images]
}

run "refuses_names_that_ecr_does_not_take" {
  command = plan
  variables {
    repositories = ["Hallmark/Serving"]
  }
  expect_failures = [var.repositories]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
