mock_provider "aws" {
  override_during = plan # what AWS would answer is known before anything is made, so nothing is made

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com", reverse_dns_prefix = "com.amazonaws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111111111111:key/11111111-1111-1111-1111-111111111111" }
  }
}

variables {
  name                     = "hallmark-dev"
  account_id               = "111111111111"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-a", "subnet-b", "subnet-c"]
  client_security_group_id = "sg-cluster"
}

run "dynamodb_alone_by_default" {
  command = plan

  assert {
    condition     = length(aws_dynamodb_table.features) == 1 && length(aws_elasticache_replication_group.this) == 0 && output.valkey_arn == null
    error_message = "Expected a table and no Valkey."
  }

  assert {
    condition     = aws_dynamodb_table.features["dynamodb"].server_side_encryption[0].kms_key_arn == aws_kms_key.store.arn && aws_dynamodb_table.features["dynamodb"].point_in_time_recovery[0].enabled && aws_dynamodb_table.features["dynamodb"].deletion_protection_enabled
    error_message = "The table is plain, or one mistake away from gone."
  }
}

run "valkey_speaks_tls_to_users_it_knows" {
  command = plan

  variables {
    engines = ["valkey"]
  }

  assert {
    condition     = aws_elasticache_replication_group.this["valkey"].transit_encryption_enabled && aws_elasticache_replication_group.this["valkey"].transit_encryption_mode == "required" && aws_elasticache_replication_group.this["valkey"].kms_key_id == aws_kms_key.store.arn
    error_message = "Valkey is plain on the wire or on disk."
  }

  assert {
    condition     = aws_elasticache_replication_group.this["valkey"].user_group_ids == toset([aws_elasticache_user_group.this["valkey"].user_group_id])
    error_message = "Valkey lets in whoever reaches it."
  }

  assert {
    condition     = aws_elasticache_replication_group.this["valkey"].automatic_failover_enabled && aws_elasticache_replication_group.this["valkey"].num_cache_clusters == 2
    error_message = "A lost node is a lost store."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.valkey["valkey"].referenced_security_group_id == "sg-cluster"
    error_message = "Valkey is open to more than the cluster."
  }

  assert {
    condition     = length(aws_dynamodb_table.features) == 0 && output.table_arn == null
    error_message = "Expected Valkey and no table."
  }
}

run "both_at_once" {
  command = plan

  variables {
    engines = ["valkey", "dynamodb"]
  }

  assert {
    condition     = length(aws_dynamodb_table.features) == 1 && length(aws_elasticache_replication_group.this) == 1
    error_message = "Expected a table and Valkey."
  }
}

run "refuses_an_engine_that_is_none" {
  command = plan
  variables {
    engines = ["memcached"]
  }
  expect_failures = [var.engines]
}

run "refuses_no_engine" {
  command = plan
  variables {
    engines = []
  }
  expect_failures = [var.engines]
}

run "refuses_valkey_without_a_replica" {
  command = plan
  variables {
    valkey = { replicas = 0 }
  }
  expect_failures = [var.valkey]
}

run "refuses_a_node_type_that_is_none" {
  command = plan
  variables {
    valkey = { node_type = "m7g.large" }
  }
  expect_failures = [var.valkey]
}

run "refuses_one_zone" {
  command = plan
  variables {
    subnet_ids = ["subnet-a"]
  }
  expect_failures = [var.subnet_ids]
}

run "refuses_an_account_that_is_none" {
  command = plan
  variables {
    account_id = "dev"
  }
  expect_failures = [var.account_id]
}
