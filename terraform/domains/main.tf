locals {
  name = "hallmark-${var.environment}"

  declared   = { for file in fileset(var.declarations, "*/domain.yaml") : dirname(file) => yamldecode(file("${var.declarations}/${file}")) }
  foundation = jsondecode(data.aws_ssm_parameter.foundation.insecure_value)

  # name@version of a view to name@version of its source, from features/<view>/v<N>.yaml.
  views = {
    for file in fileset(var.features, "*/v*.yaml") :
    "${dirname(file)}@${trimsuffix(trimprefix(basename(file), "v"), ".yaml")}" => yamldecode(file("${var.features}/${file}")).source
  }
  named = { for name, declaration in local.declared : name => toset(try(declaration.features.views, [])) }
}

# All that is known here of terraform/foundation, which wrote it; reading it plans nothing there.
data "aws_ssm_parameter" "foundation" {
  name = "/${local.name}/foundation"

  lifecycle {
    precondition {
      condition     = length(local.declared) > 0
      error_message = "Expected declarations in ${var.declarations}/*/domain.yaml; there are none, and applying this would remove every domain."
    }

    precondition {
      condition     = alltrue([for folder, declaration in local.declared : declaration.name == folder])
      error_message = "Expected name: to be the folder's name in every domain.yaml; it differs in ${join(", ", [for folder, declaration in local.declared : folder if declaration.name != folder])}."
    }

    precondition {
      condition     = length(setsubtract(flatten([for views in local.named : tolist(views)]), keys(local.views))) == 0
      error_message = "Expected features.views of every domain.yaml to be in ${var.features}; there is no ${join(", ", setsubtract(flatten([for views in local.named : tolist(views)]), keys(local.views)))}."
    }

    precondition {
      condition     = length(setsubtract(keys(var.budgets), keys(local.declared))) == 0
      error_message = "Expected budgets of declared domains only; there is no ${join(", ", setsubtract(keys(var.budgets), keys(local.declared)))}."
    }
  }
}

module "domain" {
  source   = "../modules/domain"
  for_each = local.declared

  name           = each.key
  platform       = local.name
  account_id     = var.account_id
  region         = var.region
  artifacts      = local.foundation.artifacts
  online_store   = local.foundation.online_store
  views          = toset([for view in local.named[each.key] : split("@", view)[0]])
  sources        = toset([for view in local.named[each.key] : split("@", lookup(local.views, view, "none@0"))[0]])
  changes        = try(each.value.retrieval.fresh, null) != null
  owner          = each.value.owner
  monthly_budget = lookup(var.budgets, each.key, var.default_budget)
  emulated       = var.emulated
}

module "features" {
  source = "../modules/features"

  platform     = local.name
  account_id   = var.account_id
  region       = var.region
  sources      = toset(values(local.views))
  event_log    = var.event_log
  flink        = var.flink ? toset(keys(local.views)) : toset([])
  artifacts    = local.foundation.artifacts
  online_store = local.foundation.online_store
  emulated     = var.emulated
}
