environment = "production"
region      = "eu-central-1"
account_id  = "333333333333"

cidr = "10.48.0.0/16"
apart_from = {
  office  = "10.8.0.0/16"
  dev     = "10.16.0.0/16"
  staging = "10.32.0.0/16"
}
zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
nat   = "zone"

kubernetes_version = "1.33"
addons = {
  vpc-cni                = "v1.19.5-eksbuild.1"
  coredns                = "v1.12.1-eksbuild.2"
  kube-proxy             = "v1.33.0-eksbuild.2"
  eks-pod-identity-agent = "v1.3.7-eksbuild.2"
  aws-ebs-csi-driver     = "v1.44.0-eksbuild.1"
}
administrators = {
  platform = "arn:aws:iam::333333333333:role/hallmark-administrator"
}

system_nodes = { instance_types = ["m6i.xlarge"], minimum = 3, maximum = 6 }
gpu_pools = {
  inference = { instance_types = ["g5.xlarge", "g6.xlarge"], maximum = 8 }
  training  = { instance_types = ["g5.2xlarge", "g6.2xlarge"], maximum = 8, spot = true }
}

tracking           = { instance_class = "db.m7g.large", storage_gib = 100, multi_az = true, backup_retention_days = 35 }
pipelines_database = { instance_class = "db.t4g.medium", storage_gib = 50, multi_az = true, backup_retention_days = 35 }
online_store       = { engines = ["dynamodb", "valkey"], valkey = { node_type = "cache.r7g.large", replicas = 2 } }

log_retention_days     = 400
keep_old_versions_days = 180
deletion_protection    = true

dns_zone_id = "Z0PRODUCTION0EXAMPLE0ZONE"
ci          = { repository = "marketplace/hallmark" }

contacts       = ["platform-oncall@hallmark.example"]
monthly_budget = 25000
