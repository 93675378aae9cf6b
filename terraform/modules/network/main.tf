data "aws_partition" "this" {}

locals {
  partition = data.aws_partition.this.partition

  # A zone's addresses come from its letter, so that neither the order of the zones nor one that joins or leaves moves another's.
  zones = { for zone in var.zones : zone => lookup(var.blocks, zone, index(["a", "b", "c", "d", "e", "f"], substr(zone, -1, 1))) }

  # Nodes and pods get the big subnets. Data stores have their own, with no way out; public ones hold NAT and load balancers only.
  private = { for zone, block in local.zones : zone => cidrsubnet(var.cidr, 3, block) }
  data    = { for zone, block in local.zones : zone => cidrsubnet(var.cidr, 8, 192 + block) }
  # The API server's own addresses in the VPC lie here and nothing else does, so that a policy can distinguish them from pods.
  control_plane = { for zone, block in local.zones : zone => cidrsubnet(var.cidr, 10, 832 + block) }
  public        = { for zone, block in local.zones : zone => cidrsubnet(var.cidr, 8, 224 + block) }

  # What the manifests know them by: four blocks, and the next ones only where a zone lies there.
  wide               = anytrue([for block in values(local.zones) : block > 3])
  control_plane_cidr = local.wide ? cidrsubnet(var.cidr, 7, 104) : cidrsubnet(var.cidr, 8, 208)
  data_cidr          = local.wide ? cidrsubnet(var.cidr, 5, 24) : cidrsubnet(var.cidr, 6, 48)

  nat_zones = var.nat == "zone" ? toset(var.zones) : toset([var.nat])
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Whatever forgets to name a security group gets this one, which allows nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-default-closed" }
}

resource "aws_subnet" "private" {
  for_each = local.private

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false

  tags = {
    Name                              = "${var.name}-private-${each.key}"
    "kubernetes.io/role/internal-elb" = "1"
    "karpenter.sh/discovery"          = var.name
  }
}

resource "aws_subnet" "data" {
  for_each = local.data

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false

  tags = { Name = "${var.name}-data-${each.key}" }
}

resource "aws_subnet" "control_plane" {
  for_each = local.control_plane

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false

  tags = { Name = "${var.name}-control-plane-${each.key}" }
}

resource "aws_subnet" "public" {
  for_each = local.public

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false

  tags = {
    Name                     = "${var.name}-public-${each.key}"
    "kubernetes.io/role/elb" = "1"
  }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_eip" "nat" {
  for_each = local.nat_zones

  domain = "vpc"

  tags = { Name = "${var.name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = local.nat_zones

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id

  tags = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route" "nat" {
  for_each = local.zones

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.nat == "zone" ? each.key : var.nat].id
}

resource "aws_route_table_association" "private" {
  for_each = local.zones

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_route_table" "data" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-data" }
}

resource "aws_route_table_association" "control_plane" {
  for_each = local.zones

  subnet_id      = aws_subnet.control_plane[each.key].id
  route_table_id = aws_route_table.data.id
}

resource "aws_route_table_association" "data" {
  for_each = local.zones

  subnet_id      = aws_subnet.data[each.key].id
  route_table_id = aws_route_table.data.id
}
