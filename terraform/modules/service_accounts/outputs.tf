output "pod_identities" {
  description = "Name to service account and role, as module cluster takes them."
  value = {
    for name, account in local.accounts : name => {
      namespace       = account.namespace
      service_account = account.service_account
      role_arn        = aws_iam_role.this[name].arn
    }
  }
}
