locals {
  name   = "hallmark-${var.environment}"
  bucket = "${local.name}-artifacts"

  # EKS makes one security group for nodes and pods; an emulator makes none.
  clients = var.emulated ? module.network.closed_security_group_id : module.cluster.security_group_id
}

module "observability" {
  source = "../modules/observability"

  name           = local.name
  account_id     = var.account_id
  region         = var.region
  retention_days = var.log_retention_days
  contacts       = var.contacts
  monthly_budget = var.monthly_budget
  emulated       = var.emulated

  alarms = merge(
    {
      tracking-disk = {
        description = "The tracking database has less than 5 GiB of disk left: see whether it may still grow by itself."
        namespace   = "AWS/RDS"
        metric      = "FreeStorageSpace"
        dimensions  = { DBInstanceIdentifier = "${local.name}-tracking" }
        below       = 5 * 1024 * 1024 * 1024
      }
      tracking-cpu = {
        description = "The tracking database has been above 80 % of its processors for 15 minutes."
        namespace   = "AWS/RDS"
        metric      = "CPUUtilization"
        dimensions  = { DBInstanceIdentifier = "${local.name}-tracking" }
        above       = 80
      }
    },
    contains(var.online_store.engines, "dynamodb") ? {
      features-throttled = {
        description = "Requests for features are throttled: a key is hot, or traffic has doubled at once."
        namespace   = "AWS/DynamoDB"
        metric      = "ThrottledRequests"
        dimensions  = { TableName = "${local.name}-features" }
        statistic   = "Sum"
        above       = 10
        period      = 60
      }
    } : {},
    contains(var.online_store.engines, "valkey") ? {
      valkey-memory = {
        description = "The online store is above 80 % of its memory: what it evicts is answered without features."
        namespace   = "AWS/ElastiCache"
        metric      = "DatabaseMemoryUsagePercentage"
        dimensions  = { ReplicationGroupId = "${local.name}-features" }
        above       = 80
      }
    } : {},
  )
}

module "network" {
  source = "../modules/network"

  name                    = local.name
  account_id              = var.account_id
  region                  = var.region
  cidr                    = var.cidr
  apart_from              = merge(var.apart_from, { "kubernetes services" = var.services_cidr })
  zones                   = var.zones
  blocks                  = var.blocks
  nat                     = var.nat
  data_endpoints          = var.data_endpoints
  flow_log_retention_days = var.log_retention_days
  log_key_arn             = module.observability.key_arn
}

module "cluster" {
  source = "../modules/cluster"

  name                     = local.name
  account_id               = var.account_id
  region                   = var.region
  kubernetes_version       = var.kubernetes_version
  addons                   = var.addons
  control_plane_subnet_ids = module.network.control_plane_subnet_ids
  subnet_ids               = module.network.private_subnet_ids
  services_cidr            = var.services_cidr
  public_access_cidrs      = var.public_access_cidrs
  administrators           = var.administrators
  system_nodes             = var.system_nodes
  log_retention_days       = var.log_retention_days
  log_key_arn              = module.observability.key_arn
  emulated                 = var.emulated

  pod_identities = merge(module.service_accounts.pod_identities, {
    prometheus = { namespace = "monitoring", service_account = "prometheus", role_arn = module.observability.prometheus_role_arn }
  })
}

module "gpu_nodes" {
  source = "../modules/gpu_nodes"

  cluster_name       = module.cluster.name
  account_id         = var.account_id
  region             = var.region
  kubernetes_version = var.kubernetes_version
  subnet_ids         = module.network.private_subnet_ids
  node_role_arn      = module.cluster.node_role_arn
  disk_key_arn       = module.cluster.key_arn
  queue_key_arn      = module.observability.key_arn
  pools              = var.gpu_pools
  karpenter          = var.karpenter
  emulated           = var.emulated
}

module "artifact_store" {
  source = "../modules/artifact_store"

  name                      = local.name
  bucket                    = local.bucket
  account_id                = var.account_id
  keep_old_versions_days    = var.keep_old_versions_days
  access_log_retention_days = var.log_retention_days
}

# MLflow's.
module "experiment_tracking" {
  source = "../modules/database"

  name                     = local.name
  account_id               = var.account_id
  part                     = "tracking"
  purpose                  = "experiment tracking"
  key_alias                = "database"
  engine                   = "postgres"
  database                 = "mlflow"
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = local.clients
  instance_class           = var.tracking.instance_class
  storage_gib              = var.tracking.storage_gib
  multi_az                 = var.tracking.multi_az
  backup_retention_days    = var.tracking.backup_retention_days
  password_rotation_days   = var.tracking.password_rotation_days
  log_retention_days       = var.log_retention_days
  log_key_arn              = module.observability.key_arn
  deletion_protection      = var.deletion_protection
}

# Kubeflow Pipelines', which knows no Postgres over TLS (docs/decisions/0027). It makes its three databases itself.
module "pipelines_database" {
  source = "../modules/database"

  name                     = local.name
  account_id               = var.account_id
  part                     = "pipelines"
  purpose                  = "Kubeflow Pipelines"
  key_alias                = "pipelines"
  engine                   = "mysql"
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = local.clients
  instance_class           = var.pipelines_database.instance_class
  storage_gib              = var.pipelines_database.storage_gib
  multi_az                 = var.pipelines_database.multi_az
  backup_retention_days    = var.pipelines_database.backup_retention_days
  password_rotation_days   = var.pipelines_database.password_rotation_days
  log_retention_days       = var.log_retention_days
  log_key_arn              = module.observability.key_arn
  deletion_protection      = var.deletion_protection
}

module "service_accounts" {
  source = "../modules/service_accounts"

  name        = local.name
  account_id  = var.account_id
  region      = var.region
  artifacts   = { bucket = local.bucket, key_arn = module.artifact_store.key_arn }
  dns_zone_id = var.dns_zone_id
  databases = {
    tracking  = { secret_arn = module.experiment_tracking.secret_arn, key_arn = module.experiment_tracking.key_arn }
    pipelines = { secret_arn = module.pipelines_database.secret_arn, key_arn = module.pipelines_database.key_arn }
  }
}

moved {
  from = module.experiment_tracking.aws_iam_role.reader
  to   = module.service_accounts.aws_iam_role.this["external-secrets"]
}

moved {
  from = module.experiment_tracking.aws_iam_role_policy.reader
  to   = module.service_accounts.aws_iam_role_policy.this["external-secrets"]
}

moved {
  from = module.cluster.aws_eks_pod_identity_association.platform["secrets"]
  to   = module.cluster.aws_eks_pod_identity_association.platform["external-secrets"]
}

module "private_names" {
  source = "../modules/private_names"

  name   = local.name
  vpc_id = module.network.vpc_id
  names  = { tracking = module.experiment_tracking.address, pipelines = module.pipelines_database.address }
}

module "online_store" {
  source = "../modules/online_store"

  name                     = local.name
  account_id               = var.account_id
  engines                  = var.online_store.engines
  valkey                   = var.online_store.valkey
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = local.clients
  deletion_protection      = var.deletion_protection
  emulated                 = var.emulated
}

module "images" {
  source = "../modules/images"

  name       = local.name
  account_id = var.account_id
}

module "ci" {
  source   = "../modules/ci"
  for_each = var.ci == null ? {} : { github = var.ci }

  name        = local.name
  account_id  = var.account_id
  region      = var.region
  repository  = each.value.repository
  environment = each.value.environment
  images      = module.images.names
}

# All that terraform/domains knows of the foundation. A parameter and not the state: who adds domains may read this, and needs no
# right to read a state file that names every secret.
resource "aws_ssm_parameter" "foundation" {
  name        = "/${local.name}/foundation"
  description = "What terraform/domains reads of terraform/foundation; no secrets."
  type        = "String"

  insecure_value = jsonencode({
    cluster   = module.cluster.name
    artifacts = { bucket = module.artifact_store.bucket, key_arn = module.artifact_store.key_arn }
    online_store = {
      table_arn         = module.online_store.table_arn
      valkey_arn        = module.online_store.valkey_arn
      valkey_user_group = module.online_store.valkey_user_group
      key_arn           = module.online_store.key_arn
    }
  })
}
