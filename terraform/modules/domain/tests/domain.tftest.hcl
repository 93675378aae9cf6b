mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/mock" }
  }
}

variables {
  name       = "fraud"
  platform   = "hallmark-dev"
  account_id = "111111111111"
  region     = "eu-central-1"
  artifacts  = { bucket = "hallmark-dev-artifacts", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  online_store = {
    table_arn         = "arn:aws:dynamodb:eu-central-1:111111111111:table/hallmark-dev-features"
    valkey_arn        = "arn:aws:elasticache:eu-central-1:111111111111:replicationgroup:hallmark-dev-features"
    valkey_user_group = "hallmark-dev"
    key_arn           = "arn:aws:kms:eu-central-1:111111111111:key/22222222-2222-2222-2222-222222222222"
  }
  views          = ["device", "buyer_orders"]
  sources        = ["orders"]
  owner          = { team = "risk", contact = "fraud-oncall@hallmark.example" }
  monthly_budget = 500
}

run "roles_are_for_one_service_account_of_one_cluster" {
  command = plan

  assert {
    condition = alltrue([
      for account, role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0] == {
        Sid       = "ThisServiceAccountOfThisCluster"
        Effect    = "Allow"
        Principal = { Service = "pods.eks.amazonaws.com" }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = {
          StringEquals = {
            "aws:SourceAccount"                         = "111111111111"
            "aws:RequestTag/eks-cluster-arn"            = "arn:aws:eks:eu-central-1:111111111111:cluster/hallmark-dev"
            "aws:RequestTag/kubernetes-namespace"       = "fraud"
            "aws:RequestTag/kubernetes-service-account" = account
          }
        }
      }
    ])
    error_message = "Another service account, namespace, cluster or account could take the role."
  }

  assert {
    condition     = { for account, association in aws_eks_pod_identity_association.this : account => "${association.namespace}/${association.service_account}" } == { parity = "fraud/parity", pipeline = "fraud/pipeline", predictor = "fraud/predictor" }
    error_message = "Expected all accounts associated in the domain's namespace."
  }
}

run "objects_end_at_the_domain_s_prefix" {
  command = plan

  assert {
    condition     = { for account, policy in aws_iam_role_policy.artifacts : account => one([for statement in jsondecode(policy.policy).Statement : statement.Resource if statement.Sid == "OwnObjects"]) } == { parity = null, pipeline = "arn:aws:s3:::hallmark-dev-artifacts/fraud/*", predictor = "arn:aws:s3:::hallmark-dev-artifacts/fraud/models/*" }
    error_message = "A role reaches objects outside its prefix."
  }

  assert {
    condition     = { for account, policy in aws_iam_role_policy.artifacts : account => one([for statement in jsondecode(policy.policy).Statement : statement.Condition.StringLike["s3:prefix"] if statement.Action == "s3:ListBucket"]) } == { parity = ["features/offline/orders@*"], pipeline = ["fraud/", "fraud/*", "features/offline/orders@*"], predictor = ["fraud/models/", "fraud/models/*"] }
    error_message = "A role lists what is not its own."
  }

  assert {
    condition     = !anytrue([for action in one([for statement in jsondecode(aws_iam_role_policy.artifacts["predictor"].policy).Statement : statement.Action if statement.Sid == "OwnObjects"]) : !startswith(action, "s3:Get")])
    error_message = "What serves may write."
  }

  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.artifacts : anytrue([for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny" && contains(flatten([statement.Resource]), "arn:aws:s3:::hallmark-dev-artifacts/*/../*")])])
    error_message = "Keys with .. are not refused."
  }
}

run "changes_of_items_are_written_where_they_are_declared_and_nowhere_else" {
  command = plan

  variables {
    changes = true
  }

  assert {
    condition     = { for account, policy in aws_iam_role_policy.changes : account => one([for statement in jsondecode(policy.policy).Statement : statement.Resource if statement.Sid == "ChangesOfItems"]) } == { predictor = "arn:aws:s3:::hallmark-dev-artifacts/fraud/changes/*" }
    error_message = "Another account than the one that serves writes changes, or elsewhere."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.changes["predictor"].policy).Statement : statement.Condition.StringLike["s3:prefix"] if statement.Action == "s3:ListBucket"]) == ["fraud/changes/*"]
    error_message = "What serves lists what is not its changes."
  }

  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.changes : alltrue([for statement in jsondecode(policy.policy).Statement : !contains(flatten([statement.Resource]), "*") && !anytrue([for action in flatten([statement.Action]) : strcontains(action, "*")])])])
    error_message = "Changes may be written by a pattern, or everywhere."
  }
}

run "no_changes_are_written_where_none_are_declared" {
  command = plan

  assert {
    condition     = length(aws_iam_role_policy.changes) == 0
    error_message = "A domain that declares no changes of items may write some."
  }
}

run "no_action_is_a_pattern_and_no_resource_is_everything" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.artifacts), values(aws_iam_role_policy.changes), values(aws_iam_role_policy.features), values(aws_iam_role_policy.valkey)) : [
        for statement in jsondecode(policy.policy).Statement :
        !contains(flatten([statement.Resource]), "*") && !anytrue([for action in flatten([statement.Action]) : strcontains(action, "*")]) if statement.Effect == "Allow"
      ]
    ]))
    error_message = "A domain's role may do what a pattern allows, or on everything."
  }
}

run "features_end_at_the_views_that_the_domain_names" {
  command = plan

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.features["predictor"].policy).Statement : statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] if statement.Sid == "ItsViews"]) == ["features/buyer_orders@*", "features/device@*"]
    error_message = "The predictor reaches other views, or not those of its domain."
  }

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.features["predictor"].policy).Statement : statement.Action if statement.Sid == "ItsViews"]) == ["dynamodb:BatchGetItem"]
    error_message = "What serves does more than read features."
  }

  assert {
    condition     = aws_elasticache_user.this["predictor"].access_string == "on ~features/buyer_orders@* ~features/device@* resetchannels -@all +mget +@connection -@dangerous" && aws_elasticache_user.this["predictor"].authentication_mode[0].type == "iam"
    error_message = "A Valkey user reaches other keys, has a password, or does more than read."
  }

  assert {
    condition     = keys(aws_iam_role_policy.features) == ["parity", "predictor"] && keys(aws_iam_role_policy.valkey) == ["parity", "predictor"] && keys(aws_elasticache_user.this) == ["parity", "predictor"]
    error_message = "Expected that nobody of a domain but its predictor and who compares features reaches the online store."
  }
}

run "trainings_read_the_events_of_their_views_and_nothing_else_of_features" {
  command = plan

  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.artifacts["pipeline"].policy).Statement : { actions = statement.Action, of = statement.Resource } if statement.Sid == "EventsOfItsViews"]) == { actions = ["s3:GetObject", "s3:GetObjectVersion"], of = ["arn:aws:s3:::hallmark-dev-artifacts/features/offline/orders@*"] }
    error_message = "A training reads other events, or writes some."
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_role_policy.artifacts["predictor"].policy).Statement : statement if statement.Sid == "EventsOfItsViews"]) == 0
    error_message = "What serves reads events."
  }
}

run "without_views_there_is_no_right_to_features" {
  command = plan

  variables {
    views   = []
    sources = []
  }

  assert {
    condition     = length(aws_iam_role_policy.features) + length(aws_iam_role_policy.valkey) + length(aws_elasticache_user.this) == 0
    error_message = "Expected no right to an online store that no model asks."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.artifacts["pipeline"].policy, "features/")
    error_message = "Expected no right to events."
  }
}

run "without_an_online_store_there_is_no_right_to_it" {
  command = plan

  variables {
    online_store = { key_arn = "arn:aws:kms:eu-central-1:111111111111:key/22222222-2222-2222-2222-222222222222" }
  }

  assert {
    condition     = length(aws_iam_role_policy.features) + length(aws_iam_role_policy.valkey) + length(aws_elasticache_user.this) == 0
    error_message = "Expected no right to a store that is not there."
  }
}

run "the_owner_hears_of_the_cost" {
  command = plan

  assert {
    condition     = aws_budgets_budget.this["monthly"].limit_amount == "500.0" && one(aws_budgets_budget.this["monthly"].cost_filter).values == tolist(["user:hallmark:domain$fraud"])
    error_message = "The budget counts something else."
  }

  assert {
    condition     = alltrue([for notification in aws_budgets_budget.this["monthly"].notification : notification.subscriber_email_addresses == toset(["fraud-oncall@hallmark.example"])])
    error_message = "Somebody else is notified."
  }

  assert {
    condition     = aws_iam_role.this["pipeline"].tags == tomap({ "hallmark:domain" = "fraud", "hallmark:team" = "risk" })
    error_message = "Costs cannot be attributed."
  }
}

run "refuses_a_namespace_of_the_platform" {
  command = plan
  variables {
    name = "kubeflow"
  }
  expect_failures = [var.name]
}

run "refuses_a_name_that_is_a_pattern" {
  command = plan
  variables {
    name = "*"
  }
  expect_failures = [var.name]
}

run "refuses_a_bucket_that_is_a_pattern" {
  command = plan
  variables {
    artifacts = { bucket = "hallmark-*", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
  expect_failures = [var.artifacts]
}

run "refuses_an_owner_whom_no_mail_reaches" {
  command = plan
  variables {
    owner = { team = "risk", contact = "risk" }
  }
  expect_failures = [var.owner]
}

run "refuses_a_budget_of_nothing" {
  command = plan
  variables {
    monthly_budget = 0
  }
  expect_failures = [var.monthly_budget]
}

run "refuses_a_platform_whose_roles_get_too_long" {
  command = plan
  variables {
    platform = "hallmark-production-europe"
  }
  expect_failures = [var.platform]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}

run "refuses_a_view_that_is_a_pattern" {
  command = plan
  variables {
    views = ["*"]
  }
  expect_failures = [var.views]
}

run "refuses_a_source_that_is_a_pattern" {
  command = plan
  variables {
    sources = ["orders@1/*"]
  }
  expect_failures = [var.sources]
}
