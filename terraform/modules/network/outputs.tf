output "vpc_id" {
  description = "The network that the cluster lies in."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets of nodes and pods, by the name of the zone."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "control_plane_subnet_ids" {
  description = "Subnets of the API server's own interfaces, which no route leaves, by the name of the zone."
  value       = [for subnet in aws_subnet.control_plane : subnet.id]
}

output "control_plane_cidr" {
  description = "Their addresses together: what NetworkPolicies know the API server by (controlPlane in manifests/clusters)."
  value       = local.control_plane_cidr
}

output "data_cidr" {
  description = "Addresses of the data stores' subnets together (stores in manifests/clusters)."
  value       = local.data_cidr
}

output "data_subnet_ids" {
  description = "Subnets of data stores, which no route leaves, by the name of the zone."
  value       = [for subnet in aws_subnet.data : subnet.id]
}

output "nat_addresses" {
  description = "Public addresses from which the cluster calls out, for others' allow lists."
  value       = [for address in aws_eip.nat : address.public_ip]
}

output "closed_security_group_id" {
  description = "The VPC's default security group, which allows nothing."
  value       = aws_default_security_group.closed.id
}
