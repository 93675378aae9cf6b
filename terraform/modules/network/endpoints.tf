locals {
  # Services whose endpoints carry the partition's own prefix: cn.com.amazonaws in China, where the others have com.amazonaws as everywhere.
  reversed = ["ecr.api", "ecr.dkr", "kinesis-streams", "sts"]
}

# Gateway endpoints cost nothing and take most of the bytes: artifacts, image layers, features.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [for table in aws_route_table.private : table.id]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OwnBuckets"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject*", "s3:PutObject*", "s3:DeleteObject*", "s3:ListBucket*", "s3:GetBucket*", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource  = ["arn:${local.partition}:s3:::${var.name}-*", "arn:${local.partition}:s3:::${var.name}-*/*"]
        Condition = { StringEquals = { "aws:ResourceAccount" = var.account_id } }
      },
      {
        # Image layers lie in buckets of AWS, as do the packages of Amazon Linux and Bottlerocket's updates.
        Sid       = "AwsOwnedReadOnly"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:GetObject"
        Resource = [
          "arn:${local.partition}:s3:::prod-${var.region}-starport-layer-bucket/*",
          "arn:${local.partition}:s3:::al2023-repos-${var.region}-*/*",
        ]
      },
    ]
  })

  tags = { Name = "${var.name}-s3" }
}

resource "aws_vpc_endpoint" "dynamodb" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.dynamodb"
  route_table_ids   = [for table in aws_route_table.private : table.id]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OwnTables"
      Effect    = "Allow"
      Principal = "*"
      Action    = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
      Resource  = "arn:${local.partition}:dynamodb:${var.region}:${var.account_id}:table/${var.name}-*"
    }]
  })

  tags = { Name = "${var.name}-dynamodb" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "HTTPS from inside the VPC to AWS endpoints"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the VPC"
  cidr_ipv4         = var.cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_endpoint" "interface" {
  for_each = var.interface_endpoints

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "${contains(local.reversed, each.value) ? data.aws_partition.this.reverse_dns_prefix : "com.amazonaws"}.${var.region}.${each.value}"
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true

  tags = { Name = "${var.name}-${each.value}" }
}

# Reached from few pods, and known to their NetworkPolicies by the data subnets' addresses, where no pod is.
resource "aws_vpc_endpoint" "data" {
  for_each = var.data_endpoints

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "${contains(local.reversed, each.value) ? data.aws_partition.this.reverse_dns_prefix : "com.amazonaws"}.${var.region}.${each.value}"
  subnet_ids          = [for subnet in aws_subnet.data : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true

  tags = { Name = "${var.name}-${each.value}" }
}
