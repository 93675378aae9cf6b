resource "aws_route53_zone" "this" {
  name    = "${var.name}.internal"
  comment = "Stores of ${var.name}, for its own VPC"

  vpc {
    vpc_id = var.vpc_id
  }
}

resource "aws_route53_record" "this" {
  for_each = var.names

  zone_id = aws_route53_zone.this.zone_id
  name    = "${each.key}.${var.name}.internal"
  type    = "CNAME"
  ttl     = 60
  records = [each.value]
}
