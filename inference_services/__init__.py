"""What runs beside a model: the model server, the drift monitor, and each domain's release."""
