environment = "production"
region      = "eu-central-1"
account_id  = "333333333333"

event_log = "kinesis"

default_budget = 1000
budgets        = { fraud = 3000, listing = 3000 }
