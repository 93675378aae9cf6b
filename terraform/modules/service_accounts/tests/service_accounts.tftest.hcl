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
  name        = "hallmark-dev"
  account_id  = "111111111111"
  region      = "eu-central-1"
  artifacts   = { bucket = "hallmark-dev-artifacts", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/artifacts" }
  databases   = { tracking = { secret_arn = "arn:aws:secretsmanager:eu-central-1:111111111111:secret:rds!db-mock", key_arn = "arn:aws:kms:eu-central-1:111111111111:key/database" } }
  dns_zone_id = "Z0123456789ABCDEFGHIJ"
}

run "a_role_is_for_one_service_account" {
  command = plan

  assert {
    condition     = { for name, identity in output.pod_identities : name => "${identity.namespace}/${identity.service_account}" } == { external-secrets = "external-secrets/external-secrets", cert-manager = "cert-manager/cert-manager", load-balancer-controller = "kube-system/load-balancer-controller", ml-pipeline = "kubeflow/ml-pipeline", mlflow = "hallmark-system/mlflow", ui = "hallmark-system/ui" }
    error_message = "The manifests know other accounts."
  }

  assert {
    condition = alltrue([
      for name, role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals == {
        "aws:SourceAccount"                         = "111111111111"
        "aws:RequestTag/eks-cluster-arn"            = "arn:aws:eks:eu-central-1:111111111111:cluster/hallmark-dev"
        "aws:RequestTag/kubernetes-namespace"       = output.pod_identities[name].namespace
        "aws:RequestTag/kubernetes-service-account" = output.pod_identities[name].service_account
      }
    ])
    error_message = "Others may take a role."
  }
}

run "external_secrets_reads_passwords_and_ours" {
  command = plan

  assert {
    condition     = toset(jsondecode(aws_iam_role_policy.this["external-secrets"].policy).Statement[0].Resource) == toset(["arn:aws:secretsmanager:eu-central-1:111111111111:secret:rds!db-mock", "arn:aws:secretsmanager:eu-central-1:111111111111:secret:hallmark/*"])
    error_message = "External Secrets may read other secrets."
  }
}

run "cert_manager_writes_challenges_of_its_zone_only" {
  command = plan

  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.this["cert-manager"].policy).Statement : statement.Resource == "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ" || statement.Action == "route53:GetChange"])
    error_message = "Another zone is open."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this["cert-manager"].policy).Statement[0].Condition["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsRecordTypes"] == ["TXT"] && jsondecode(aws_iam_role_policy.this["cert-manager"].policy).Statement[0].Condition["ForAllValues:StringLike"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] == ["_acme-challenge.*"]
    error_message = "More than challenges may be written: whoever writes an A record takes the host."
  }
}

run "without_a_zone_cert_manager_has_no_role" {
  command = plan

  variables {
    dns_zone_id = null
  }

  assert {
    condition     = !contains(keys(aws_iam_role.this), "cert-manager") && !contains(keys(output.pod_identities), "cert-manager")
    error_message = "A role for nothing."
  }
}

run "the_load_balancer_controller_changes_what_is_its_clusters_only" {
  command = plan

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.this["load-balancer-controller"].policy).Statement :
      alltrue([for action in flatten([statement.Action]) : can(regex(":(Describe|Get)", action))]) || !contains(flatten([statement.Resource]), "*")
    ])
    error_message = "It may write on everything."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.this["load-balancer-controller"].policy).Statement :
      anytrue([
        for key, value in statement.Condition.StringEquals :
        (endswith(key, "Tag/elbv2.k8s.aws/cluster") && value == "hallmark-dev") || key == "aws:ResourceTag/kubernetes.io/cluster/hallmark-dev"
      ]) if !contains(["See", "RoleOfTheService", "MakeSecurityGroups", "Listeners"], statement.Sid)
    ])
    error_message = "It may change what another cluster, or a person, has made."
  }
}

run "pipelines_reaches_its_prefix_and_mlflow_writes_nothing" {
  command = plan

  assert {
    condition     = jsondecode(aws_iam_role_policy.this["ml-pipeline"].policy).Statement[0].Resource == "arn:aws:s3:::hallmark-dev-artifacts/pipelines/*" && jsondecode(aws_iam_role_policy.this["ml-pipeline"].policy).Statement[1].Condition.StringLike["s3:prefix"] == ["pipelines/*"]
    error_message = "Pipelines reaches the domains' objects."
  }

  assert {
    condition     = toset(flatten([for statement in jsondecode(aws_iam_role_policy.this["mlflow"].policy).Statement : statement.Action])) == toset(["s3:GetObject", "s3:ListBucket", "kms:Decrypt"])
    error_message = "MLflow may do more than read."
  }

  assert {
    condition     = !anytrue([for statement in jsondecode(aws_iam_role_policy.this["mlflow"].policy).Statement : contains(flatten([statement.Resource]), "arn:aws:s3:::hallmark-dev-artifacts/*")])
    error_message = "MLflow reads what is no model."
  }
}

run "refuses_a_zone_that_is_none" {
  command = plan
  variables {
    dns_zone_id = "marketplace.example"
  }
  expect_failures = [var.dns_zone_id]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
