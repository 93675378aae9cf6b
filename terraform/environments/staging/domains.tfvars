environment = "staging"
region      = "eu-central-1"
account_id  = "222222222222"

event_log = "kinesis"

default_budget = 150
budgets        = {}
