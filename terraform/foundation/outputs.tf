output "cluster" {
  description = "Name and private address of the Kubernetes API."
  value       = { name = module.cluster.name, endpoint = module.cluster.endpoint }
}

output "bucket" {
  description = "Bucket of the artifacts, which the cluster's manifests name (manifests/clusters/<cluster>/settings)."
  value       = module.artifact_store.bucket
}

output "repositories" {
  description = "Where images are pushed to and pulled from."
  value       = module.images.repository_urls
}

output "karpenter" {
  description = "What Karpenter's values and node classes name."
  value       = module.gpu_nodes.karpenter
}

output "tracking" {
  description = "Host of the tracking database and the secret with its password."
  value       = { address = module.experiment_tracking.address, secret_arn = module.experiment_tracking.secret_arn }
}

output "names" {
  description = "Names of the databases inside the VPC (database in manifests/clusters/<cluster>/settings)."
  value       = module.private_names.names
}

output "ci_role" {
  description = "Role that pushes images, for the variable REGISTRY_ROLE of the repository on GitHub; null where nobody may."
  value       = one([for ci in module.ci : ci.role_arn])
}

output "valkey" {
  description = "Host of the online store, in featureStore of manifests/clusters/<cluster>/settings; null where DynamoDB alone holds it."
  value       = module.online_store.valkey_address
}

output "prometheus" {
  description = "Address of the Managed Prometheus workspace; with api/v1/remote_write at its end it is metrics in manifests/clusters/<cluster>/settings."
  value       = module.observability.workspace_endpoint
}

output "nat_addresses" {
  description = "Public addresses from which the cluster calls out."
  value       = module.network.nat_addresses
}

output "addresses" {
  description = "What NetworkPolicies know the API server and the stores by (controlPlane and stores in manifests/clusters/<cluster>/settings)."
  value       = { control_plane = module.network.control_plane_cidr, stores = module.network.data_cidr }
}
