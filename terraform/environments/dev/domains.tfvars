environment = "dev"
region      = "eu-central-1"
account_id  = "111111111111"

event_log = "kinesis"

default_budget = 100
budgets        = {}
